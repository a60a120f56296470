"""Multilayer perceptrons without their matrices: with images from a stored W₀ the training is the dense one,
and without it the law is the dense one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from abc_network import descent, raw_weights, rounding, train
from assertions import EPS, assert_close
from cases import problem
from revealed_runs import planned, started, stored, trained_runs

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.parametrization import integrable, mup

WIDTH = 12
TASK = problem(inputs=3, outputs=2, test_samples=0)


def falling(step):
    return 0.3 / (1.0 + step)


def full(layers, parametrization, **options):
    options = {"richness": 1.5, "weight_variance": 1.3, "bias_variance": 0.4, **options}
    return mf.MLP(layers, mf.activations.tanh, parametrization, **options)


CASES = {
    "momentum, decay, mini-batches, a schedule": (
        *(full(2, mup), TASK),
        mf.GradientDescent(falling, 6, 0.5, 0.3, batch_size=3, batch_key=5),
    ),
    "three hidden layers, more vectors than neurons": (
        *(full(3, integrable.with_large_first_step(3)), TASK),
        mf.GradientDescent(0.2, 6, weight_decay=0.3),
    ),
}


def arrays_of(model, task, key):
    """{name: entries of order one}, matrices N(0, 1/n)."""
    rng, layers = np.random.default_rng(key), model.hidden_layers
    arrays = {"u": rng.standard_normal((WIDTH, task.inputs)), "v": rng.standard_normal((WIDTH, task.outputs))}
    for layer in range(1, layers + 1):
        arrays[f"b{layer}"] = rng.standard_normal((WIDTH, 1))
        if layer > 1:
            arrays[f"w{layer}"] = rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)
    return {**arrays, "c": np.zeros(task.outputs)}


@functools.cache
def run(name, key):
    """(predictions, the last state) of the case, images taken from the matrices of `arrays_of`."""
    model, task, training = CASES[name]
    arrays = arrays_of(model, task, key)
    system = model.finite(WIDTH, sampler=mf.MatrixFree(0), dtype="float64")
    with double():
        system = planned(system, task, training)
        states = started(system, task, training, key, 1)
        kinds = system.program.arrays(task)
        own = {n: jnp.asarray(kinds[n].deviation * arrays[n])[None] for n in states.parameters if n[0] != "w"}
        states = states._replace(parameters={**states.parameters, **own})
    reading = stored({n: value for n, value in arrays.items() if n[0] == "w"})
    found, states = trained_runs(system, task, training, states=states, reading=reading)
    return found[0], jax.tree.map(lambda leaf: np.asarray(leaf[0]), states)


def dense(name, key, change=0.0):
    """Predictions of the raw weights by automatic differentiation, W²₀₀ changed by so much."""
    model, task, training = CASES[name]
    arrays = arrays_of(model, task, key)
    arrays["w2"][0, 0] += change
    raw = raw_weights(model, WIDTH, arrays)
    rate = training.learning_rate if isinstance(training.learning_rate, float) else falling
    options, seen = {"momentum": training.momentum, "weight_decay": training.weight_decay}, []

    def batch(step):
        seen.append(task.batch(step, training.batch_size, training.batch_key))
        return seen[-1]

    move = descent(model, WIDTH, raw, rate, **options)
    truth = train(model, WIDTH, raw, task, training.steps, move, batch)["prediction"]
    rows = [[int(np.flatnonzero((task.x == x).all(1))[0]) for x in np.asarray(b[0])] for b in seen]
    return np.stack([f[row] for f, row in zip(truth, rows, strict=True)])


def assert_same(found, truth, case):
    """Roundings of the dense training, and as many again of the bases: a vector is a sum over at most n
    directions, orthonormal to 100 roundings."""
    model, task, training = case
    operations = rounding(model, WIDTH, task, training) + 100 * WIDTH * (training.steps + 1)
    assert_close(found, truth, 2 * operations)


@pytest.mark.parametrize("name", CASES)
def test_training_is_the_dense_one(name, key):
    """And not that of a matrix with one entry 1e-6 larger."""
    found, truth = run(name, key)[0], dense(name, key)
    assert_same(found, truth, CASES[name])
    assert np.abs(truth[-1] - truth[0]).max() > 0.01
    with pytest.raises(AssertionError, match="roundings"):
        assert_same(found, dense(name, key, 1e-6), CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_bases_are_orthonormal_and_images_adjoint(name, key):
    """VᵀV = UᵀU = 1 and (W₀V)ᵀU = Vᵀ(W₀ᵀU) to rounding; no more directions than neurons."""
    _, state = run(name, key)
    for right, left in state.bases.values():
        for side in (right, left):
            rank = int(side.rank)
            assert 0 < rank <= WIDTH
            basis = np.asarray(side.basis)
            assert not basis[:, rank:].any()
            gram = basis[:, :rank].T @ basis[:, :rank] / WIDTH
            np.testing.assert_allclose(gram, np.eye(rank), rtol=0, atol=100 * EPS)
        one, two = np.asarray(right.image).T @ left.basis, np.asarray(right.basis).T @ left.image
        assert_close(one, two, 200 * WIDTH)
