"""Expectations of straight lines between kinks: against closed inner integrals and the general quadrature."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from assertions import EPS32
from cases import in_double

from meanfield.model import activation as activations
from meanfield.numerics.gaussian.broken_line import broken_line
from meanfield.numerics.gaussian.quadrature import Quadrature


def hard_tanh(z):
    return jnp.clip(z, -1, 1)


def hard_slope(z):
    return (jnp.abs(z) < 1).astype(z.dtype)


def triangle(z):
    return jnp.maximum(1 - jnp.abs(z - 0.5), 0)


def triangle_slope(z):
    return jnp.where(jnp.abs(z - 0.5) < 1, jnp.sign(0.5 - z), 0).astype(z.dtype)


LINES = {
    "hard tanh": (hard_tanh, hard_slope, (-1.0, 1.0)),
    "triangle": (triangle, triangle_slope, (-0.5, 0.5, 1.5)),
}


@jax.jit
def compiled(dual, a, b, delta):
    return dual.second(a), *dual.pair(dual.side(a), dual.side(b), delta)


def case():
    """Equal, nearly equal and other variances over two decades; δ at, near and between its ends."""
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(-2, 2.5, (2, 5)))
    b[:3], b[3] = a[:3], a[3] * (1 + 1e-4)
    delta = rng.uniform(0, 2, (5, 5))
    delta[np.diag_indices(5)] = 0, 1e-8, 2, 1e-7, 1
    delta[0, 3], delta[3, 0] = 1e-3, 2 - 1e-6
    return a, b, delta


@pytest.mark.parametrize("name", ["hard tanh", pytest.param("triangle", marks=pytest.mark.slow)])
def test_broken_lines_are_the_quadrature(name):
    """Both promise 1e-12, the quadrature where a kink is at most some ten deviations away; small δ too."""
    line, general = broken_line(*LINES[name]), Quadrature(*LINES[name])
    found, expected = (in_double(compiled, dual, *case()) for dual in (line, general))
    for left, right in zip(found, expected, strict=True):
        assert np.isfinite(left).all()
        assert np.abs(left - right).max() <= 1e-11
    near = np.diag(case()[2]) == 1e-8
    left, right = (np.diag(v[1])[near] for v in (found, expected))
    np.testing.assert_allclose(left, right, rtol=1e-9)


def test_hard_tanh_is_its_expectation_given_one_number():
    """E[φ(u) E[φ(v)|u]], the inner one in closed form, the outer one by Gauss–Legendre in 400 pieces."""
    a, b, c = 2.0, 0.7, 0.9
    mean, spread = c / math.sqrt(a), math.sqrt(b - c * c / a)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.unique(np.append(np.linspace(-9, 9, 400), [-1 / math.sqrt(a), 1 / math.sqrt(a)]))
    z = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes) / 2
    weight = np.diff(edges)[:, None] / 2 * weights * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    low, high = (-1 - mean * z) / spread, (1 - mean * z) / spread
    P, p = scipy.special.ndtr, lambda t: np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    inner = mean * z * (P(high) - P(low)) + spread * (p(low) - p(high)) - P(low) + P(-high)
    value = (weight * np.clip(math.sqrt(a) * z, -1, 1) * inner).sum()
    slope = (weight * (np.abs(math.sqrt(a) * z) < 1) * (P(high) - P(low))).sum()
    delta = np.full((1, 1), 1 - c / math.sqrt(a * b))
    dual = broken_line(*LINES["hard tanh"])
    (first,), defect, found = in_double(compiled, dual, np.array([a]), np.array([b]), delta)
    second = in_double(compiled, dual, np.array([b]), np.array([b]), delta)[0][0]
    assert abs(math.sqrt(first * second) * (1 - defect[0, 0]) - value) <= 1e-12
    assert abs(found[0, 0] - slope) <= 1e-12


def test_single_precision_lines_are_right():
    """Two hundred additions a loop, and terms up to a few times the sum."""
    dual = broken_line(*LINES["hard tanh"])
    single = tuple(v.astype("float32") for v in case())
    found = in_double(compiled, dual, *single)
    exact = in_double(compiled, dual, *(v.astype(float) for v in single))
    for left, right in zip(found, exact, strict=True):
        assert left.dtype == np.float32
        assert np.abs(left - right).max() <= 100 * EPS32


def test_what_bends_or_jumps_is_not_a_broken_line():
    bent = activations.Activation(lambda z: jnp.where(z > 1, jnp.exp(1 - z), z), kinks=((1.0, -2.0),))
    jumping = activations.Activation(lambda z: jnp.where(z > 1, z + 1, z), kinks=((1.0, 0.0),))
    for phi in (bent, jumping):
        assert broken_line(phi.function, phi.derivative, (1.0,)) is None
    assert broken_line(activations.tanh.function, activations.tanh.derivative, ()) is None
    assert broken_line(*LINES["triangle"]).jumps == (1.0, -2.0, 1.0)
