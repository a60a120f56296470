"""One minus the cosine between inputs, accurate for nearly parallel ones too."""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST, double
from meanfield.numerics.gaussian.safe import quotient, root

NEAR = {"float64": 1e-3, "float32": 3e-2}  # below this share of its terms a difference is computed anew
CHUNK = 1 << 20  # numbers at a time


class Directions:
    """Inputs x1 (P, d) and x2 (Q, d) as mean squares |x|²/d and, tile by tile, one minus their cosines.

    δ = |û − v̂|²/2 from inner products of directions less their mean: one matrix product, whose error is a
    rounding of the spread of the directions. Pairs that are much closer than the spread, or nearly opposite,
    are computed from the difference of the inputs. Both sets are filled up with zeros to whole tiles.
    """

    def __init__(self, x1, x2, dtype, lengths):
        self.dtype = np.dtype(dtype)
        self.symmetric = x2 is None
        units, self.scaled, self.squares = [], [], []
        for x, length in zip((x1,) if x2 is None else (x1, x2), lengths, strict=False):
            x = np.pad(x, ((0, -len(x) % length), (0, 0)))
            self.squares.append((x * x).sum(1) / x.shape[1])
            scaled, unit = _scaled(x)
            self.scaled.append(scaled)
            units.append(unit)
        mean = sum(u.sum(0) for u in units) / sum(len(u) for u in units)
        self.centred = [(u - mean).astype(self.dtype) for u in units]
        self.halves = [(c * c).sum(1) / 2 for c in self.centred]

    def tile(self, rows, columns):
        """δ of two slices, (rows, columns); 0 exactly on the diagonal of a set with itself."""
        sizes = self.halves[0][rows, None] + self.halves[-1][None, columns]
        # Not numpy's product: its threads would crowd those of the tiles computed beside this one.
        with double():
            inner = _inner(self.centred[0][rows], self.centred[-1][columns])
        delta = sizes - np.asarray(inner)
        diagonal = self.symmetric and rows == columns
        if diagonal:
            np.fill_diagonal(delta, 1.0)  # nothing to compute anew
        near = NEAR[self.dtype.name]
        for close, sign in ((delta < near * sizes, 1), (delta > 2 - near, -1)):
            i, j = np.nonzero(close)
            for start in range(0, len(i), chunk := max(CHUNK // self.scaled[0].shape[1], 1)):
                k, l = i[start : start + chunk], j[start : start + chunk]  # noqa: E741
                found = _apart(self.scaled[0][rows][k], sign * self.scaled[-1][columns][l])
                delta[k, l] = found if sign == 1 else 2 - found
        if diagonal:
            np.fill_diagonal(delta, 0.0)
        return np.clip(delta, 0, 2, out=delta)


@jax.jit
def _inner(x, y):
    return jnp.matmul(x, y.T, precision=HIGHEST)


def _scaled(x):
    """x, each row times a power of two so that its length is from ½ to 1, and x over its length."""
    largest = np.abs(x).max(1, keepdims=True)
    x = np.ldexp(x, -np.frexp(largest)[1])
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.ldexp(x, -np.frexp(length)[1]), np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def _apart(x, y):
    """1 − cos of rows of x and y, nearly parallel and of similar length: (N,).

    With s = x + y and the part e of x − y across s, |x|²|y|² − (x·y)² = |s|²|e|²/4.
    """
    s, e = x + y, x - y
    square = np.einsum("ni,ni->n", s, s)
    along = np.divide(np.einsum("ni,ni->n", s, e), square, out=np.zeros_like(square), where=square > 0)
    e = e - along[:, None] * s
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    below = lengths * (lengths + np.einsum("ni,ni->n", x, y))
    top = square * np.einsum("ni,ni->n", e, e) / 4
    return np.divide(top, below, out=np.zeros_like(top), where=below > 0)


def traced_angles(x1, x2):
    """(|x1|²/d (P,), |x2|²/d (Q,), δ (P, Q)) of traced inputs; x2 None for x1 itself.

    A matrix product, so that δ has an absolute error of a few roundings; 0 exactly on the diagonal.
    """
    y = x1 if x2 is None else x2
    square1, square2 = (x1 * x1).sum(1), (y * y).sum(1)
    lengths = root(square1)[:, None] * root(square2)[None]
    cosine = quotient(jnp.matmul(x1, y.T, precision=HIGHEST), lengths, 0)
    delta = jnp.where(cosine < 1, jnp.where(cosine > -1, 1 - cosine, 2), 0)
    if x2 is None:
        delta = jnp.where(jnp.eye(len(x1), dtype=bool), 0, delta)
    d = x1.shape[1]
    return square1 / d, square2 / d, delta
