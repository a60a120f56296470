"""Laws of the neurons at the start: moments, nesting, pairs, atoms."""

import jax
import numpy as np
import pytest
import scipy.stats
from assertions import EPS, assert_close, assert_mean

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model.initial import Atoms, Gaussian
from meanfield.model.sampler import IID, Sobol

ATOMS = Atoms(a=[[1.0], [2.0], [3.0]], w=[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], weights=[0.5, 0.3, 0.2])


def sample(initial, key, neurons, inputs=2, outputs=1, bias=False):
    with double():
        keys = jax.random.key(key)[None]
        drawn = initial.sample_many(keys, neurons, inputs, outputs, bias, np.float64)
    return {name: value[0] for name, value in drawn.items()}


def columns(points):
    return np.concatenate([np.reshape(points[n], (len(points[n]), -1)) for n in sorted(points)], 1)


def test_gaussian_neurons_have_independent_coordinates_of_the_stated_variance(key):
    """Second moments of 20 000 neurons are known to 1%: a factor of √2 is forty standard errors away."""
    points = sample(Gaussian(0.5, 2.0, 1.5), key, 20_000, 2, 3, bias=True)
    scaled = columns(points) / np.array([0.5] * 3 + [1.5] + [2.0] * 2)
    products = scaled[:, :, None] * scaled[:, None, :]
    assert_mean(products, np.eye(6))
    assert_mean(scaled, 0.0)
    with pytest.raises(AssertionError):
        assert_mean(2**0.5 * products, np.eye(6))


def test_the_default_is_standard_normal_with_zero_bias(key):
    points = sample(Gaussian(), key, 5000, bias=True)
    values = np.concatenate([points["a"].ravel(), points["w"].ravel()])
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-6
    assert (points["b"] == 0).all()


@pytest.mark.parametrize("initial", [Gaussian(), Gaussian(paired=True), ATOMS], ids=repr)
def test_few_neurons_are_the_first_of_many(initial):
    few, many = sample(initial, 3, 6), sample(initial, 3, 50)
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:6])


@pytest.mark.parametrize("initial", [Gaussian(bias=0.5, paired=True), ATOMS], ids=repr)
def test_drawing_inside_a_program_or_outside_for_many_keys_is_the_same(initial):
    bias = isinstance(initial, Gaussian)
    with double():
        keys = jax.random.split(jax.random.key(0), 3)
        many = initial.sample_many(keys, 300, 2, 1, bias, np.float64)
        traced = jax.jit(jax.vmap(lambda key: initial.sample(key, 300, 2, 1, bias)))(keys)
    for name in many:
        # Compiled as two programs: the same random bits, up to a rounding of what is made of them.
        np.testing.assert_allclose(np.asarray(traced[name]), many[name], rtol=4 * EPS, atol=0)


@pytest.mark.parametrize("neurons", [6, 7])
def test_pairs_differ_in_the_sign_of_the_readout_only(neurons):
    points = sample(Gaussian(bias=1.0, paired=True), 0, neurons, bias=True)
    even = neurons - neurons % 2
    np.testing.assert_array_equal(points["a"][0:even:2], -points["a"][1:even:2])
    for name in ("w", "b"):
        np.testing.assert_array_equal(points[name][0:even:2], points[name][1:even:2])
    assert len(set(points["b"])) == -(-neurons // 2)


@pytest.mark.parametrize("sampler", [IID(), Sobol()], ids=repr)
def test_paired_particles_of_a_limit_cancel_exactly(sampler):
    with double():
        points, weights = Gaussian(paired=True).replicates(sampler, jax.random.key(0), 32, 2, 1, False, 3)
    np.testing.assert_array_equal(points["a"][:, :16], -points["a"][:, 16:])
    np.testing.assert_array_equal(points["w"][:, :16], points["w"][:, 16:])
    assert weights.shape == (3, 32)
    assert_close(weights.sum(1), np.ones(3), 32)


def test_the_dimension_counts_the_normals_behind_a_neuron():
    for bias, model_bias, expected in ((0.0, False, 5), (0.0, True, 5), (1.0, True, 6)):
        assert Gaussian(bias=bias).dimension(3, 2, model_bias) == expected


def test_atoms_are_drawn_with_their_weights(key):
    """χ² over three atoms, false alarms 1e-6."""
    rows = sample(ATOMS, key, 3000)["a"][:, 0].astype(int) - 1
    assert scipy.stats.chisquare(np.bincount(rows, minlength=3), 3000 * ATOMS.weights).pvalue > 1e-6
    assert scipy.stats.chisquare(np.bincount(rows, minlength=3), [1000] * 3).pvalue < 1e-6


def test_an_atom_is_drawn_whole():
    points = sample(ATOMS, 0, 100)
    rows = points["a"][:, 0].astype(int) - 1
    np.testing.assert_array_equal(points["w"], ATOMS.w[rows])


def test_the_limit_of_atoms_is_the_atoms_twice():
    points, weights = ATOMS.replicates(None, None, None, 2, 1, False, 8)
    for name in ("a", "w"):
        np.testing.assert_array_equal(points[name], np.stack([getattr(ATOMS, name)] * 2))
    np.testing.assert_array_equal(weights, np.stack([ATOMS.weights] * 2))


def test_weights_of_atoms_are_equal_unless_given():
    atoms = Atoms(a=np.ones(4), w=np.ones((4, 2)))
    np.testing.assert_array_equal(atoms.weights, np.full(4, 0.25))
    assert atoms.a.shape == (4, 1)
    assert abs(ATOMS.weights.sum() - 1) <= 3 * EPS


def test_descriptions_tell_laws_apart():
    same = Atoms(a=ATOMS.a, w=ATOMS.w, weights=ATOMS.weights)
    assert describe(same) == describe(ATOMS)
    laws = [ATOMS, Atoms(a=ATOMS.a, w=ATOMS.w), Gaussian(), Gaussian(2.0), Gaussian(paired=True)]
    assert len({str(describe(law)) for law in laws}) == len(laws)
    assert Gaussian(1.0) == Gaussian() and hash(Gaussian(1)) == hash(Gaussian())


def test_a_model_hands_its_law_to_network_and_limit():
    model = mf.TwoLayer(mf.activations.tanh, initial=ATOMS)
    assert model.finite(3).initial is ATOMS and model.limit(3).initial is ATOMS
