"""Kernels of residual networks at infinite width."""

import math

import jax
import numpy as np
import pytest
from assertions import assert_close, assert_mean, assert_one_sentence
from plain_kernels import inputs, plain_resmlp

import meanfield as mf
from meanfield.base.precision import double

ROUNDINGS = 400  # as for perceptrons


def kernel(x1, x2=None, *, blocks=3, activation="relu", **options):
    return mf.kernels.resmlp(x1, x2, blocks=blocks, activation=getattr(mf.activations, activation), **options)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_kernels_are_the_plain_recursion(activation):
    """Stem, blocks and output, variances of each its own, a branch scale."""
    x = inputs()
    weights, biases = [0.8, 1.0, 0.7, 0.9, 1.2], [0.1, 0.0, 0.2, 0.1, 0.3]
    options = {"weight_variance": weights, "bias_variance": biases, "branch_scale": -0.6, "layers": True}
    found = kernel(x, activation=activation, **options)
    off = ~np.eye(5, dtype=bool)
    for k, (sigma, theta) in enumerate(plain_resmlp(x, activation, weights, biases, 0.6)):
        assert_close(found.nngp_layers[k], sigma, ROUNDINGS)
        assert_close(found.ntk_layers[k][off], theta[off], 4 * ROUNDINGS)
    np.testing.assert_array_equal(found.nngp_layers[-1], found.nngp)
    np.testing.assert_array_equal(found.ntk_layers[-1], found.ntk)


@pytest.mark.parametrize("blocks", [1, 5, 1000])
def test_identity_networks_are_linear(blocks):
    """Σ^l = (1 + s²)^l K; Θ^l = (1 + s²)Θ^{l−1} + s²Σ^{l−1}, so Θ^B = (1 + s²)^B (1 + B s²/(1 + s²)) K, plus
    Σ^B at the output. s = 1/√B: e K and about 3e K for many blocks."""
    x, s = inputs(), 1 / math.sqrt(blocks)
    found = kernel(x, blocks=blocks, activation="identity", branch_scale=s)
    K, grown = x @ x.T / 4, (1 + s * s) ** blocks
    assert_close(found.nngp, grown * K, 10 * (blocks + 10))
    assert_close(found.ntk, grown * (2 + blocks * s * s / (1 + s * s)) * K, 10 * (blocks + 10))


def test_relu_diagonals_grow_by_half_the_squared_scale():
    """σ_b = 0: Σ^l(x,x) = (1 + s²σ_w²/2)^l σ_w²|x|²/d; many blocks of scale 1/√B: e^{σ_w²/2}. THEORY 4.3."""
    x, blocks = inputs(), 2000
    found = kernel(x, blocks=blocks, weight_variance=1.0, branch_scale=1 / math.sqrt(blocks))
    expected = 0.5 * (1 + 0.5 / blocks) ** blocks * (x * x).mean(1)
    assert_close(np.diag(found.nngp), expected, 10 * blocks)


def test_no_branch_is_one_hidden_layer():
    """s = 0: stem, φ, output."""
    x = inputs()
    options = {"weight_variance": 1.3, "bias_variance": 0.2}
    found = kernel(x, branch_scale=0.0, **options)
    plain = mf.kernels.mlp(x, hidden_layers=1, activation=mf.activations.relu, **options)
    assert_close(found.nngp, plain.nngp, 20)
    assert_close(found.ntk, plain.ntk, 20)


def test_a_block_is_part_of_the_kernel_of_both_sets():
    x, y = inputs(4), inputs(3, seed=3)
    both, block = kernel(np.concatenate([x, y]), activation="erf"), kernel(x, y, activation="erf")
    assert_close(block.nngp, both.nngp[:4, 4:], ROUNDINGS)
    assert_close(block.ntk, both.ntk[:4, 4:], ROUNDINGS)


@pytest.mark.slow
def test_gradients_in_the_branch_scale_are_finite_differences():
    """Central differences of step 1e-5: h² f''' and eps f/h are below 1e-9 of sums of some tens."""
    x, s, h = inputs(3), 0.7, 1e-5

    def total(s):
        found = mf.kernels.resmlp(x, blocks=2, activation=mf.activations.relu, branch_scale=s)
        return found.nngp.sum() + found.ntk.sum()

    with double():
        gradient = float(jax.grad(total)(s))
    difference = (total(s + h) - total(s - h)) / (2 * h)
    assert abs(gradient - difference) <= 1e-7 * abs(difference)


def test_wide_networks_have_these_covariances(key):
    """Blocks of width 256, 1000 of them: E f f' = Σ + O(1/n), with √Σ_ii Σ_jj · 4B/n allowed for that bias;
    false alarms ≤ 1e-6. Σ without the last layer's bias is seen."""
    n, networks, blocks, s, weight, bias = 256, 1000, 2, 0.8, 1.2, 0.3
    x = inputs(2, 3)
    rng = np.random.default_rng(key)
    products = np.empty((networks, 2, 2))
    for k in range(networks):

        def dense(h, fan_out, scale):
            w, b = rng.standard_normal((fan_out, len(h))), rng.standard_normal((fan_out, 1))  # noqa: B023
            return math.sqrt(weight / scale) * w @ h + math.sqrt(bias) * b

        h = dense(x.T, n, 3)
        for _ in range(blocks):
            h = h + s * dense(np.maximum(h, 0), n, n)
        # the law of the output given the last hidden layer, exactly
        hidden = np.maximum(h, 0)
        products[k] = weight * hidden.T @ hidden / n + bias
    found = kernel(x, blocks=blocks, weight_variance=weight, bias_variance=bias, branch_scale=s).nngp
    size = np.sqrt(np.outer(np.diag(found), np.diag(found)))
    assert_mean(products, found, bias=4 * blocks / n * size)
    with pytest.raises(AssertionError):
        assert_mean(products, found - bias, bias=4 * blocks / n * size)


def test_options_that_make_no_sense_are_told_in_one_sentence():
    cases = [
        ({"blocks": 0}, ValueError, "blocks"),
        ({"branch_scale": np.inf}, ValueError, "branch_scale"),
        ({"weight_variance": [1.0] * 4}, ValueError, "weight_variance"),
        ({"bias_variance": -0.1}, ValueError, "bias_variance"),
    ]
    for options, kind, word in cases:
        with pytest.raises(kind) as error:
            kernel(inputs(), **options)
        assert_one_sentence(str(error.value), f"`{word}`")
    with pytest.raises(TypeError):
        kernel(inputs(), hidden_layers=2)
