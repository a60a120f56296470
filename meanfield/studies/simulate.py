"""Run a network or a limit through training and return labelled results."""

import functools
import warnings

import jax
import numpy as np

from meanfield.base.checks import fail, instance, integer, integers, is_integer, number
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.base.progress import progress_bar
from meanfield.base.schema import COORDINATES, SCHEMA_VERSION, Variable, dataset, provenance
from meanfield.model.problem import Samples
from meanfield.model.system import System
from meanfield.model.training import Descent, Training
from meanfield.observe.observable import Observable
from meanfield.studies.checkpoint import Checkpoint
from meanfield.studies.stability import warn_above_edge
from meanfield.studies.store import Store
from meanfield.studies.trajectory import _look, default_record, follow, limit_keys, network_keys

MEMORY = 4e9
RESERVED = ("prediction", "loss", "test_prediction", "test_loss", "first_bad_step")
FIRST_BAD = Variable((), "first step with a value that is not finite, -1 if none")


def check_run(problem, training, observe):
    """Checks that `simulate`, `study` and `fluctuation` share."""
    instance("problem", problem, Samples, "a Problem or a Stream")
    rule = "one of meanfield.GradientDescent, GradientFlow, Langevin, Optax"
    instance("training", training, Training, rule)
    training.check(problem)
    if isinstance(observe, Observable):
        observe = (observe,)
    try:
        observe = tuple(observe)
    except TypeError:
        fail("observe", "a sequence of observables", observe, TypeError)
    for observable in observe:
        instance("observe", observable, Observable, "a sequence of observables from meanfield.observe")
        observable.steps(training.steps)
        observable.check(problem)
    check_names(observe)
    return observe


def check_names(observe):
    """Whether every variable of the observables can have a place of its own in the dataset."""
    names = [name for observable in observe for name in observable.variables]
    taken = {*COORDINATES, *RESERVED}
    for observable in observe:
        taken |= {f"{observable.name}_step", f"{observable.name}_time"}
        taken |= {dim for variable in observable.variables.values() for dim in variable.dims}
    if len(set(names)) < len(names) or taken & set(names):
        clash = sorted(n for n in set(names) if names.count(n) > 1 or n in taken)
        fail("observe", "a sequence of observables with names of their own (each takes `name`)", clash)


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
    seeds = list(integers("seeds", seeds, least=0))
    if seeds[-1] >= 2**32:
        fail("seeds", "numbers below 2^32", seeds[-1])
    return seeds


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
    store=None,
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
        store: folder in which the result is kept; the same call, given again, finds it there.
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
    key = integer("key", key, 0, 2**63 - 1)
    record = check_record(record, training.steps)
    memory = check_memory(memory)
    system.check(problem, training)
    system = system.settled(problem)
    if store is None:
        return _computed(system, problem, training, seeds, key, record, observe, memory, progress)
    with double():
        about = {"problem": problem, "training": training, "record": record, "observe": observe}
        about = {
            "simulate": {**about, "system": system, "seeds": seeds, "key": key},
            "schema": SCHEMA_VERSION,
        }
        about = describe(about)
    store = Store(store)
    store.open({})
    result = store.read(about)
    if result is None:
        checkpoint = Checkpoint(store, about)
        result = _computed(
            system, problem, training, seeds, key, record, observe, memory, progress, checkpoint
        )
        store.write(about, result)
        checkpoint.clear()
    else:
        warn_of_divergence(result)
    return result


def _computed(system, problem, training, seeds, key, record, observe, memory, progress, checkpoint=None):
    """`simulate` after its checks, without a store."""
    if system.is_limit and not system.exact and system.rows is None:
        from meanfield.studies.refine import refine

        return refine(system, problem, training, key=key, record=record, observe=observe, memory=memory)
    if isinstance(training, Descent):
        warn_above_edge(system, problem, training)
    with progress_bar(progress) as bar:
        bar.start("training", training.steps * (1 if system.is_limit else len(seeds)))
        return run(system, problem, training, seeds, key, record, observe, memory, bar.advance, checkpoint)


def run(
    system, problem, training, seeds, key, record, observe=(), memory=MEMORY, report=None, checkpoint=None
):
    """`simulate` after its checks."""
    for observable in observe:
        observable.check(problem, system)
    with double():
        if system.exact:
            return _solved(system, problem, training, key, record)
        root = jax.random.key(key)
        planned, together = system.plan(problem, training, len(seeds), memory, bool(observe))
        if system.is_limit:
            trajectory = follow(
                planned, problem, training, limit_keys(root), record, observe, report, checkpoint
            )
            bad = trajectory.first_bad_step
            bad = np.asarray(bad[bad >= 0].min() if (bad >= 0).any() else -1)
            looks = _looks(trajectory, planned, problem, np.full(trajectory.first_bad_step.shape, bad))
            with np.errstate(over="ignore", invalid="ignore"):  # shortly before divergence
                arrays = system.summarise(trajectory.arrays)
                observed = {o: (at, _summarised(system, o, values)) for o, (at, values) in looks.items()}
            for values in arrays.values():
                if np.issubdtype(values.dtype, np.floating):
                    values[(record >= bad) & (bad >= 0)] = np.nan
            lead = ()
        else:
            batches, looks = [], []
            for start in range(0, len(seeds), together):
                numbers = seeds[start : start + together]
                padded = numbers + [numbers[-1]] * (together - len(numbers))
                keys = network_keys(root, padded)
                count = len(numbers)
                track = None if report is None else (lambda steps, count=count: report(steps * count))
                trajectory = follow(planned, problem, training, keys, record, observe, track, checkpoint)
                batches.append((count, trajectory))
                looks.append(_looks(trajectory, planned, problem, trajectory.first_bad_step))
            arrays = _joined([{k: v[:, :n] for k, v in t.arrays.items()} for n, t in batches])
            bad = np.concatenate([t.first_bad_step[:n] for n, t in batches])
            observed = {}
            for o in observe:
                pairs = zip(batches, looks, strict=True)
                parts = [{k: v[:, :n] for k, v in look[o][1].items()} for (n, _), look in pairs]
                observed[o] = (looks[0][o][0], _joined(parts))
            lead = ("seed",)
    return _to_dataset(system, problem, training, seeds, key, record, arrays, bad, observed, lead)


def _solved(system, problem, training, key, record):
    """The dataset of a limit that is known at all steps at once."""
    arrays = system.at(problem, training, record, key)
    wrong = ~np.isfinite(arrays["prediction"].reshape(len(record), -1)).all(1)
    bad = int(record[wrong.argmax()]) if wrong.any() else -1
    for values in arrays.values():
        values[(record >= bad) & (bad >= 0)] = np.nan
    return _to_dataset(system, problem, training, [], key, record, arrays, np.asarray(bad), {}, ())


def _joined(parts):
    """Arrays of all seeds, (seed, step, ...)."""
    return {name: np.concatenate([p[name] for p in parts], 1).swapaxes(0, 1) for name in parts[0]}


def _looks(trajectory, system, problem, bad):
    """{observable: (steps, {name: (look, network or replicate, ...)})}, NaN from the first bad step on."""
    result = {}
    for observable, (steps, values) in trajectory.observed.items():
        if not values:  # all diverged before the first look
            state, look = trajectory.state, functools.partial(_look, observable)
            shapes = jax.eval_shape(look, system, problem, state, state)
            values = [{name: np.full(s.shape, np.nan, s.dtype) for name, s in shapes.items()}]
        missing = len(steps) - len(values)
        stacked = {n: np.stack([v[n] for v in values] + [values[-1][n]] * missing) for n in values[0]}
        late = (steps[:, None] >= bad[None, :]) & (bad >= 0)
        for array in stacked.values():
            array[late[:, : array.shape[1]]] = np.nan  # of a limit perhaps the first replicate alone
        result[observable] = (steps, stacked)
    return result


def _summarised(system, observable, values):
    """Replicates to means and standard errors, or to the first of them where a mean makes no sense."""
    return system.summarise(values) if observable.average else {n: v[:, 0] for n, v in values.items()}


def _to_dataset(system, problem, training, seeds, key, record, arrays, bad, observed, lead):
    variables = {name: v.prefixed(*lead, "step") for name, v in system.variables.items()}
    times = training.times()
    coords = {
        "step": ("step", record),
        "time": ("step", times[record], {"long_name": "training time", "units": "1"}),
    }
    coords |= system.coordinates(problem)
    if lead:
        coords["seed"] = ("seed", np.asarray(seeds))
    everything = dict(arrays)
    for observable, (steps, values) in observed.items():
        axis = f"{observable.name}_step"
        declared = observable.variables
        for name, value in values.items():
            base = declared.get(name) or declared[name.removesuffix("_error")].own_error()
            variables[name] = base.prefixed(*lead, axis)
            everything[name] = value
        taken = {"long_name": COORDINATES["step"], "units": "1"}
        coords[axis] = (axis, np.asarray(steps), taken)
        coords[f"{observable.name}_time"] = (axis, times[steps], {"long_name": "training time", "units": "1"})
        coords.update(observable.coordinates(problem, system))
    variables["first_bad_step"] = FIRST_BAD.prefixed(*lead)
    everything["first_bad_step"] = bad
    settings = {"system": describe(system), "problem": describe(problem), "training": describe(training)}
    source = {"error_from": system.error_from} if system.is_limit else {}
    attrs = provenance(settings, **source, key=key, dtype=system.dtype, system=type(system).__name__)
    result = dataset(everything, variables, coords, attrs)
    warn_of_divergence(result)
    return result


def warn_of_divergence(result):
    """One warning where some training in a result of `simulate` diverged."""
    bad = result["first_bad_step"].values
    if not (bad >= 0).any():
        return
    which = "the limit" if bad.ndim == 0 else f"{int((bad >= 0).sum())} of {bad.size} networks"
    warnings.warn(
        f"Training diverged for {which}, first at step {int(bad[bad >= 0].min())}: values from "
        "`first_bad_step` on are NaN. The learning rate is likely too large; see meanfield.stability.",
        RuntimeWarning,
        stacklevel=4,
    )
