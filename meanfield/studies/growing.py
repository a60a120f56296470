"""The time loop of systems whose buffers fill: one network, or one replicate of a limit, after another.

Steps run compiled in blocks of recorded steps. Before every step the compiled loop asks whether it might not
fit, and then ends where it stands: the host makes the buffers larger and goes on from there. The result does
not depend on when that happens, beyond rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.studies.trajectory import BLOCK, Trajectory, mark_bad, traces


def _advance(system, problem, training, state, counts):
    """For every entry of `counts`: look, then take that many steps as long as they fit.

    Returns (state, first bad step or −1, what was seen, the step at which it was seen, −1 if it was not).
    """
    traces["advance growing"] += 1
    problem = problem.astype(system.dtype)
    shared = system.shared(problem, training)
    width = jax.eval_shape(lambda s: system.step(problem, training, s)[1], state)

    def segment(carry, count):
        state, bad = carry
        now = training.count(state.memory)
        going = (count > 0) & ~system.full(state) & (bad < 0)

        def look(state):
            return system.observe(problem, state, train=not shared)

        def nothing(state):
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(look, state))

        seen = jax.lax.cond(going, look, nothing, state)
        # What is seen is seen before the first step writes into the buffers.
        state, seen = jax.lax.optimization_barrier((state, seen))

        def more(carry):
            taken, state, bad, _ = carry
            return (taken < count) & ~system.full(state) & (bad < 0)

        def step(carry):
            taken, state, bad, first = carry
            at = training.count(state.memory)
            state, f = system.step(problem, training, state)
            bad = jnp.where(state.finite, bad, at)
            return taken + 1, state, bad, jnp.where(taken == 0, f, first)

        start = (jnp.zeros((), jnp.int32), state, bad, jnp.zeros(width.shape, width.dtype))
        taken, state, bad, f = jax.lax.while_loop(more, step, start)
        if shared:
            seen = {**seen, "prediction": f, "loss": problem.risk(f, problem.y)}
        return (state, bad), (seen, jnp.where(taken > 0, now, -1))

    (state, bad), (seen, at) = jax.lax.scan(segment, (state, jnp.full((), -1, jnp.int32)), counts)
    return state, bad, seen, at


_quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
advance = jax.jit(_advance, donate_argnums=(3,))
# Half the time to compile, for trainings that take less than that.
advance_quickly = jax.jit(_advance, donate_argnums=(3,), compiler_options=_quick)
QUICK = 2e10  # operations up to which it is worth it


@functools.partial(jax.jit, static_argnames="observable")
def _look(observable, system, problem, state, initial):
    traces["look"] += 1
    problem = problem.astype(system.dtype)
    return system.look(lambda m, m0: observable.compute(system, problem, m, m0), state, initial)


def follow_growing(system, problem, training, keys, record, observables=(), report=None):
    """As `follow`, one network or one replicate after another; (step, network, …) arrays."""
    if system.is_limit:
        each = system.replicates(keys[0])
    else:
        each = [(system, keys[0][i]) for i in range(keys[0].shape[0])]
    parts, sizes = [], None
    for own, key in each:
        share = None
        if report is not None:  # a limit counts its steps once
            share = (lambda steps: report(steps / len(each))) if system.is_limit else report
        if sizes is not None:
            own = own.with_buffers(sizes)  # those of the first: nothing is compiled again
        ended, trajectory = _one(own, problem, training, key[None], record, observables, share)
        sizes = sizes or ended.sizes
        parts.append(trajectory)
    arrays = {n: np.concatenate([p.arrays[n] for p in parts], 1) for n in parts[0].arrays}
    observed = {}
    for o in observables:
        steps = parts[0].observed[o][0]
        most = max(len(p.observed[o][1]) for p in parts)
        looks = []
        for j in range(most):
            pieces = [p.observed[o][1][j] if j < len(p.observed[o][1]) else None for p in parts]
            like = next(piece for piece in pieces if piece is not None)
            pieces = [
                jax.tree.map(lambda v: np.full_like(v, np.nan), like) if piece is None else piece
                for piece in pieces
            ]
            looks.append({n: np.concatenate([piece[n] for piece in pieces]) for n in like})
        observed[o] = (steps, looks)
    bad = np.concatenate([p.first_bad_step for p in parts])
    return Trajectory(arrays, parts[0].steps, observed, bad, parts[-1].state)


def _one(system, problem, training, keys, record, observables, report):
    """(system with the buffers it ended with, Trajectory of one network)."""
    state = system.start(problem, training, keys)
    initial = jax.tree.map(jnp.copy, state) if observables else None
    observed = {o: (o.steps(training.steps), []) for o in observables}
    wanted = {int(s) for steps, _ in observed.values() for s in steps}
    steps = [int(s) for s in np.union1d(np.concatenate([[0], record]), sorted(wanted))]
    last, kept, here, bad, looked = steps[-1], {}, 0, -1, set()
    work = system.operations(problem, training) * training.steps
    take = advance_quickly if work < QUICK else advance
    while True:
        while bool(system.full(state)):
            system, state = system.grow(state)
        if here in wanted - looked:
            looked.add(here)
            for o, (at, values) in observed.items():
                if here in at:
                    seen = _look(o, system, problem, state, initial)
                    values.append(jax.tree.map(lambda v: np.asarray(v)[None], seen))
        stops = [s for s in steps if s > here]
        if stops:
            stops = stops[: 1 + next(i for i, s in enumerate(stops) if s in wanted or s == last)][:BLOCK]
            counts = np.diff([here, *stops])
        else:
            counts = np.array([1])  # the last look comes with a step that is thrown away
        padded = np.zeros(min(BLOCK, len(steps)), np.int32)
        padded[: len(counts)] = counts
        state, wrong, seen, at = take(system, problem, training, state, jnp.asarray(padded))
        seen, at = jax.tree.map(np.asarray, seen), np.asarray(at)
        for j, s in enumerate(at):
            if s >= 0 and int(s) in steps:
                kept[int(s)] = {name: value[j] for name, value in seen.items()}
        before, here = here, int(training.count(state.memory))
        if report is not None:
            report(min(here, last) - min(before, last))
        bad = int(wrong)
        if bad >= 0 or last in kept:
            break
    if report is not None:
        report(last - min(here, last))
    example = next(iter(kept.values()))
    arrays = {
        name: np.stack([kept[s][name] if s in kept else np.full_like(value, _missing(value)) for s in steps])
        for name, value in example.items()
    }
    arrays = {name: values[:, None] for name, values in arrays.items()}
    steps = np.asarray(steps)
    bad = np.array([bad if bad <= last else -1], np.int32)
    bad = mark_bad(arrays, steps, bad)
    keep = np.isin(steps, record)
    arrays = {name: values[keep] for name, values in arrays.items()}
    return system, Trajectory(arrays, steps[keep], observed, bad, state)


def _missing(value):
    return np.nan if np.issubdtype(value.dtype, np.floating) else 0
