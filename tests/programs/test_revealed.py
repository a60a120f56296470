"""Matrices that are known through what they have been applied to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from assertions import assert_close
from revealed_runs import QUICK

from meanfield.base.precision import double
from meanfield.programs import revealed
from meanfield.programs.revealed import LEFT, RIGHT, Revealed, Weights, empty_side

N, DRAWS = 8, 4096
ROUNDINGS = 300 * N  # sums over eight rows and eight directions, orthonormal to 100 roundings


class Unprojected(Revealed):
    """(I − UUᵀ) in front of ξ is missing, as in the limit."""

    def __init__(self, *arguments, finite, **options):
        super().__init__(*arguments, finite=False, **options)


def reading(key, keep, kind=Revealed, rows=N, tolerance=0.0):
    """A matrix "w" that nothing has met."""

    def draw(name, side, rank, count, shape, blocks):
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, side), rank), shape)

    bases = {"w": tuple(jax.tree.map(jnp.asarray, empty_side(rows, 16, "float64")) for _ in range(2))}
    weights = {"w": Weights(jnp.ones(()), jnp.zeros((rows, 16)))}
    return kind(bases, weights, draw, {"w": 1.0}, finite=True, tolerance=tolerance, keep=keep)


@functools.partial(jax.jit, compiler_options=QUICK)
@functools.partial(jax.vmap, in_axes=(0, None, None))
def products(key, x, g):
    ops = reading(key, keep=True)
    ranks = lambda: jnp.stack([side.rank for side in ops.bases["w"]])  # noqa: E731
    Wx, Wg = [ops.matmul("w", x[0])], [ops.transpose_matmul("w", g[0])]
    twice = ops.matmul("w", jnp.concatenate([x[0], x[0]], 1))
    met = ranks()
    Wx.append(ops.matmul("w", x[1]))
    Wg += [ops.transpose_matmul("w", g[1]), ops.transpose_matmul("w", g[2])]
    known = ops.matmul("w", x[2])
    return {"Wx": Wx, "Wg": Wg, "twice": twice, "met": met, "known": known, "all": ranks()}


@functools.partial(jax.jit, compiler_options=QUICK, static_argnames="kind")
def looks(key, x, g, kind=Revealed):
    ops = reading(key, False, kind)
    Wx, Wg = ops.matmul("w", x[0]), ops.transpose_matmul("w", g[0])
    return Wx, Wg, ops.matmul("w", x[0] + 0), jnp.stack([side.rank for side in ops.bases["w"]])


def arrays(key):
    rng = np.random.default_rng(key)
    return rng.standard_normal((3, N, 3)), rng.standard_normal((3, N, 3))


def evaluated(function, key):
    with double():
        return jax.tree.map(np.asarray, function(jax.random.key(key), *arrays(key)))


@functools.cache
def many_products(key):
    """`products` of DRAWS matrices."""
    with double():
        keys = jax.random.split(jax.random.key(key + 1), DRAWS)
        return jax.tree.map(np.asarray, products(keys, *arrays(key)))


def test_products_are_those_of_one_matrix(key):
    """g·(Wx) = (Wᵀg)·x for vectors met in turns. Nine vectors on the left know all of the matrix: the next
    product is not random, W = (Gᵀ)⁺(WᵀG)ᵀ. A vector met again, or twice in a block, adds nothing."""
    (x, g), found = arrays(key), jax.tree.map(lambda leaf: leaf[0], many_products(key))
    for a, wa in zip(x, found["Wx"], strict=False):
        for b, wb in zip(g, found["Wg"], strict=True):
            assert_close(b.T @ wa, wb.T @ a, ROUNDINGS)
    np.testing.assert_array_equal(found["met"], [3, 3])
    assert_close(found["twice"], np.concatenate([found["Wx"][0]] * 2, 1), ROUNDINGS)
    np.testing.assert_array_equal(found["all"], [8, 8])
    G, WG = np.concatenate(g, 1), np.concatenate(found["Wg"], 1)
    W = np.linalg.lstsq(G.T, WG.T, rcond=None)[0]
    assert_close(found["known"], W @ x[2], ROUNDINGS * np.linalg.cond(G))
    assert_close(found["Wx"][0], W @ x[0], ROUNDINGS * np.linalg.cond(G))


@pytest.mark.parametrize("part", [1, 16])
def test_a_part_of_many_rows_says_whether_a_remainder_is_large(part, key, monkeypatch):
    """Remainders of 1.25 and 0.75 times the tolerance: squares are 56% above and 44% below it, ten standard
    errors √(2/1024) of a part of 1024 rows. What is revealed is made of all rows."""
    rows, tolerance = 2**14, 1e-3
    monkeypatch.setattr(revealed, "MANY", rows)
    monkeypatch.setattr(revealed, "PART", part)
    x, z = np.random.default_rng(key).standard_normal((2, rows, 1))

    @jax.jit
    def found(x, z):
        ops = reading(jax.random.key(key), True, rows=rows, tolerance=tolerance)
        ranks, vectors = [], [x, x + 0.75 * tolerance * z, x + 1.25 * tolerance * z]
        for vector in vectors:
            ops.matmul("w", vector)
            ranks.append(ops.bases["w"][RIGHT].rank)
        basis = ops.bases["w"][RIGHT].basis
        known = basis @ (basis.T @ vectors[-1]) / rows
        return jnp.stack(ranks), jnp.abs(known - vectors[-1]).max()

    with double():
        ranks, missing = map(np.asarray, found(x, z))
    np.testing.assert_array_equal(ranks, [1, 1, 2])
    assert missing <= 1e-12


def test_what_is_only_looked_at_is_forgotten_but_known_within_a_look(key):
    (x, g), (Wx, Wg, again, ranks) = arrays(key), evaluated(looks, key)
    assert_close(g[0].T @ Wx, Wg.T @ x[0], ROUNDINGS)
    assert_close(again, Wx, ROUNDINGS)
    assert LEFT != RIGHT and not ranks.any()


def test_noise_that_is_not_orthogonal_to_what_is_known_is_noticed(key):
    (x, g), (Wx, Wg, _, _) = arrays(key), evaluated(functools.partial(looks, kind=Unprojected), key)
    with pytest.raises(AssertionError, match="roundings"):
        assert_close(g[0].T @ Wx, Wg.T @ x[0], ROUNDINGS)


def test_a_revealed_matrix_has_independent_gaussian_entries(key):
    """W, put together from products in both directions, over all draws: Σ W²n is χ², and all second moments
    of its 64 entries are those of independent ones. Products of Gaussians have heavier tails: at most one
    false alarm in 10⁵. Entries that are 1.01 times as large are seen."""
    G, WG = np.concatenate(arrays(key)[1], 1), np.concatenate(many_products(key)["Wg"], 2)
    W = np.einsum("ip,djp->dij", np.linalg.pinv(G.T), WG)  # Gᵀ W = (WᵀG)ᵀ
    W = W.reshape(DRAWS, -1) * np.sqrt(N)
    low, high = scipy.stats.chi2.isf([1 - 5e-7, 5e-7], W.size)
    assert low <= np.square(W).sum() <= high
    assert not low <= np.square(1.01 * W).sum() <= high
    second = W.T @ W / DRAWS - np.eye(N * N)
    z = second * np.sqrt(DRAWS) / np.where(np.eye(N * N, dtype=bool), np.sqrt(2), 1)
    assert np.abs(z).max() <= scipy.stats.norm.isf(1e-6 / z.size)
