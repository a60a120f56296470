"""TestFunction: averages of any function of one neuron, and what identifies the function in a store."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_network import NETWORK, PROBLEM, ROUNDING, TRAINING, assert_mean_and_error

import meanfield as mf
from meanfield.base.fingerprint import describe

rng = np.random.default_rng(5)
TestFunction = mf.observe.TestFunction
SCALE = 2.0


def energy(neuron):
    return SCALE * jnp.sum(neuron["a"] ** 2) * jnp.cos(neuron["w"] @ jnp.array([1.0, 2.0])) + neuron["b"]


def test_the_average_of_a_function_is_the_mean_over_the_neurons():
    looks = (TestFunction(energy), mf.observe.Neurons(20))
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    a, w, b = (data[f"neurons_{name}"].values for name in ("a", "w", "b"))
    expected = (2 * (a**2).sum(-1) * np.cos(w @ [1.0, 2.0]) + b).mean(-1)
    np.testing.assert_allclose(data.energy, expected, **ROUNDING)
    assert data.energy.dims == ("seed", "energy_step")


def test_a_function_that_fails_at_neurons_that_are_not_there_does_no_harm():
    """Atoms of weight 0 at the origin, where log|w| is −∞: 0 · ∞ must not reach the average."""
    w = np.concatenate([rng.standard_normal((3, 2)), np.zeros((2, 2))])
    initial = mf.initial.Atoms(np.zeros((5, 2)), w, weights=[0.5, 0.25, 0.25, 0, 0])
    limit = mf.TwoLayer(mf.activations.tanh, initial=initial).limit(5)
    looks = TestFunction(lambda neuron: jnp.log(jnp.sum(neuron["w"] ** 2)), "logarithm", (0,))
    data = mf.simulate(limit, PROBLEM, TRAINING, observe=looks)
    expected = np.log((w[:3] ** 2).sum(1)) @ [0.5, 0.25, 0.25]
    np.testing.assert_allclose(data.logarithm, [expected], **ROUNDING)


def test_the_limit_starts_from_gaussian_averages_with_an_honest_error(key):
    """E cos(w·u) = e^{−|u|²/2} for w ~ N(0, I); numbers that are integers are averaged as well."""
    limit = mf.TwoLayer(mf.activations.tanh).limit(500, 32, sampler=mf.IID())
    looks = (
        TestFunction(lambda neuron: jnp.cos(neuron["w"] @ jnp.array([0.6, 0.8])), "characteristic"),
        TestFunction(lambda neuron: neuron["a"][0] > 0, "positive"),
    )
    data = mf.simulate(limit, PROBLEM, TRAINING, key=key, observe=looks)
    assert_mean_and_error(data.characteristic[0], data.characteristic_error[0], np.exp(-0.5), 32)
    assert_mean_and_error(data.positive[0], data.positive_error[0], 0.5, 32)


def test_a_function_that_does_not_fit_is_refused_before_computing():
    system = mf.TwoLayer(mf.activations.tanh).finite(8)
    cases = [
        (TestFunction(lambda neuron: neuron["w"], "vector"), "to a number, but is"),
        (TestFunction(energy), "fails with KeyError: 'b'"),
        (TestFunction(lambda neuron: neuron["w"] @ jnp.ones(3), "wide"), "fails with TypeError"),
    ]
    for observable, message in cases:
        with pytest.raises(ValueError) as caught:
            mf.simulate(system, PROBLEM, TRAINING, observe=observable)
        text = str(caught.value)
        assert text.startswith("Argument `function` must be a function of the arrays a (2,), w (2,) of one")
        assert message in text
    with pytest.raises(TypeError, match="`function` must be a function"):
        TestFunction(3.0)
    with pytest.raises(ValueError, match="`name` must be given"):
        TestFunction(lambda neuron: neuron["a"][0])
    with pytest.raises(ValueError, match="`name` must be a word"):
        TestFunction(energy, "two words")
    with pytest.raises(ValueError, match="`name` must be a word"):
        TestFunction(energy, "energy_error")


def test_pytest_leaves_the_class_alone():
    assert TestFunction.__test__ is False


def make(power, inner=jnp.cos):
    return lambda neuron: inner(neuron["a"][0]) ** power


def test_a_function_is_known_in_a_store_by_what_it_computes():
    """Equal code with equal values bound is the same; another constant, bound value or name is not."""

    def description(function, name="g"):
        return describe(TestFunction(function, name))

    assert description(make(2)) == description(make(2))
    different = [
        description(make(2)),
        description(make(3)),
        description(make(2, jnp.sin)),
        description(lambda neuron: jnp.cos(neuron["a"][0]) ** 2 + 1.0),
        description(lambda neuron: jnp.cos(neuron["a"][0]) ** 2 + 1.5),
        description(make(np.array(2.0))),
        description(make(2), "h"),
        description(energy),
    ]
    assert len({str(d) for d in different}) == len(different)
    assert description(jax.jit(make(2))) == description(make(2))


@dataclasses.dataclass(frozen=True)
class Power:
    power: float

    def __call__(self, neuron):
        return neuron["a"][0] ** self.power


def test_every_kind_of_function_is_known_by_what_it_is_made_of():
    """Partial functions, callable settings, functions that call themselves; globals of inner functions."""

    def raised(power, neuron):
        return neuron["a"][0] ** power

    def again(neuron, depth=1):
        return again(neuron, depth - 1) if depth else neuron["a"][0]

    def inner(neuron):
        return jax.vmap(lambda a: SCALE * jnp.add(a, 1.0))(neuron["a"])[0]

    def mixed(neuron):
        return np.pi * jnp.tanh(neuron["a"][0]) + max(1, 2)

    kinds = [lambda p: functools.partial(raised, p), Power]
    found = []
    for kind in kinds:
        one, other, same = (describe(TestFunction(kind(p), "g")) for p in (2, 3, 2))
        assert one == same and one != other
        found += [one, other]
    found += [describe(TestFunction(function)) for function in (again, inner, mixed)]
    assert len({str(d) for d in found}) == len(found)
    with pytest.raises(TypeError, match="which has no description"):
        unknown = object()
        describe(TestFunction(lambda neuron: neuron["a"][0] if unknown else 0.0, "g"))


def test_a_global_number_that_a_function_reads_is_part_of_its_description(monkeypatch):
    before = describe(TestFunction(energy))
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert describe(TestFunction(energy)) != before
