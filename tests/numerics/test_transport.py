"""Distances between clouds: transport, sliced, Sinkhorn, coupled, and the maximum mean discrepancy."""

import itertools
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from assertions import EPS, assert_mean
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfield.numerics import mmd
from meanfield.numerics.clouds import power_mean
from meanfield.numerics.mmd import maximum_mean_discrepancy, median_bandwidth
from meanfield.numerics.sliced import sliced_wasserstein, wasserstein_1d
from meanfield.numerics.transport import assignment_distance, coupled_distance, sinkhorn

KEY = int(os.environ.get("MEANFIELD_TEST_KEY", "0"))  # as in conftest, here also for constants
ORDERS = (1, 1.5, 2, 5)


def rng(*seed):
    return np.random.default_rng((KEY, *seed))


def span(*arrays):
    """Diameter of the box around all points: an upper bound of every distance."""
    points = np.concatenate([np.reshape(a, (len(a), -1)) for a in arrays])
    return float(np.linalg.norm(points.max(0) - points.min(0)))


def rotation(d, seed):
    return np.linalg.qr(rng(seed).standard_normal((d, d)))[0]


# --- on the line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [(0.0, 1.0, 1.0, 1.0), (-1.0, 2.0, 0.5, 0.3), (0.0, 1.0, 0.0, 3.0)])
def test_gauss_hermite_clouds_are_at_the_distance_of_their_gaussians(parameters):
    """W_2² = (m1 − m2)² + (s1 − s2)²: an affine map is optimal, and the rule sums its square exactly."""
    m1, s1, m2, s2 = parameters
    t, w = np.polynomial.hermite_e.hermegauss(20)
    x, y = m1 + s1 * t, m2 + s2 * t
    w = w[order := rng(0).permutation(20)]  # in any order, as long as weight and point go together
    distance = wasserstein_1d(x[order], y, weights_x=w, weights_y=w[np.argsort(order)])
    squared = (m1 - m2) ** 2 + (s1 - s2) ** 2
    assert abs(distance**2 - squared) <= 40 * EPS * span(x, y) ** 2


@pytest.mark.parametrize("order", ORDERS)
def test_two_atoms_and_three_atoms_are_at_the_distance_found_by_hand(order):
    """{0, 1} to {0, ½, 1}: a third of the mass moves by ½."""
    truth = (0.5**order / 3) ** (1 / order)
    value = wasserstein_1d(np.array([1.0, 0.0]), np.array([0.5, 0.0, 1.0]), order=order)
    np.testing.assert_allclose(value, truth, rtol=8 * EPS)


@pytest.mark.parametrize("order", [*ORDERS, 1000])
def test_a_shift_by_c_is_at_distance_c_for_every_order(order):
    x, c = rng(1).standard_normal(50), 1e-3
    np.testing.assert_allclose(
        wasserstein_1d(x, x[::-1] + c, order=order), c, rtol=2 * EPS * np.abs(x).max() / c + 100 * EPS
    )


@pytest.mark.parametrize("order", ORDERS)
def test_an_increasing_map_is_optimal_on_the_line(order):
    x = rng(2).standard_normal(101)
    mapped = x + np.tanh(3 * x) + 0.2 * x**3
    truth = np.mean(np.abs(mapped - x) ** order) ** (1 / order)
    value = wasserstein_1d(x, rng(3).permutation(mapped), order=order)
    np.testing.assert_allclose(value, truth, rtol=101 * EPS)


@pytest.mark.parametrize("order", ORDERS)
def test_quantile_functions_agree_with_the_linear_program(order):
    """Two independent routes: the programme knows nothing about the line. HiGHS is feasible to 1e-7."""
    draw = rng(4, int(10 * order))
    x, y, a, b = draw.standard_normal(7), draw.standard_normal(5), draw.random(7), draw.random(5)
    a, b = a / a.sum(), b / b.sum()
    cost = np.abs(x[:, None] - y) ** order
    equal = np.vstack([np.kron(np.eye(7), np.ones(5)), np.kron(np.ones(7), np.eye(5))])
    least = scipy.optimize.linprog(cost.ravel(), A_eq=equal, b_eq=np.concatenate([a, b])).fun
    value = wasserstein_1d(x, y, weights_x=a, weights_y=b, order=order)
    assert abs(value**order - least) <= 12 * 1e-7 * cost.max()


@pytest.mark.parametrize("order", ORDERS)
def test_a_weight_of_three_is_three_points(order):
    draw = rng(5)
    x, y, counts = draw.standard_normal(9), draw.standard_normal(14), draw.integers(0, 4, 9)
    weighted = wasserstein_1d(x, y, weights_x=counts, order=order)
    repeated = wasserstein_1d(np.repeat(x, counts), y, order=order)
    assert abs(weighted**order - repeated**order) <= (9 + 14) * EPS * span(x, y) ** order
    cloud = wasserstein_1d(x, y, weights_x=np.full(9, 0.1), order=order)
    assert cloud == wasserstein_1d(x, y, order=order)  # equal weights are no weights, to the bit


numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(np.array)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(numbers, numbers, numbers, st.sampled_from(ORDERS))
def test_the_distance_on_the_line_is_a_metric(x, y, z, order):
    rounding = 100 * EPS * span(x, y, z)
    xy, yz, xz = (wasserstein_1d(*p, order=order) for p in ((x, y), (y, z), (x, z)))
    assert wasserstein_1d(x, x[::-1], order=order) == 0.0
    assert abs(wasserstein_1d(y, x, order=order) - xy) <= rounding
    assert xz <= xy + yz + rounding
    assert abs(wasserstein_1d(-3 * x, -3 * y, order=order) - 3 * xy) <= 3 * rounding
    assert abs(np.mean(x) - np.mean(y)) <= xy + rounding  # W_p ≥ W_1 ≥ |difference of means|


# --- sliced -----------------------------------------------------------------------------------------------


def test_slices_of_the_line_are_the_line():
    draw = rng(6)
    x, y, w = draw.standard_normal((9, 1)), draw.standard_normal((5, 1)), draw.random(9)
    truth = wasserstein_1d(x[:, 0], y[:, 0], weights_x=w, order=3)
    assert sliced_wasserstein(x, y, weights_x=w, order=3) == (truth, 0.0)


def sliced_shifts(c, order, keys, directions):
    """SW^p between a cloud and its shift by c for many keys, and p SW^{p−1} se(SW), its standard error."""
    x = rng(7).standard_normal((3, len(c)))
    found = np.array(
        [
            sliced_wasserstein(x, x + c, directions=directions, order=order, key=k + 10_000 * KEY)
            for k in range(keys)
        ]
    )
    return found[:, 0] ** order, order * found[:, 0] ** (order - 1) * found[:, 1]


def shift_truth(c, order):
    """E |θ·c|^p = |c|^p Γ(d/2) Γ((p+1)/2)/(√π Γ((d+p)/2)); |c|²/d for p = 2."""
    d, gamma = len(c), math.gamma
    ratio = gamma(d / 2) * gamma((order + 1) / 2) / (math.sqrt(math.pi) * gamma((d + order) / 2))
    return np.linalg.norm(c) ** order * ratio


@pytest.mark.parametrize("c", [(1.0, 0.0, 0.0, 0.0), (0.3, -0.5, 0.1, 2.0)])
@pytest.mark.parametrize("order", (1, 2, 3))
def test_the_sliced_distance_of_a_shift_has_its_closed_form(c, order):
    c = np.array(c)
    if order == 2:
        np.testing.assert_allclose(shift_truth(c, 2), c @ c / 4, rtol=8 * EPS)
    powers, _ = sliced_shifts(c, order, keys=100, directions=64)
    assert_mean(powers, shift_truth(c, order))
    with pytest.raises(AssertionError):  # negative control: the law of one dimension less
        assert_mean(powers, shift_truth(c, order) * 4 / 3)


def test_the_standard_error_of_the_sliced_distance_is_the_spread_over_keys():
    c = np.array([0.3, -0.5, 0.1, 2.0])
    powers, errors = sliced_shifts(c, 2, keys=300, directions=32)
    excess = (powers - shift_truth(c, 2)) ** 2 - errors**2  # mean zero: the variance of a mean is unbiased
    assert_mean(excess, 0.0)
    with pytest.raises(AssertionError):  # negative control: a factor of two in the variance
        assert_mean(excess - errors**2, 0.0)


def test_the_sliced_distance_is_a_metric_for_fixed_directions_and_below_the_transport_distance():
    x, y, z = rng(8).standard_normal((3, 40, 3)) * np.array([1, 2, 0.5])[:, None, None]
    key = jax.random.key(5)

    def distance(x, y):
        return sliced_wasserstein(x, y, key=key)

    (xy, error), (yz, _), (xz, _) = distance(x, y), distance(y, z), distance(x, z)
    assert distance(y, x)[0] == xy
    assert distance(rng(9).permutation(x), y)[0] == pytest.approx(xy, rel=100 * EPS)
    assert xz <= xy + yz + 100 * EPS * span(x, y, z)
    assert distance(x, x) == (0.0, 0.0)
    assert sliced_wasserstein(x, y, key=5)[0] == xy != sliced_wasserstein(x, y, key=6)[0]
    assert xy <= assignment_distance(x, y) / math.sqrt(3) + 5 * error


# --- assignment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_best_assignment_on_the_line_is_the_sorted_one(order):
    x, y = rng(10).standard_normal((2, 60))
    value = assignment_distance(x[:, None], y[:, None], order=order)
    np.testing.assert_allclose(value, wasserstein_1d(x, y, order=order), rtol=200 * EPS)


def test_the_best_assignment_is_the_best_of_all_permutations():
    x, y = rng(11).standard_normal((2, 6, 3))
    cost = np.linalg.norm(x[:, None] - y, axis=2) ** 1.5
    best = min(cost[np.arange(6), list(p)].mean() for p in itertools.permutations(range(6)))
    np.testing.assert_allclose(assignment_distance(x, y, order=1.5), best ** (1 / 1.5), rtol=20 * EPS)


def test_the_gradient_of_a_convex_function_is_optimal_in_every_dimension():
    """y = m + A x, A symmetric positive definite: W_2² = mean |m + (A − 1) x|² (Brenier)."""
    x, root = rng(12).standard_normal((50, 4)), rng(13).standard_normal((4, 4))
    mapped = 0.7 + x @ (root @ root.T + 0.1 * np.eye(4))
    truth = math.sqrt(np.mean(np.sum((mapped - x) ** 2, axis=1)))
    value = assignment_distance(x, rng(14).permutation(mapped))
    np.testing.assert_allclose(value, truth, rtol=200 * EPS)


def test_the_assignment_distance_is_a_metric_that_no_motion_changes():
    x, y, z = rng(15).standard_normal((3, 20, 3))
    xy, yz, xz = assignment_distance(x, y), assignment_distance(y, z), assignment_distance(x, z)
    same = {"rtol": 300 * EPS}
    np.testing.assert_allclose(assignment_distance(y, x), xy, **same)
    np.testing.assert_allclose(assignment_distance(x[::-1] @ rotation(3, 1), y @ rotation(3, 1)), xy, **same)
    np.testing.assert_allclose(assignment_distance(x + 1, y + 1), xy, **same)
    np.testing.assert_allclose(assignment_distance(x, x[::-1] + np.array([3.0, 0, 4])), 5, **same)
    assert assignment_distance(x, x[::-1]) == 0.0
    assert xz <= xy + yz


def test_two_samples_of_five_dimensions_are_far_apart_though_their_laws_are_near():
    """THEORY 9: 1.18 ± 0.03 between 256 points of N(0, I_5) and of N(0.1, I_5), the laws at 0.22."""
    draws = (rng(16, seed).standard_normal((2, 256, 5)) for seed in range(6))
    values = [assignment_distance(x, 0.1 + y) for x, y in draws]
    # ± 0.005 for a truth printed with two digits; five spreads of 0.03 for six values, false alarms 4e-6
    assert np.max(np.abs(np.array(values) - 1.18)) <= 0.005 + 5 * 0.03
    assert min(values) > 4 * math.sqrt(5) * 0.1


# --- coupled ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_coupled_particles_bound_the_transport_distance(order):
    draw = rng(17)
    x, y = draw.standard_normal((2, 30, 3))
    value = coupled_distance(x, y, order=order)
    np.testing.assert_allclose(
        value, np.mean(np.linalg.norm(x - y, axis=1) ** order) ** (1 / order), rtol=60 * EPS
    )
    assert value > assignment_distance(x, y, order=order)
    assert value == coupled_distance(y, x, order=order)
    np.testing.assert_allclose(
        coupled_distance(x, x + np.array([2.0, 3.0, 6.0]), order=order), 7, rtol=60 * EPS
    )
    counts = draw.integers(0, 4, 30)
    repeated = coupled_distance(np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0), order=order)
    np.testing.assert_allclose(coupled_distance(x, y, weights=counts, order=order), repeated, rtol=200 * EPS)


# --- Sinkhorn ---------------------------------------------------------------------------------------------


def allowance(x, y, tolerance):
    """What the tolerance on the marginals may change in S_ε, as documented, and rounding."""
    return (2 * tolerance + 1e4 * EPS) * (span(x, y) ** 2)


@pytest.mark.parametrize("epsilon", (0.02, 0.3, 1.0, 5.0, 100.0))
def test_two_symmetric_points_have_the_closed_form_at_every_epsilon(epsilon):
    """x = ±a, y = ±b: OT_ε = −ε log ½(e^{−(a−b)²/ε} + e^{−(a+b)²/ε}), by the symmetry of the plan."""
    a, b, tolerance = 1.0, 0.4, 1e-9

    def cost(a, b):
        return -epsilon * (np.logaddexp(-((a - b) ** 2) / epsilon, -((a + b) ** 2) / epsilon) - math.log(2))

    x, y = np.array([[a], [-a]]), np.array([[-b], [b]])
    found = sinkhorn(x, y, epsilon=epsilon, tolerance=tolerance)
    truth = cost(a, b) - (cost(a, a) + cost(b, b)) / 2
    assert abs(found.divergence - truth) <= allowance(x, y, tolerance)
    assert found.distance == math.sqrt(found.divergence)
    assert found.epsilon == epsilon and found.converged and found.marginal_error <= tolerance
    if epsilon == 0.02:  # what is left is exponentially small: S_ε → W_2²
        assert abs(truth - (a - b) ** 2) <= epsilon * math.exp(-4 * b * b / epsilon)


def gaussian_divergence(v, w, epsilon):
    """S_ε between N(0, v) and N(0, w) on the line.

    The plan is Gaussian with a covariance c: minimise v + w − 2c − (ε/2) log(1 − c²/vw), whose derivative
    vanishes where 2(vw − c²) = εc.
    """

    def cost(v, w):
        c = (math.sqrt(epsilon**2 + 16 * v * w) - epsilon) / 4
        return v + w - 2 * c - epsilon / 2 * math.log1p(-c * c / (v * w))

    return cost(v, w) - (cost(v, v) + cost(w, w)) / 2


def gaussian_grid(mean, deviation):
    """121 points at 0.13 deviations and normalised Gaussian weights: what is cut off has mass 1e-14."""
    t = np.linspace(-7.8, 7.8, 121)
    return (mean + deviation * t)[:, None], np.exp(-(t**2) / 2)


GRID_X, GRID_Y = gaussian_grid(0.0, 1.0), gaussian_grid(0.5, 1.5)


def gaussian_sinkhorn(epsilon, tolerance=1e-8):
    (x, a), (y, b) = GRID_X, GRID_Y
    return sinkhorn(x, y, weights_x=a, weights_y=b, epsilon=epsilon, tolerance=tolerance)


def test_gaussian_grids_have_the_divergence_of_gaussians():
    """Sums over the grids converge like exp(−2π² var/spacing²), var = εc/2w ≥ 0.2 of the conditional law."""
    found = gaussian_sinkhorn(1.0)
    truth = 0.25 + gaussian_divergence(1.0, 2.25, 1.0)
    allowed = allowance(GRID_X[0], GRID_Y[0], 1e-8)
    assert abs(found.divergence - truth) <= allowed
    # negative control: neither twice the ε nor W_2² itself would pass
    assert abs(0.25 + gaussian_divergence(1.0, 2.25, 2.0) - truth) > 100 * allowed
    assert abs(0.5 - truth) > 100 * allowed


def test_the_bias_in_epsilon_is_of_second_order():
    epsilons = np.array([0.4, 0.2, 0.1, 0.05])
    bias = np.array([0.5 - gaussian_sinkhorn(e).divergence for e in epsilons])
    slopes = np.diff(np.log(bias)) / np.diff(np.log(epsilons))
    assert abs(slopes[-1] - 2) < 0.1, slopes


@pytest.mark.parametrize(
    ("d", "shape", "point"), [(1, 0.0002, 0.03), (5, 0.004, 0.10), (10, 0.015, 0.17), (50, 0.21, 0.43)]
)
def test_the_default_epsilon_leaves_the_bias_that_is_stated(d, shape, point):
    """Per coordinate, ε = 0.05 d (1 + w): nearly equal Gaussians, and a Gaussian against a point."""
    for deviation, stated in ((1.01, shape), (1e-6, point)):
        epsilon = 0.05 * d * (1 + deviation**2)
        lost = 1 - math.sqrt(gaussian_divergence(1.0, deviation**2, epsilon)) / abs(1 - deviation)
        assert lost == pytest.approx(stated, rel=0.25)  # stated with one or two digits
        if deviation > 1 and d < 50:
            assert lost == pytest.approx((epsilon / 8) ** 2, rel=0.1)  # the leading order


def test_the_default_epsilon_is_a_twentieth_of_the_mean_cost_of_the_centred_clouds():
    x, y = rng(18).standard_normal((2, 32, 3))
    x, y = x - x.mean(0), 2 * (y - y.mean(0))
    cost = np.mean(np.sum((x[:, None] - y) ** 2, axis=2))
    assert sinkhorn(x, y + 9).epsilon == pytest.approx(0.05 * cost, rel=1e4 * EPS)


@pytest.mark.parametrize("epsilon", (None, 0.5, 20.0))
def test_a_shift_has_no_bias_at_any_epsilon(epsilon):
    x, c = rng(19).standard_normal((32, 3)), np.array([2.0, 3.0, 6.0])
    found = sinkhorn(x, x[::-1] + c, epsilon=epsilon)
    assert abs(found.divergence - 49) <= allowance(x, x, 1e-6) + 1e4 * EPS * 49
    point = sinkhorn(x[:1], x[:1] + c, epsilon=epsilon)
    assert abs(point.distance - 7) <= 1e4 * EPS


def test_sinkhorn_is_within_epsilon_log_n_of_the_assignment():
    """0 ≤ OT_ε − OT_0 ≤ ε KL(best permutation | product) = ε ln n, in each of the three terms."""
    x, y = rng(20).standard_normal((2, 32, 3)) + np.array([0.0, 1.0])[:, None, None]
    truth = assignment_distance(x, y) ** 2
    errors = []
    for epsilon in (2.0, 0.5, 0.1, 0.02):
        found = sinkhorn(x, y, epsilon=epsilon, tolerance=1e-4, iterations=20_000)
        errors.append(abs(found.divergence - truth))
        assert errors[-1] <= epsilon * math.log(32) + allowance(x, y, 1e-4)
    assert errors == sorted(errors, reverse=True)
    # negative control: a cloud a tenth further away is not within that bound
    assert abs(found.divergence - assignment_distance(x, y + 0.1) ** 2) > 0.02 * math.log(32)


def test_sinkhorn_sees_measures_not_lists():
    draw = rng(21)
    x, y, counts = draw.standard_normal((32, 3)), draw.standard_normal((32, 3)) + 1, draw.integers(0, 3, 32)
    allowed = {"abs": 2 * allowance(x, y, 1e-6)}
    base = sinkhorn(x, y, weights_x=counts, epsilon=0.5).divergence
    repeated = sinkhorn(np.repeat(x, counts, axis=0), y, epsilon=0.5).divergence
    assert repeated == pytest.approx(base, **allowed)
    far = np.where(counts[:, None] == 0, 1e3, x)  # points of weight zero are nowhere
    assert sinkhorn(far, y, weights_x=counts, epsilon=0.5).divergence == base
    assert sinkhorn(y, x, weights_y=counts, epsilon=0.5).divergence == pytest.approx(base, **allowed)
    Q = rotation(3, 2)
    moved = sinkhorn(x[::-1] @ Q + 5, y @ Q + 5, weights_x=counts[::-1], epsilon=0.5).divergence
    assert moved == pytest.approx(base, **allowed)


def test_sinkhorn_that_does_not_converge_says_so():
    x, y = rng(22).standard_normal((2, 32, 3))
    with pytest.raises(
        RuntimeError, match=r"did not converge in 10 iterations \(marginal error .*raise `eps"
    ):
        sinkhorn(x, y, epsilon=1e-3, iterations=7)
    with pytest.raises(RuntimeError, match="did not converge"):  # exp(−1e8): nothing is left to iterate on
        sinkhorn(x, y, epsilon=1e-8, iterations=7)


def test_ott_is_imported_on_use_only_without_a_warning_and_nothing_global_changes():
    program = """
import sys, jax, numpy as np
from meanfield.numerics import transport
before = dict(jax.config.values)
assert "ott" not in sys.modules
jax.config.update("jax_numpy_rank_promotion", "raise")
transport.sinkhorn(np.eye(3), np.ones((2, 3)))
jax.config.update("jax_numpy_rank_promotion", before["jax_numpy_rank_promotion"])
assert "ott" in sys.modules and dict(jax.config.values) == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


# --- maximum mean discrepancy -----------------------------------------------------------------------------


def kernel_mean(shift, v, w, d, h):
    """E k(x, y) for x ~ N(0, v I), y ~ N(shift 1, w I): (h²/t)^{d/2} exp(−d shift²/2t), t = h² + v + w."""
    t = h * h + v + w
    return (h * h / t) ** (d / 2) * math.exp(-d * shift**2 / (2 * t))


def gaussian_discrepancy(shift, w, d, h):
    within = kernel_mean(0, 1, 1, d, h) + kernel_mean(0, w, w, d, h)
    return within - 2 * kernel_mean(shift, 1, w, d, h)


N, M, D, H = 60, 40, 2, 0.8
WEIGHTS = rng(23).gamma(4, size=N)


def discrepancies(shift, deviation, repeats=400, **options):
    """(estimate, se) for independent samples of N(0, 1) and N(shift, deviation²) in D coordinates."""
    draws = (rng(24, seed) for seed in range(repeats))
    pairs = ((r.standard_normal((N, D)), shift + deviation * r.standard_normal((M, D))) for r in draws)
    return np.array([maximum_mean_discrepancy(x, y, bandwidth=H, **options) for x, y in pairs]).T


@pytest.mark.parametrize("weights", (None, WEIGHTS))
@pytest.mark.parametrize(("unbiased", "shift"), [(True, 0.3), (False, 0.3), (True, 0.0), (True, 2.0)])
def test_the_discrepancy_and_its_error_are_their_double_sums(weights, unbiased, shift):
    """The formulas of the docstring with dense matrices and explicit masks, value and standard error."""
    draw = rng(25)
    x, y, b = draw.standard_normal((N, D)), draw.standard_normal((M, D)) + shift, draw.random(M) + 0.5
    a = np.ones(N) if weights is None else weights
    a, b = a / a.sum(), b / b.sum()

    def kernel(x, y):
        return np.exp(-np.sum((x[:, None] - y) ** 2, axis=2) / (2 * H * H))

    def centred_square(k, mass):
        rows, columns = (k * mass).sum(1) / mass.sum(1), (k * mass).sum(0) / mass.sum(0)
        return np.sum((mass * (k - rows[:, None] - columns + np.sum(k * mass) / mass.sum())) ** 2)

    cross, mass = kernel(x, y), a[:, None] * b
    truth, influence, degenerate = -2 * np.sum(mass * cross), 0.0, 4 * centred_square(cross, mass)
    for k, w, across in (
        (kernel(x, x), a, cross @ b - a @ cross @ b),
        (kernel(y, y), b, a @ cross - a @ cross @ b),
    ):
        every = w[:, None] * w
        others = every * (1 - np.eye(len(w)))
        kept = others if unbiased else every
        truth += np.sum(kept * k) / kept.sum()
        rows = (others * k).sum(1) / others.sum(1) - np.sum(others * k) / others.sum()
        influence += np.sum((2 * w * (rows - across)) ** 2) / others.sum()
        degenerate += 2 * centred_square(k, others) / others.sum() ** 2
    variance = max(influence - 2 * degenerate, 0.0) + degenerate
    value, error = maximum_mean_discrepancy(
        x, y, weights_x=weights, weights_y=b, bandwidth=H, unbiased=unbiased
    )
    assert abs(value - truth) <= 4 * (N + M) * EPS
    assert abs(error**2 - variance) <= 40 * (N + M) * EPS / min(N, M)  # φ_i is of order 1/n


def test_the_discrepancy_does_not_depend_on_the_tiles(monkeypatch):
    x, y = rng(26).standard_normal((N, D)), rng(27).standard_normal((M, D))
    whole = maximum_mean_discrepancy(x, y, bandwidth=H)
    monkeypatch.setattr(mmd, "BLOCK", 7)
    # the standard error is a root of a variance of order 1/n² here, known to n EPS
    np.testing.assert_allclose(
        maximum_mean_discrepancy(x, y, bandwidth=H), whole, rtol=0, atol=(N + M) ** 2 * EPS
    )


@pytest.mark.parametrize("weights", (None, WEIGHTS))
@pytest.mark.parametrize(("shift", "deviation"), [(0.0, 1.0), (0.4, 1.2), (1.0, 1.0), (0.0, 2.0)])
def test_the_discrepancy_of_gaussians_has_the_closed_form_as_its_mean(shift, deviation, weights):
    """False alarms 1e-6 per case. Fixed weights keep the mean: the points are independent of them."""
    values, _ = discrepancies(shift, deviation, weights_x=weights)
    assert_mean(values, gaussian_discrepancy(shift, deviation**2, D, H))


def test_the_discrepancy_of_equal_laws_has_mean_zero_only_without_the_diagonal():
    unbiased, _ = discrepancies(0.0, 1.0)
    biased, _ = discrepancies(0.0, 1.0, unbiased=False)
    excess = (1 - kernel_mean(0, 1, 1, D, H)) * (1 / N + 1 / M)
    assert_mean(unbiased, 0.0)
    assert_mean(biased, excess)
    with pytest.raises(AssertionError):  # negative control: the diagonal is seen
        assert_mean(biased, 0.0)
    with pytest.raises(AssertionError):  # negative control: so is a shift by 0.4
        assert_mean(discrepancies(0.4, 1.0)[0], 0.0)


@pytest.mark.parametrize("weights", (None, WEIGHTS))
def test_the_standard_error_of_the_discrepancy_is_its_spread_over_samples(weights):
    """Where laws differ E se² = variance to O(1/n), ten per cent here; a factor of two is caught.

    Spread of a squared deviation 1.6, error worth catching 0.5 − 0.1: R ≥ (7 · 1.6/0.4)² = 784.
    """
    values, errors = discrepancies(0.5, 1.2, repeats=1000, weights_x=weights)
    truth = gaussian_discrepancy(0.5, 1.44, D, H)
    ratio = (values - truth) ** 2 / np.mean((values - truth) ** 2)
    excess = ratio - errors**2 / np.mean((values - truth) ** 2)
    assert_mean(excess, 0.0, bias=0.1)
    for wrong in (2.0, 0.5):
        with pytest.raises(AssertionError):
            assert_mean(ratio - wrong * (ratio - excess), 0.0, bias=0.1)


def test_the_standard_error_is_safe_where_the_laws_are_equal():
    """variance ≤ E se² ≤ 2 variance, both to O(1/n): V₂ is all there is, and it is counted once or twice."""
    values, errors = discrepancies(0.0, 1.0, repeats=1000)
    excess = values**2 - errors**2
    assert_mean(excess, -np.mean(values**2) / 2, bias=0.6 * np.mean(values**2))
    with pytest.raises(AssertionError):  # negative control: the delta method alone, V₁ without V₂
        assert_mean(values**2 - 0.1 * errors**2, -np.mean(values**2) / 2, bias=0.6 * np.mean(values**2))


def test_the_discrepancy_between_clouds_is_a_squared_metric():
    x, y, z = rng(28).standard_normal((3, 20, D))

    def distance(x, y, h=H, **options):
        value, _ = maximum_mean_discrepancy(x, y, bandwidth=h, unbiased=False, **options)
        return math.sqrt(max(value, 0.0))

    rounding = math.sqrt(100 * EPS)
    assert distance(x, x[::-1]) <= rounding
    assert abs(distance(x, y) - distance(y, x)) <= rounding
    assert distance(x, z) <= distance(x, y) + distance(y, z)
    Q = rotation(D, 3)
    moved = distance(5 * x[::-1] @ Q + 1, 5 * y @ Q + 1, 5 * H)
    assert moved == pytest.approx(distance(x, y), abs=rounding)
    counts = rng(29).integers(0, 3, 20)
    repeated = distance(np.repeat(x, counts, axis=0), y)
    assert distance(x, y, weights_x=counts) == pytest.approx(repeated, abs=rounding)


def test_point_masses_have_the_discrepancy_of_the_kernel():
    x, y = np.zeros((2, 3)), np.full((3, 3), 0.5)
    found = maximum_mean_discrepancy(x, y, bandwidth=0.7)
    truth = 2 - 2 * math.exp(-0.75 / (2 * 0.49))
    np.testing.assert_allclose(found, (truth, 0.0), rtol=0, atol=20 * EPS)


def test_the_default_bandwidth_is_the_median_distance():
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [7.0]])  # distances 1, 2, 3, 4, 6, 7
    assert median_bandwidth(x, y) == 3.5
    assert maximum_mean_discrepancy(x, y) == maximum_mean_discrepancy(x, y, bandwidth=3.5)
    x, y = rng(30).standard_normal((2, 3000, 1))  # |z − z'| = √2 |N(0,1)|, median √2 · 0.6745
    median, density = (
        math.sqrt(2) * scipy.stats.norm.isf(0.25),
        2 * scipy.stats.norm.pdf(0.6745) / math.sqrt(2),
    )
    # an order statistic of pairs: se at most that of n/2 independent pairs, n = 2000 points
    assert abs(median_bandwidth(x, y) - median) <= 5 * 0.5 / (density * math.sqrt(1000))


# --- all of them ------------------------------------------------------------------------------------------

X, Y = rng(31).standard_normal((32, 3)), rng(32).standard_normal((32, 3)) + 0.5
DOORS = {
    "wasserstein_1d": lambda x, y, **k: wasserstein_1d(x[..., 0], y[..., 0], **k),
    "sliced_wasserstein": sliced_wasserstein,
    "assignment_distance": assignment_distance,
    "sinkhorn": sinkhorn,
    "maximum_mean_discrepancy": maximum_mean_discrepancy,
    "coupled_distance": coupled_distance,
}


@pytest.mark.parametrize("name", DOORS)
def test_no_number_depends_on_the_caller_s_precision(name):
    outside = DOORS[name](X, Y)
    with jax.enable_x64(True):
        assert DOORS[name](X, Y) == outside
    with jax.enable_x64(False):
        assert DOORS[name](jax.numpy.asarray(X), Y) != outside  # float32 points are other points
        assert DOORS[name](X, Y) == outside
    leaves = jax.tree.leaves(vars(outside) if name == "sinkhorn" else outside)
    assert all(type(leaf) in (float, int, bool) for leaf in leaves)


@pytest.mark.parametrize("name", DOORS)
def test_bad_clouds_are_refused_in_one_sentence(name):
    door = DOORS[name]
    with pytest.raises(ValueError, match="Argument `x` must be finite, but is nan at index"):
        door(np.where(X == X[1, 0], np.nan, X), Y)
    with pytest.raises(ValueError, match="Argument `y` must be an array of"):
        door(X, Y[..., None])
    with pytest.raises(TypeError, match="Argument `x` must be an array of .* of real numbers, but is"):
        door(X + 1j, Y)
    if name not in ("sinkhorn", "maximum_mean_discrepancy"):
        with pytest.raises(ValueError, match="`order` must be a finite number of at least 1, but is 0.5"):
            door(X, Y, order=0.5)
    if name != "assignment_distance":
        key = "weights" if name == "coupled_distance" else "weights_x"
        for weights in (np.ones(31), np.r_[-1, np.ones(31)], np.zeros(32), np.ones((32, 1))):
            with pytest.raises(ValueError, match=f"`{key}` must be one weight for each point, shape .32,."):
                door(X, Y, **{key: weights})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sinkhorn(X, Y[:, :2]), "`y` must be points with the 3 coordinates of `x`"),
        (lambda: assignment_distance(X, Y[:9]), "`y` must be as many points as `x`, 32"),
        (lambda: assignment_distance(X, Y, most=9), "at most 9 points .*32: use `sinkhorn` or `sliced_wass"),
        (lambda: coupled_distance(X, Y[:9]), r"`y` must be coupled to `x`, shape \(32, 3\)"),
        (lambda: sliced_wasserstein(X, Y, directions=1), "`directions` must be an integer of at least 2"),
        (lambda: sliced_wasserstein(X, Y, key=-1), "`key` must be an integer"),
        (lambda: sliced_wasserstein(X, Y, key="a"), "`key` must be an integer or one JAX key"),
        (lambda: sinkhorn(X, Y, epsilon=0), "`epsilon` must be a finite number above 0, but is 0"),
        (lambda: sinkhorn(X, Y, iterations=0), "`iterations` must be an integer of at least 1"),
        (lambda: sinkhorn(X, Y, tolerance=0), "`tolerance` must be a finite number above 0"),
        (lambda: maximum_mean_discrepancy(X, Y, bandwidth=0), "`bandwidth` must be a finite number above 0"),
        (lambda: maximum_mean_discrepancy(X[:1], Y), "`x` must be two points or more of positive weight"),
        (lambda: maximum_mean_discrepancy(X, Y, unbiased=2), "`unbiased` must be True or False"),
        (lambda: median_bandwidth(0 * X, 0 * X), "`bandwidth` must be given where half of the pairs"),
    ],
)
def test_other_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_no_power_overflows():
    distances, weights = np.array([1e-200, 3e200]), np.array([0.5, 0.5])
    np.testing.assert_allclose(power_mean(distances, weights, 50), 3e200 * 0.5**0.02, rtol=10 * EPS)
