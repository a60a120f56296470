"""How the particles of a limit are drawn: independent ones, or antithetic pairs with matched moments."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import boolean
from meanfield.model.sampler import Sobol
from meanfield.programs.draws import gaussian_vectors

SOBOL = 256  # dimensions beyond which low discrepancy is worth nothing


@dataclasses.dataclass(frozen=True)
class Antithetic:
    """Pairs of particles that share what runs forward and have opposite values of what runs backward.

    Rows i and i + M/2 have the same draws for fields Wx and for vectors, and opposite ones for Wᵀg and for
    vectors marked odd, such as the readout. The average of an odd draw with anything that does not depend on
    it is then exactly 0: responses and outputs lose the noise that would not vanish with them, and the lazy
    limit γ → 0 is reached. With `matched`, draws of one kind are moreover centred and orthonormal under the
    average over particles, up to M/4 of them: programs whose coordinatewise maps are affine are then solved
    exactly, to rounding, with any M above four times the number of draws.

    With `quasi`, vectors start from scrambled Sobol points, in at most 256 dimensions together.

    Accuracy: standard error O(M^{−1/2}), bias O(rank/M).
    Source: antithetic variates, moment matching, quasi-Monte Carlo (Glasserman 2003, sections 4.2, 4.5 and
        5.4). THEORY 3.2.
    """

    matched: bool = True
    quasi: bool = True

    def __post_init__(self):
        boolean("matched", self.matched)
        boolean("quasi", self.quasi)

    def first(self, keys, rows, wanted, dtype):
        """{name: N(0, 1) entries (rows, columns)} of vectors at the start, from {name: (label, columns)}."""
        dimension = sum(columns for _, columns in wanted.values())
        if not self.quasi or dimension > SOBOL:
            return independent(keys, rows, wanted, dtype)
        cloud = Sobol().replicates(keys[0], max(rows, 2), dimension, 1)[0][0][:rows].astype(dtype)
        ends = np.cumsum([columns for _, columns in wanted.values()])
        return dict(zip(wanted, np.split(cloud, ends[:-1], axis=1), strict=True))

    def rows(self, particles):
        """An even number."""
        return particles + particles % 2

    def drawn(self, rows):
        """How many of the rows are drawn; `arrange` gives the others."""
        return rows // 2

    def fits(self, rows, blocks, columns):
        """Whether so many more columns can be matched to the blocks."""
        return sum(block.shape[1] for block in blocks) + columns <= self.drawn(rows) // 2

    def arrange(self, half, odd, blocks, xp=jnp):
        """All rows (M, P) from N(0, 1) draws (M/2, P); `blocks` are (M, R) draws of the same kind that these
        must match. `xp` is the array module, numpy or its JAX namesake."""
        if self.matched:
            half = _matched(half, [block[: len(half)] for block in blocks], not odd, xp)
        return xp.concatenate([half, -half if odd else half])


@dataclasses.dataclass(frozen=True)
class Independent:
    """Independent particles: noise M^{−1/2} in everything, f_0 = O(M^{−1/2}/γ) included."""

    matched = False

    def first(self, keys, rows, wanted, dtype):
        return independent(keys, rows, wanted, dtype)

    def rows(self, particles):
        return particles

    def drawn(self, rows):
        return rows

    def arrange(self, draws, odd, blocks, xp=jnp):
        return draws


def independent(keys, rows, wanted, dtype):
    """{name: iid N(0, 1) entries}, a name's by its label alone."""
    return {
        name: gaussian_vectors(keys, label, rows, columns, dtype)[0]
        for name, (label, columns) in wanted.items()
    }


def _matched(half, blocks, centred, xp):
    """Draws made orthogonal to earlier ones (and to 1 if centred) and orthonormal, where there is room."""
    rows, columns = half.shape
    taken = sum(((block != 0).any(0).sum() for block in blocks), start=xp.zeros((), int))
    ones = [xp.ones((rows, 1), half.dtype)] if centred else []
    found = half
    for _ in range(2):
        for basis in (*ones, *blocks):
            found = found - basis @ (basis.T @ found / rows)
    values, rotation = xp.linalg.eigh(found.T @ found / rows)
    weight = xp.where(values > 1e-9, 1 / xp.sqrt(xp.maximum(values, 1e-9)), 0)  # columns may be zero
    found = found @ (rotation * weight[None] @ rotation.T)
    return xp.where(taken + columns <= rows // 2, found, half)
