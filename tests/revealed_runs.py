"""Steps of matrix-free networks and of limits, compiled once for many networks; matrices that are stored."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.programs import trained
from meanfield.programs.revealed import LEFT, RIGHT, Revealed
from meanfield.studies.trajectory import network_keys

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.partial(jax.jit, static_argnames="reading", compiler_options=QUICK)
def _steps(system, problem, training, states, reading):
    """One step of every network; `reading` is the class of `ops` that is in use."""
    return jax.vmap(lambda state: system.step(problem, training, state))(states)


def planned(system, problem, training, sizes=None):
    """The system with buffers for the whole training, or of the given sizes."""
    system, _ = system.plan(problem, training, 1, np.inf)
    if sizes is None:
        sizes = tuple((place, (training.steps + 1) * columns) for place, columns in system.needs)
    return dataclasses.replace(system, sizes=sizes)


def started(system, problem, training, key, count):
    """States of networks 0 … count − 1, or of as many replicates, with a leading axis."""
    keys = network_keys(jax.random.key(key), range(count))[0]
    states = [system.start(problem, training, keys[i : i + 1]) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(v) for v in leaves])), *states)


@functools.partial(jax.jit, compiler_options=QUICK)
def _dense_steps(system, problem, training, states):
    return jax.vmap(lambda state: system.step(problem, training, state, None))(states)


@functools.partial(jax.jit, compiler_options=QUICK)
def _dense_predictions(system, problem, states):
    return jax.vmap(lambda state: system.observe(problem, state)["prediction"])(states)


def dense_runs(system, problem, training, key, count):
    """Predictions (network, step, sample, output) of the dense reading, full batches."""
    with double():
        states = system.start(problem, training, network_keys(jax.random.key(key), range(count))[0])
        seen = []
        for _ in range(training.steps + 1):
            seen.append(np.asarray(_dense_predictions(system, problem, states)))
            states = _dense_steps(system, problem, training, states)
    return np.stack(seen, 1)


def trained_runs(system, problem, training, key=0, count=1, states=None, reading=Revealed):
    """(predictions (network, step, sample, output) at steps 0 … T, the states after the last step)."""
    original, trained.Revealed = trained.Revealed, reading
    try:
        with double():
            system = planned(system, problem, training) if not system.sizes else system
            states = started(system, problem, training, key, count) if states is None else states
            seen = []
            for _ in range(training.steps + 1):
                states, f = _steps(system, problem.astype(system.dtype), training, states, reading)
                seen.append(np.asarray(f))
    finally:
        trained.Revealed = original
    return np.stack(seen, 1), states


def stored(matrices):
    """`Revealed` whose images are taken from matrices {name: W₀ (n, n)} of unit deviation."""

    class Stored(Revealed):
        def _image(self, name, side, q, count, rank):
            matrix = jnp.asarray(matrices[name], q.dtype)
            return (matrix.T if side == LEFT else matrix) @ q, jnp.zeros_like(q)

    assert RIGHT == 0
    return Stored
