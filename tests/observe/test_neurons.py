"""Neurons: the particles themselves."""

import jax
import numpy as np
from numpy_network import (
    ATOMS,
    LIMIT,
    M6,
    NETWORK,
    PROBLEM,
    ROUNDING,
    TRAINING,
    X,
    Y,
    descend,
    trained_clouds,
)

import meanfield as mf


def test_the_first_neurons_of_a_network_are_followed_through_training():
    """Twelve of twenty, and all twenty of them: what is missing is NaN with weight 0."""
    looks = (mf.observe.Neurons(12), mf.observe.Neurons(40, name="all"))
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    for seed in (0, 1):
        clouds = trained_clouds(seed)
        for look, step in enumerate((0, 4)):
            for name, values in clouds[step].items():
                np.testing.assert_allclose(data[f"neurons_{name}"][seed, look], values[:12], **ROUNDING)
                np.testing.assert_allclose(data[f"all_{name}"][seed, look, :20], values, **ROUNDING)
    assert data.neurons_a.dims == ("seed", "neurons_step", "neuron", "output")
    assert data.neurons_w.dims == ("seed", "neurons_step", "neuron", "input")
    assert data.neurons_b.dims == ("seed", "neurons_step", "neuron")
    assert data.all_w.dims == ("seed", "all_step", "all_neuron", "input")
    for name in ("a", "w", "b"):
        assert np.isnan(data[f"all_{name}"][:, :, 20:]).all() and data[f"all_{name}"].shape[2] == 40
    np.testing.assert_allclose(data.neurons_weight, 1 / 20)
    np.testing.assert_allclose(data.all_weight[0, 0], [1 / 20] * 20 + [0] * 20)


def test_a_limit_shows_particles_of_one_replicate_and_no_error():
    """Averaged over replicates, particles would shrink to the mean of their law."""
    limit = mf.TwoLayer(mf.activations.tanh).limit(32, 4, sampler=mf.IID())
    data = mf.simulate(limit, PROBLEM, TRAINING, observe=mf.observe.Neurons(8))
    with jax.enable_x64(True):
        state = limit.init(PROBLEM, TRAINING, jax.random.split(jax.random.key(0))[0])
        first = np.asarray(state.parameters["w"][0, :8])
    np.testing.assert_array_equal(data.neurons_w[0], first)
    assert data.neurons_w.dims == ("neurons_step", "neuron", "input")
    assert not [name for name in data if name.startswith("neurons") and name.endswith("error")]


def test_particles_of_unequal_weight_come_heaviest_first_and_absent_ones_not_at_all():
    """The first points of a quadrature rule lie at its far corner and weigh nothing."""
    data = mf.simulate(LIMIT, PROBLEM, TRAINING, observe=mf.observe.Neurons(6))
    order = [0, 5, 1, 4, 2]
    np.testing.assert_array_equal(data.neurons_w[0, :5], ATOMS["w"][order])
    np.testing.assert_array_equal(data.neurons_weight[1, :5], M6[order])
    assert np.isnan(data.neurons_w[:, 5]).all() and (data.neurons_weight[:, 5] == 0).all()
    after = descend(ATOMS, M6, X, Y, 0.3, 4)[-1]
    np.testing.assert_allclose(data.neurons_a[1, :5], after["a"][order], **ROUNDING)
