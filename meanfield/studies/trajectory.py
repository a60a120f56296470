"""The time loop: a system stepped through training, looked at now and then.

Steps run compiled, in blocks of recorded steps; between blocks the host reports progress, evaluates heavy
observables and stops when every network has diverged. Nothing is compiled per step, and equal settings
share one compiled program (`traces` counts them).
"""

import collections
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

traces = collections.Counter()
BLOCK = 48  # recorded steps between two looks of the host
KEYS = 32  # networks whose keys are derived at a time


class Trajectory(NamedTuple):
    """Recorded arrays (axes: recorded step, then seed or replicate where there is one), the recorded steps,
    observables {observable: (steps, [looks])}, the first bad step of every network, and a state of the
    shape that the system has (its values are those of no particular step)."""

    arrays: dict
    steps: np.ndarray
    observed: dict
    first_bad_step: np.ndarray
    state: object


def default_record(steps):
    """All steps up to 1000; beyond that 200 evenly in the logarithm of time, with 0 and the last."""
    if steps <= 1000:
        return np.arange(steps + 1)
    grid = np.unique(np.round(np.geomspace(1, steps, 199)).astype(int))
    return np.concatenate([[0], grid])


def _over_seeds(system, function):
    """A function of one network as one of many; a limit handles its replicates itself."""
    return function if system.is_limit else jax.vmap(function)


@jax.jit
def _observe(system, problem, state):
    traces["observe"] += 1
    problem = problem.astype(system.dtype)
    return _over_seeds(system, lambda s: system.observe(problem, s))(state)


@functools.partial(jax.jit, donate_argnums=(3, 4), static_argnames="single")
def _advance(system, problem, training, state, bad, keys, counts, single):
    """For every entry of `counts`: look, then take that many steps, at least one. The first step of each
    stands in the same computation as the look, so that both share one forward pass. `single` says that all
    counts are 1: half as much to compile."""
    traces["advance"] += 1
    problem = problem.astype(system.dtype)

    def step(state, key):
        count = training.count(state.memory)
        return system.step(problem, training, state, jax.random.fold_in(key, count))

    def step_all(carry):
        state, bad, now = carry
        if system.is_limit:
            # All replicates count alike.
            first = jax.tree.map(lambda leaf: leaf[0], state.memory)
            state = system.step(problem, training, state, jax.random.fold_in(keys, training.count(first)))
        else:
            state = jax.vmap(step)(state, keys)
        bad = jnp.where((bad < 0) & ~state.finite, now, bad)
        return state, bad, now + 1

    def look_and_step(carry, count):
        seen = _over_seeds(system, lambda s: system.observe(problem, s))(carry[0])
        carry = step_all(carry)
        if not single:
            carry = jax.lax.fori_loop(1, count, lambda _, c: step_all(c), carry)
        return carry, seen

    first = jax.tree.map(lambda leaf: leaf.reshape(-1)[0], training.count(state.memory))
    (state, bad, _), seen = jax.lax.scan(look_and_step, (state, bad, first), counts)
    return state, bad, seen


@functools.partial(jax.jit, static_argnames="observable")
def _look(observable, system, problem, state, initial):
    traces["look"] += 1
    problem = problem.astype(system.dtype)

    def look(state, initial):
        return system.look(lambda m, m0: observable.compute(system, problem, m, m0), state, initial)

    return _over_seeds(system, look)(state, initial)


def _blocks(steps, stops):
    """Cut the steps between recorded ones into blocks of one length that end at `stops`, as far as possible.

    Returns [(first, counts)]: position of the first recorded step, and the steps to take after each look.
    Without stops the look at the last step is part of the last block, and the steps after it, which round
    the block up to the common length, are thrown away.
    """
    gaps = np.diff(steps)
    if not len(stops):
        looks = len(steps)
        number = -(-looks // BLOCK)
        length = -(-looks // number)
        counts = np.concatenate([gaps, np.ones(number * length - len(gaps), int)])
        return [(start, counts[start : start + length]) for start in range(0, number * length, length)]
    blocks, start = [], 0
    for stop in sorted({int(np.searchsorted(steps, s)) for s in stops} | {len(gaps)}):
        size = next((b for b in range(BLOCK, BLOCK // 2, -1) if (stop - start) % b == 0), BLOCK)
        for first in range(start, stop, size):
            blocks.append((first, gaps[first : min(first + size, stop)]))
        start = stop
    return blocks


def follow(system, problem, training, keys, record, observables=(), report=None, checkpoint=None):
    """Run one batch of networks (`keys` from `network_keys`) or one limit (`limit_keys`) and record.

    Must be called inside the float64 context. `report` is called with the number of steps just taken;
    `checkpoint` is for systems whose buffers grow, which run for long.
    """
    if system.growing:
        from meanfield.studies.growing import follow_growing

        return follow_growing(system, problem, training, keys, record, observables, report, checkpoint)
    keys_init, keys_step = keys
    state = system.start(problem, training, keys_init)
    system = system.core()
    networks = system.count if system.is_limit else keys_step.shape[0]
    bad = np.full(networks, -1, np.int32)
    observed = {o: (o.steps(training.steps), []) for o in observables}
    wanted = sorted({int(s) for steps, _ in observed.values() for s in steps})
    steps = np.union1d(np.concatenate([[0], record]), wanted).astype(int)
    initial = jax.tree.map(jnp.copy, state) if observables else state

    def look(step, state):
        for observable, (at, values) in observed.items():
            if step in at:
                values.append(jax.tree.map(np.asarray, _look(observable, system, problem, state, initial)))

    parts, looks = [], 0
    single = bool((np.diff(steps) == 1).all())
    look(0, state)
    for first, counts in _blocks(steps, wanted):
        state, bad, seen = _advance(
            system, problem, training, state, bad, keys_step, jnp.asarray(counts, jnp.int32), single
        )
        parts.append(jax.tree.map(np.asarray, seen))
        looks = min(first + len(counts), len(steps))
        if report is not None:
            report(int(steps[min(looks, len(steps) - 1)] - steps[first]))
        if wanted:
            look(int(steps[looks]), state)
        if (np.asarray(bad) >= 0).all():
            break
    if wanted and looks == len(steps) - 1:
        parts.append(jax.tree.map(lambda leaf: np.asarray(leaf)[None], _observe(system, problem, state)))
    arrays = {name: np.concatenate([part[name] for part in parts])[: len(steps)] for name in parts[0]}
    missing = len(steps) - arrays["loss"].shape[0]
    if missing:
        arrays = {
            n: np.concatenate([a, np.full((missing, *a.shape[1:]), np.nan, a.dtype)])
            for n, a in arrays.items()
        }
    bad = mark_bad(arrays, steps, np.where(np.asarray(bad) > steps[-1], -1, bad))
    keep = np.isin(steps, record)
    arrays = {name: values[keep] for name, values in arrays.items()}
    return Trajectory(arrays, steps[keep], observed, bad, state)


@jax.jit
def _split(keys):
    traces["keys"] += 1
    return jax.random.key_data(jax.vmap(jax.random.split)(keys))


# Half the time to compile, the same time to run.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
def _seed_keys(root, numbers):
    return _split(jax.vmap(lambda s: jax.random.fold_in(root, s))(numbers))


def network_keys(root, numbers):
    """(keys for initialisation, keys for the steps) of networks: those of network s are
    split(fold_in(root, s)). In groups of one size, so that one program serves all batches."""
    missing = -len(numbers) % KEYS
    padded = np.concatenate([numbers, np.zeros(missing)]).astype(np.uint32).reshape(-1, KEYS)
    data = np.concatenate([np.asarray(_seed_keys(root, group)) for group in padded])[: len(numbers)]
    return tuple(jax.random.wrap_key_data(data[:, i]) for i in range(2))


def limit_keys(root):
    """The same of a limit, which has one of each."""
    return tuple(jax.random.split(root))


def mark_bad(arrays, steps, bad):
    """First step with a value that is not finite, per network; from there on everything is NaN."""
    arrays = [values for values in arrays.values() if np.issubdtype(values.dtype, np.floating)]
    for values in arrays:
        wrong = ~np.isfinite(values.reshape(*values.shape[:2], -1)).all(2)  # (recorded step, network)
        found = wrong.any(0)
        recorded = np.where(found, steps[wrong.argmax(0)], -1)
        bad = np.where((bad < 0) | (found & (recorded < bad)), recorded, bad)
    late = (steps[:, None] >= bad[None, :]) & (bad >= 0)
    for values in arrays:
        values[late] = np.nan
    return bad
