"""XOR: the four corners of a square, opposite corners alike."""

import dataclasses

import numpy as np

from meanfield.base.checks import integer, number
from meanfield.datasets.finite import finite_problem


@dataclasses.dataclass(frozen=True)
class _Corners:
    """x = corner + σ ξ, y the product of the corner's two signs; the corners in turn, not at random."""

    dimension: int
    spread: float

    def sample(self, source, size):
        corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])[np.arange(size) % 4]
        x = self.spread * source.normal("x", (size, self.dimension))
        x[:, :2] += corners
        return x, corners.prod(1, keepdims=True)


def xor(samples=4, test_samples=0, *, dimension=2, spread=0.0, loss=None, key=0):
    """y = c_1c_2, x = (c_1, c_2, 0, …, 0) + σ ξ, ξ ~ N(0, I_d), (c_1, c_2) the four corners of {±1}² in turn.

    By default the four points of the truth table (−1 is true) and no test set. No linear function of x is
    correlated with y. For σ = 0 and more than four samples the points recur; `parity(d)` is the same target
    with random bits in place of the zeros.

    Args:
        samples, test_samples: P and P'; multiples of 4 have every corner equally often.
        dimension: d, at least 2; coordinates 3 to d hold noise only.
        spread: σ, standard deviation of a coordinate around its corner.
        loss: by default square; labels are ±1, for softmax class 0 (y = −1) and 1.
        key: integer that determines the noise.
    Returns:
        `Problem` with x (P, d) and y (P, 1), ±1.
    Raises:
        TypeError, ValueError: for sizes or a key that are not integers in range, or a negative spread.
    Source: Minsky, Papert 1969.
    """
    law = _Corners(integer("dimension", dimension, 2), number("spread", spread, least=0))
    return finite_problem("xor", law, samples, test_samples, loss=loss, key=key, labels=True)
