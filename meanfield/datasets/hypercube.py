"""Boolean targets on the hypercube {±1}^d: staircases and parities, as finite sets and as streams."""

import dataclasses

import numpy as np

from meanfield.base.checks import array, fail, integer, is_integer, require
from meanfield.datasets.finite import finite_problem
from meanfield.datasets.sources import JaxSource


@dataclasses.dataclass(frozen=True)
class HypercubeDraw:
    """x uniform on {±1}^d, y = Σ_S c_S Π_{i∈S} x_i. Called with (key, size): x (size, d), y (size, 1).

    The products are orthonormal under this law (they are the Fourier basis of the hypercube), hence
    E y = 0 and E y² = Σ_S c_S². Use `staircase_draw` or `parity_draw`, which check their arguments.
    """

    dimension: int
    monomials: tuple
    coefficients: tuple

    def target(self, x):
        """y (..., 1) of inputs (..., d), numpy or JAX."""
        terms = zip(self.coefficients, self.monomials, strict=True)
        return sum(c * x[..., np.array(s)].prod(-1, keepdims=True) for c, s in terms)

    def sample(self, source, size):
        x = source.signs("x", (size, self.dimension))
        return x, self.target(x)

    def __call__(self, key, size):
        return self.sample(JaxSource(key), size)


def staircase_draw(dimension, monomials=((0,), (0, 1), (0, 1, 2)), coefficients=None):
    """Fresh samples (key, size) → (x, y) of `staircase`, in traceable JAX code, for a `Stream`.

    Two draws with equal arguments are equal and share compiled programs. The order of the coordinates
    within a monomial does not matter.
    Raises:
        TypeError, ValueError: for a monomial that is not a tuple of distinct coordinates from 0 to
            dimension − 1, for a monomial given twice, for coefficients that do not match the monomials.
    """
    dimension = integer("dimension", dimension, 1)
    rule = f"a sequence of tuples of distinct coordinates from 0 to {dimension - 1}"
    if not hasattr(monomials, "__iter__"):
        fail("monomials", rule, monomials, TypeError)
    monomials = tuple(monomials)
    require(len(monomials) > 0, "monomials", rule, monomials)
    checked = []
    for monomial in monomials:
        good = isinstance(monomial, tuple | list) and all(is_integer(i) for i in monomial)
        require(good, "monomials", rule, monomials, TypeError)
        good = 0 < len(set(monomial)) == len(monomial) and all(0 <= i < dimension for i in monomial)
        require(good, "monomials", rule, monomials)
        checked.append(tuple(sorted(int(i) for i in monomial)))
    require(len(set(checked)) == len(checked), "monomials", "distinct as products", monomials)
    if coefficients is None:
        coefficients = np.ones(len(checked))
    rule = f"one number for each of the {len(checked)} monomials"
    coefficients = array("coefficients", coefficients, (1,), rule)
    if coefficients.size != len(checked):
        fail("coefficients", rule, coefficients.tolist())
    return HypercubeDraw(dimension, tuple(checked), tuple(coefficients.tolist()))


def parity_draw(dimension, degree=2):
    """Fresh samples (key, size) → (x, y) of `parity`, in traceable JAX code, for a `Stream`."""
    dimension = integer("dimension", dimension, 1)
    degree = integer("degree", degree, 1, dimension)
    return HypercubeDraw(dimension, (tuple(range(degree)),), (1.0,))


def staircase(
    dimension,
    monomials=((0,), (0, 1), (0, 1, 2)),
    samples=64,
    test_samples=200,
    *,
    coefficients=None,
    loss=None,
    key=0,
):
    """y = Σ_S c_S Π_{i∈S} x_i, x uniform on {±1}^d.  THEORY 1.3.

    With the default monomials y = x_1 + x_1x_2 + x_1x_2x_3 (counted from 1): each product adds one coordinate
    to one already there (the merged-staircase property), so that gradient descent climbs from one to the next
    and O(d) samples suffice; the last product alone has no such path.

    Args:
        dimension: d.
        monomials: the sets S, tuples of distinct coordinates counted from 0.
        samples, test_samples: P and P', independent draws (in a small cube points recur, also between the
            two sets); no test set for 0.
        coefficients: c_S, one a monomial, by default 1 each.
        loss: by default square.
        key: integer that determines the samples.
    Returns:
        `Problem` with x (P, d), |x|² = d, and y (P, 1), mean 0 and mean square Σ c_S² over the law.
    Raises:
        TypeError, ValueError: as `staircase_draw`, and for sizes or a key that are not integers in range.
    Source: Abbe, Boix-Adserà, Misiakiewicz 2022.
    """
    law = staircase_draw(dimension, monomials, coefficients)
    return finite_problem("hypercube", law, samples, test_samples, loss=loss, key=key)


def parity(dimension, degree=2, samples=64, test_samples=200, *, loss=None, key=0):
    """y = Π_{i<degree} x_i, x uniform on {±1}^d; degree 2 is XOR among d − 2 irrelevant bits.

    Uncorrelated with every other product of coordinates, so no part of lower degree points the way.

    Args:
        dimension, degree: d and 1 ≤ degree ≤ d.
        samples, test_samples: P and P', independent draws (in a small cube points recur, also between the
            two sets); no test set for 0. For the four corners of the square, each once, use `xor()`.
        loss: by default square; labels are ±1, for softmax class 0 (y = −1) and 1.
        key: integer that determines the samples; `parity` and `staircase` of one key share their inputs.
    Returns:
        `Problem` with x (P, d), |x|² = d, and y (P, 1), ±1.
    Raises:
        TypeError, ValueError: for sizes, a degree or a key that are not integers in range.
    Source: Daniely, Malach 2020; Barak et al. 2022; THEORY 1.3 (z1z2z3 alone).
    """
    law = parity_draw(dimension, degree)
    return finite_problem("hypercube", law, samples, test_samples, loss=loss, key=key, labels=True)
