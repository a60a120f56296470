"""Products with tall arrays: many rows, one for every neuron, and few columns.

A basis is a list of blocks (n, R) next to each other; averages over rows stand in for inner products, so that
orthonormal means E[v_i v_j] = δ_ij and entries are of order one. On the CPU xᵀV passes over V once at the
speed of memory and Vᵀx takes three times as long: that is why the small factor comes first.
"""

import jax
import jax.numpy as jnp

from meanfield.base.precision import HIGHEST

SMALL = 1e-6  # tolerance below which float64 directions are found in two rounds
UNROLLED = 16  # columns up to which an outer product is added within one pass over its target


def moment(x, y):
    """E[x_p y_q] over rows, (P, Q)."""
    return jnp.einsum("np,nq->pq", x, y, precision=HIGHEST) / x.shape[0]


def law_moment(x, y):
    """`moment` as a number that the law has: a single particle does not move it, its derivative is 0."""
    return moment(jax.lax.stop_gradient(x), jax.lax.stop_gradient(y))


def project(blocks, x, average=moment):
    """Coefficients E[v_r x_p] of x in all blocks, (ΣR, P); `average` is what takes averages."""
    return jnp.concatenate([average(x, block) for block in blocks], 1).T


def combine(blocks, c):
    """Σ_r v_r c_rp, (n, P)."""
    total, start = 0.0, 0
    for block in blocks:
        part = c[start : start + block.shape[1]]
        total = total + jnp.einsum("nr,rp->np", block, part, precision=HIGHEST)
        start += block.shape[1]
    return total


def outer(left, c):
    """Σ_p left_np c_rp, (n, R): for few columns as a sum that fuses with what it is added to.

    The rows of cᵀ must lie in one piece: read with strides they take twice as long as memory. A product with
    the identity puts them there and is not fused away.
    """
    if left.shape[1] <= UNROLLED:
        rows = jnp.einsum("qp,rp->qr", jnp.eye(c.shape[1], dtype=c.dtype), c, precision=HIGHEST)
        return sum(left[:, p, None] * rows[p][None] for p in range(left.shape[1]))
    return jnp.einsum("np,rp->nr", left, c, precision=HIGHEST)


def place(block, part, row, column):
    """The block with `part` written at (row, column)."""
    return jax.lax.dynamic_update_slice(block, part.astype(block.dtype), (row, column))


def adds(r, scale, tolerance):
    """Whether a remainder has directions to add: an eigenvalue of E[r rᵀ] above tolerance² · scale. Most have
    a smaller trace, which costs less."""
    r, least = jax.lax.stop_gradient(r), least_size(r.dtype, tolerance) ** 2 * scale
    trace = jnp.sum(jnp.square(r.astype(jnp.float64)).mean(0))

    def largest(r):
        return jnp.linalg.eigvalsh(_gram(r))[-1]

    return jax.lax.cond(trace > least, largest, lambda r: trace, r) > least


def new_directions(blocks, r, scale, tolerance, average=moment):
    """Orthonormal directions that a remainder adds to a basis.

    r (n, P), orthogonal to the blocks up to rounding, has the Gram matrix E[r rᵀ]; its eigenvectors with an
    eigenvalue above tolerance² · scale give the directions, made orthogonal to the blocks once more at unit
    length. In float64 with a tolerance below 1e-6 this is done twice, as an eigenvalue of a Gram matrix is
    accurate to eps of the largest only; directions below 50 roundings of x itself are none.

    Returns:
        (directions (n, P), the kept ones first and zero columns after them, and how many are kept).
    Cost: two passes over the blocks a round.
    """
    least = least_size(r.dtype, tolerance) ** 2 * scale
    q, count = _orthonormal(blocks, r, least, average)
    if r.dtype == jnp.float64 and tolerance < SMALL:
        blocks = [*blocks, q]
        r = r - combine(blocks, project(blocks, r, average))
        more, further = _orthonormal(blocks, r, least, average)
        # Kept columns come first in both, and together they are at most P.
        wide = jnp.pad(q, [(0, 0), (0, r.shape[1])])
        q, count = place(wide, more, jnp.zeros_like(count), count)[:, : r.shape[1]], count + further
    return q, count


def least_size(dtype, tolerance):
    """Part of a vector, relative to the largest of its block, below which it counts as nothing."""
    return max(tolerance, 50 * float(jnp.finfo(dtype).eps))


def _gram(r, average=moment):
    """E[r rᵀ] in float64, (P, P)."""
    gram = average(r.astype(jnp.float64), r.astype(jnp.float64))
    return (gram + gram.T) / 2


def _orthonormal(blocks, r, least, average):
    """Unit directions of r with eigenvalues above `least`, zero columns after them, and their number."""
    values, rotation = jnp.linalg.eigh(_gram(r, average))
    values, rotation = values[::-1], rotation[:, ::-1]
    keep = values > jnp.maximum(least, 1e-13 * values[0])
    weight = jnp.where(keep, 1 / jnp.sqrt(jnp.where(keep, values, 1)), 0)
    q = jnp.einsum("np,pq->nq", r, (rotation * weight[None]).astype(r.dtype), precision=HIGHEST)
    # Blown up to unit length, so are the roundings along the basis and between the directions.
    q = q - combine(blocks, project(blocks, q, average))
    gram = _gram(q, average)
    keep = jnp.cumprod(keep & (jnp.diag(gram) > 0.25)).astype(bool)  # what is left of a rounding is none
    gram = jnp.where(keep[:, None] & keep[None], gram, 0) + jnp.diag(jnp.where(keep, 0.0, 1.0))
    factor = jnp.linalg.cholesky(gram)
    factor = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(gram)), lower=True)
    q = jnp.einsum("np,qp->nq", q, factor.astype(q.dtype), precision=HIGHEST)
    return jnp.where(keep[None], q, 0), keep.sum().astype(jnp.int32)
