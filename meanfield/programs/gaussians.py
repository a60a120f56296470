"""How the particles of a limit are drawn: independent ones, or antithetic pairs with matched moments."""

import dataclasses

import jax
import jax.numpy as jnp

from meanfield.base.checks import boolean
from meanfield.programs.tall import combine, moment, project


@dataclasses.dataclass(frozen=True)
class Antithetic:
    """Pairs of particles that share what runs forward and have opposite values of what runs backward.

    Rows i and i + M/2 have the same draws for fields Wx and for vectors, and opposite ones for Wᵀg and for
    vectors marked odd, such as the readout. The average of an odd draw with anything that does not depend on
    it is then exactly 0: responses and outputs lose the noise that would not vanish with them, and the lazy
    limit γ → 0 is reached. With `matched`, draws of one kind are moreover centred and orthonormal under the
    average over particles, up to M/4 of them: programs whose coordinatewise maps are affine are then solved
    exactly, to rounding, with any M above four times the number of draws.

    Accuracy: standard error O(M^{−1/2}), bias O(rank/M).
    Source: antithetic variates and moment matching (Glasserman 2003, sections 4.2 and 4.5). THEORY 3.2.
    """

    matched: bool = True

    def __post_init__(self):
        boolean("matched", self.matched)

    def rows(self, particles):
        """An even number."""
        return particles + particles % 2

    def draw(self, key, shape, odd, blocks, dtype):
        """N(0, 1) entries (M, P); `blocks` (M, R) are draws of the same kind that these must match."""
        half = jax.random.normal(key, (shape[0] // 2, shape[1]), dtype)
        if self.matched:
            half = _matched(half, [block[: shape[0] // 2] for block in blocks], centred=not odd)
        return jnp.concatenate([half, -half if odd else half])


@dataclasses.dataclass(frozen=True)
class Independent:
    """Independent particles: noise M^{−1/2} in everything, f_0 = O(M^{−1/2}/γ) included."""

    matched = False

    def rows(self, particles):
        return particles

    def draw(self, key, shape, odd, blocks, dtype):
        return jax.random.normal(key, shape, dtype)


def _matched(half, blocks, centred):
    """Draws made orthogonal to earlier ones (and to 1 if centred) and orthonormal, where there is room."""
    rows, columns = half.shape
    taken = sum(((block != 0).any(0).sum() for block in blocks), start=jnp.zeros((), int))
    ones = [jnp.ones((rows, 1), half.dtype)] if centred else []
    found = half
    for _ in range(2):
        for basis in ([b] for b in (*ones, *blocks)):
            found = found - combine(basis, project(basis, found))
    gram = moment(found, found)
    factor = jnp.linalg.cholesky(gram)
    found = jax.scipy.linalg.solve_triangular(factor, found.T, lower=True).T
    return jnp.where(taken + columns <= rows // 2, found, half)
