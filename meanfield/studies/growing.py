"""The time loop of systems whose buffers fill: one network, or one replicate of a limit, after another.

Steps run compiled in blocks of recorded steps. Before every step the compiled loop asks whether it might not
fit, and then ends where it stands: the host makes the buffers larger and goes on from there. The result does
not depend on when that happens, beyond rounding. Large systems start with the buffers that a narrow pilot of
the same training needed, so that this hardly ever happens to them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail
from meanfield.studies.checkpoint import LARGEST, flattened, nested
from meanfield.studies.trajectory import BLOCK, Trajectory, mark_bad, traces


def _advance(system, problem, training, state, counts):
    """For every entry of `counts`: look, then take that many steps as long as they fit.

    Returns (state, first bad step or −1, what was seen, the step at which it was seen, −1 if it was not).
    """
    traces["advance growing"] += 1
    problem = problem.astype(system.dtype)
    shared = system.shared(problem, training)
    unseen = jnp.zeros(problem.y.shape if shared else (), system.dtype)

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
            return taken + 1, state, bad, jnp.where(taken == 0, f, first) if shared else first

        start = (jnp.zeros((), jnp.int32), state, bad, unseen)
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


def _look(observable, system, problem, state, initial):
    traces["look"] += 1
    problem = problem.astype(system.dtype)
    return system.look(lambda m, m0: observable.compute(system, problem, m, m0), state, initial)


look = jax.jit(_look, static_argnames="observable")
look_quickly = jax.jit(_look, static_argnames="observable", compiler_options=_quick)


def follow_growing(system, problem, training, keys, record, observables=(), report=None, checkpoint=None):
    """As `follow`, one network or one replicate after another; (step, network, …) arrays.

    With a `checkpoint` a killed run goes on where it stood; the result has the same bits.
    """
    if system.is_limit:
        each = system.replicates(keys[0])
    else:
        each = [(system, keys[0][i]) for i in range(keys[0].shape[0])]
    kept = (checkpoint.load() if checkpoint is not None else None) or {}
    parts, sizes = [], None
    for i, (own, key) in enumerate(each):
        share = None
        if report is not None:  # a limit counts its steps once
            share = (lambda steps: report(steps / len(each))) if system.is_limit else report
        saved = nested(kept, f"part/{i}")
        if sizes is not None:
            own = own.with_buffers(sizes)  # those of the first: nothing is compiled again
        elif not saved and own.pilot(training) is not None:
            pilot = _Run(own.pilot(training), problem, training, record[-1:])
            pilot.begin(key[None], None)
            pilot.go()
            own = own.sized(pilot.state)
        # A mean over replicates makes no sense of some: the first one stands for a limit.
        looked = [o for o in observables if o.average or not system.is_limit or i == 0]
        run = _Run(own, problem, training, record, looked, share)
        if not saved or not bool(saved["over"]):
            save = None if checkpoint is None else _saving(checkpoint, kept, f"part/{i}")
            run.begin(key[None], saved)
            run.go(save)
            saved = nested(flattened(run.saved(state=False), "part"), "part")
            kept |= flattened(saved, f"part/{i}")
        else:
            run.restore(saved)
        sizes = sizes or run.system.sizes
        parts.append(run.trajectory())
    arrays = {n: np.concatenate([p.arrays[n] for p in parts], 1) for n in parts[0].arrays}
    observed = {}
    for o in observables:
        steps = parts[0].observed[o][0]
        every = [p.observed[o][1] for p in parts if o in p.observed]
        looks = []
        for j in range(max(map(len, every))):
            pieces = [values[j] if j < len(values) else None for values in every]
            like = next(piece for piece in pieces if piece is not None)
            pieces = [
                jax.tree.map(lambda v: np.full_like(v, np.nan), like) if piece is None else piece
                for piece in pieces
            ]
            check_alike(o, pieces)
            looks.append({n: np.concatenate([piece[n] for piece in pieces]) for n in like})
        observed[o] = (steps, looks)
    bad = np.concatenate([p.first_bad_step for p in parts])
    return Trajectory(arrays, parts[0].steps, observed, bad, parts[-1].state)


def check_alike(observable, pieces):
    """Whether replicates of M and of M/2 particles give arrays of one shape, which alone have a mean."""
    for name in pieces[0]:
        shapes = sorted({piece[name].shape[1:] for piece in pieces}, reverse=True)
        if len(shapes) > 1:
            found = f"{name}, of shapes {' and '.join(map(str, shapes))}, has an axis over particles"
            rule = f"observables with a mean over replicates: {found} and needs `average = False`"
            fail("observe", rule, observable)


def _saving(checkpoint, kept, prefix):
    """run → None: writes where it stands, with the parts that are over, where that is due."""

    def save(run):
        if checkpoint.due():
            small = sum(leaf.nbytes for leaf in jax.tree.leaves(run.state)) <= LARGEST
            own = {name: value for name, value in kept.items() if not name.startswith(prefix + "/")}
            checkpoint.save({**own, **(flattened(run.saved(), prefix) if small else {})})

    return save


class _Run:
    """One network or replicate on its way: what has been seen, where it stands, its buffers."""

    def __init__(self, system, problem, training, record, observables=(), report=None):
        self.system, self.problem, self.training = system, problem, training
        self.record, self.report = record, report
        self.observed = {o: (o.steps(training.steps), []) for o in observables}
        self.wanted = {int(s) for steps, _ in self.observed.values() for s in steps}
        steps = np.union1d(np.concatenate([[0], record]), sorted(self.wanted))
        self.steps = [int(s) for s in steps]
        self.quick = system.operations(problem, training) * training.steps < QUICK
        self.seen, self.here, self.bad, self.over = {}, 0, -1, False
        self.state = self.initial = None

    def begin(self, key, saved):
        """At step 0, or where a checkpoint stands."""
        if saved:
            self.system = self.system.with_buffers(_sizes(saved))
        self.state = self.system.start(self.problem, self.training, key)
        if self.observed:
            self.initial = jax.tree.map(jnp.copy, self.state)
        if saved and "state" in saved:
            leaves, structure = jax.tree.flatten(self.state)
            leaves = [jnp.asarray(saved["state"][str(k)]) for k in range(len(leaves))]
            self.state = jax.tree.unflatten(structure, leaves)
            self.restore(saved)
            if self.report is not None:
                self.report(min(self.here, self.steps[-1]))

    def restore(self, saved):
        """What a checkpoint has seen; not the state."""
        self.system = self.system.with_buffers(_sizes(saved))
        self.here, self.bad, self.over = int(saved["here"]), int(saved["bad"]), bool(saved["over"])
        self.seen = {int(step): values for step, values in saved.get("seen", {}).items()}
        for i, (_, values) in enumerate(self.observed.values()):
            looks = saved.get("observed", {}).get(str(i), {})
            values[:] = [looks[str(j)] for j in range(len(looks))]

    def saved(self, state=True):
        tree = {
            "here": self.here,
            "bad": self.bad,
            "over": self.over,
            "sizes": [[name, side, size] for (name, side), size in self.system.sizes],
            "seen": self.seen,
            "observed": {i: values for i, (_, values) in enumerate(self.observed.values())},
        }
        return {**tree, "state": jax.tree.leaves(self.state)} if state else tree

    def go(self, save=None):
        """To the last step, or to where it diverges."""
        system, problem, training, last = self.system, self.problem, self.training, self.steps[-1]
        take = advance_quickly if self.quick else advance
        while not self.over:
            while bool(system.full(self.state)):
                system, self.state = system.grow(self.state)
                self.system = system
            self._look_at()
            counts = self._block()
            padded = np.zeros(min(BLOCK, len(self.steps)), np.int32)
            padded[: len(counts)] = counts
            self.state, bad, seen, at = take(system, problem, training, self.state, jnp.asarray(padded))
            seen, at = jax.tree.map(np.asarray, seen), np.asarray(at)
            for j, step in enumerate(at):
                if step >= 0 and int(step) in self.steps:
                    self.seen[int(step)] = {name: value[j] for name, value in seen.items()}
            before, self.here = self.here, int(training.count(self.state.memory))
            if self.report is not None:
                self.report(min(self.here, last) - min(before, last))
            self.bad = int(bad)
            self.over = self.bad >= 0 or last in self.seen
            if save is not None and not self.over:
                save(self)
        if self.report is not None:
            self.report(last - min(self.here, last))
        for o, (_, values) in self.observed.items():
            if not values:  # it diverged before the first look
                shapes = jax.eval_shape(
                    functools.partial(_look, o), self.system, problem, self.state, self.initial
                )
                values.append(jax.tree.map(lambda s: np.full((1, *s.shape), _missing(s), s.dtype), shapes))

    def _look_at(self):
        """What observables see of the state as it stands."""
        for o, (at, values) in self.observed.items():
            if self.here in at and len(values) == int(np.searchsorted(at, self.here)):
                seen = (look_quickly if self.quick else look)(
                    o, self.system, self.problem, self.state, self.initial
                )
                values.append(jax.tree.map(lambda v: np.asarray(v)[None], seen))

    def _block(self):
        """Steps to take after each look, up to where observables look next."""
        stops = [s for s in self.steps if s > self.here]
        if not stops:
            return np.array([1])  # the last look comes with a step that is thrown away
        first = next(i for i, s in enumerate(stops) if s in self.wanted or s == self.steps[-1])
        return np.diff([self.here, *stops[: 1 + first][:BLOCK]])

    def trajectory(self):
        seen = self.seen
        arrays = {
            name: np.stack(
                [seen[s][name] if s in seen else np.full_like(value, _missing(value)) for s in self.steps]
            )[:, None]
            for name, value in next(iter(seen.values())).items()
        }
        steps = np.asarray(self.steps)
        bad = np.array([self.bad if self.bad <= steps[-1] else -1], np.int32)
        bad = mark_bad(arrays, steps, bad)
        keep = np.isin(steps, self.record)
        arrays = {name: values[keep] for name, values in arrays.items()}
        return Trajectory(arrays, steps[keep], self.observed, bad, self.state)


def _sizes(saved):
    rows = [saved["sizes"][str(i)] for i in range(len(saved.get("sizes", {})))]
    return tuple(((str(r["0"]), int(r["1"])), int(r["2"])) for r in rows)


def _missing(value):
    return np.nan if np.issubdtype(value.dtype, np.floating) else 0
