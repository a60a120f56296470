"""Gaussian arrays in blocks: nested, alike however they are drawn, independent, of the right size."""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats
from assertions import EPS, EPS32

from meanfield.base.precision import double
from meanfield.programs.draws import BLOCK, MANY, gaussian_matrices, gaussian_vectors

LABEL = 3


def keys_of(key, count):
    return jax.vmap(lambda s: jax.random.fold_in(jax.random.key(key), s))(np.arange(count, dtype=np.uint32))


def vectors(key, neurons, columns=2, count=1, label=LABEL, dtype="float64"):
    with double():
        return gaussian_vectors(keys_of(key, count), label, neurons, columns, dtype)


def matrices(key, neurons, count=1, label=LABEL, dtype="float64"):
    with double():
        return gaussian_matrices(keys_of(key, count), label, neurons, dtype)


@pytest.mark.parametrize("narrow, wide", [(5, 9), (100, BLOCK), (BLOCK, BLOCK + 1), (300, 530)])
def test_a_narrow_array_is_the_first_part_of_a_wide_one(narrow, wide, key):
    np.testing.assert_array_equal(vectors(key, narrow), vectors(key, wide)[:, :narrow])
    one, other = matrices(key, narrow), matrices(key, wide)[:, :narrow, :narrow]
    # Two divisions, two square roots, a product each.
    np.testing.assert_allclose(one * np.sqrt(narrow), other * np.sqrt(wide), rtol=6 * EPS, atol=0)


def test_many_blocks_are_those_of_few(key):
    """Of a million neurons other numbers of blocks are drawn at a time."""
    wide = vectors(key, 8 * MANY * BLOCK + 5, dtype="float32")
    np.testing.assert_array_equal(wide[:, :600], vectors(key, 600, dtype="float32"))
    with double():
        folded = jax.random.fold_in(jax.random.fold_in(keys_of(key, 1)[0], LABEL), 8 * MANY)
        last = np.asarray(jax.random.normal(jax.random.fold_in(folded, 0), (BLOCK, 2)))[:5]
    np.testing.assert_allclose(wide[0, -5:], last, rtol=10 * EPS32, atol=0)


@pytest.mark.parametrize("neurons", [3, 300])
def test_an_array_does_not_depend_on_those_drawn_with_it(neurons, key):
    """Eleven keys: more than one group of blocks, the last one not full."""
    together = vectors(key, neurons, count=11), matrices(key, neurons, count=11)
    with double():
        keys = keys_of(key, 11)
        for i in (0, 7, 8, 10):
            np.testing.assert_array_equal(
                gaussian_vectors(keys[i : i + 1], LABEL, neurons, 2, "float64")[0], together[0][i]
            )
            np.testing.assert_array_equal(
                gaussian_matrices(keys[i : i + 1], LABEL, neurons, "float64")[0], together[1][i]
            )


def test_blocks_are_drawn_from_keys_with_label_and_place_folded_in(key):
    """By hand, a block in the middle of a matrix that ends inside it."""
    with double():
        folded = jax.random.fold_in(jax.random.fold_in(keys_of(key, 2)[1], LABEL), 1)
        block = np.asarray(jax.random.normal(jax.random.fold_in(folded, 0), (BLOCK, BLOCK)))
        column = np.asarray(jax.random.normal(jax.random.fold_in(folded, 0), (BLOCK, 2)))
    found = matrices(key, 400, count=2)[1, BLOCK:, :BLOCK]
    np.testing.assert_allclose(found * 20, block[: 400 - BLOCK], rtol=2 * EPS, atol=0)
    np.testing.assert_array_equal(vectors(key, 400, count=2)[1, BLOCK:], column[: 400 - BLOCK])


def test_both_precisions_see_the_same_numbers(key):
    one, other = vectors(key, 300), vectors(key, 300, dtype="float32")
    assert other.dtype == np.float32
    np.testing.assert_array_equal(one.astype(np.float32), other)
    one, other = matrices(key, 300), matrices(key, 300, dtype="float32")
    assert other.dtype == np.float32
    np.testing.assert_allclose(other, one, rtol=2 * EPS32, atol=0)  # cast, then divided


def correlations(arrays):
    """z = √N · correlation of every pair of arrays of one size, N(0, 1) if they are independent."""
    flat = [np.ravel(a) for a in arrays]
    flat = [(a - a.mean()) / a.std() for a in flat]
    return np.array([a @ b / np.sqrt(a.size) for a, b in itertools.combinations(flat, 2)])


def test_arrays_of_different_names_places_and_keys_are_independent(key):
    """Matrices, their transposes and their blocks, for two labels and two keys; one in 10⁶ false alarms.

    z has a kurtosis of 3 to O(1/N), N = 2^16.
    """
    pieces = []
    for label in (LABEL, LABEL + 1):
        for w in matrices(key, 2 * BLOCK, count=2, label=label):
            pieces += [w[:BLOCK, :BLOCK], w[:BLOCK, BLOCK:], w[BLOCK:, :BLOCK], w[BLOCK:, BLOCK:]]
    z = correlations([*pieces, *(w.T for w in pieces)])
    # A block against its own transpose has 256 equal entries and every other product twice: variance 2 + 2/N.
    own = len(pieces)
    spread = np.ones(len(z))
    pairs = list(itertools.combinations(range(2 * own), 2))
    spread[[i for i, (a, b) in enumerate(pairs) if b == a + own]] = np.sqrt(2)
    diagonal = np.array([BLOCK / BLOCK * (b == a + own) for a, b in pairs])  # its mean, √N · 256/N
    allowed = scipy.stats.norm.isf(1e-6 / (2 * len(z)))
    assert np.abs((z - diagonal) / spread).max() <= allowed
    again = matrices(key, BLOCK)[0]
    assert np.abs(correlations([again, again + matrices(key, BLOCK, label=9)[0]])).max() > allowed
    assert np.abs(correlations([again, again])).max() > allowed


def test_vectors_of_different_names_are_independent(key):
    allowed = scipy.stats.norm.isf(1e-6 / 2 / 6)
    z = correlations([vectors(key, 20_000, label=label)[0] for label in range(4)])
    assert np.abs(z).max() <= allowed


def assert_variance(values, variance, alpha=1e-6):
    """Σ x²/variance is χ² with as many degrees of freedom as there are entries, Σ x Gaussian."""
    low, high = scipy.stats.chi2.isf([1 - alpha / 4, alpha / 4], values.size)
    total = np.sum(values**2) / variance
    assert low <= total <= high, f"{total / values.size:.4f} times the variance"
    assert abs(values.sum()) <= scipy.stats.norm.isf(alpha / 4) * np.sqrt(variance * values.size)


@pytest.mark.parametrize("neurons", [40, 300])
def test_variances_are_one_and_one_over_n(neurons, key):
    """False alarms: two in 10⁶; a factor of 1.1 is found at every size here."""
    small = matrices(key, neurons, count=16)
    assert_variance(small, 1 / neurons)
    assert_variance(vectors(key, neurons, columns=20, count=16), 1.0)
    with pytest.raises(AssertionError, match="times the variance"):
        assert_variance(small, 1.1 / neurons)
