"""One minus the cosine between inputs, accurate for nearly parallel ones too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST, double
from meanfield.numerics.gaussian.safe import quotient, root

NEAR = {"float64": 1e-3, "float32": 3e-2}  # below this share of its terms a difference is computed anew
CHUNK = 1 << 20  # numbers at a time
MODERATE = 1e-200, 1e200  # squares that neither overflow nor lose digits
SAMPLE = 256  # inputs of which the mean direction is taken


class Directions:
    """Inputs x1 (P, d) and x2 (Q, d) as mean squares |x|²/d and, tile by tile, one minus their cosines.

    δ = |û − v̂|²/2 from inner products of directions less their mean: one matrix product, whose error is a
    rounding of the spread of the directions. Pairs that are much closer than the spread, or nearly opposite,
    are computed from the difference of the inputs. Both sets are held in panels, as long as a tile; what
    fills up the last one is at δ ≈ 1 to everything and has the square of an input.

    Args:
        x1, x2: inputs; x2 None for x1 itself.
        dtype: of δ.
        lengths: rows and columns of a tile.
        each: `map`, or that of a pool of threads.
    """

    def __init__(self, x1, x2, dtype, lengths, each=map):
        self.dtype = np.dtype(dtype)
        self.symmetric = x2 is None
        self.lengths = lengths
        self.inputs = [x1] if x2 is None else [x1, x2]
        mean = np.mean([_units(x[:: -(-len(x) // SAMPLE)])[1].mean(0) for x in self.inputs], 0)
        starts = [range(0, len(x), length) for x, length in zip(self.inputs, lengths, strict=False)]
        panels = [(k, start, mean) for k in range(len(starts)) for start in starts[k]]
        found = list(each(self._panel, panels))
        self.squares, self.centred, self.halves = ([[], []][: len(starts)] for _ in range(3))
        for (k, _, _), panel in zip(panels, found, strict=True):
            for whole, part in zip((self.squares, self.centred, self.halves), panel, strict=True):
                whole[k].append(part)

    def _panel(self, place):
        """Mean squares (n,), centred directions (n, d) and halves of their squares (n,)."""
        k, start, mean = place
        x = self.inputs[k][start : start + self.lengths[k]]
        square, centred = _units(x)
        centred = (centred - mean).astype(self.dtype)
        half = (centred * centred).sum(1) / 2
        if missing := self.lengths[k] - len(x):
            square = np.pad(square, (0, missing), mode="edge")
            centred, half = (np.pad(v, [(0, missing)] + [(0, 0)] * (v.ndim - 1)) for v in (centred, half))
            half[-missing:] = 0.5
        with double():
            return square, jnp.asarray(centred), jnp.asarray(half)

    def panels(self, rows, columns):
        """Numbers of the panels of two slices."""
        return rows.start // self.lengths[0], columns.start // self.lengths[1]

    def tile(self, rows, columns):
        """δ of two panels, (rows, columns), an array of JAX or numpy; 0 exactly on the diagonal of a set with
        itself."""
        i, j = self.panels(rows, columns)
        x, y = self.centred[0][i], self.centred[-1][j]
        sizes = self.halves[0][i], self.halves[-1][j]
        diagonal = self.symmetric and rows == columns
        # Not numpy's product: its threads would crowd those of the tiles computed beside this one.
        with double():
            delta, close = _deltas(_inner(x, y), *sizes, NEAR[self.dtype.name], diagonal)
        return self._anew(np.array(delta), rows, columns, diagonal, *sizes) if close else delta

    def _anew(self, delta, rows, columns, diagonal, half_x, half_y):
        """δ with the pairs that are close, or nearly opposite, computed from the inputs."""
        x, y = (_scaled(part)[0] for part in (self.inputs[0][rows], self.inputs[-1][columns]))
        inside = np.s_[: len(x), : len(y)]
        sizes = (np.asarray(half_x)[:, None] + np.asarray(half_y)[None])[inside]
        near, seen = NEAR[self.dtype.name], delta[inside]
        if diagonal:
            np.fill_diagonal(seen, 1.0)  # nothing to compute anew
        for close, sign in ((seen < near * sizes, 1), (seen > 2 - near, -1)):
            i, j = np.nonzero(close)
            for start in range(0, len(i), chunk := max(CHUNK // x.shape[1], 1)):
                k, l = i[start : start + chunk], j[start : start + chunk]  # noqa: E741
                found = _apart(x[k], sign * y[l])
                seen[k, l] = found if sign == 1 else 2 - found
        if diagonal:
            np.fill_diagonal(seen, 0.0)
        return np.clip(delta, 0, 2, out=delta)


@jax.jit
def _inner(x, y):
    return jnp.matmul(x, y.T, precision=HIGHEST)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _deltas(inner, half_x, half_y, near, diagonal):
    """δ of two panels, and whether any pair is to be computed anew."""
    sizes = half_x[:, None] + half_y[None]
    delta = sizes - inner
    close = (delta < near * sizes) | (delta > 2 - near)
    if diagonal:
        same = jnp.eye(len(half_x), dtype=bool)
        delta, close = jnp.where(same, 0, delta), close & ~same
    return jnp.clip(delta, 0, 2), close.any()


def _units(x):
    """|x|²/d and x over its length, (n,) and (n, d)."""
    square = np.einsum("ni,ni->n", x, x)
    positive = square[square > 0]
    if len(positive) < len(x) or positive.min() < MODERATE[0] or positive.max() > MODERATE[1]:
        return (x * x).sum(1) / x.shape[1], _scaled(x)[1]
    return square / x.shape[1], x / np.sqrt(square)[:, None]


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
