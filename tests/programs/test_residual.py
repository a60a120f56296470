"""Residual networks under depth-μP: gradient, lazy kernel, and the same law in all readings."""

import pytest
from assertions import assert_one_sentence
from shipped import GAMMA, assert_gradient_is_that_of_the_risk, assert_lazy_kernel, assert_mean_of_limit, task

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
    assert_mean_of_limit(mf.programs.ResidualMLP(2, TANH), task(4))


def test_bad_arguments_get_one_sentence():
    for arguments, word in [((0, TANH), "blocks"), ((2, "tanh"), "activation"), ((2, TANH, 0.0), "richness")]:
        with pytest.raises((TypeError, ValueError)) as caught:
            mf.programs.ResidualMLP(*arguments)
        assert_one_sentence(str(caught.value), word)
