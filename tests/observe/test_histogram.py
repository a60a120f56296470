"""Histogram: against numpy, the mass it must keep, and the normal law it starts from."""

import numpy as np
import pytest
import scipy.stats
from numpy_network import NETWORK, PROBLEM, ROUNDING, TRAINING, X, Y, assert_mean_and_error

import meanfield as mf


def test_densities_are_those_of_numpy_and_their_mass_is_one():
    """For every coordinate of a network with biases, the mass outside the range included."""
    labels = ("a0", "a1", "w0", "w1", "b")
    looks = [*(mf.observe.Histogram(label, 7, (-1.0, 0.75)) for label in labels), mf.observe.Neurons(20)]
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    edges = np.linspace(-1.0, 0.75, 8)
    for label in labels:
        name = f"histogram_{label}"
        assert data[name].dims == ("seed", f"{name}_step", f"{name}_bin")
        np.testing.assert_allclose(data[f"{name}_bin"], (edges[1:] + edges[:-1]) / 2)
        points = data[f"neurons_{label[0]}"].values
        points = points if label == "b" else points[..., int(label[1])]
        for seed in (0, 1):
            for look in (0, 1):
                counts = np.histogram(points[seed, look], edges)[0]
                found = data.isel({"seed": seed, f"{name}_step": look})
                np.testing.assert_allclose(found[name], counts / 20 / 0.25, **ROUNDING)
                np.testing.assert_allclose(found[f"{name}_outside"], 1 - counts.sum() / 20, **ROUNDING)
    mass = data.histogram_w1.sum("histogram_w1_bin") * 0.25 + data.histogram_w1_outside
    np.testing.assert_allclose(mass, 1, **ROUNDING)


def test_points_on_an_edge_belong_to_the_bin_on_their_right_and_the_last_edge_to_the_last_bin():
    """As in numpy.histogram; weights are masses of atoms."""
    a, m = [0.0, 0.5, 1.0, 1.5, -0.1], [0.1, 0.2, 0.3, 0.15, 0.25]
    initial = mf.initial.Atoms(a, np.ones((5, 2)), weights=m)
    limit = mf.TwoLayer(mf.activations.tanh, initial=initial).limit(5)
    looks = mf.observe.Histogram("a0", 2, (0, 1), at=(0,))
    data = mf.simulate(limit, mf.Problem(X, Y[:, 0]), TRAINING, observe=looks)
    np.testing.assert_allclose(data.histogram_a0[0], [0.1 / 0.5, 0.5 / 0.5], **ROUNDING)
    np.testing.assert_allclose(data.histogram_a0_outside[0], 0.4, **ROUNDING)


def test_the_limit_starts_from_the_density_of_a_standard_normal(key):
    """Mass of a bin: Φ(high) − Φ(low); the range leaves 2 Φ(−2) outside."""
    repeats = 32
    limit = mf.TwoLayer(mf.activations.tanh).limit(1000, repeats, sampler=mf.IID())
    looks = mf.observe.Histogram("w0", 8, (-2, 2), at=(0,))
    data = mf.simulate(limit, PROBLEM, TRAINING, key=key, observe=looks)
    data = data.isel(histogram_w0_step=0)
    cdf = scipy.stats.norm.cdf(np.linspace(-2, 2, 9))
    assert_mean_and_error(data.histogram_w0, data.histogram_w0_error, np.diff(cdf) / 0.5, repeats)
    assert_mean_and_error(data.histogram_w0_outside, data.histogram_w0_outside_error, 2 * cdf[0], repeats)


def test_settings_that_make_no_sense_are_refused_in_one_sentence():
    Histogram = mf.observe.Histogram
    with pytest.raises(ValueError, match="`coordinate` must be the label of one coordinate of a neuron"):
        Histogram("w")
    with pytest.raises(TypeError, match="`coordinate`"):
        Histogram(0)
    with pytest.raises(ValueError, match="`range` must be a pair"):
        Histogram("a0", range=(1, 1))
    with pytest.raises(TypeError, match="`range` must be a pair"):
        Histogram("a0", range=3.0)
    with pytest.raises(ValueError, match="`range` must be a finite number"):
        Histogram("a0", range=(0, np.inf))
    with pytest.raises(ValueError, match="`bins` must be an integer of at least 1"):
        Histogram("a0", bins=0)
    model = mf.TwoLayer(mf.activations.tanh)
    for label in ("w2", "a2", "b"):
        for system in (model.finite(8), model.limit(8)):
            with pytest.raises(ValueError, match="`coordinate` must be one of a0, a1, w0, w1"):
                mf.simulate(system, PROBLEM, TRAINING, observe=Histogram(label))
