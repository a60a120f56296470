"""Whether the features of different samples are linearly independent."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST
from meanfield.base.schema import Variable
from meanfield.observe.neuron import relative
from meanfield.observe.where import OfLayer, inputs, layer_of

SOURCE = "Chen, Yang, Zhao & Gu 2025; Roy & Vetterli 2007 (effective rank)"


@dataclasses.dataclass(frozen=True)
class Independence(OfLayer):
    """The spectrum λ_1 ≥ … ≥ λ_P of the Gram matrix Φ^l = E[x^l x^lᵀ] of the features of P samples.

    Variables, all without unit or dimensions: `independence_smallest`, λ_P, above 0 where the features are
    linearly independent as functions on neurons; `independence_relative`, λ_P/(tr Φ/P), 1 for orthonormal
    features; `independence_rank`, the effective rank exp(−Σ p_i log p_i), p_i = λ_i/tr Φ, from 1 to P, and 0
    where there are no features.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: of the test inputs instead of the training inputs.
        layer: l of an MLP, by default its last hidden layer.
        name: another word for `independence`, where one run has two of them.
    Accuracy: the matrix is summed and diagonalised in float64; rounding of the features leaves eps² tr Φ in
        λ_P (1e-14 for networks in float32), a matrix-free reading tolerance² tr Φ. At finite width λ_P has
        bias O(√(P/n)) downwards, in a limit O(1/M).
    Cost: n P² + 10 P³ operations a look.
    Source: Chen, Yang, Zhao & Gu 2025; Roy & Vetterli 2007. THEORY 3.
    """

    names = ("independence", "independence")

    @property
    def variables(self):
        smallest = "smallest eigenvalue of the Gram matrix of the features"
        return {
            f"{self.name}_smallest": Variable((), smallest, source=SOURCE),
            f"{self.name}_relative": Variable((), f"{smallest} over the mean one", source=SOURCE),
            f"{self.name}_rank": Variable((), "effective rank of the features", source=SOURCE),
        }

    def compute(self, system, problem, measure, initial):
        features = system.features(measure, inputs(problem, self.test), layer_of(self, system))
        features = features.astype(jnp.float64)
        gram = jnp.einsum("np,nq->pq", features, features, precision=HIGHEST) / features.shape[0]
        values = jnp.maximum(jnp.linalg.eigvalsh(gram), 0)
        total = values.sum()
        share = values / jnp.where(total > 0, total, 1)
        entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0))
        return {
            f"{self.name}_smallest": values[0],
            f"{self.name}_relative": relative(values[0], total / values.size),
            f"{self.name}_rank": jnp.where(total > 0, jnp.exp(entropy), 0),
        }
