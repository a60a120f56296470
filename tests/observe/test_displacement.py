"""Displacement: against one step of descent, numpy, and the lazy regime."""

import numpy as np
import pytest
from numpy_network import ROUNDING, descend, first_cloud, first_variation_gradient

import meanfield as mf

rng = np.random.default_rng(1)
X, Y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
ATOMS = {"a": rng.standard_normal((6, 2)), "w": rng.standard_normal((6, 3)), "b": rng.standard_normal(6)}
M = np.array([0.3, 0.2, 0.1, 0.0, 0.15, 0.25])


def rms(difference, m):
    return np.sqrt(sum((m * (v.reshape(len(m), -1) ** 2).sum(1)).sum() for v in difference.values()))


def model(richness=1.0, atoms=ATOMS, **options):
    initial = mf.initial.Atoms(**atoms, weights=M)
    return mf.TwoLayer(mf.activations.tanh, "b" in atoms, richness, initial=initial, **options)


@pytest.mark.parametrize("richness", [1.0, 0.4])
def test_displacement_after_one_step_is_the_learning_rate_times_the_norm_of_the_gradient(richness):
    """D_1 = η (E|∇Ψ|²)^½, in total and array by array; an atom of weight 0 does not count."""
    problem, eta = mf.Problem(X, Y), 0.2
    training = mf.GradientDescent(eta, 1, weight_decay=0.1)
    data = mf.simulate(model(richness).limit(6), problem, training, observe=mf.observe.Displacement())
    gradient = first_variation_gradient(ATOMS, M, X, Y, gamma=richness, decay=0.1)
    np.testing.assert_allclose(data.displacement, [0, eta * rms(gradient, M)], **ROUNDING)
    for name in ("a", "w", "b"):
        expected = eta * rms({name: gradient[name]}, M)
        np.testing.assert_allclose(data[f"displacement_{name}"], [0, expected], **ROUNDING)
    for name in ("a", "w"):
        expected = eta * rms({name: gradient[name]}, M) / rms({name: ATOMS[name]}, M)
        np.testing.assert_allclose(data[f"displacement_relative_{name}"], [0, expected], **ROUNDING)
    expected = eta * rms(gradient, M) / rms(ATOMS, M)
    np.testing.assert_allclose(data.displacement_relative, [0, expected], **ROUNDING)
    assert "displacement_relative_b" not in data


def test_displacement_of_a_network_is_that_of_its_own_neurons_at_every_look():
    """Width 20 is computed with 32 rows, 12 of which stand for nobody."""
    problem = mf.Problem(X, Y)
    system = mf.TwoLayer(mf.activations.tanh, bias=True).finite(20, dtype="float64")
    looks = mf.observe.Displacement(at=[1, 3, 6])
    data = mf.simulate(system, problem, mf.GradientDescent(0.3, 6), seeds=3, observe=looks)
    m = np.full(20, 1 / 20)
    for seed in range(3):
        start = first_cloud(system, problem, seed)
        clouds = descend(start, m, X, Y, 0.3, 6)
        for look, step in enumerate((1, 3, 6)):
            moved = {name: clouds[step][name] - start[name] for name in start}
            found = data.isel(seed=seed, displacement_step=look)
            np.testing.assert_allclose(found.displacement, rms(moved, m), **ROUNDING)
            np.testing.assert_allclose(found.displacement_relative, rms(moved, m) / rms(start, m), **ROUNDING)
            for name in moved:
                np.testing.assert_allclose(found[f"displacement_{name}"], rms({name: moved[name]}, m), **ROUNDING)
    squares = sum(data[f"displacement_{name}"] ** 2 for name in ("a", "w", "b"))
    np.testing.assert_allclose(data.displacement**2, squares, **ROUNDING)
    assert data.displacement.dims == ("seed", "displacement_step")
    np.testing.assert_array_equal(data.displacement_step, [1, 3, 6])


def test_a_readout_that_is_not_trained_stays_where_it_is():
    looks = mf.observe.Displacement()
    limit = model(train_readout=False).limit(6)
    data = mf.simulate(limit, mf.Problem(X, Y), mf.GradientDescent(0.2, 3), observe=looks)
    assert (data.displacement_a == 0).all() and (data.displacement_relative_a == 0).all()
    assert data.displacement_w[-1] > 0
    np.testing.assert_allclose(data.displacement**2, data.displacement_w**2 + data.displacement_b**2, **ROUNDING)


def test_neurons_move_in_proportion_to_the_richness_in_the_lazy_regime():
    """D = γ (c + O(γ²)) for atoms in pairs ±a, where f_0 = 0 and the first correction is odd in a: the
    remainder of D/γ falls a hundredfold from γ to γ/10."""
    half = {"a": rng.standard_normal((3, 1)), "w": rng.standard_normal((3, 3))}
    pairs = {"a": np.concatenate([half["a"], -half["a"]]), "w": np.concatenate([half["w"], half["w"]])}
    problem, training = mf.Problem(X, Y[:, :1]), mf.GradientDescent(0.2, 10)
    found = []
    for richness in (0.1, 0.01, 0.001):
        initial = mf.initial.Atoms(**pairs)
        limit = mf.TwoLayer(mf.activations.tanh, richness=richness, initial=initial).limit(6)
        data = mf.simulate(limit, problem, training, observe=mf.observe.Displacement())
        found.append(float(data.displacement[-1]) / richness)
    slope = np.log10(abs(found[0] - found[1]) / abs(found[1] - found[2]))
    assert abs(slope - 2) < 0.1, slope


def test_what_starts_at_zero_has_no_relative_displacement():
    """0 as long as it stays there, NaN once it moves: neither 0/0 nor x/0 is a number to plot."""
    atoms = {"a": np.zeros((6, 2)), "w": ATOMS["w"]}
    looks = mf.observe.Displacement(at=(0, 2))
    data = mf.simulate(model(atoms=atoms).limit(6), mf.Problem(X, Y), mf.GradientDescent(0.2, 2), observe=looks)
    assert data.displacement_relative_a[0] == 0 and np.isnan(data.displacement_relative_a[1])
    assert data.displacement_a[1] > 0 and data.displacement_relative[1] > 0
