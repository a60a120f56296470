"""Moments: against numpy, the exact recursion of linear activations, and the Gaussian they start from."""

import numpy as np
import pytest
from numpy_network import (
    ATOMS,
    NETWORK,
    PROBLEM,
    ROUNDING,
    TRAINING,
    X,
    Y,
    assert_error_is,
    assert_mean_and_error,
    trained_clouds,
)

import meanfield as mf


def side_by_side(cloud):
    return np.concatenate([cloud[n].reshape(len(cloud["w"]), -1) for n in ("a", "w", "b") if n in cloud], 1)


def test_moments_are_those_of_the_neurons_under_their_labels():
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=mf.observe.Moments())
    labels = ["a0", "a1", "w0", "w1", "b"]
    assert list(data.coordinate.values) == labels and list(data.coordinate_2.values) == labels
    assert data.moments_mean.dims == ("seed", "moments_step", "coordinate")
    assert data.moments_second.dims == ("seed", "moments_step", "coordinate", "coordinate_2")
    for seed in (0, 1):
        clouds = trained_clouds(seed)
        for look, step in enumerate((0, 4)):
            theta = side_by_side(clouds[step])
            np.testing.assert_allclose(data.moments_mean[seed, look], theta.mean(0), **ROUNDING)
            np.testing.assert_allclose(data.moments_second[seed, look], theta.T @ theta / 20, **ROUNDING)
    found = data.moments_second.sel(coordinate="a1", coordinate_2="w1")[1, 1]
    np.testing.assert_allclose(found, (clouds[4]["a"][:, 1] * clouds[4]["w"][:, 1]).mean(), **ROUNDING)


@pytest.mark.parametrize("kind", ["limit", "finite"])
def test_the_second_moment_of_an_identity_network_follows_its_exact_recursion(kind):
    """φ = identity: S ← (I − ηQ) S (I − ηQ), Q = [[0, Gᵀ], [G, 0]] + λI, G = Σ_p x_p χ_pᵀ.  THEORY 1.2.

    It holds for any one measure: atoms, or a network; not for the mean over several replicates.
    """
    eta, decay, steps = 0.1, 0.3, 8
    atoms = mf.initial.Atoms(ATOMS["a"], ATOMS["w"])
    model = mf.TwoLayer(mf.activations.identity, initial=atoms)
    system = model.limit(6) if kind == "limit" else model.finite(33, dtype="float64")
    training = mf.GradientDescent(eta, steps, weight_decay=decay)
    data = mf.simulate(system, PROBLEM, training, observe=mf.observe.Moments(at=range(steps + 1)))
    assert list(data.coordinate.values) == ["a0", "a1", "w0", "w1"]
    second = data.moments_second.values.reshape(steps + 1, 4, 4)
    S = second[0]
    for step in range(steps):
        chi = (X @ S[2:, :2] - Y) / len(X)  # f(x) = E[a w]·x
        G = X.T @ chi
        Q = np.block([[np.zeros((2, 2)), G.T], [G, np.zeros((2, 2))]]) + decay * np.eye(4)
        S = (np.eye(4) - eta * Q) @ S @ (np.eye(4) - eta * Q)
        np.testing.assert_allclose(second[step + 1], S, **ROUNDING)


def test_the_limit_starts_from_the_moments_of_a_standard_normal_with_an_honest_error(key):
    """E θ = 0, E θθᵀ = I; one particle has variance 1, and 1 + δ_ij for θ_iθ_j."""
    particles, repeats = 400, 64
    limit = mf.TwoLayer(mf.activations.tanh).limit(particles, repeats, sampler=mf.IID())
    looks = mf.observe.Moments(at=(0,))
    data = mf.simulate(limit, PROBLEM, TRAINING, key=key, observe=looks)
    data = data.isel(moments_step=0)
    assert_mean_and_error(data.moments_mean.values, data.moments_mean_error.values, 0.0, repeats)
    upper = np.triu_indices(4)
    second, error = data.moments_second.values[upper], data.moments_second_error.values[upper]
    assert_mean_and_error(second, error, np.eye(4)[upper], repeats)
    assert_error_is(data.moments_mean_error.values, np.sqrt(1 / (particles * repeats)), repeats)
    sigma = np.sqrt((1 + np.eye(4)[upper]) / (particles * repeats))
    assert_error_is(error, sigma, repeats, kurtosis=12 / particles)  # a squared normal has κ = 12
