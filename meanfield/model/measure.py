"""A probability measure on neurons: weighted particles."""

import jax
import jax.numpy as jnp

from meanfield.base.precision import HIGHEST
from meanfield.base.pytree import pytree


@pytree(eq=False)
class Measure:
    """ρ = Σ_i m_i δ_{θ_i}: named coordinates of the particles and their weights.

    Args:
        points: {name: (M, ...)}, one leading axis for all; for two-layer networks a (M, k), w (M, d) and,
            where there is one, b (M,).
        weights: m, (M,), nonnegative, sum 1; weight 0 stands for a particle that is not there.
    """

    points: dict
    weights: jax.Array

    @property
    def particles(self):
        return self.weights.shape[0]

    def flat(self):
        """All coordinates of each particle side by side in the order of their names, (M, D)."""
        columns = [self.points[name].reshape(self.particles, -1) for name in sorted(self.points)]
        return jnp.concatenate(columns, 1)

    def mean(self, values):
        """Σ_i m_i values_i, over the leading axis of `values`."""
        return jnp.einsum("i,i...->...", self.weights, values, precision=HIGHEST)
