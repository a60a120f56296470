"""A residual network under depth-μP as a tensor program.  THEORY 4.5.

    h⁰ = u x/√d,    h^{l+1} = h^l + W^l φ(h^l)/√L,    f = E[v φ(h^L)]/γ,    l = 0 … L − 1,
    g^L = (v χᵀ) φ'(h^L),    g^l = g^{l+1} + φ'(h^l) W^{lᵀ} g^{l+1}/√L,

entries of u, v from N(0, 1), of W^l from N(0, 1/n). Descent moves u along γ g⁰xᵀ/√d, W^l along
γ g^{l+1} φ(h^l)ᵀ/(n√L) and v along γ φ(h^L) χ: every block moves by order 1/L, all together by order one.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from meanfield.base.checks import instance, integer, number
from meanfield.base.precision import HIGHEST
from meanfield.model.activation import Activation
from meanfield.programs.arrays import Matrix, Vector
from meanfield.programs.program import Program


class Pass(NamedTuple):
    """φ(h⁰) … φ(h^L) and φ'(h⁰) … φ'(h^L), (n, P) each, and the output (P, k)."""

    features: tuple
    slopes: tuple
    output: Any


@dataclasses.dataclass(frozen=True, repr=False)
class ResidualMLP(Program):
    """A residual network of L blocks with branches scaled by 1/√L, feature learning in width and depth.

    Args:
        blocks: L ≥ 1.
        activation: φ.
        richness: γ > 0; training time is t = η · step at every width, depth and richness.
    Raises:
        TypeError, ValueError: one sentence naming the argument.
    Source: Yang, Yu, Zhu & Hayou 2023; Bordelon, Noci, Li, Hanin & Pehlevan 2023. THEORY 4.5.
    """

    blocks: int
    activation: Activation
    richness: float = 1.0

    def __post_init__(self):
        integer("blocks", self.blocks, 1)
        instance("activation", self.activation, Activation, "one of meanfield.activations or an Activation")
        object.__setattr__(self, "richness", number("richness", self.richness, above=0))

    @property
    def hidden_layers(self):
        """Fields h⁰ … h^L are layers 1 … L + 1."""
        return self.blocks + 1

    def arrays(self, problem):
        found = {"u": Vector(problem.inputs), "v": Vector(problem.outputs, odd=True)}
        return found | {f"w{block}": Matrix() for block in range(self.blocks)}

    def forward(self, ops, p, x):
        h = jnp.einsum("nd,pd->np", p["u"], x, precision=HIGHEST) / math.sqrt(x.shape[1])
        phi, slope = self.activation.value_and_derivative(h)
        features, slopes = [phi], [slope]
        for block in range(self.blocks):
            h = h + ops.matmul(f"w{block}", features[-1]) / math.sqrt(self.blocks)
            phi, slope = self.activation.value_and_derivative(h)
            features.append(phi)
            slopes.append(slope)
        return Pass(tuple(features), tuple(slopes), ops.moment(features[-1], p["v"]) / self.richness)

    def gradient(self, ops, p, x, passed, chi, step):
        scale, gamma = 1 / math.sqrt(self.blocks), self.richness
        g = jnp.einsum("nk,pk->np", p["v"], chi, precision=HIGHEST) * passed.slopes[-1]
        for block in reversed(range(self.blocks)):
            ops.update(f"w{block}", gamma * scale * g, passed.features[block])
            g = g + scale * passed.slopes[block] * ops.transpose_matmul(f"w{block}", g)
        return {
            "u": gamma / math.sqrt(x.shape[1]) * jnp.einsum("np,pd->nd", g, x, precision=HIGHEST),
            "v": gamma * jnp.einsum("np,pk->nk", passed.features[-1], chi, precision=HIGHEST),
        }
