"""Every noun passes once through jit, vmap, grad and a save–load round trip."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from assertions import EPS, assert_close
from cases import atoms, problem

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model.measure import Measure
from meanfield.model.training import Memory


def draw(key, size):
    return jax.random.normal(key, (size, 2)), jax.random.normal(key, (size,))


def schedule(step):
    return 0.1 / (1.0 + step)


SGD = optax.sgd(0.1)
TASK = problem()
LAW = atoms(6)
PYTREES = {
    "Problem": TASK,
    "Stream": mf.Stream(draw, 4, x_test=np.eye(2), y_test=np.ones(2)),
    "GradientDescent": mf.GradientDescent(0.1, 5, momentum=0.5, batch_size=2, batch_key=3),
    "GradientDescent with a schedule": mf.GradientDescent(schedule, 5),
    "GradientFlow": mf.GradientFlow(1.0),
    "Langevin": mf.Langevin(0.1, 5, 0.2, 0.3),
    "Optax": mf.Optax(SGD, 5),
    "Measure": Measure({"a": LAW.a, "w": LAW.w}, LAW.weights),
    "network": mf.TwoLayer(mf.activations.tanh).finite(8, dtype="float64"),
    "limit": mf.TwoLayer(mf.activations.tanh).limit(8),
    "Particles": mf.TwoLayer(mf.activations.tanh).particles(),
}
STATICS = {
    "Activation": mf.activations.tanh,
    "leaky_relu": mf.activations.leaky_relu(0.2),
    "Loss": mf.losses.softmax,
    "Huber": mf.losses.Huber(0.5),
    "Gaussian": mf.initial.Gaussian(bias=1.0),
    "Atoms": LAW,
    "IID": mf.IID(),
    "Sobol": mf.Sobol(),
    "Quadrature": mf.Quadrature(5),
    "TwoLayer": mf.TwoLayer(mf.activations.leaky_relu(0.2), bias=True, richness=0.5),
}


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_alike(first, second):
    assert type(first) is type(second)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", PYTREES)
def test_a_pytree_noun_goes_through_jit_unchanged(name):
    with double():
        assert_alike(PYTREES[name], jax.jit(lambda noun: noun)(PYTREES[name]))


@pytest.mark.parametrize("name", PYTREES)
def test_a_pytree_noun_goes_through_vmap_leaf_by_leaf(name):
    """Two copies stacked, and every lane sees one of them."""
    noun = PYTREES[name]
    with double():
        stacked = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), noun)
        assert type(stacked) is type(noun)
        back = jax.vmap(lambda noun: noun)(stacked)
        assert_alike(noun, jax.tree.map(lambda leaf: leaf[1], back))


@pytest.mark.parametrize("name", [n for n in PYTREES if n != "Optax"])
def test_a_pytree_noun_survives_saving(name):
    noun = PYTREES[name]
    loaded = pickle.loads(pickle.dumps(noun))
    assert_alike(noun, loaded)
    assert describe(loaded) == describe(noun)


@pytest.mark.parametrize("name", STATICS)
def test_a_static_noun_is_hashed_compared_and_survives_saving(name):
    noun = STATICS[name]
    loaded = pickle.loads(pickle.dumps(noun))
    assert describe(loaded) == describe(noun)
    if name != "Atoms":  # arrays: equal only to themselves
        assert loaded == noun and hash(loaded) == hash(noun)
    assert noun == noun and isinstance(hash(noun), int)
    assert jax.jit(lambda x, noun: x, static_argnums=1)(1.0, noun) == 1.0


STEPS = {
    "descent": mf.GradientDescent(0.1, 5, momentum=0.5, weight_decay=0.2),
    "mini-batches": mf.GradientDescent(0.1, 5, batch_size=2),
    "flow": mf.GradientFlow(1.0, save=6, tolerance=1e-4),
    "noise": mf.Langevin(0.1, 5, 0.2),
    "optax": mf.Optax(SGD, 5),
}


def loss_after(system, task, training, steps):
    """Loss after some steps of the library's own functions, no host code between them."""
    state = system.init(task, training, jax.random.key(0))
    for step in range(steps):
        state = system.step(task, training, state, jax.random.key(step))
    return system.observe(task, state)["loss"]


NETWORK = mf.TwoLayer(mf.activations.tanh).finite(8, dtype="float64")


@pytest.mark.parametrize("name", ["mini-batches", "flow"])
def test_training_goes_through_jit_and_vmap_over_problems(name):
    """Two problems at once, each as if alone."""
    training = STEPS[name]
    with double():
        other = mf.Problem(TASK.x, 2 * TASK.y, x_test=TASK.x_test, y_test=TASK.y_test)
        tasks = jax.tree.map(lambda *leaf: jnp.stack(leaf), TASK, other)
        run = jax.jit(lambda task: loss_after(NETWORK, task, training, 1))
        together = np.asarray(jax.vmap(run)(tasks))
        alone = [float(run(task)) for task in (TASK, other)]
    assert_close(together, alone, 1000)


def changed(tree, **values):
    """The same tree with other leaves, rebuilt as JAX does it, past the constructor."""
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    return jax.tree.unflatten(structure, [values.get(path[-1].name, leaf) for path, leaf in paths])


def test_the_loss_after_training_has_a_gradient_in_every_number_of_the_settings():
    """Automatic differentiation against central differences, error O(h²) with h = 1e-5.

    In the learning rate, momentum, decay, richness and a scale of the targets.
    """
    training = mf.GradientDescent(0.1, 5, momentum=0.5, weight_decay=0.2)
    at = np.array([0.1, 0.5, 0.2, 1.0, 1.0])

    def loss(values):
        rate, momentum, decay, richness, scale = values
        moved = changed(training, learning_rate=rate, momentum=momentum, weight_decay=decay)
        return loss_after(changed(NETWORK, richness=richness), changed(TASK, y=scale * TASK.y), moved, 2)

    with double():
        run, h = jax.jit(loss), 1e-5
        slope = np.asarray(jax.jit(jax.grad(loss))(at))
        difference = np.array([float(run(at + h * e)) - float(run(at - h * e)) for e in np.eye(5)]) / (2 * h)
    # Third derivatives are at most a hundred times the largest slope: h² · 100/6; rounding is eps/h.
    assert_close(slope, difference, (h**2 * 100 / 6) / EPS + 10 / h)
    assert (slope != 0).all()


def test_a_measure_knows_its_means_and_its_coordinates():
    measure = PYTREES["Measure"]
    with double():
        flat, mean = np.asarray(measure.flat()), np.asarray(measure.mean(jnp.asarray(LAW.w)))
        slope = jax.grad(lambda m: jnp.sum(m.mean(jnp.asarray(LAW.w))))(
            Measure({n: jnp.asarray(v) for n, v in measure.points.items()}, jnp.asarray(measure.weights))
        )
    np.testing.assert_array_equal(flat, np.concatenate([LAW.a, LAW.w], 1))
    assert_close(mean, LAW.weights @ LAW.w, 6)
    assert_close(slope.weights, LAW.w.sum(1), 4)
    assert measure.particles == 6


def test_a_memory_counts_steps_in_every_training():
    with double():
        for training in STEPS.values():
            memory = training.init({"a": jnp.ones((3, 1)), "w": jnp.ones((3, 2))})
            assert isinstance(memory, Memory) and int(training.count(memory)) == 0


def test_the_limit_can_be_jitted_through_its_steps():
    """Particles are drawn on the host; everything after that is traced, all replicates at once."""
    system, training = PYTREES["limit"], STEPS["descent"]
    with double():
        state = system.init(TASK, training, jax.random.key(0))
        step = jax.jit(system.step)
        after = step(TASK, training, state, jax.random.key(1))
        direct = system.step(TASK, training, state, jax.random.key(1))
        for a, b in zip(leaves(after), leaves(direct), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
