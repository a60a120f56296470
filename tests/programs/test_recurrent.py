"""Recurrent networks with one matrix: gradient, lazy kernel, and the same law in all readings."""

import numpy as np
import pytest
from assertions import assert_one_sentence
from shipped import GAMMA, assert_gradient_is_that_of_the_risk, assert_lazy_kernel, assert_mean_of_limit, task

import meanfield as mf

IDENTITY, TANH = mf.activations.identity, mf.activations.tanh


@pytest.mark.parametrize("times, outputs, richness", [(2, 1, 1.0), (3, 2, 0.5)])
def test_the_gradient_is_that_of_the_risk(times, outputs, richness):
    program = mf.programs.Recurrent(times, TANH, richness)
    assert_gradient_is_that_of_the_risk(program, task(2 * times, outputs), 1000)


def test_the_lazy_first_step_is_the_tangent_kernel():
    """φ = identity: the vectors W^k u are orthogonal as n → ∞, so that E[h_s h_s'] = K_s = Σ_{r≤s} σ^{2(s−r)}
    x_r·x_r'/d and Θ = K_T + Σ_s σ^{2(T−s)} x_s·x_s'/d + Σ_{s<T} σ^{2(T−s−1)} K_s; beyond it O(γ²)."""
    times, gain, problem = 3, 0.8, task(6)
    x = problem.x.reshape(3, times, 2)
    inner = np.einsum("psd,qsd->spq", x, x) / 2
    kernels = [sum(gain ** (2 * (s - r)) * inner[r] for r in range(s + 1)) for s in range(times)]
    theta = kernels[-1] + sum(gain ** (2 * (times - 1 - s)) * inner[s] for s in range(times))
    theta = theta + sum(gain ** (2 * (times - 2 - s)) * kernels[s] for s in range(times - 1))
    assert_lazy_kernel(mf.programs.Recurrent(times, IDENTITY, GAMMA, gain), problem, theta)


@pytest.mark.slow
def test_networks_have_the_mean_of_the_limit():
    assert_mean_of_limit(mf.programs.Recurrent(3, TANH), task(6))


def test_bad_arguments_get_one_sentence():
    for arguments, word in [
        ((0, TANH), "times"),
        ((2, "tanh"), "activation"),
        ((2, TANH, 1.0, -1.0), "gain"),
    ]:
        with pytest.raises((TypeError, ValueError)) as caught:
            mf.programs.Recurrent(*arguments)
        assert_one_sentence(str(caught.value), word)
    with pytest.raises(ValueError) as caught:
        mf.simulate(mf.programs.Recurrent(4, TANH).limit(64), task(6), mf.GradientDescent(1.0, 1))
    assert_one_sentence(str(caught.value), "problem", "4 times")
