"""Run a network or a limit through training and return labelled results."""

import warnings

import jax
import numpy as np

from meanfield.base.checks import fail, instance, integer, integers, is_integer, number
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.base.progress import progress_bar
from meanfield.base.schema import Variable, dataset, provenance
from meanfield.model.problem import Samples
from meanfield.model.system import System
from meanfield.model.training import Descent, Training
from meanfield.observe.observable import Observable
from meanfield.studies.stability import warn_above_edge
from meanfield.studies.trajectory import default_record, follow

MEMORY = 4e9
FIRST_BAD = Variable((), "first step with a value that is not finite, -1 if none")


def check_run(problem, training, observe):
    """Checks that `simulate`, `study` and `fluctuation` share."""
    instance("problem", problem, Samples, "a Problem or a Stream")
    instance("training", training, Training, "one of meanfield.GradientDescent, GradientFlow, Langevin, Optax")
    training.check(problem)
    if isinstance(observe, Observable):
        observe = (observe,)
    try:
        observe = tuple(observe)
    except TypeError:
        fail("observe", "a sequence of observables", observe, TypeError)
    for observable in observe:
        instance("observe", observable, Observable, "a sequence of observables from meanfield.observe")
    names = [name for observable in observe for name in observable.variables]
    if len(set(names)) < len(names):
        fail("observe", "a sequence of observables with names of their own", names)
    return observe


def check_record(record, steps):
    """Recorded steps, increasing, within 0 ... steps, as an array."""
    if record is None:
        return default_record(steps)
    record = integers("record", record, least=0)
    if record[-1] > steps:
        fail("record", f"steps of at most {steps}, the length of training", record[-1])
    return np.asarray(record)


def check_memory(memory):
    return MEMORY if memory is None else number("memory", memory, least=1e6)


def seed_list(seeds):
    """The numbers of the seeds: 0 ... seeds − 1, or those given."""
    if is_integer(seeds):
        return list(range(integer("seeds", seeds, 1)))
    return list(integers("seeds", seeds, least=0))


def simulate(
    system,
    problem,
    training,
    *,
    seeds=1,
    key=0,
    record=None,
    observe=(),
    memory=None,
    progress=False,
):
    """Train and record.

    Args:
        system: `model.finite(width)` or `model.limit(particles)`.
        problem: a `Problem` or a `Stream`.
        training: `GradientDescent`, `GradientFlow`, `Langevin` or `Optax`.
        seeds: number of independent networks, or their numbers; a limit has none. Network s uses the key
            `fold_in(key, s)`.
        key: integer that all randomness derives from.
        record: steps to keep; by default all up to 1000, beyond that 200 evenly in log time.
        observe: observables from `meanfield.observe`, each with its own steps.
        memory: bytes that one batch may take; fixes how work is cut, not the result beyond rounding.
        progress: show a bar if standard error is a terminal.
    Returns:
        xarray.Dataset: `prediction (seed, step, sample, output)`, `loss (seed, step)`, with a test set
        `test_prediction`, `test_loss`, the observables' variables, `first_bad_step (seed)`: −1, or the step
        from which on all values of that network are NaN. A limit has no `seed`, and each variable has its
        `_error`, one standard error of the computation itself.
    Raises:
        TypeError, ValueError: one sentence on the argument at fault, before any computing.
    """
    instance("system", system, System, "model.finite(...) or model.limit(...)")
    observe = check_run(problem, training, observe)
    seeds = seed_list(seeds)
    key = integer("key", key, 0)
    record = check_record(record, training.steps)
    memory = check_memory(memory)
    system.check(problem, training)
    if system.is_limit and system.rows is None:
        from meanfield.studies.refine import refine

        return refine(system, problem, training, key=key, record=record, observe=observe, memory=memory)
    if isinstance(training, Descent):
        warn_above_edge(system, problem, training)
    with progress_bar(progress) as bar:
        bar.start("training", training.steps * (1 if system.is_limit else len(seeds)))
        return run(system, problem, training, seeds, key, record, observe, memory, bar.advance)


def run(system, problem, training, seeds, key, record, observe=(), memory=MEMORY, report=None):
    """`simulate` after its checks."""
    with double():
        root = jax.random.key(key)
        planned, together = system.plan(problem, training, len(seeds), memory)
        if system.is_limit:
            trajectory = follow(planned, problem, training, root, record, observe, report)
            arrays = system.summarise(trajectory.arrays)
            bad = trajectory.first_bad_step
            bad = bad[bad >= 0].min(initial=np.iinfo(np.int32).max)
            bad = np.asarray(-1 if bad == np.iinfo(np.int32).max else bad)
            observed = _observed(trajectory, lambda values: system.summarise(values))
            lead = ()
        else:
            batches = []
            for start in range(0, len(seeds), together):
                numbers = seeds[start : start + together]
                padded = numbers + [numbers[-1]] * (together - len(numbers))
                keys = jax.vmap(lambda s: jax.random.fold_in(root, s))(np.asarray(padded, np.uint32))
                count = len(numbers)
                track = None if report is None else (lambda steps, count=count: report(steps * count))
                batches.append((count, follow(planned, problem, training, keys, record, observe, track)))
            arrays = _joined([{k: v[:, :n] for k, v in t.arrays.items()} for n, t in batches])
            bad = np.concatenate([t.first_bad_step[:n] for n, t in batches])
            observed = _joined_observed(batches)
            lead = ("seed",)
    return _to_dataset(system, problem, training, seeds, key, record, arrays, bad, observed, lead)


def _joined(parts):
    """Arrays of all seeds, (seed, step, ...)."""
    return {name: np.concatenate([p[name] for p in parts], 1).swapaxes(0, 1) for name in parts[0]}


def _observed(trajectory, finish):
    """{observable: (steps, {name: array})}, the looked-at steps first."""
    result = {}
    for observable, (steps, values) in trajectory.observed.items():
        if values:
            stacked = {name: np.stack([v[name] for v in values]) for name in values[0]}
            result[observable] = (steps[: len(values)], finish(stacked))
    return result


def _joined_observed(batches):
    looks = [(n, _observed(t, lambda values: values)) for n, t in batches]
    result = {}
    for observable in looks[0][1]:
        longest = max((look[observable][0] for _, look in looks), key=len)
        parts = []
        for n, look in looks:
            values = {k: v[:, :n] for k, v in look[observable][1].items()}
            short = len(longest) - len(look[observable][0])
            fill = {k: np.full((short, *v.shape[1:]), np.nan, v.dtype) for k, v in values.items()}
            parts.append({k: np.concatenate([v, fill[k]]) for k, v in values.items()})
        result[observable] = (longest, _joined(parts))
    return result


def _to_dataset(system, problem, training, seeds, key, record, arrays, bad, observed, lead):
    variables = {name: v.prefixed(*lead, "step") for name, v in system.variables.items()}
    times = training.times()
    coords = {
        "step": ("step", record),
        "time": ("step", times[record], {"long_name": "training time", "units": "1"}),
    }
    if lead:
        coords["seed"] = ("seed", np.asarray(seeds))
    everything = dict(arrays)
    for observable, (steps, values) in observed.items():
        axis = f"{observable.name}_step"
        for name, value in values.items():
            base = observable.variables[name.removesuffix("_error") if system.is_limit else name]
            variables[name] = base.prefixed(*lead, axis)
            everything[name] = value
        coords[axis] = (axis, np.asarray(steps), {"long_name": "number of training steps taken", "units": "1"})
        for name, (dims, value) in observable.coordinates(problem).items():
            coords[name] = (dims, value)
    variables["first_bad_step"] = FIRST_BAD.prefixed(*lead)
    everything["first_bad_step"] = bad
    settings = {"system": describe(system), "problem": describe(problem), "training": describe(training)}
    attrs = provenance(settings, key=key, dtype=system.dtype, system=type(system).__name__)
    result = dataset(everything, variables, coords, attrs)
    if (np.asarray(bad) >= 0).any():
        which = "the limit" if not lead else f"{int((bad >= 0).sum())} of {len(seeds)} networks"
        warnings.warn(
            f"Training diverged for {which}, first at step {int(bad[bad >= 0].min())}: values from "
            "`first_bad_step` on are NaN. The learning rate is likely too large; see meanfield.stability.",
            RuntimeWarning,
            stacklevel=3,
        )
    return result
