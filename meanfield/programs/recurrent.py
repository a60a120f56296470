"""A recurrent network, one matrix used at every time, as a tensor program.  THEORY 3.4.

    h_1 = U x_1/√d,    h_{s+1} = W φ(h_s) + U x_{s+1}/√d,    f = E[v φ(h_T)]/γ,
    g_T = (v χᵀ) φ'(h_T),    g_s = φ'(h_s) Wᵀ g_{s+1},

entries of U, v from N(0, 1), of W from N(0, σ²/n). Descent moves U along γ Σ_s g_s x_sᵀ/√d, W along
γ Σ_s g_{s+1} φ(h_s)ᵀ/n and v along γ φ(h_T) χ. As W meets vectors that it has made itself, its images are not
Gaussian: W φ(h_s) has a response to Wᵀg of every earlier step, and Wᵀg one to all Wφ.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from meanfield.base.checks import fail, instance, integer, number
from meanfield.base.precision import HIGHEST
from meanfield.model.activation import Activation
from meanfield.programs.arrays import Matrix, Vector
from meanfield.programs.program import Program


class Pass(NamedTuple):
    """φ(h_1) … φ(h_T) and φ'(h_1) … φ'(h_T), (n, P) each, and the output (P, k)."""

    features: tuple
    slopes: tuple
    output: Any


@dataclasses.dataclass(frozen=True, repr=False)
class Recurrent(Program):
    """A recurrent network that reads a sequence of T inputs and answers at its end.

    Args:
        times: T ≥ 1; a sample x of T · d numbers is the sequence x_1 … x_T.
        activation: φ.
        richness: γ > 0; training time is t = η · step at every width and richness.
        gain: σ > 0.
    Raises:
        TypeError, ValueError: one sentence naming the argument.
    Source: Yang 2019 (Tensor Programs I), Yang & Hu 2021. THEORY 3.4.
    """

    times: int
    activation: Activation
    richness: float = 1.0
    gain: float = 1.0

    def __post_init__(self):
        integer("times", self.times, 1)
        instance("activation", self.activation, Activation, "one of meanfield.activations or an Activation")
        object.__setattr__(self, "richness", number("richness", self.richness, above=0))
        object.__setattr__(self, "gain", number("gain", self.gain, above=0))

    @property
    def hidden_layers(self):
        """States h_1 … h_T are layers 1 … T."""
        return self.times

    def arrays(self, problem):
        if problem.inputs % self.times:
            fail("problem", f"a problem whose inputs divide into {self.times} times", problem)
        inputs = problem.inputs // self.times
        return {"u": Vector(inputs), "v": Vector(problem.outputs, odd=True), "w": Matrix(self.gain)}

    def _sequence(self, x):
        """x_1 … x_T over √d, (P, d) each."""
        sequence = x.reshape(x.shape[0], self.times, -1)
        return [sequence[:, s] / math.sqrt(sequence.shape[2]) for s in range(self.times)]

    def forward(self, ops, p, x):
        features, slopes = [], []
        for step in self._sequence(x):
            h = jnp.einsum("nd,pd->np", p["u"], step, precision=HIGHEST)
            if features:
                h = h + ops.matmul("w", features[-1])
            phi, slope = self.activation.value_and_derivative(h)
            features.append(phi)
            slopes.append(slope)
        return Pass(tuple(features), tuple(slopes), ops.moment(features[-1], p["v"]) / self.richness)

    def gradient(self, ops, p, x, passed, chi, step):
        sequence, gamma = self._sequence(x), self.richness
        g = jnp.einsum("nk,pk->np", p["v"], chi, precision=HIGHEST) * passed.slopes[-1]
        u = gamma * jnp.einsum("np,pd->nd", g, sequence[-1], precision=HIGHEST)
        for s in reversed(range(self.times - 1)):
            ops.update("w", gamma * g, passed.features[s])
            g = passed.slopes[s] * ops.transpose_matmul("w", g)
            u = u + gamma * jnp.einsum("np,pd->nd", g, sequence[s], precision=HIGHEST)
        return {"u": u, "v": gamma * jnp.einsum("np,pk->nk", passed.features[-1], chi, precision=HIGHEST)}
