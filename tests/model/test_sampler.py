"""Rules for the standard normal law: exactness, unbiasedness, smaller errors than independent draws."""

import math

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from assertions import EPS, assert_mean, assert_variance_ratio

from meanfield.base.precision import double
from meanfield.model.sampler import IID, Quadrature, Sobol


def replicates(sampler, key, particles, dimension, count):
    with double():
        return sampler.replicates(jax.random.key(key), particles, dimension, count)


def moments(z):
    """Averages whose truth is known: z_1, z_1², z_1z_2, tanh(z_1)z_2, cos z_1, (R, 5)."""
    first, second = z[..., 0], z[..., 1]
    parts = (first, first**2, first * second, np.tanh(first) * second, np.cos(first))
    return np.stack([part.mean(1) for part in parts], 1)


TRUTH = np.array([0, 1, 0, 0, math.exp(-0.5)])


@pytest.mark.parametrize("sampler", [IID(), Sobol()], ids=repr)
def test_any_particle_number_gives_unbiased_averages(sampler, key):
    """1000 replicates of 6 particles, no power of two: the mean of z_1² is known to √(2/6000) = 1.8% even by
    independent draws, so that points stretched by 10% are eleven standard errors away."""
    z, weights = replicates(sampler, key, 6, 2, 1000)
    assert z.shape == (1000, 6, 2) and (weights == 1 / 6).all()
    assert_mean(moments(z), TRUTH)
    with pytest.raises(AssertionError):
        assert_mean(moments(1.1 * z), TRUTH)


def test_independent_draws_have_the_variance_they_must_have(key):
    """The mean of M values z_1 has variance 1/M; NumPy's own draws are the yardstick."""
    ours = moments(replicates(IID(), key, 32, 2, 1000)[0])[:, 0]
    theirs = moments(np.random.default_rng(key).standard_normal((1000, 32, 2)))[:, 0]
    assert_variance_ratio((ours.var() * 1000, 999), (theirs.var() * 1000, 999))
    with pytest.raises(AssertionError):
        assert_variance_ratio((2 * ours.var() * 1000, 999), (theirs.var() * 1000, 999))


def test_sobol_points_err_less_than_independent_ones_and_ever_less(key):
    """M times the mean square error stays where it is for independent draws, for Sobol points it falls.

    Equality is refused at a level of 1e-6, from 50 deviations on either side.
    """
    scaled = {}
    for particles in (16, 1024):
        z, _ = replicates(Sobol(), key, particles, 2, 50)
        scaled[particles] = particles * ((moments(z) - TRUTH) ** 2).mean(0)
    variances = np.array([1, 2, 1, scipy.integrate.quad(_tanh_square, -9, 9)[0], _variance_of_cos])
    assert (scaled[1024] / variances < scipy.stats.chi2.isf(1 - 1e-6, 50) / 50).all()
    assert (scaled[1024] / scaled[16] < scipy.stats.f.isf(1 - 1e-6, 50, 50)).all()


def _tanh_square(z):
    return math.tanh(z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


_variance_of_cos = (1 + math.exp(-2)) / 2 - math.exp(-1)


@pytest.mark.parametrize("sampler", [IID(), Sobol()], ids=repr)
def test_more_replicates_keep_the_first_ones(sampler):
    few, many = (replicates(sampler, 5, 8, 3, count)[0] for count in (2, 5))
    np.testing.assert_array_equal(few, many[:2])


@pytest.mark.parametrize("sampler", [IID(), Sobol()], ids=repr)
def test_points_are_finite_different_and_depend_on_the_key(sampler):
    z, _ = replicates(sampler, 0, 4096, 3, 2)
    other, _ = replicates(sampler, 1, 4096, 3, 2)
    assert np.isfinite(z).all() and len(np.unique(z)) > 0.99 * z.size
    assert (z != other).mean() > 0.99


def test_the_caller_does_not_choose_the_precision_of_the_points():
    inside = replicates(Sobol(), 0, 8, 2, 2)[0]
    assert inside.dtype == np.float64
    assert len(np.unique(inside.astype(np.float32))) == len(np.unique(inside))


def double_factorial(n):
    return math.prod(range(n, 0, -2))


@pytest.mark.parametrize("nodes", [2, 5, 12])
def test_gauss_hermite_integrates_polynomials_exactly(nodes):
    """E z_1^j z_2^k for j, k ≤ 2m − 1: products of double factorials."""
    points, weights = Quadrature().rule(nodes, 2)
    assert points.shape == (nodes**2, 2) and abs(weights.sum() - 1) < nodes**2 * EPS
    for j in range(2 * nodes):
        for k in {j % 2, 2 * nodes - 1 - j % 2, 2 * nodes - 2}:
            powers = points[:, 0] ** j * points[:, 1] ** k
            truth = double_factorial(j - 1) * double_factorial(k - 1) * (j % 2 == 0) * (k % 2 == 0)
            scale = weights @ np.abs(powers)
            # Nodes are roots, accurate to a few eps relative to the largest; a power j + k multiplies that.
            assert abs(weights @ powers - truth) <= 10 * (j + k + nodes**2) * EPS * scale


def test_gauss_hermite_misses_the_first_polynomial_beyond():
    points, weights = Quadrature().rule(3, 1)
    assert abs(weights @ points[:, 0] ** 6 - 15) > 1


@pytest.mark.parametrize("particles, dimension, nodes", [(10, 1, 10), (10, 2, 4), (16, 2, 4), (27, 3, 3)])
def test_the_particle_number_is_rounded_up_to_a_tensor_grid(particles, dimension, nodes):
    z, weights = Quadrature().replicates(None, particles, dimension, 8)
    assert z.shape == (2, nodes**dimension, dimension)
    coarse = (nodes - max(1, nodes // 4)) ** dimension
    assert (weights[1, :coarse] > 0).all() and (weights[1, coarse:] == 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=nodes**dimension * EPS)


def test_nodes_can_be_given():
    assert Quadrature(nodes=7).replicates(None, 1000, 2, 8)[0].shape == (2, 49, 2)


def test_a_rule_of_many_nodes_has_no_overflow():
    points, weights = Quadrature().rule(180, 1)
    assert np.isfinite(points).all() and (weights >= 0).all()
    assert abs(weights @ points[:, 0] ** 2 - 1) < 180 * EPS * 10
