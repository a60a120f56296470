"""Draws of particles: pairs, matched moments, or neither."""

import numpy as np
import pytest
from assertions import EPS

from meanfield.programs import Antithetic, Independent

ROWS, COLUMNS = 40, 3


def draws(rows, columns=COLUMNS, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns))


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("matched", [False, True])
def test_pairs_share_what_runs_forward_and_oppose_what_runs_backward(odd, matched):
    sampler = Antithetic(matched)
    found = sampler.arrange(draws(sampler.drawn(ROWS)), odd, [], np)
    assert found.shape == (ROWS, COLUMNS)
    np.testing.assert_array_equal(found[ROWS // 2 :], (-1 if odd else 1) * found[: ROWS // 2])
    if not matched:
        np.testing.assert_array_equal(found[: ROWS // 2], draws(ROWS // 2))


@pytest.mark.parametrize("odd", [False, True])
def test_matched_draws_have_exact_moments(odd):
    """Mean 0, covariance 1, none with draws of the same kind, those that have no columns yet included; with
    draws of the other kind the average over pairs vanishes."""
    sampler = Antithetic()
    first = sampler.arrange(draws(ROWS // 2), odd, [], np)
    held = np.concatenate([first, np.zeros((ROWS, 2))], 1)
    second = sampler.arrange(draws(ROWS // 2, seed=1), odd, [held, np.zeros((ROWS, 0))], np)
    both = np.concatenate([first, second], 1)
    np.testing.assert_allclose(both.T @ both / ROWS, np.eye(2 * COLUMNS), rtol=0, atol=100 * EPS)
    np.testing.assert_allclose(both.mean(0), 0, rtol=0, atol=100 * EPS)
    other = sampler.arrange(draws(ROWS // 2, seed=2), not odd, [], np)
    np.testing.assert_allclose(both.T @ other, 0, rtol=0, atol=100 * ROWS * EPS)


def test_matched_draws_are_close_to_what_was_drawn():
    """Moments are off by (M/2)^{−1/2} before, and so much is changed: the law stays that of a Gaussian."""
    plain = draws(2000)
    found = Antithetic().arrange(plain, False, [], np)[:2000]
    assert 0 < np.abs(found - plain).max() < 6 * 6 / np.sqrt(2000)


def test_without_room_draws_stay_as_they_are():
    """Up to M/4 columns."""
    sampler, half = Antithetic(), ROWS // 2
    held = sampler.arrange(draws(half, 7), False, [], np)
    assert sampler.fits(ROWS, [held], 3) and not sampler.fits(ROWS, [held], 4)
    full = sampler.arrange(draws(half, 4, 1), False, [held], np)
    np.testing.assert_array_equal(full[:half], draws(half, 4, 1))
    fits = sampler.arrange(draws(half, 3, 1), False, [held], np)
    np.testing.assert_allclose(held.T @ fits, 0, rtol=0, atol=100 * ROWS * EPS)


def test_independent_draws_are_what_was_drawn():
    sampler = Independent()
    assert sampler.rows(7) == sampler.drawn(7) == 7 and not sampler.matched
    for odd in (False, True):
        np.testing.assert_array_equal(sampler.arrange(draws(7), odd, [], np), draws(7))


def test_pairs_need_an_even_number():
    assert Antithetic().rows(7) == Antithetic().rows(8) == 8 and Antithetic().drawn(8) == 4
