"""Closed forms of Gaussian expectations: against integrals, near and at their degenerate ends."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from assertions import EPS, EPS32, assert_close
from cases import in_double

from meanfield.numerics.gaussian.angle import angle, angle_of_chord, folded_angle
from meanfield.numerics.gaussian.error_function import Erf, Gelu
from meanfield.numerics.gaussian.homogeneous import PiecewiseLinear, Quadratic, Threshold
from meanfield.numerics.gaussian.periodic import Bump, Cosine, Sine


def gelu_slope(z):
    return scipy.special.ndtr(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


SMOOTH = {
    "erf": (Erf(), scipy.special.erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z)),
    "gelu": (Gelu(), lambda z: z * scipy.special.ndtr(z), gelu_slope),
    "sin": (Sine(), np.sin, np.cos),
    "cos": (Cosine(), np.cos, lambda z: -np.sin(z)),
    "bump": (Bump(), lambda z: np.exp(-z * z / 2), lambda z: -z * np.exp(-z * z / 2)),
    "quadratic": (Quadratic(), np.square, lambda z: 2 * z),
    "identity": (PiecewiseLinear(above=1.0, below=1.0), lambda z: z, np.ones_like),
}
KINKED = {"relu": (1.0, 0.0), "absolute": (1.0, -1.0), "leaky": (1.0, 0.2), "steep": (-0.5, 2.0)}
DUALS = {name: case[0] for name, case in SMOOTH.items()}
DUALS |= {name: PiecewiseLinear(above=above, below=below) for name, (above, below) in KINKED.items()}
WITH_SLOPE = pytest.mark.parametrize("name", DUALS)

# What sums of 2^17 terms by pairs (17 roundings), weights and the closed forms (some thirty) may be off by,
# in units of the norms of both functions.
ROUNDINGS = 100


def one(dual, a, b, delta):
    """(1 − E φφ'/√(E φ² E φ'²), E φ'φ') for numbers a, b, δ."""
    found = dual.pair(dual.side(a[None]), dual.side(b[None]), delta[None, None])
    return tuple(v if v is None else v[0, 0] for v in found)


@jax.jit
def compiled(dual, a, b, delta):
    return dual.second(a), dual.second(b), *jax.vmap(one, (None, 0, 0, 0))(dual, a, b, delta)


def entries(dual, a, b, delta):
    """(E φ(u)², E φ(v)², 1 − E φφ'/√…, E φ'φ'), (n,) each, in float64; only one size is compiled."""
    count = len(a)
    a, b, delta = (np.resize(np.asarray(v, float), 24) for v in (a, b, delta))
    return tuple(v if v is None else v[:count] for v in in_double(compiled, dual, a, b, delta))


@jax.jit
def rates(dual, a, b, delta):
    """Jacobians of `one` in a, b and δ, (n,) each: a tuple for each of the two values."""
    return jax.vmap(jax.jacfwd(one, (1, 2, 3)), (None, 0, 0, 0))(dual, a, b, delta)


def covariances(count=24, seed=0, largest=4.0):
    """Variances over two decades, equal and zero too; δ anywhere, tiny, nearly 2 and at both ends."""
    rng = np.random.default_rng(seed)
    a, b = np.exp(rng.uniform(np.log(0.04), np.log(largest), (2, count)))
    delta = rng.uniform(0, 2, count)
    delta[0::4] = 10.0 ** rng.uniform(-12, -1, len(delta[0::4]))
    delta[1::8] = 2 - 10.0 ** rng.uniform(-12, -1, len(delta[1::8]))
    b[0::3] = a[0::3]
    delta[:3], b[0] = (0, 2, 0), a[0]
    a[3:5], b[4] = 0, 0
    return a, b, delta


@functools.cache
def grid(nodes=360, reach=9.0):
    """Trapezoidal rule for two independent standard normal numbers: z1, z2 (N, 1), (1, N), weights (N, N).

    The step 0.05 leaves e^{−2πw/0.05} e^{w²/2} max |φφ'| over the strip |Im z| < w for these entire
    functions: far below a rounding at w = 2. The law beyond 9 weighs 2e-19.
    """
    z = np.linspace(-reach, reach, nodes)
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()
    return z[:, None], z[None], weight[:, None] * weight[None]


def integral(f, g, a, b, delta):
    """E[f(u)g(v)] on the grid. √(1 − ρ²) from δ: correlations at 1 lose nothing."""
    z1, z2, weight = grid()
    v = math.sqrt(b) * ((1 - delta) * z1 + math.sqrt(delta * (2 - delta)) * z2)
    return float((weight * f(math.sqrt(a) * z1) * g(v)).sum())


def polar(name, a, b, delta):
    """E[φφ'] and E[φ'φ'] of a piecewise linear φ: the radius separates, E r² = 2; pieces of the angle."""
    above, below = KINKED[name]
    theta = math.atan2(math.sqrt(delta * (2 - delta)), 1 - delta)

    def integrate(f):
        breaks = sorted(
            {t % (2 * math.pi) for t in (math.pi / 2, -math.pi / 2, theta + math.pi / 2, theta - math.pi / 2)}
        )
        edges = [0.0, *breaks, 2 * math.pi]
        pieces = [
            scipy.integrate.fixed_quad(f, *ends, n=20)[0] for ends in zip(edges, edges[1:], strict=False)
        ]
        return sum(pieces) / (2 * math.pi)

    def value(t):
        return np.where(np.cos(t) > 0, above, below) * np.cos(t)

    def slope(t):
        return np.where(np.cos(t) > 0, above, below)

    product = 2 * math.sqrt(a * b) * integrate(lambda t: value(t) * value(t - theta))
    return product, integrate(lambda t: slope(t) * slope(t - theta))


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_closed_forms_are_the_integrals(name):
    dual, f, slope_of = SMOOTH[name]
    a, b, delta = covariances()
    second_a, second_b, defect, slope = entries(dual, a, b, delta)
    for k in range(len(a)):
        size = math.sqrt(integral(f, f, a[k], a[k], 0) * integral(f, f, b[k], b[k], 0))
        value = math.sqrt(second_a[k] * second_b[k]) * (1 - defect[k])
        assert abs(value - integral(f, f, a[k], b[k], delta[k])) <= ROUNDINGS * EPS * max(size, EPS)
        steep = math.sqrt(
            integral(slope_of, slope_of, a[k], a[k], 0) * integral(slope_of, slope_of, b[k], b[k], 0)
        )
        expected = integral(slope_of, slope_of, a[k], b[k], delta[k])
        assert abs(slope[k] - expected) <= ROUNDINGS * EPS * max(steep, EPS)


@pytest.mark.parametrize("name", KINKED)
def test_piecewise_linear_closed_forms_are_the_integrals(name):
    """Pieces of a trigonometric polynomial: twenty Gauss nodes are exact. θ itself is off by eps."""
    a, b, delta = covariances()
    second_a, second_b, defect, slope = entries(DUALS[name], a, b, delta)
    for k in range(len(a)):
        product, steep = polar(name, a[k], b[k], delta[k])
        value = math.sqrt(second_a[k] * second_b[k]) * (1 - defect[k])
        assert abs(value - product) <= ROUNDINGS * EPS * max(math.sqrt(a[k] * b[k]), EPS)
        assert abs(slope[k] - steep) <= ROUNDINGS * EPS * max(np.abs(KINKED[name])) ** 2


@pytest.mark.parametrize("above, below", [(1.0, -1.0), (1.0, 0.0), (2.0, 0.5)])
def test_thresholds_are_the_quadrant_probability(above, below):
    """P(u > 0, v > 0) = ½ − θ/2π (Sheppard 1899), the same for both below: each value has probability ½."""
    a, b, delta = covariances()
    second, _, defect, slope = entries(Threshold(above=above, below=below), a, b, delta)
    both = 0.5 - np.arctan2(np.sqrt(delta * (2 - delta)), 1 - delta) / (2 * math.pi)
    expected = both * (above**2 + below**2) + (1 - 2 * both) * above * below
    assert slope is None
    assert_close(second * (1 - defect), expected, ROUNDINGS)


@WITH_SLOPE
def test_small_differences_keep_their_digits(name):
    """1 − E/√… = (a E[φ'²]/E[φ²]) δ (1 + O(aδ) or O(√δ)) at equal variances: at δ = 1e-26 to rounding."""
    a, delta = np.array([0.05, 1.0, 30.0]), np.full(3, 1e-26)
    second, _, defect, slope = entries(DUALS[name], a, a, delta)
    expected = a * entries(DUALS[name], a, a, 0 * delta)[3] / second * delta
    # √δ = 1e-13 is what a kink may change; GELU at a variance of 30 adds numbers √30 times its sum.
    assert np.abs(defect / expected - 1).max() <= 1e-13 + 400 * EPS


@pytest.mark.parametrize("name", ["erf", "sin", "cos", "bump"])
@pytest.mark.parametrize("apart", [1e-2, 1e-5])
def test_nearly_equal_variances_keep_half_their_digits(name, apart):
    """At δ = 0 it is ½E(φ̂(√a z) − φ̂(√b z))², φ̂ of norm 1: a rounding of φ̂ moves it by eps times its root."""
    dual, f, _ = SMOOTH[name]
    z1, _, weight = grid()
    weight = weight.sum(1)
    a = np.array([0.3, 1.0, 3.0])
    b = a * (1 + apart)
    defect = entries(dual, a, b, np.zeros(3))[2]
    for k in range(3):
        left, right = (f(math.sqrt(v) * z1[:, 0]) for v in (a[k], b[k]))
        left, right = (v / math.sqrt(weight @ v**2) for v in (left, right))
        expected = weight @ (left - right) ** 2 / 2
        assert abs(defect[k] - expected) <= ROUNDINGS * EPS * math.sqrt(expected)


@WITH_SLOPE
def test_the_derivative_in_the_covariance_is_the_product_of_the_slopes(name):
    """∂E[φφ']/∂c = E[φ'φ'] (Price 1958) at every δ, both ends included, and that is all that moves."""
    dual = DUALS[name]
    a, b, delta = covariances()
    positive = (a > 0) & (b > 0)
    a, b, delta = a[positive], b[positive], delta[positive]

    rate = in_double(rates, dual, *(np.resize(v, 24) for v in (a, b, delta)))[0][2][: len(a)]
    second_a, second_b, _, slope = entries(dual, a, b, delta)
    scale = np.sqrt(a * b / (second_a * second_b))
    steep = np.sqrt(entries(dual, a, a, 0 * a)[3] * entries(dual, b, b, 0 * b)[3])
    assert (np.abs(rate - scale * slope) <= 10 * ROUNDINGS * EPS * scale * steep).all()


@WITH_SLOPE
def test_derivatives_in_the_variances_are_finite_differences(name):
    """Central differences: h² f'''/6 and eps f/h are both below 1e-9 of f at h = 1e-5 a; ten times that."""
    dual = DUALS[name]
    a, b, delta = (np.resize(v, 24) for v in ([0.2, 1.0, 3.0], [0.5, 1.0, 2.0], [0.3, 1.2, 1.9]))
    h = 1e-5 * a
    gradients = in_double(rates, dual, a, b, delta)
    above, below = entries(dual, a + h, b, delta), entries(dual, a - h, b, delta)
    for value, up, down, gradient in zip(
        entries(dual, a, b, delta)[2:], above[2:], below[2:], gradients, strict=True
    ):
        assert np.abs(a * (gradient[0] - (up - down) / (2 * h))).max() <= 1e-8 * np.abs(value).max()


@pytest.mark.parametrize(
    "name, dtype",
    [*((name, "float64") for name in DUALS), *((n, "float32") for n in ("relu", "erf", "gelu"))],
)
def test_values_and_gradients_are_finite_at_every_degenerate_covariance(name, dtype):
    """Variances 0, tiny and 1, δ = 0, tiny, 1 and 2 in every combination; values and derivatives."""
    dual = DUALS[name]
    tiny = float(np.finfo(dtype).tiny)
    pairs = [(0, 0), (0, tiny), (0, 1), (tiny, tiny), (1, tiny), (1, 1)]
    arrays = [
        np.array([(a, b, delta) for a, b in pairs for delta in (0, tiny, 1, 2)], dtype)[:, k]
        for k in range(3)
    ]
    for leaf in jax.tree.leaves(in_double(lambda *v: (compiled(dual, *v), rates(dual, *v)), *arrays)):
        assert leaf.dtype == dtype and np.isfinite(leaf).all()


@WITH_SLOPE
def test_single_precision_is_double_precision_to_single_roundings(name):
    """Variances to 4: what cancels in GELU at most doubles."""
    dual = DUALS[name]
    a, b, delta = (v.astype("float32").astype(float)[5:] for v in covariances(29))
    both = entries(dual, a, b, delta)
    steep = np.sqrt(entries(dual, a, a, 0 * a)[3] * entries(dual, b, b, 0 * b)[3])

    single = in_double(compiled, dual, *(v.astype("float32") for v in (a, b, delta)))[2:]
    assert all(v.dtype == np.float32 for v in single)
    assert np.abs(np.asarray(single[0], float) - both[2]).max() <= ROUNDINGS * EPS32
    assert (np.abs(np.asarray(single[1], float) - both[3]) <= ROUNDINGS * EPS32 * steep).all()


@WITH_SLOPE
def test_the_matrix_of_products_is_symmetric_and_positive_semidefinite(name):
    """Of points with repetitions, opposites and a zero: eigenvalues to n roundings of the largest."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((12, 3))
    x[1], x[2], x[3] = x[0], -x[0], 0
    a = (x * x).sum(1)
    size = np.sqrt(a[:, None] * a[None])
    cosine = np.divide(x @ x.T, size, out=np.zeros_like(size), where=size > 0)
    delta = np.clip(1 - cosine, 0, 2)
    np.fill_diagonal(delta, 0)
    dual = DUALS[name]

    def both(a, delta):
        side = dual.side(a)
        defect, slope = dual.pair(side, side, delta)
        second = jnp.sqrt(dual.second(a))
        return second[:, None] * second[None] * (1 - defect), slope

    for matrix in in_double(jax.jit(both), a, delta):
        largest = np.abs(matrix).max() * len(a)
        assert np.abs(matrix - matrix.T).max() <= ROUNDINGS * EPS * largest
        assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() >= -ROUNDINGS * EPS * largest


def small_integral(theta):
    """sin θ − θ cos θ = Σ_k (−1)^{k+1} 2k θ^{2k+1}/(2k+1)!, k ≥ 1: no difference for θ ≤ 1."""
    return sum(
        (-1) ** (k + 1) * 2 * k * theta ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(1, 12)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_angles_keep_their_digits(dtype):
    """A dozen roundings of polynomial, square root and reference."""
    eps = float(np.finfo(dtype).eps)
    delta = np.concatenate([10.0 ** np.linspace(-20, -1, 200), np.linspace(0.1, 2, 200)]).astype(dtype)
    theta, folded, near_integral = in_double(lambda d: (angle(d := jnp.asarray(d)), *folded_angle(d)), delta)
    assert theta.dtype == near_integral.dtype == dtype
    np.testing.assert_array_equal(theta, folded)
    exact = delta.astype(float)
    m = np.minimum(exact, 2 - exact)
    near = 2 * np.arcsin(np.sqrt(m / 2))
    expected = np.where(exact > 1, np.pi - near, near)
    assert (np.abs(theta - expected) <= 12 * eps * expected).all()
    expected = np.where(near < 1, small_integral(near), np.sin(near) - near * np.cos(near))
    assert (np.abs(near_integral - expected) <= 12 * eps * expected).all()
    chord = np.sqrt(2 * exact).astype(dtype)
    found = in_double(lambda s: angle_of_chord(jnp.asarray(s)), chord)
    # the condition of 2 arcsin(s/2), s/√(1 − s²/4), times a rounding of s²
    sine = np.minimum(chord.astype(float) / 2, 1)
    allowed = (
        12
        * eps
        * (2 * np.arcsin(sine) + np.minimum(2 * sine / np.sqrt(np.maximum(1 - sine**2, eps)), 1 / eps))
    )
    assert (np.abs(found - 2 * np.arcsin(sine)) <= allowed).all()


def test_the_derivatives_of_the_angles_are_given_where_they_are_infinite():
    """d∫ϑ = ϑ dm, m = min(δ, 2 − δ); dθ = dδ/sin θ and 0 at both ends."""
    delta = np.array([0.0, 1e-20, 0.3, 0.9, 1.7, 2.0])
    slope = in_double(jax.vmap(jax.grad(lambda d: folded_angle(d)[1])), delta)
    theta = in_double(angle, delta)
    np.testing.assert_array_equal(slope, np.where(delta > 1, theta - np.pi, theta))
    np.testing.assert_array_equal(
        in_double(jax.vmap(jax.grad(lambda d: folded_angle(d)[0])), delta),
        in_double(jax.vmap(jax.grad(angle)), delta),
    )
    rate = in_double(jax.vmap(jax.grad(angle)), delta)
    assert rate[0] == rate[-1] == 0
    assert_close(rate[1:-1] * np.sqrt(delta * (2 - delta))[1:-1], np.ones(4), 4)
