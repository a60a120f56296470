"""The same motion with preactivations for coordinates instead of weights.

h_i = (w_i·x_p + b_i)_p over training and test samples is linear in (w_i, b_i). A training that is linear in
gradients, parameters and its memory commutes with linear maps, so the preactivations move by themselves:

    h_i ← h_i − η (∂Ψ/∂h_i) K,      K = x xᵀ (+ 1 with a bias), (P, P + P'),

momentum, schedules and weight decay included. A step has one product with K in place of two with x, the same
numbers to rounding.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST
from meanfield.base.pytree import pytree
from meanfield.model.problem import Problem
from meanfield.systems.two_layer.particles import Particles


@pytree(eq=False)
class Preactivations(Particles):
    """`Particles` whose points hold `h`, (n, P + P'), in place of `w` and `b`."""

    inputs: np.ndarray = None
    kernel: np.ndarray = None

    def start(self, training, points, weights):
        h = super().preactivations(points, self.inputs.astype(points["w"].dtype))
        return super().start(training, {"a": points["a"], "h": h}, weights)

    def training_samples(self, problem, x):
        return slice(0, problem.samples)

    def test_samples(self, problem):
        return slice(problem.samples, None)

    def preactivations(self, points, x):
        return points["h"][:, x]

    def pull_back(self, points, back, x):
        kernel = jnp.asarray(self.kernel, back.dtype)
        return {"h": jnp.einsum("np,pq->nq", back, kernel, precision=HIGHEST)}

    def numbers(self, problem, bias):
        return len(self.inputs) + problem.outputs

    def operations(self, problem, training):
        forward = problem.samples * problem.outputs
        return 2.0 * (problem.samples * len(self.inputs) + forward * (3 if self.chunk else 2))


def coordinates(particles, problem, training, bias, looks):
    """The cheaper coordinates: preactivations where they stay closed, nobody looks at the neurons
    themselves, and P + P' ≤ 2d."""
    full = training.batch_size in (None, problem.samples)
    if looks or not training.linear or not isinstance(problem, Problem) or not full:
        return particles
    x = problem.x if problem.x_test is None else np.concatenate([problem.x, problem.x_test])
    if len(x) > 2 * problem.inputs:
        return particles
    kernel = problem.x @ x.T + float(bias)
    settings = {field.name: getattr(particles, field.name) for field in dataclasses.fields(Particles)}
    return Preactivations(**settings, inputs=x, kernel=kernel)
