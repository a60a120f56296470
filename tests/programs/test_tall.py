"""Orthonormal directions that blocks of vectors add to a basis."""

import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS

from meanfield.base.precision import double
from meanfield.programs.tall import adds, combine, moment, new_directions, outer, place, project

N, P = 60, 5


def found(blocks, x, tolerance, dtype="float64"):
    """(directions, how many, the basis) for x (n, P) given orthonormal blocks, as `Revealed` asks for it."""
    with double():
        blocks, x = [jnp.asarray(b, dtype) for b in blocks], jnp.asarray(x, dtype)
        scale = jnp.square(x.astype("float64")).mean(0).max()
        q, count = new_directions(blocks, x - combine(blocks, project(blocks, x)), scale, tolerance)
        return np.asarray(q, float), int(count), np.asarray(jnp.concatenate(blocks, 1), float)


def nothing(dtype="float64"):
    return np.zeros((N, 0), dtype)


def block(rng, columns, dtype="float64"):
    """Orthonormal under the average over rows, with room for more."""
    q = np.linalg.qr(rng.standard_normal((N, columns)))[0] * np.sqrt(N)
    return np.concatenate([q, np.zeros((N, 3))], 1).astype(dtype)


def assert_basis(q, count, basis, x, tolerance, eps):
    """Kept first and zero after them; orthonormal, alone and with the basis, to 100 roundings; what they and
    the basis leave of x is at most the tolerance, P columns of 50 roundings at least."""
    own = np.concatenate([basis[:, (basis != 0).any(0)], q[:, :count]], 1)
    assert (q[:, :count] != 0).any(0).all() and not q[:, count:].any()
    np.testing.assert_allclose(own.T @ own / N, np.eye(own.shape[1]), rtol=0, atol=100 * eps)
    rest = x - own @ (own.T @ x) / N
    size = np.sqrt(np.square(x).mean(0).max())
    left = np.linalg.svd(rest / np.sqrt(N), compute_uv=False).max()
    assert left <= (max(tolerance, 50 * eps) + 50 * eps) * size


CASES = {
    "independent columns": (lambda r, b: r.standard_normal((N, P)), P),
    "equal columns": (lambda r, b: r.standard_normal((N, 1)) @ np.ones((1, P)), 1),
    "columns of rank two": (lambda r, b: r.standard_normal((N, 2)) @ r.standard_normal((2, P)), 2),
    "zero columns among others": (lambda r, b: r.standard_normal((N, P)) * (np.arange(P) % 2), P // 2),
    "zero": (lambda r, b: np.zeros((N, P)), 0),
    "columns in the span": (lambda r, b: b[:, :4] @ r.standard_normal((4, P)), 0),
    "some of them in the span": (
        lambda r, b: np.concatenate([b[:, :3], r.standard_normal((N, P - 3))], 1),
        P - 3,
    ),
    "of very different length": (lambda r, b: r.standard_normal((N, P)) * 20.0 ** -np.arange(P), P),
    "huge": (lambda r, b: 1e15 * r.standard_normal((N, P)), P),
    "tiny": (lambda r, b: 1e-15 * r.standard_normal((N, P)), P),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 0.0), ("float32", 1e-3)])
def test_directions_are_orthonormal_and_span_what_is_new(name, dtype, tolerance):
    rng = np.random.default_rng(0)
    basis, (make, rank) = block(rng, 4, dtype), CASES[name]
    x = make(rng, basis.astype(float)).astype(dtype)
    q, count, basis = found([basis], x, tolerance, dtype)
    if name == "of very different length" and tolerance:
        rank = 3  # 1, 0.05 and 0.0025, not 0.000125
    assert count == rank
    assert_basis(q, count, basis, x.astype(float), tolerance, float(np.finfo(dtype).eps))


def test_columns_that_nearly_coincide_are_told_apart_in_float64():
    """Differences of 1e-11: a Gram matrix has them at 1e-22 of its largest eigenvalue, below its rounding."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, 1)) + 1e-11 * rng.standard_normal((N, P))
    q, count, basis = found([block(rng, 4)], x, 0.0)
    assert count == P
    assert_basis(q, count, basis, x, 0.0, EPS)
    assert found([block(rng, 4)], x, 1e-9)[1] == 1


def test_what_is_below_rounding_is_not_a_direction():
    """A column of the span whose entries were each rounded once more, and one in the span of two blocks."""
    rng = np.random.default_rng(2)
    first = np.linalg.qr(rng.standard_normal((N, 7)))[0] * np.sqrt(N)
    x = first @ rng.standard_normal((7, P))
    x = x * (1 + 4 * EPS * rng.uniform(-1, 1, x.shape))
    assert found([first[:, :4], first[:, 4:]], x, 0.0)[1] == 0
    assert found([first[:, :4]], x, 0.0)[1] == 3


def test_more_columns_than_rows_fill_the_space_and_no_more():
    x = np.random.default_rng(3).standard_normal((4, 7))
    with double():
        scale = jnp.square(x).mean(0).max()
        q, count = new_directions([jnp.zeros((4, 2))], jnp.asarray(x), scale, 0.0)
        assert int(count) == 4
        np.testing.assert_allclose(moment(q, q)[:4, :4], np.eye(4), rtol=0, atol=100 * EPS)
        rest = jnp.asarray(x[:, ::-1])
        again, count = new_directions([q], rest, scale, 0.0)
    assert int(count) == 0 and not np.asarray(again).any()


def test_a_remainder_adds_what_its_largest_direction_says():
    """Four orthogonal columns of size 1e-3: the trace is above tolerance², no eigenvalue is."""
    x = 1e-3 * block(np.random.default_rng(5), 4)
    with double():
        assert not adds(jnp.asarray(x), 1.0, 1.01e-3) and adds(jnp.asarray(x), 1.0, 0.99e-3)
        assert not adds(jnp.asarray(x), 1.0, 3e-3)
        assert int(new_directions([jnp.zeros((N, 0))], jnp.asarray(x), 1.0, 1.01e-3)[1]) == 0


def test_products_with_tall_arrays_are_those_of_numpy():
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((N, columns)) for columns in (3, 2))
    x, c, left = rng.standard_normal((N, P)), rng.standard_normal((5, P)), rng.standard_normal((N, 20))
    few, many, both = left[:, :4], left, np.concatenate([a, b], 1)
    with double():
        pairs = [
            (moment(a, x), a.T @ x / N),
            (project([a, b], x), both.T @ x / N),
            (combine([a, b], c), both @ c),
            (outer(few, c[:, :4]), few @ c[:, :4].T),
            (outer(many, np.tile(c, 4)), many @ np.tile(c, 4).T),
            (place(jnp.asarray(x), jnp.asarray(a), 0, 1)[:, 1:4], a),
        ]
    for value, truth in pairs:
        np.testing.assert_allclose(value, truth, rtol=0, atol=100 * EPS * np.abs(truth).max())
