"""Displacement: against one step of descent, numpy, and the lazy regime."""

import dataclasses

import numpy as np
import pytest
from numpy_network import (
    ATOMS,
    M6,
    M20,
    MODEL6,
    NETWORK,
    PROBLEM,
    ROUNDING,
    TRAINING,
    X,
    Y,
    first_variation_gradient,
    trained_clouds,
)

import meanfield as mf


def rms(difference, m):
    return np.sqrt(sum((m * (v.reshape(len(m), -1) ** 2).sum(1)).sum() for v in difference.values()))


@pytest.mark.parametrize("richness", [1.0, 0.4])
def test_displacement_after_one_step_is_the_learning_rate_times_the_norm_of_the_gradient(richness):
    """D_1 = η (E|∇Ψ|²)^½, in total and array by array; an atom of weight 0 does not count."""
    eta, system = 0.2, dataclasses.replace(MODEL6, richness=richness).limit(6)
    training = mf.GradientDescent(eta, 4, weight_decay=0.1)
    data = mf.simulate(system, PROBLEM, training, observe=mf.observe.Displacement(at=(0, 1)))
    gradient = first_variation_gradient(ATOMS, M6, X, Y, gamma=richness, decay=0.1)
    np.testing.assert_allclose(data.displacement, [0, eta * rms(gradient, M6)], **ROUNDING)
    for name in ("a", "w", "b"):
        expected = eta * rms({name: gradient[name]}, M6)
        np.testing.assert_allclose(data[f"displacement_{name}"], [0, expected], **ROUNDING)
    for name in ("a", "w"):
        expected = eta * rms({name: gradient[name]}, M6) / rms({name: ATOMS[name]}, M6)
        np.testing.assert_allclose(data[f"displacement_relative_{name}"], [0, expected], **ROUNDING)
    expected = eta * rms(gradient, M6) / rms(ATOMS, M6)
    np.testing.assert_allclose(data.displacement_relative, [0, expected], **ROUNDING)
    assert "displacement_relative_b" not in data


def test_displacement_of_a_network_is_that_of_its_own_neurons_at_every_look():
    looks = mf.observe.Displacement(at=[1, 2, 4])
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    for seed in (0, 1):
        clouds = trained_clouds(seed)
        start = clouds[0]
        for look, step in enumerate((1, 2, 4)):
            moved = {name: clouds[step][name] - start[name] for name in start}
            found = data.isel(seed=seed, displacement_step=look)
            total, whole = rms(moved, M20), rms(start, M20)
            np.testing.assert_allclose(found.displacement, total, **ROUNDING)
            np.testing.assert_allclose(found.displacement_relative, total / whole, **ROUNDING)
            for name in moved:
                expected = rms({name: moved[name]}, M20)
                np.testing.assert_allclose(found[f"displacement_{name}"], expected, **ROUNDING)
    squares = sum(data[f"displacement_{name}"] ** 2 for name in ("a", "w", "b"))
    np.testing.assert_allclose(data.displacement**2, squares, **ROUNDING)
    assert data.displacement.dims == ("seed", "displacement_step")
    np.testing.assert_array_equal(data.displacement_step, [1, 2, 4])


def test_a_readout_that_is_not_trained_stays_where_it_is():
    limit = dataclasses.replace(MODEL6, train_readout=False).limit(6)
    data = mf.simulate(limit, PROBLEM, TRAINING, observe=mf.observe.Displacement())
    assert (data.displacement_a == 0).all() and (data.displacement_relative_a == 0).all()
    assert data.displacement_w[-1] > 0
    squares = data.displacement_w**2 + data.displacement_b**2
    np.testing.assert_allclose(data.displacement**2, squares, **ROUNDING)


def test_neurons_move_in_proportion_to_the_richness_in_the_lazy_regime():
    """D = γ (c + O(γ²)) for atoms in pairs ±a, where f_0 = 0 and the first correction is odd in a: the
    remainder of D/γ falls a hundredfold from γ to γ/10."""
    a, w = ATOMS["a"][:3], ATOMS["w"][:3]
    initial = mf.initial.Atoms(np.concatenate([a, -a]), np.concatenate([w, w]))
    found = []
    for richness in (0.1, 0.01, 0.001):
        limit = mf.TwoLayer(mf.activations.tanh, richness=richness, initial=initial).limit(6)
        data = mf.simulate(limit, PROBLEM, TRAINING, observe=mf.observe.Displacement())
        found.append(float(data.displacement[-1]) / richness)
    slope = np.log10(abs(found[0] - found[1]) / abs(found[1] - found[2]))
    assert abs(slope - 2) < 0.1, slope


def test_what_starts_at_zero_has_no_relative_displacement():
    """0 as long as it stays there, NaN once it moves: neither 0/0 nor x/0 is a number to plot."""
    limit = mf.TwoLayer(mf.activations.tanh, initial=mf.initial.Atoms(np.zeros((6, 2)), ATOMS["w"])).limit(6)
    data = mf.simulate(limit, PROBLEM, TRAINING, observe=mf.observe.Displacement())
    assert data.displacement_relative_a[0] == 0 and np.isnan(data.displacement_relative_a[1])
    assert data.displacement_a[1] > 0 and data.displacement_relative[1] > 0
