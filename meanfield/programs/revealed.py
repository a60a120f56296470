"""Gaussian matrices known only through what they have been applied to.

The vectors that W has met span an orthonormal basis V (right) and those that Wᵀ has met a basis U (left), in
the inner product E[xy], the average over rows. Kept are the bases and their images under the initial matrix,

    Wx  = α (W₀V)(E[Vᵀx]) + C E[Vᵀx],      Wᵀg = α (W₀ᵀU)(E[Uᵀg]) + V E[Cᵀg],

where descent moves α and C only: ΔW = left rightᵀ/n is ΔC = left E[Vᵀ right]ᵀ. What a new vector adds is a
direction q ⟂ V with the image

    finite width    W₀q = U E[(W₀ᵀU)ᵀq] + (ξ − U E[Uᵀξ]),      ξ iid N(0, 1): exact conditioning;
    the limit       W₀q = U E[(W₀ᵀU)ᵀq] + ξ.

In the limit E[(W₀ᵀU)_k q] = E[ζ_k q] = E[∂q/∂ζ_k] by Gaussian integration by parts, ζ_k the Gaussian that is
independent of all others: the response term Ż of a tensor program. Either side of the last equation can be
averaged over particles; `path` gives the right one.  THEORY 3.2, 3.3, 3.4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.programs.tall import (
    SMALL,
    adds,
    combine,
    law_moment,
    moment,
    new_directions,
    outer,
    place,
    project,
)

RIGHT, LEFT = 0, 1
MANY = 2**16  # rows of which a part says well enough whether a remainder is large
PART = 16  # one in so many of them


class Side(NamedTuple):
    """Orthonormal vectors (n, R), zero columns after the first `rank`, their images (n, R), and, where new
    draws are matched to old ones, the Gaussian parts of the images (n, R)."""

    basis: jax.Array
    image: jax.Array
    rank: jax.Array
    noise: jax.Array | None = None


class Weights(NamedTuple):
    """W = α W₀ + C E[Vᵀ·]: what training moves; C (n, R) in the columns of the right basis."""

    start: jax.Array
    moved: jax.Array


def empty_side(rows, columns, dtype, matched=False, zeros=np.zeros):
    new = lambda: zeros((rows, columns), dtype)  # noqa: E731
    return Side(new(), new(), np.zeros((), np.int32), new() if matched else None)


def joined(own, added):
    """`own` with the vectors of `added` after its own, in place; nothing is written where there are none."""
    top, arrays = jnp.zeros((), jnp.int32), lambda side: (side.basis, side.image, side.noise)

    def write(_, buffers):
        return jax.tree.map(lambda wide, new: place(wide, new, top, own.rank), buffers, arrays(added))

    some = (added.rank > 0).astype(jnp.int32)
    basis, image, noise = jax.lax.fori_loop(0, some, write, arrays(own))
    return Side(basis, image, own.rank + added.rank, noise)


def unlooked(bases):
    """What nobody has looked at yet: {(name, side): []}."""
    return {(name, side): [] for name in bases for side in (RIGHT, LEFT)}


class Revealed:
    """`ops` over bases {name: (right Side, left Side)} and weights {name: Weights}.

    Args:
        draw: (name, side, rank, count, shape, blocks) → N(0, 1) entries, at least in the first `count`
            columns, for the images of new directions, the same for the same position in a basis; `blocks`
            are the Gaussians of that side drawn before.
        deviations: {name: standard deviation of √n W₀'s entries}.
        finite: whether images are conditioned on a matrix of n rows, or those of the limit.
        tolerance: part of a vector, relative to the largest of its block, that may be dropped.
        keep: whether new directions are written into the bases, where they must fit, or only serve what is
            looked at.
        looked: what earlier looks have revealed beyond the bases, {(name, side): [Side]}; new directions join
            it. By default nothing has been, and they are forgotten with this object.
        path: the `Path` along which particles are differentiated, for responses that are E[∂q/∂ζ_k].
    """

    def __init__(self, bases, weights, draw, deviations, *, finite, tolerance, keep, looked=None, path=None):
        self.bases, self.weights = dict(bases), weights
        self.draw, self.deviations = draw, deviations
        self.finite, self.tolerance, self.keep = finite, tolerance, keep
        self.gradients, self.forgotten, self._seen, self._reads = {}, {}, {}, {}
        self._extra = unlooked(bases) if looked is None else looked
        self._path, self._average = path, moment if path is None else law_moment

    def matmul(self, name, x):
        c, (w, deviation) = self.coefficients(name, x, RIGHT), self._matrix(name)
        moved = self._read(name, combine([w.moved], c[: w.moved.shape[1]]))
        return deviation * w.start * combine(self._images(name, RIGHT), c) + moved

    def transpose_matmul(self, name, g):
        c, (w, deviation) = self.coefficients(name, g, LEFT), self._matrix(name)
        seen = self._read(name, project([w.moved], g, self._average))
        back = combine([self.bases[name][RIGHT].basis], seen)
        return deviation * w.start * combine(self._images(name, LEFT), c) + back

    def moment(self, x, y):
        return self._average(x, y)

    def update(self, name, left, right):
        if not self.keep:
            return
        c, w = self.coefficients(name, right, RIGHT), self.weights[name]
        # What C was read for comes before what is written into it: without this zero C would be copied.
        after = 0 * sum(jax.lax.stop_gradient(seen[0, 0]) for seen in self._reads.get(name, []))
        moved = outer(left, c + after)
        if name in self.gradients:
            moved = self.gradients[name].moved + moved
        self.gradients[name] = Weights(jnp.zeros_like(w.start), moved)

    def forget(self, name, when):
        """From the next step on W is without W₀, if `when`."""
        if self.keep:
            self.forgotten[name] = when

    def _read(self, name, seen):
        self._reads.setdefault(name, []).append(seen)
        return seen

    def _matrix(self, name):
        return self.weights[name], self.deviations[name]

    def _blocks(self, name, side):
        return [self.bases[name][side].basis, *(extra.basis for extra in self._extra[name, side])]

    def _images(self, name, side):
        return [self.bases[name][side].image, *(extra.image for extra in self._extra[name, side])]

    def _noise(self, side):
        """Gaussian parts of all images of one side, of all matrices."""
        sides = [s for name in self.bases for s in (self.bases[name][side], *self._extra[name, side])]
        return [s.noise for s in sides if s.noise is not None]

    def coefficients(self, name, x, side):
        """E[v_r x_p] in the basis of that side, (R, P), after what x adds to it was revealed."""
        known = self._seen.get((name, side, id(x)))
        if known is not None:
            return known[1]
        given, dtype = x, self.bases[name][side].basis.dtype
        x = x if x.dtype == dtype else x.astype(dtype)
        blocks = self._blocks(name, side)
        c = project(blocks, x, self._average)
        scale = jnp.square(x.astype(jnp.float64)).mean(0).max()
        own = self.bases[name][side]
        rank = own.rank + sum(extra.basis.shape[1] for extra in self._extra[name, side])
        # A threshold that is a matter of choice may be off by a few per cent, and neurons are alike.
        rows = x.shape[0] // PART if x.shape[0] >= MANY and self.tolerance >= SMALL else x.shape[0]
        rest = x[:rows] - combine([block[:rows] for block in blocks], c)

        def reveal(x, rest):
            rest = rest if rows == x.shape[0] else x - combine(blocks, c)
            q, count = new_directions(blocks, rest, scale, self.tolerance, self._average)
            image, noise = self._image(name, side, q, count, rank)
            added = Side(q, image, count, None if own.noise is None else noise)
            return added, jnp.concatenate([c, project([q], x, self._average)])

        def nothing(x, rest):
            more = jnp.zeros((x.shape[1], x.shape[1]), c.dtype)
            added = empty_side(*x.shape, x.dtype, own.noise is not None)
            return jax.tree.map(jnp.asarray, added), jnp.concatenate([c, more])

        added, c = jax.lax.cond(adds(rest, scale, self.tolerance), reveal, nothing, x, rest)
        if self.keep:
            top = jnp.zeros((), jnp.int32)
            old, new = c[: own.basis.shape[1]], c[own.basis.shape[1] :]
            c = old + place(jnp.zeros_like(old), new, own.rank, top)
            sides = list(self.bases[name])
            sides[side] = joined(own, added)
            self.bases[name] = tuple(sides)
        else:
            self._extra[name, side].append(added)
            if self._path is not None:
                self._path.number(name, side, added.basis.shape[1])
        self._seen[name, side, id(given)] = (given, c)
        return c

    def _image(self, name, side, q, count, rank):
        """W₀q (or W₀ᵀq) of new directions, the first `count` columns, given all that is known of W₀, and its
        Gaussian part; zero columns after them."""
        others, images = self._blocks(name, 1 - side), self._images(name, 1 - side)
        noise = self.draw(name, side, rank, count, q.shape, self._noise(side))
        kept = (jnp.arange(q.shape[1]) < count)[None]
        noise = jnp.where(kept, noise, 0)
        if self._path is None:
            c, moved = project(images, q), noise
        else:
            c = self._path.responses(name, 1 - side, q)
            # Later draws are matched to the noise as it is, not as it would be if it were moved.
            moved = self._path.followed(noise, name, side, rank if self.keep else None)
        if self.finite:
            c = c - project(others, noise)
        return jnp.where(kept, combine(others, c) + moved, 0), noise
