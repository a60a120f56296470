"""Tensor programs: the training of a network written once.  THEORY 3.4."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meanfield.base.checks import fail, instance, integer
from meanfield.model.system import Law, Model
from meanfield.programs.arrays import Matrix, Scalar, Vector, matrices


class Program(Model):
    """The interface of programs: frozen dataclasses with

    - `arrays(problem)`: {name: Matrix(), Vector(columns), Scalar(shape)}, what the network is made of;
    - `forward(ops, p, x)`: anything with an `output` (P, k) on inputs x (P, d), from p = {name: array} of
      vectors (n, columns) and scalars, and `ops`:

          ops.matmul(W, x)               W x
          ops.transpose_matmul(W, g)     Wᵀ g
          ops.moment(x, y)               xᵀy / n, averages over neurons
          ops.update(W, left, right)     left rightᵀ / n added to what W moves against

      with matrices W named by strings, fields (n, P), and JAX code that acts on every neuron by itself for
      everything else: no other sum over neurons, no reordering of them;
    - `gradient(ops, p, x, passed, chi, step)`: {name: array}, what vectors and scalars move against, given
      what `forward` returned and χ = ∂R/∂f (P, k); matrices through `ops.update`.

    Weights follow the training: θ ← θ − η (gradient + weight decay), momentum and schedules included. A
    program is a model: `simulate`, `study` and every figure take its `finite(width)` and its `limit()`.

    Source: Yang 2019, 2020 (Tensor Programs I–III), Yang & Hu 2021; THEORY 3.4.
    """

    def arrays(self, problem):
        raise NotImplementedError

    def forward(self, ops, p, x):
        raise NotImplementedError

    def gradient(self, ops, p, x, passed, chi, step):
        return {}

    def laws(self):
        source = "Dyer & Gur-Ari 2020; Bordelon & Pehlevan 2023; THEORY 9"
        return (Law("fluctuation", "width", -0.5, source), Law("bias", "width", -1.0, source))
