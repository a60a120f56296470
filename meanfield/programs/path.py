"""Derivatives of particles along their own path: responses of a limit without integration by parts.

The response of a direction q to the Gaussian ζ_k of an earlier image is E[∂q/∂ζ_k]: how q_i of particle i
moves with ζ_{k,i}, through everything that this particle has computed from it, at fixed law (averages,
coefficients, other responses). It is averaged as it stands, so that its noise vanishes with the response,
where that of E[ζ_k q] does not. φ' has to be differentiable: a kink of φ is a point mass of φ'' that no
particle meets.

Every array with a row for every particle has a tangent with one more axis, over all Gaussians drawn so far:
M · rank² numbers. They are carried from step to step and, within one, by forward differentiation of the
program as it stands, `jvp` under `vmap` over the Gaussians. A rule of its own tells the program the average
of a tangent as a number, so that one pass suffices although what comes later in it depends on responses of
what came earlier.  THEORY 3.2.
"""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.programs.revealed import Side

AXIS = "gaussian"


def numbered(sizes):
    """({(name, side): (number of the first Gaussian, how many)}, how many in all), from the columns of the
    buffers."""
    places, count = {}, 0
    for place, columns in sorted(sizes):
        places[place] = (count, columns)
        count += columns
    return places, count


def renumbered(tangent, columns, old, new):
    """A tangent (K, n, C) for buffers of the sizes `old` as one for buffers of the sizes `new`, in that many
    columns; on the host."""
    (old, _), (new, count) = numbered(old), numbered(new)
    wide = np.zeros((count, tangent.shape[1], columns), tangent.dtype)
    for place, (first, own) in old.items():
        start = new[place][0]
        wide[start : start + own, :, : tangent.shape[2]] = tangent[first : first + own]
    return jnp.asarray(wide)


def along(function, particles, tangents):
    """(tangents of what `function(particles, moved)` gives, what else it gives), from a pair of both.

    `moved` (K,) are zeros: what every particle's ζ_k is moved by. Tangents have the Gaussians as an axis in
    front of those of the arrays.
    """
    count = len(jax.tree.leaves(tangents)[0])

    def one(tangent, direction):
        start = (particles, jnp.zeros(count))
        _, result, other = jax.jvp(function, start, (tangent, direction), has_aux=True)
        return result, other

    return jax.vmap(one, axis_name=AXIS, out_axes=(0, None))(tangents, jnp.eye(count))


@jax.custom_jvp
def mean_derivative(q):
    """E[∂q_p/∂ζ_k] over particles for all Gaussians that are followed, (K, P); inside of `along` only."""
    return jnp.zeros((jax.lax.axis_size(AXIS), q.shape[1]), q.dtype)  # of what depends on none of them


@mean_derivative.defjvp
def _mean_derivative_rule(primals, tangents):
    found = jax.lax.all_gather(tangents[0].mean(0), AXIS)
    return found, jnp.zeros_like(found)  # a number that the law has


class Path:
    """The Gaussians that particles are differentiated along: those of the buffers, by their column, and those
    of what looks reveal beyond them, as they come.

    Args:
        sizes: ((name, side), columns) of the buffers.
        moved: zeros that the Gaussians are moved by, as `along` gives them; `look` brings its own.
    """

    def __init__(self, sizes, moved=None):
        self.moved = moved
        places, self.taken = numbered(sizes)
        self.blocks = {place: [block] for place, block in places.items()}
        self.tangents = {place: [] for place in places}  # of the bases and images of what looks have revealed

    def responses(self, name, side, q):
        """E[∂q_p/∂ζ_k] for all Gaussians k of one side, (R, P)."""
        found = jax.lax.stop_gradient(mean_derivative(q))
        return jnp.concatenate([found[first : first + columns] for first, columns in self.blocks[name, side]])

    def followed(self, noise, name, side, column):
        """The Gaussians of new directions, (M, P), as functions of what moves them; they begin in a column of
        the buffer or (None) beyond all of them."""
        first = self.taken if column is None else self.blocks[name, side][0][0] + column
        if column is None and first + noise.shape[1] > len(self.moved):
            return noise  # nothing asks for responses to them
        return noise + jax.lax.dynamic_slice(self.moved, (first,), (noise.shape[1],))[None]

    def number(self, name, side, columns):
        """Give Gaussians beyond the buffers the next numbers."""
        self.blocks[name, side].append((self.taken, columns))
        self.taken += columns

    def look(self, function, particles, tangents, revealed, room):
        """`function(particles, revealed)`, which adds Sides to the lists in `revealed`, {(name, side):
        [Side]}, of `room` Gaussians at most."""
        count = self.taken + room

        def padded(tree):
            return jax.tree.map(lambda t: jnp.pad(t, [(0, count - len(t)), *[(0, 0)] * (t.ndim - 1)]), tree)

        def seen(both, moved):
            (particles, extra), self.moved = both, moved
            sides = {
                place: [
                    Side(*both, side.rank, side.noise) for side, both in zip(old, extra[place], strict=True)
                ]
                for place, old in revealed.items()
            }
            value = function(particles, sides)
            return arrays(sides), (sides, value)

        def arrays(sides):
            return {place: [(side.basis, side.image) for side in own] for place, own in sides.items()}

        extra = arrays(revealed)
        start = padded((tangents, self.tangents))
        self.tangents, (sides, value) = along(seen, (particles, extra), start)
        for place, new in sides.items():
            revealed[place][:] = new
        return value
