"""Slopes with errors, unbiased squares, jackknives: by enumeration, or at a stated rate of false alarms."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from assertions import EPS, assert_close, assert_mean, assert_one_sentence, assert_order
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfield.numerics.statistics import (
    fit_power_law,
    jackknife_error,
    log_log_slope,
    mean_squares,
    squared_means,
    student_interval,
)

WIDTHS = np.array([16, 32, 64, 128, 256, 512, 1024])


def every_sample(population, repeats):
    """All samples with replacement of a finite population (N, d): (N^R, R, d), equally likely."""
    rows = np.array(list(itertools.product(range(len(population)), repeat=repeats)))
    return population[rows]


def gram_of(deviations):
    return np.einsum("...rd,...sd->...rs", deviations, deviations)


# --- slopes on logarithms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 2.0])
@pytest.mark.parametrize("constant", [1e-8, 1.0, 3e5])
def test_the_slope_of_a_power_law_is_its_exponent(exponent, constant):
    slope, _ = log_log_slope(WIDTHS, constant * WIDTHS**exponent, 5)
    # Logarithms of up to 20 with a few roundings each, divided by the spread of log size, about 4.
    assert abs(slope - exponent) <= 100 * EPS


def test_the_standard_error_of_the_slope_is_the_formula_of_its_docstring():
    x = np.log(WIDTHS)
    _, error = log_log_slope(WIDTHS, WIDTHS**-0.5, 32)
    assert_close(error, math.sqrt(1 / (2 * 32) / np.sum((x - x.mean()) ** 2)), 20)


def slopes_in_errors(repeats, count, key):
    """(slope − truth)/(its standard error) of synthetic rms errors, (count,)."""
    rng = np.random.default_rng([key, repeats])
    squares = rng.chisquare(repeats, (count, WIDTHS.size)) / repeats
    found = [log_log_slope(WIDTHS, np.sqrt(row) * WIDTHS**-0.5, repeats) for row in squares]
    return np.array([(slope + 0.5) / error for slope, error in found])


@pytest.mark.parametrize("repeats", [4, 32])
def test_the_standard_error_of_the_slope_is_calibrated(repeats, key):
    """½ log χ²_R has variance ψ₁(R/2)/4 exactly, the delta method says 1/(2R): z has variance Rψ₁(R/2)/2.

    Its mean is 0: the mean of the logarithm is the same at all sizes. False alarms ≤ 1e-5 (z² is skewed).
    """
    z = slopes_in_errors(repeats, 3000, key)
    variance = repeats / 2 * scipy.special.polygamma(1, repeats / 2)
    assert 1 <= variance < 1 + 3 / repeats  # the docstring: to O(1/repeats)
    assert_mean(z, 0.0, alpha=1e-6)
    assert_mean(z**2, variance, alpha=1e-6)


def test_the_check_of_calibration_can_fail(key):
    """An error too small by √2, or a slope off by a quarter of its error, is seen."""
    z = slopes_in_errors(32, 3000, key)
    with pytest.raises(AssertionError):
        assert_mean(2 * z**2, 16 * scipy.special.polygamma(1, 16))
    with pytest.raises(AssertionError):
        assert_mean(z + 0.25, 0.0)


@pytest.mark.parametrize(
    ("sizes", "errors", "repeats", "name"),
    [
        ([8], [1.0], 4, "sizes"),
        ([], [], 4, "sizes"),
        ([8, 16], [1.0], 4, "sizes"),
        ([[8, 16]], [[1.0, 2.0]], 4, "sizes"),
        ([8, 8], [1.0, 2.0], 4, "sizes"),
        ([16, 8], [1.0, 2.0], 4, "sizes"),
        ([0, 8], [1.0, 2.0], 4, "sizes"),
        ([8, 16], [1.0, 0.0], 4, "errors"),
        ([8, 16], [1.0, -1.0], 4, "errors"),
        ([8, 16], [1.0, math.nan], 4, "errors"),
        ([8, 16], [1.0, math.inf], 4, "errors"),
        ([8, 16], [1.0, 2.0], 0, "repeats"),
    ],
)
def test_sizes_errors_or_repeats_that_fit_no_line_are_named_in_one_sentence(sizes, errors, repeats, name):
    with pytest.raises(ValueError) as caught:
        log_log_slope(sizes, errors, repeats)
    assert_one_sentence(str(caught.value), f"`{name}`")


# --- squares without bias ---------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [3, 4])
def test_the_squared_mean_is_unbiased_over_every_sample_and_the_naive_one_is_not(repeats, key):
    """E U = |E d|² exactly, for a population of three points and all 3^R samples of it. |mean|² is too large
    by tr Σ/R, also exactly: the negative control."""
    population = np.random.default_rng(key).standard_normal((3, 2))
    mean, spread = population.mean(0), population.var(0).sum()
    samples = every_sample(population, repeats)
    scale = (population**2).sum(1).max()
    unbiased = squared_means(gram_of(samples)).value.mean()
    naive = (samples.mean(1) ** 2).sum(-1).mean()
    rounding = 100 * EPS * scale
    assert abs(unbiased - mean @ mean) <= rounding
    assert abs(naive - mean @ mean - spread / repeats) <= rounding
    assert spread / repeats > 1e3 * rounding


def test_the_squared_mean_can_be_negative_and_is_the_mean_square_minus_its_noise(key):
    """U = |mean d|² − (sample variance)/R, the form of THEORY 9."""
    deviations = np.random.default_rng(key).standard_normal((50, 6, 4))
    other = (deviations.mean(1) ** 2).sum(-1) - deviations.var(1, ddof=1).sum(-1) / 6
    found = squared_means(gram_of(deviations)).value
    assert_close(found, other, 100)
    assert (found < 0).any()


@pytest.mark.parametrize("statistic", ["squared mean", "mean square"])
def test_values_with_one_repeat_left_out_are_those_of_the_others(statistic, key):
    deviations = np.random.default_rng(key).standard_normal((3, 6, 4))

    def of(d):
        return squared_means(gram_of(d)) if statistic == "squared mean" else mean_squares((d**2).sum(-1))

    left_out = of(deviations).left_out
    assert left_out.shape == (6, 3)
    again = np.stack([of(np.delete(deviations, r, 1)).value for r in range(6)])
    assert_close(left_out, again, 200)


def test_the_jackknife_of_a_mean_is_its_standard_error(key):
    """√((R−1)/R Σ (mean without r − their mean)²) = s/√R for a mean, an identity."""
    squares = np.random.default_rng(key).chisquare(3, (4, 9))
    assert_close(mean_squares(squares).error, squares.std(-1, ddof=1) / 3, 100)
    left_out = (squares.sum(-1)[:, None] - squares).T / 8
    assert_close(jackknife_error(left_out), squares.std(-1, ddof=1) / 3, 100)


def test_the_jackknife_of_the_squared_mean_is_exact_for_its_signal_and_above_for_its_noise(key):
    """With g(d) = μ·(d − μ), ζ = Var g, κ = tr Σ² (Hoeffding's decomposition), over every sample of a finite
    population: Var U = 4ζ/R + 2κ/(R(R−1)) and E error² = 4ζ/R + 4κ/(R(R−2)).

    The error is right where there is a bias to be seen, and up to √(2(R−1)/(R−2)) too large where there is
    none: it never promises too much.
    """
    repeats = 4
    population = np.random.default_rng(key).standard_normal((3, 2))
    mean = population.mean(0)
    covariance = np.cov(population.T, bias=True)
    zeta, kappa = mean @ covariance @ mean, np.trace(covariance @ covariance)
    squares = squared_means(gram_of(every_sample(population, repeats)))
    rounding = 1000 * EPS * (population**2).sum(1).max() ** 2
    variance = 4 * zeta / repeats + 2 * kappa / (repeats * (repeats - 1))
    assert abs(squares.value.var() - variance) <= rounding
    estimate = 4 * zeta / repeats + 4 * kappa / (repeats * (repeats - 2))
    assert abs((squares.error**2).mean() - estimate) <= rounding
    assert kappa > 1e3 * rounding


# --- power laws through squares ---------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-3.9, -1.0, -0.5, 0.0, 1.9])
@pytest.mark.parametrize("constant", [1e-9, 2.0, 1e6])
def test_the_fit_of_an_exact_power_law_is_exact(exponent, constant):
    squares = (constant * WIDTHS**exponent) ** 2
    fit = fit_power_law(WIDTHS, squares, 0.1 * squares)
    # The search stops within 1e-7 of the minimum; log size is at most 7.
    assert abs(fit.exponent - exponent) <= 1e-6
    assert abs(fit.constant / constant - 1) <= 1e-5


@pytest.mark.parametrize("exponent", [-4.5, 2.5])
def test_a_slope_outside_the_range_that_is_searched_is_no_slope(exponent):
    squares = WIDTHS ** (2.0 * exponent)
    assert math.isnan(fit_power_law(WIDTHS, squares, 0.1 * squares).exponent)


def test_small_equal_relative_errors_give_the_log_log_fit(key):
    """log(1 + ε) = ε − ε²/2…: the two slopes differ at second order in the noise."""
    noise = np.random.default_rng(key).uniform(-1, 1, WIDTHS.size)
    sizes, gaps = np.array([0.2, 0.1, 0.05, 0.025]), []
    for relative in sizes:
        model = WIDTHS**-1.0
        squares = model * (1 + relative * noise)
        fit = fit_power_law(WIDTHS, squares, relative * model)
        gaps.append(abs(fit.exponent - log_log_slope(WIDTHS, np.sqrt(squares), 1)[0]))
        # |difference| ≤ Σ|x − x̄| ε²/(Σ(x − x̄)²) times a constant of order one.
        x = np.log(WIDTHS) - np.log(WIDTHS).mean()
        assert gaps[-1] <= 2 * relative**2 * np.abs(x).sum() / np.sum(x**2)
    if min(gaps) > 1e-5:
        assert_order(sizes, gaps, 2, within=0.3, floor=1e-7)


def noisy_squares(count, key):
    """Squares 1/n² under noise that is the same at every width: 1% of the first, 40 times the last."""
    rng = np.random.default_rng([key, 1])
    noise = np.full(WIDTHS.size, 0.01 / WIDTHS[0] ** 2)
    return WIDTHS**-2.0 + noise * rng.standard_normal((count, WIDTHS.size)), noise


def test_squares_that_came_out_negative_do_not_bend_the_slope(key):
    """Half of the squares at the widest networks are negative. The slope's mean is −1 up to a curvature
    bias of the order of its variance; dropping them first moves it by many standard errors: the negative
    control. False alarms ≤ 1e-6."""
    squares, noise = noisy_squares(300, key)
    assert 0.3 < (squares[:, -1] < 0).mean() < 0.7
    fits = np.array([fit_power_law(WIDTHS, row, noise).exponent for row in squares])
    assert np.isfinite(fits).all()
    assert_mean(fits, -1.0, bias=fits.var())
    dropped = [log_log_slope(WIDTHS[row > 0], np.sqrt(row[row > 0]), 1)[0] for row in squares]
    with pytest.raises(AssertionError):
        assert_mean(dropped, -1.0, bias=np.var(dropped))


@pytest.mark.parametrize("squares", [np.zeros(7), -np.ones(7), -(WIDTHS**-1.0)])
def test_where_nothing_positive_is_seen_there_is_no_exponent(squares):
    fit = fit_power_law(WIDTHS, squares, np.ones(7))
    assert math.isnan(fit.exponent) and math.isnan(fit.constant)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.floats(-20, 20), st.floats(-3, 3), st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7))
def test_the_unit_of_the_errors_and_of_the_sizes_does_not_move_the_exponent(unit, stretch, noise):
    squares = WIDTHS**-1.0 * (1 + np.array(noise))
    errors = 0.3 * WIDTHS**-1.0
    one = fit_power_law(WIDTHS, squares, errors)
    other = fit_power_law(WIDTHS * 10.0**stretch, squares * 10.0**unit, errors * 10.0**unit)
    assert abs(one.exponent - other.exponent) <= 1e-6
    constant = one.constant * 10.0 ** (unit / 2 - stretch * one.exponent)
    assert abs(other.constant / constant - 1) <= 1e-4  # 1e-6 in the exponent times log size, at most 14


# --- Student intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_of_few_repeats_are_student_s(level):
    """One degree of freedom is Cauchy: t = tan(π level/2). Two: F(t) = ½ + t/(2√(2 + t²)), so that
    t = level · √(2/(1 − level²))."""
    assert_close(student_interval(2, level), math.tan(math.pi * level / 2), 1e4)
    assert_close(student_interval(3, level), level * math.sqrt(2 / (1 - level**2)), 1e4)


def test_the_interval_of_many_repeats_is_gaussian():
    """t = z + (z³ + z)/(4ν) + O(1/ν²)."""
    z = scipy.stats.norm.ppf(0.975)
    assert abs(student_interval(10**6) - z - (z**3 + z) / 4e6) < 1e-9


def test_one_repeat_has_the_widest_interval_and_no_error():
    assert student_interval(1) == student_interval(2)
