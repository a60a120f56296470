"""Residual networks under depth-μP: gradient, lazy kernel, and the same law in all readings."""

import numpy as np
import pytest
from assertions import assert_mean, assert_one_sentence
from shipped import GAMMA, assert_gradient_is_that_of_the_risk, assert_lazy_kernel, task

import meanfield as mf

IDENTITY, TANH = mf.activations.identity, mf.activations.tanh


@pytest.mark.parametrize("blocks, outputs, richness", [(1, 1, 1.0), (3, 2, 0.5)])
def test_the_gradient_is_that_of_the_risk(blocks, outputs, richness):
    program = mf.programs.ResidualMLP(blocks, TANH, richness)
    assert_gradient_is_that_of_the_risk(program, task(4, outputs), 1000)


def test_the_lazy_first_step_is_the_tangent_kernel():
    """φ = identity: Φ^l = (1 + 1/L)^l K_0, G^l = (1 + 1/L)^{L−l}, hence
    Θ = Φ^L + (1/L) Σ_l G^{l+1}Φ^l + G⁰K_0 = K_0 (2 (1 + 1/L)^L + (1 + 1/L)^{L−1}); beyond it O(γ²)."""
    blocks, problem = 2, task(4)
    growth = 1 + 1 / blocks
    theta = problem.x @ problem.x.T / 4 * (2 * growth**blocks + growth ** (blocks - 1))
    assert_lazy_kernel(mf.programs.ResidualMLP(blocks, IDENTITY, GAMMA), problem, theta)


def test_networks_have_the_mean_of_the_limit():
    """Without matrices, n = 512, 24 seeds; a bias of 3 of the largest prediction over n is allowed for. The
    control: the limit a step later."""
    program, problem = mf.programs.ResidualMLP(2, TANH), task(4)
    training = mf.GradientDescent(1.0, 4)
    limit = mf.simulate(program.limit(1024, 8), problem, training)
    networks = mf.simulate(program.finite(512, sampler=mf.MatrixFree(1e-3)), problem, training, seeds=24)
    bias = 5 * float(limit.prediction_error.max()) + 3 * float(np.abs(limit.prediction).max()) / 512
    found, truth = networks.prediction.values, limit.prediction.values
    assert_mean(found[:, [1, 3]], truth[[1, 3]], bias=bias)
    with pytest.raises(AssertionError):
        assert_mean(found[:, [1, 3]], truth[[2, 4]], bias=bias)


def test_bad_arguments_get_one_sentence():
    for arguments, word in [((0, TANH), "blocks"), ((2, "tanh"), "activation"), ((2, TANH, 0.0), "richness")]:
        with pytest.raises((TypeError, ValueError)) as caught:
            mf.programs.ResidualMLP(*arguments)
        assert_one_sentence(str(caught.value), word)
