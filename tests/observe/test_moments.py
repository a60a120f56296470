"""Moments: against numpy, the exact recursion of linear activations, and the Gaussian they start from."""

import numpy as np
import pytest
from numpy_network import ROUNDING, assert_error_is, assert_mean_and_error, descend, first_cloud

import meanfield as mf

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))


def side_by_side(cloud):
    return np.concatenate([cloud[n].reshape(len(cloud["w"]), -1) for n in ("a", "w", "b") if n in cloud], 1)


@pytest.mark.parametrize("bias", [False, True])
def test_moments_are_those_of_the_neurons_under_their_labels(bias):
    problem = mf.Problem(X, Y)
    initial = mf.initial.Gaussian(bias=0.7 if bias else 0.0)
    system = mf.TwoLayer(mf.activations.tanh, bias, initial=initial).finite(20, dtype="float64")
    data = mf.simulate(system, problem, mf.GradientDescent(0.3, 4), seeds=2, observe=mf.observe.Moments())
    labels = ["a0", "a1", "w0", "w1", "w2"] + ["b"] * bias
    assert list(data.coordinate.values) == labels and list(data.coordinate_2.values) == labels
    assert data.moments_mean.dims == ("seed", "moments_step", "coordinate")
    assert data.moments_second.dims == ("seed", "moments_step", "coordinate", "coordinate_2")
    for seed in (0, 1):
        clouds = descend(first_cloud(system, problem, seed), np.full(20, 1 / 20), X, Y, 0.3, 4)
        for look, step in enumerate((0, 4)):
            theta = side_by_side(clouds[step])
            np.testing.assert_allclose(data.moments_mean[seed, look], theta.mean(0), **ROUNDING)
            np.testing.assert_allclose(data.moments_second[seed, look], theta.T @ theta / 20, **ROUNDING)
    last = clouds[4]
    found = data.moments_second.sel(coordinate="a1", coordinate_2="w2")[1, 1]
    np.testing.assert_allclose(found, (last["a"][:, 1] * last["w"][:, 2]).mean(), **ROUNDING)


@pytest.mark.parametrize("width", [None, 33])
def test_the_second_moment_of_an_identity_network_follows_its_exact_recursion(width):
    """φ = identity: S ← (I − ηQ) S (I − ηQ), Q = [[0, Gᵀ], [G, 0]] + λI, G = Σ_p x_p χ_pᵀ.  THEORY 1.2."""
    problem, eta, decay, steps = mf.Problem(X, Y), 0.1, 0.3, 8
    model = mf.TwoLayer(mf.activations.identity)
    system = model.limit(64, 2) if width is None else model.finite(width, dtype="float64")
    training = mf.GradientDescent(eta, steps, weight_decay=decay)
    data = mf.simulate(system, problem, training, observe=mf.observe.Moments(at=range(steps + 1)))
    if width is None:  # the recursion holds for one measure, not for the mean over two
        atoms = mf.initial.Atoms(rng.standard_normal((9, 2)), rng.standard_normal((9, 3)))
        limit = mf.TwoLayer(mf.activations.identity, initial=atoms).limit(9)
        data = mf.simulate(limit, problem, training, observe=mf.observe.Moments(at=range(steps + 1)))
        data = data.expand_dims("seed")
    S = data.moments_second[0, 0].values
    for step in range(steps):
        chi = (X @ S[2:, :2] - Y) / len(X)  # f(x) = E[a w]·x
        G = X.T @ chi
        Q = np.block([[np.zeros((2, 2)), G.T], [G, np.zeros((3, 3))]]) + decay * np.eye(5)
        S = (np.eye(5) - eta * Q) @ S @ (np.eye(5) - eta * Q)
        np.testing.assert_allclose(data.moments_second[0, step + 1], S, **ROUNDING)


def test_the_limit_starts_from_the_moments_of_a_standard_normal_with_an_honest_error():
    """E θ = 0, E θθᵀ = I; one particle has variance 1, and 1 + δ_ij for θ_iθ_j."""
    particles, repeats = 400, 64
    limit = mf.TwoLayer(mf.activations.tanh).limit(particles, repeats, sampler=mf.IID())
    looks = mf.observe.Moments(at=(0,))
    data = mf.simulate(limit, mf.Problem(X, Y), mf.GradientDescent(0.1, 1), observe=looks).isel(moments_step=0)
    assert_mean_and_error(data.moments_mean.values, data.moments_mean_error.values, 0.0, repeats)
    upper = np.triu_indices(5)
    second, error = data.moments_second.values[upper], data.moments_second_error.values[upper]
    assert_mean_and_error(second, error, np.eye(5)[upper], repeats)
    assert_error_is(data.moments_mean_error.values, np.sqrt(1 / (particles * repeats)), repeats)
    sigma = np.sqrt((1 + np.eye(5)[upper]) / (particles * repeats))
    assert_error_is(error, sigma, repeats, kurtosis=12 / particles)  # a squared normal has κ = 12
