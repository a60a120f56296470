"""tanh and the logistic function as mixtures of error functions."""

import functools

import jax
import numpy as np
import pytest
import scipy.special
from assertions import EPS32
from cases import in_double

from meanfield.kernels.duals import LOGISTIC
from meanfield.model import activation as activations
from meanfield.numerics.gaussian.logistic import SCALES, logistic, scales
from meanfield.numerics.gaussian.quadrature import Quadrature


@pytest.mark.parametrize("dtype, error", [("float64", 3e-13), ("float32", 2e-8)])
def test_tanh_is_a_mixture_of_error_functions(dtype, error):
    """Everywhere: beyond 20 both are one. A rule of four scales is seen to be worse."""
    z = np.linspace(0, 20, 2001)[:, None]

    def mixture(count):
        kappa, weight = scales(count)
        return scipy.special.erf(z / np.sqrt(2) / kappa) @ weight

    assert np.abs(mixture(SCALES[dtype]) - np.tanh(z[:, 0])).max() <= error
    assert np.abs(mixture(4) - np.tanh(z[:, 0])).max() > 1e-6


@jax.jit
def compiled(dual, a, b, delta):
    return dual.second(a), *dual.pair(dual.side(a), dual.side(b), delta)


@functools.cache
def made(name, dtype):
    phi = getattr(activations, name)
    return logistic(phi.function, *LOGISTIC[phi], 9.0, 1e4, dtype)


def case():
    rng = np.random.default_rng(1)
    a = np.exp(rng.uniform(np.log(9), np.log(1e4), 5))
    b, delta = a * [1, 1, 1, 1 + 1e-5, 0.3], rng.uniform(0, 2, (5, 5))
    delta[np.diag_indices(5)] = 0, 1e-12, 2, 0, 1e-4
    return a, b, delta


@pytest.mark.parametrize("name", ["tanh", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_mixtures_are_the_quadrature_at_large_variances(name):
    """φ to 3e-13 in both factors, φ' to 2e-12; the quadrature to 1e-9 of slopes of size 1/√a."""
    phi = getattr(activations, name)
    general = Quadrature(phi.function, phi.derivative)
    (second, defect, slope), expected = (
        in_double(compiled, dual, *case()) for dual in (made(name, "float64"), general)
    )
    assert np.abs(second - expected[0]).max() <= 1e-13
    assert np.abs(defect - expected[1]).max() <= 1e-10
    assert np.abs(slope - expected[2]).max() <= 1e-9 * np.abs(expected[2]).max()
    # nothing is lost where two inputs, or two variances, nearly coincide
    for k in (1, 3):
        assert abs(defect[k, k] / expected[1][k, k] - 1) <= 1e-6


def test_single_precision_mixtures_are_right():
    """Sums of a hundred arcs of either size; the scales leave 2e-8."""
    single = tuple(v.astype("float32") for v in case())
    found = in_double(compiled, made("tanh", "float32"), *single)
    exact = in_double(compiled, made("tanh", "float64"), *(v.astype(float) for v in single))
    for left, right in zip(found, exact, strict=True):
        assert left.dtype == np.float32
        assert np.abs(left - right).max() <= 100 * EPS32
