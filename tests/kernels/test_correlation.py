"""Order and chaos: fixed points, depth scales and the critical line."""

import math

import numpy as np
import pytest
import scipy.optimize
from assertions import EPS, assert_close, assert_one_sentence
from plain_kernels import erf_moments, tanh_moments

import meanfield as mf

A = mf.activations


def erf_phase(weight, bias):
    """q*, χ_1, c*, ξ_q, ξ_c of erf from its closed forms: V'(q) = σ_w² (4/π)/((1 + 2q)√(1 + 4q))."""
    q = scipy.optimize.brentq(lambda q: weight * erf_moments(q, q, q)[0] + bias - q, 1e-6, 1e3, xtol=1e-15)
    grown = weight * 4 / math.pi / ((1 + 2 * q) * math.sqrt(1 + 4 * q))

    def chi(c):
        return weight * 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - 4 * (c * q) ** 2)

    c = 1.0
    if chi(1.0) > 1:
        c = scipy.optimize.brentq(
            lambda c: (weight * erf_moments(q, q, c * q)[0] + bias) / q - c, -0.5, 1 - 1e-6
        )
    return q, chi(1.0), c, -1 / math.log(grown), -1 / math.log(chi(c))


@pytest.mark.parametrize("weight, bias", [(0.5, 0.1), (1.2, 0.3), (4.0, 0.1), (20.0, 0.5)])
def test_erf_against_its_closed_forms(weight, bias):
    """Roots to 1e-12; the depth of a correlation near the edge is 1/(1 − χ) times as sensitive."""
    found = mf.kernels.phase(A.erf, weight_variance=weight, bias_variance=bias)
    q, chi, c, depth_q, depth_c = erf_phase(weight, bias)
    assert abs(found.variance / q - 1) <= 1e-11
    assert abs(found.susceptibility / chi - 1) <= 1e-11
    assert abs(found.correlation - c) <= 1e-10
    assert abs(found.variance_depth / depth_q - 1) <= 1e-9
    assert abs(found.correlation_depth / depth_c - 1) <= 1e-9 * max(depth_c, 1)
    assert found.chaotic == (chi > 1)


def test_the_correlation_of_deep_networks_tends_to_the_fixed_point():
    """c of layer l is within e^{−l/ξ_c} of c* to a factor: after 40 ξ_c it is there; from both sides."""
    options = {"weight_variance": 3.0, "bias_variance": 0.2}
    found = mf.kernels.phase(A.erf, **options)
    assert found.chaotic and 0 < found.correlation < 1
    x = math.sqrt(2) * np.array([[1.0, 0.0], [math.cos(1e-3), math.sin(1e-3)], [-0.6, 0.8]])
    depth = int(40 * max(found.correlation_depth, found.variance_depth))
    kernel = mf.kernels.mlp(x, hidden_layers=depth, activation=A.erf, **options).nngp
    assert_close(np.diag(kernel), np.full(3, found.variance), 1e-11 / EPS)
    cosine = kernel[0, 1:] / kernel[0, 0]
    assert_close(cosine, np.full(2, found.correlation), 1e-9 / EPS)


def test_the_decay_of_correlations_is_the_depth_scale():
    """In order, 1 − c falls by χ_1 per layer: e^{−1/ξ_c}, to the next order, 1 − c itself."""
    options = {"weight_variance": 1.2, "bias_variance": 0.2}
    found = mf.kernels.phase(A.tanh, **options)
    assert not found.chaotic and found.correlation == 1
    defect = 1e-6
    after = 1 - mf.kernels.correlation_map(1 - defect, activation=A.tanh, **options)
    # 1 − c is rounded by eps at either end
    assert abs(after / defect * math.exp(1 / found.correlation_depth) - 1) <= 10 * defect + 4 * EPS / defect


def test_the_map_of_correlations_is_the_plain_one():
    c, q = np.linspace(-1, 1, 9), 0.8
    found = mf.kernels.correlation_map(
        c, activation=A.tanh, weight_variance=1.5, bias_variance=0.1, variance=q
    )
    a = np.full(9, q)
    value, top = (tanh_moments(a, a, k * q)[0] for k in (c, np.ones(9)))
    assert_close(found, (1.5 * value + 0.1) / (1.5 * top + 0.1), 1e-12 / EPS)
    assert found[-1] == 1


def test_relu_has_its_edge_at_two():
    """χ_1 = σ_w²/2 and q* = σ_b²/(1 − σ_w²/2); at σ_w² = 2, σ_b = 0 every variance stays."""
    order = mf.kernels.phase(A.relu, weight_variance=1.0, bias_variance=1.0)
    assert_close([order.variance, order.susceptibility, order.correlation], [2.0, 0.5, 1.0], 50)
    assert_close([order.variance_depth, order.correlation_depth], [1 / math.log(2)] * 2, 50)
    edge = mf.kernels.phase(A.relu, weight_variance=2.0, start=0.7)
    assert edge.variance == 0.7 and edge.susceptibility == 1 and edge.correlation_depth == math.inf
    grows = mf.kernels.phase(A.relu, weight_variance=3.0, bias_variance=0.1)
    assert grows.variance == math.inf and grows.chaotic and math.isnan(grows.correlation)
    assert mf.kernels.phase(A.relu, weight_variance=1.0).variance == 0
    weight, bias = mf.kernels.critical_line(A.relu, [0.1, 1.0, 10.0])
    np.testing.assert_array_equal(weight, 2)
    np.testing.assert_array_equal(bias, 0)


def test_networks_on_the_critical_line_are_critical():
    """χ_1 = 1 at the given variance, and that variance is where the layers tend."""
    variances = np.array([0.3, 1.0, 3.0])
    for q, weight, bias in zip(variances, *mf.kernels.critical_line(A.tanh, variances), strict=True):
        found = mf.kernels.phase(A.tanh, weight_variance=weight, bias_variance=bias)
        assert abs(found.variance / q - 1) <= 1e-10 and abs(found.susceptibility - 1) <= 1e-10
    small, bias = mf.kernels.critical_line(A.tanh, [1e-4])
    # tanh z = z − z³/3: E φ'² = 1 − 2q, E φ² = q − 2q²: σ_b² = O(q³)
    assert abs(small[0] - (1 + 2e-4)) <= 1e-7 and 0 <= bias[0] <= 1e-10
    assert np.isnan(mf.kernels.critical_line(A.quadratic, [1.0])[0] - 0.25) == (1 - 3 / 4 < 0)


def test_options_that_make_no_sense_are_told_in_one_sentence():
    options = {"activation": A.tanh}
    cases = [
        (lambda: mf.kernels.correlation_map(1.5, **options), ValueError, "correlation"),
        (lambda: mf.kernels.correlation_map(0.5, **options), ValueError, "variance"),
        (lambda: mf.kernels.correlation_map(0.5, variance=0.0, **options), ValueError, "variance"),
        (lambda: mf.kernels.phase(np.tanh), TypeError, "activation"),
        (lambda: mf.kernels.phase(A.sign), ValueError, "activation"),
        (lambda: mf.kernels.phase(A.tanh, weight_variance=-1.0), ValueError, "weight_variance"),
        (lambda: mf.kernels.phase(A.tanh, start=0.0), ValueError, "start"),
        (lambda: mf.kernels.critical_line(A.tanh, [0.0]), ValueError, "variances"),
    ]
    for call, kind, word in cases:
        with pytest.raises(kind) as error:
            call()
        assert_one_sentence(str(error.value), f"`{word}`")
