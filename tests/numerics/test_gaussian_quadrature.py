"""Gaussian expectations by quadrature and by series: against closed forms and against plain rules."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from assertions import EPS, assert_close, assert_one_sentence
from cases import in_double

from meanfield.model import activation as activations
from meanfield.numerics.gaussian.error_function import Erf, Gelu
from meanfield.numerics.gaussian.homogeneous import PiecewiseLinear
from meanfield.numerics.gaussian.mehler import Mehler, series
from meanfield.numerics.gaussian.periodic import Bump, Cosine
from meanfield.numerics.gaussian.quadrature import Quadrature, expectation

RELU = PiecewiseLinear(above=1.0, below=0.0)


def quadrature(phi):
    return Quadrature(phi.function, phi.derivative, tuple(point for point, _ in phi.kinks))


@jax.jit
def compiled(dual, a, b, delta):
    """(E φ² (n,), 1 − E φφ'/√…, E φ'φ' (n, m))."""
    return dual.second(a), *dual.pair(dual.side(a), dual.side(b), delta)


@jax.jit
def moved(dual, a, b, delta, da, db, ddelta):
    """Derivatives of both values along a direction, forwards."""

    def values(a, b, delta):
        return dual.pair(dual.side(a), dual.side(b), delta)

    return jax.jvp(values, (a, b, delta), (da, db, ddelta))[1]


@jax.jit
def gradients(dual, a, b, delta, weights):
    """Gradients of a weighted sum of both values, backwards."""

    def total(a, b, delta):
        defect, slope = dual.pair(dual.side(a), dual.side(b), delta)
        return (weights * (defect + slope)).sum()

    return jax.grad(total, (0, 1, 2))(a, b, delta)


def case(scale=1.0):
    """Variances (5,), (5,) and δ (5, 5): ends, tiny values and δ = 1 among them; the last variances are 0."""
    rng = np.random.default_rng(0)
    a, b = scale * rng.uniform(0.2, 2, 5), scale * rng.uniform(0.2, 2, 5)
    delta = rng.uniform(0, 2, (5, 5))
    b[:2], delta[0, 0], delta[1, 1], delta[2, 2], delta[3, 3] = a[:2], 0, 2, 1, 1e-12
    a[4], b[4], delta[4] = 0, 0, (0, 1, 2, 0, 2)
    return a, b, delta


SLOW_GELU = pytest.param("gelu", Gelu(), marks=pytest.mark.slow)


@pytest.mark.parametrize("phi, closed", [("erf", Erf()), SLOW_GELU, ("relu", RELU)])
def test_quadrature_is_the_closed_form(phi, closed):
    """The rule leaves 1e-13 at unit variances: half as many nodes leave 1e-8 and the error squares."""
    dual = quadrature(getattr(activations, phi))
    (second, *found), (exact, *expected) = (in_double(compiled, d, *case()) for d in (dual, closed))
    assert np.abs(second - exact).max() <= 1e-13
    for left, right in zip(found, expected, strict=True):
        assert np.isfinite(left).all()
        # at variance 0 a kinked slope is the branch taken there, not the mean of both
        assert np.abs(left - right)[:4, :4].max() <= 1e-12 * max(np.abs(right).max(), 1)


SLOW_ERF = pytest.param("erf", Erf(), marks=pytest.mark.slow)


@pytest.mark.parametrize("phi, closed", [SLOW_ERF, ("relu", RELU)])
def test_derivatives_of_the_quadrature_are_those_of_the_closed_form(phi, closed):
    """Integrals of the same kind; finite at zero variances too, where each form has its own branch."""
    rng = np.random.default_rng(1)
    arguments = [*case(), *(rng.standard_normal(shape) for shape in ((5,), (5,), (5, 5)))]
    found, expected = (
        in_double(moved, d, *arguments) for d in (quadrature(getattr(activations, phi)), closed)
    )
    for left, right in zip(found, expected, strict=True):
        assert np.isfinite(left).all()
        left, right = left[:4, :4], right[:4, :4]
        assert np.abs(left - right).max() <= 10e-12 * max(np.abs(right).max(), 1)


@pytest.mark.slow
@pytest.mark.parametrize("phi, closed", [("erf", Erf()), ("relu", RELU)])
def test_gradients_of_the_quadrature_are_those_of_the_closed_form(phi, closed):
    """Sums of 25; entries of zero variance have weight 0."""
    weights = np.zeros((5, 5))
    weights[:4, :4] = np.random.default_rng(1).random((4, 4))
    duals = quadrature(getattr(activations, phi)), closed
    for left, right in zip(*(in_double(gradients, d, *case(), weights) for d in duals), strict=True):
        assert np.abs(left - right).max() <= 25e-12 * max(np.abs(right).max(), 1)


def test_quadrature_takes_no_difference_of_correlations():
    """Half of E(φ̂(u) − φ̂(v))² at δ = 1e-14: the arguments differ by √δ and are rounded by eps."""
    a, delta = np.linspace(0.3, 1.5, 5), np.full((5, 5), 1e-14)
    dual = quadrature(activations.tanh)
    second, defect, slope = in_double(compiled, dual, a, a, delta)
    expected = np.diag(slope) * a / second * 1e-14
    assert np.abs(np.diag(defect) / expected - 1).max() <= 8 * EPS / 1e-7


def plain(f, g, a, b, c, step):
    """E[f(u)g(v)] by the trapezoidal rule in two independent numbers, a strip at a time; b = a."""
    z = np.arange(-8.5, 8.5, step)
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()
    root = math.sqrt(a)
    own = math.sqrt(max(a - c * c / a, 0.0))
    inner = [weight @ g(c / root * z1 + own * z) for z1 in z]
    return float(weight * f(root * z) @ np.array(inner))


@pytest.mark.parametrize("c", [0.5, -0.9, 1.0])
def test_tanh_at_unit_scale_to_ten_digits(c):
    """Poles of tanh at ±iπ/2: a step of 0.25 leaves e^{−2π(π/2)/0.25} = 7e-18, and 8.5 leaves 2e-17."""
    value, error = expectation(jnp.tanh, jnp.tanh, 1.0, 1.0, c)
    assert abs(value - plain(np.tanh, np.tanh, 1.0, 1.0, c, 0.25)) <= 1e-13
    assert 0 <= error <= 1e-6


@pytest.mark.parametrize("c", [5000.0, 9990.0])
def test_tanh_at_huge_variances_to_six_digits(c):
    """Step 0.005: the pole nearest to the axis is at 0.0157i, e^{−2π 0.0157/0.005} = 3e-9."""
    value, error = expectation(jnp.tanh, jnp.tanh, 1e4, 1e4, c)
    assert abs(value - plain(np.tanh, np.tanh, 1e4, 1e4, c, 0.005)) <= 1e-7
    assert error <= 1e-4


def hard_tanh(z):
    return jnp.clip(z, -1, 1)


@pytest.mark.parametrize("a, b, c", [(1.0, 2.0, 0.7), (0.5, 3.0, -1.2), (4.0, 4.0, 4.0), (1.0, 1.0, 0.9999)])
def test_kinks_away_from_zero(a, b, c):
    """Against the inner integral in closed form, m(P₋₁ − P₁) + s(p₋₁ − p₁) + …, and Gauss–Legendre pieces of
    the outer one between the kinks and what the noise smooths; 60 nodes a piece leave rounding."""
    mean, spread = c / math.sqrt(a), math.sqrt(max(b - c * c / a, 0.0))

    def inner(z):
        m = mean * z
        if spread == 0:
            return np.clip(m, -1, 1)
        low, high = (-1 - m) / spread, (1 - m) / spread
        P, p = scipy.special.ndtr, lambda t: np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        return m * (P(high) - P(low)) + spread * (p(low) - p(high)) - P(low) + P(-high)

    points = [k / s for k in (-1, 1) for s in (math.sqrt(a), mean)]
    width = spread / abs(mean)
    edges = sorted({-9.0, 9.0, *(np.clip(p + w * width, -9, 9) for p in points for w in (-8, -3, 0, 3, 8))})
    nodes, weights = np.polynomial.legendre.leggauss(60)
    total = 0.0
    for low, high in zip(edges, edges[1:], strict=False):
        z = (low + high) / 2 + (high - low) / 2 * nodes
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        total += (high - low) / 2 * weights @ (density * np.clip(math.sqrt(a) * z, -1, 1) * inner(z))
    value, error = expectation(hard_tanh, hard_tanh, a, b, c, kinks=(-1.0, 1.0))
    assert abs(value - total) <= 1e-12
    assert error <= 1e-6


def test_mixed_functions_by_parts():
    """E[tanh(u) v] = c E[tanh'(u)] (Stein), one number against an integral over one."""
    a, b, c = 1.3, 0.8, 0.6
    value, _ = expectation(jnp.tanh, lambda z: z, a, b, c)
    z = np.arange(-9, 9, 0.1)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    assert abs(value - c * weight @ (1 - np.tanh(math.sqrt(a) * z) ** 2)) <= 1e-12


def test_the_error_estimate_covers_the_error():
    """A jump that is not named: the rule is poor, and says so."""
    value, error = expectation(lambda z: (z > 0.3) * 1.0, lambda z: (z > 0.3) * 1.0, 1.0, 1.0, 0.0)
    truth = scipy.special.ndtr(-0.3) ** 2
    assert 1e-8 < abs(value - truth) <= 10 * error
    value, _ = expectation(lambda z: (z > 0.3) * 1.0, lambda z: (z > 0.3) * 1.0, 1.0, 1.0, 0.0, kinks=(0.3,))
    assert abs(value - truth) <= 1e-12


@pytest.mark.parametrize(
    "arguments, word",
    [((-1.0, 1.0, 0.0), "a"), ((1.0, -1.0, 0.0), "b"), ((1.0, 1.0, 1.1), "c")],
)
def test_impossible_covariances_are_told(arguments, word):
    with pytest.raises(ValueError) as error:
        expectation(jnp.tanh, jnp.tanh, *arguments)
    assert_one_sentence(str(error.value), f"`{word}`")


@functools.cache
def made(name, low, high, dtype="float64"):
    phi = activations.hermite(3) if name == "hermite" else getattr(activations, name)
    return series(phi.function, low, high, dtype)


def inside():
    """The case with variances of the interval of the series in place of zero."""
    a, b, delta = case()
    a[4], b[4] = 0.2, 2.0
    return a, b, delta


CLOSED = {"erf": Erf(), "gelu": Gelu(), "cos": Cosine(), "gaussian": Bump()}


@pytest.mark.parametrize("name", CLOSED)
def test_series_are_the_closed_forms(name):
    """Odd, even and neither. Cut at four roundings; sums of up to a hundred positive terms."""
    a, b, delta = inside()
    found = in_double(compiled, made(name, 0.2, 2.0), a, b, delta)
    for left, right in zip(found, in_double(compiled, CLOSED[name], a, b, delta), strict=True):
        assert np.abs(left - right).max() <= 200 * EPS * np.abs(right).max()


def test_series_of_tanh_is_the_quadrature():
    a, b, delta = inside()
    found = in_double(compiled, made("tanh", 0.2, 2.0), a, b, delta)
    for left, right in zip(
        found, in_double(compiled, quadrature(activations.tanh), a, b, delta), strict=True
    ):
        assert np.abs(left - right).max() <= 1e-12


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("largest", [1e-3, 0.1, 0.5, 0.8])
def test_series_of_small_correlations_take_few_terms(name, largest):
    """And lose nothing by it: what is left of the series is a rounding of its first term."""
    a, b, _ = inside()
    delta = 1 - largest * np.linspace(-1, 1, 25).reshape(5, 5)
    found = in_double(compiled, made(name, 0.2, 2.0), a, b, delta)
    for left, right in zip(found, in_double(compiled, CLOSED[name], a, b, delta), strict=True):
        assert np.abs(left - right).max() <= 200 * EPS * max(np.abs(right).max(), 1)


def test_series_keep_small_differences_of_correlation_and_of_variance():
    """(a E φ'²/E φ²) δ at equal variances; at δ = 0 as the quadrature, to a rounding of φ times the root."""
    dual, exact = made("tanh", 0.2, 2.0), quadrature(activations.tanh)
    a = np.linspace(0.3, 1.5, 5)
    second, defect, slope = in_double(compiled, dual, a, a, np.full((5, 5), 1e-20))
    assert_close(np.diag(defect), np.diag(slope) * a / second * 1e-20, 200)
    b = a * (1 + 1e-5)
    left, right = (np.diag(in_double(compiled, d, a, b, np.zeros((5, 5)))[1]) for d in (dual, exact))
    assert (np.abs(left - right) <= 200 * EPS * np.sqrt(right)).all()


def test_the_hermite_polynomial_is_one_power():
    """E[h_3(u)h_3(v)] = ρ³ at unit variances, E[h_3'h_3'] = 3ρ²."""
    delta = np.linspace(0, 2, 9)[None]
    second, defect, slope = in_double(compiled, made("hermite", 1.0, 1.0), np.ones(1), np.ones(9), delta)
    assert_close(second, np.ones(1), 200)
    assert_close(defect, 1 - (1 - delta) ** 3, 200)
    assert_close(slope, 3 * (1 - delta) ** 2, 200)


def test_series_at_variance_zero_and_their_limits():
    """tanh near 0 is z − z³/3: E φ'φ' = 1 at a = b = 0; past a thousand terms there is no series."""
    dual = series(activations.tanh.function, 0.0, 1.0, "float64")
    second, defect, slope = in_double(
        compiled, dual, np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.ones((2, 2)) / 2
    )
    assert second[0] == 0 and np.isfinite(defect).all()
    assert_close(slope[0, 0], 1.0, 8)
    assert slope[0, 1] == slope[1, 0]
    assert series(activations.tanh.function, 1.0, 100.0, "float64") is None
    assert isinstance(series(activations.tanh.function, 1.0, 8.0, "float32"), Mehler)


def test_single_precision_series_are_shorter_and_right():
    a, b, delta = (v.astype("float32") for v in inside())
    found = in_double(compiled, made("tanh", 0.2, 2.0, "float32"), a, b, delta)
    exact = in_double(compiled, made("tanh", 0.2, 2.0), *(v.astype(float) for v in (a, b, delta)))
    for left, right in zip(found, exact, strict=True):
        assert left.dtype == np.float32
        assert np.abs(left - right).max() <= 200 * 2.0**-23 * np.abs(right).max()
    assert len(made("tanh", 0.2, 2.0, "float32").table[0]) < len(made("tanh", 0.2, 2.0).table[0]) / 2
