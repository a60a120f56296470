"""Finite networks of many sizes, their limit, and the comparison of the two, kept in a store."""

import contextlib
import dataclasses
import json
import warnings

import numpy as np
import xarray as xr

from meanfield.base.checks import boolean, fail, instance, integer, integers
from meanfield.base.fingerprint import describe, digest
from meanfield.base.precision import double
from meanfield.base.progress import progress_bar
from meanfield.base.schema import SCHEMA_VERSION, provenance
from meanfield.model.system import Model, System
from meanfield.model.training import Descent
from meanfield.studies.checkpoint import Checkpoint
from meanfield.studies.compare import compare
from meanfield.studies.refine import fixed, refine
from meanfield.studies.response import Response, control_cell, fluctuation_group, reference
from meanfield.studies.simulate import MEMORY, check_memory, check_record, check_run, run, seed_list
from meanfield.studies.stability import warn_above_edge
from meanfield.studies.store import Store, StoreError, read_checked_tree, read_tree, to_bytes

BLOCK = 8  # seeds of one cell


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study is: settings only. `run()` computes it, `cells()` lists its parts."""

    model: Model
    problem: object
    training: object
    sizes: dict
    seeds: int = 32
    limit: System | None = None
    key: int = 0
    record: object = None
    observe: tuple = ()
    memory: float | None = None
    response: Response | None = None
    dtype: str = "float32"
    sampler: object = None

    def __post_init__(self):
        instance("model", self.model, Model, "a model such as meanfield.TwoLayer(...)")
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_("dtype", getattr(self.dtype, "__name__", None) or str(self.dtype))
        set_("observe", check_run(self.problem, self.training, self.observe))
        if not isinstance(self.sizes, dict) or not self.sizes:
            fail("sizes", 'a dictionary such as {"width": [64, 128]}', self.sizes, TypeError)
        known = {law.size for law in self.model.laws()}
        for name in self.sizes:
            if name not in known:
                fail("sizes", f"a dictionary with the keys {' or '.join(sorted(known))}", list(self.sizes))
        plural = {name: integers(f"{name}s", values) for name, values in self.sizes.items()}
        set_("sizes", plural)
        set_("seeds", integer("seeds", self.seeds, 1, 2**32))
        set_("key", integer("key", self.key, 0, 2**63 - 1))
        set_("record", check_record(self.record, self.training.steps))
        if self.memory is not None:
            check_memory(self.memory)
        limit = self.model.limit() if self.limit is None else self.limit
        instance("limit", limit, System, "a limit such as model.limit(1024)")
        if not limit.is_limit:
            raise TypeError(
                "Argument `limit` must be a limit such as model.limit(1024), but is a finite network."
            )
        set_("limit", limit)
        if self.response is not None:
            instance("response", self.response, Response, "a meanfield.Response(...)")
            self.response.check(self.model, self.problem, self.training)
        limit.check(self.problem, self.training)
        set_("limit", limit.settled(self.problem))
        for size in self.grid():
            self.system(size).check(self.problem, self.training)

    def system(self, size):
        """The finite network of a size."""
        return finite_system(self.model, size, self.dtype, self.sampler)

    def grid(self):
        """All combinations of sizes, as dictionaries."""
        combos = [{}]
        for name, values in self.sizes.items():
            combos = [{**combo, name: value} for combo in combos for value in values]
        return combos

    def identity(self):
        """What all results of one store share."""
        with double():
            precision = {} if self.dtype == "float32" else {"dtype": self.dtype}
            precision |= {} if self.sampler is None else {"sampler": describe(self.sampler)}
            return json.loads(
                json.dumps(
                    {
                        **precision,
                        "model": describe(self.model),
                        "problem": describe(self.problem),
                        "training": describe(self.training),
                        "key": self.key,
                        "record": digest([int(s) for s in self.record]),
                        "observe": describe(self.observe),
                        "schema": SCHEMA_VERSION,
                    }
                )
            )

    def request(self):
        """Hash of everything that determines the whole dataset."""
        with double():
            parts = {"sizes": self.sizes, "seeds": self.seeds, "limit": self.limit, "response": self.response}
            return digest({**describe(parts), "identity": self.identity()})

    def blocks(self, has):
        """(first seed, count): blocks of eight seeds, the last one in the powers of two that make it up, or
        in the pieces that are already there. `has(first, count)` says whether a piece is there."""

        def cover(first, count):
            if first >= self.seeds:
                return []
            inside = first + count <= self.seeds
            if has(first, count) or (inside and not stored_below(first, count)):
                return [(first, count)]
            return cover(first, count // 2) + cover(first + count // 2, count // 2)

        def stored_below(first, count):
            half = count // 2
            pieces = [(first, half), (first + half, half)] if half else []
            return any(has(*piece) or stored_below(*piece) for piece in pieces)

        return [piece for first in range(0, self.seeds, BLOCK) for piece in cover(first, BLOCK)]

    def cells(self, store=None):
        """[(size, first seed, count, whether it is done)]."""
        identity = self.identity()
        listed = []
        for size in self.grid():

            def has(first, count, size=size):
                return store is not None and store.has(cell_description(identity, size, first, count))

            listed += [(size, first, count, has(first, count)) for first, count in self.blocks(has)]
        return listed

    def run(self, store=None, *, progress=True, executor=None):
        """Compute what is missing and return the study's tree: see `study`."""
        boolean("progress", progress)
        identity = self.identity()
        if store is not None:
            store = Store(store)
            store.open(identity)
            found = _finished(store, self.request())
            if found is not None:
                return found
        memory = self.memory or _kept_memory(store) or MEMORY
        if store is not None:
            store.write_manifest(self._manifest(identity, memory))
        if isinstance(self.training, Descent):
            warn_above_edge(self.limit, self.problem, self.training)
        with progress_bar(progress) as bar, _one_divergence_warning():
            work = _Work(self, store, identity, memory, bar, executor)
            finite = work.finite()
            limit = work.limit(finite)
            groups = {}
            if self.response is not None:
                finite, groups["/fluctuation"] = work.respond(finite, limit)
        groups = {"/finite": finite, "/limit": limit, "/fit": compare(finite, limit), **groups}
        tree = xr.DataTree.from_dict(groups)
        tree.attrs = {**provenance(identity, request=self.request()), **self.summary()}
        _warn_of_divergence(finite, limit)
        if store is None:
            return tree
        data = to_bytes(tree)
        store.write_path(store.path / "study.nc", data)
        return read_tree(data)  # the file may be another process's by now

    def summary(self):
        """The settings as a person reads them."""
        return {
            "model": repr(self.model),
            "problem": repr(self.problem),
            "training": repr(self.training),
            "seeds": self.seeds,
            "key": self.key,
        }

    def _manifest(self, identity, memory):
        sizes = {name: list(values) for name, values in self.sizes.items()}
        return {
            "identity": identity,
            "memory": memory,
            "sizes": sizes,
            "request": self.request(),
            **self.summary(),
        }


def cell_description(identity, size, first, count):
    return {"cell": size, "seeds": [first, count], **identity}


def _kept_memory(store):
    manifest = store.manifest() if store is not None else None
    return manifest["memory"] if manifest else None


def _finished(store, request):
    """The finished study, if this very one lies in the store."""
    manifest = store.manifest()
    if manifest is None or manifest.get("request") != request:
        return None
    try:
        tree = read_checked_tree(store.path / "study.nc")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(
            f"File {store.path / 'study.nc'} is damaged ({error}): it is put together anew from the cells.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    return tree if tree.attrs.get("request") == request else None


class _Work:
    """The parts of one run: each looked up in the store first."""

    def __init__(self, study, store, identity, memory, bar, executor):
        self.study, self.store, self.identity = study, store, identity
        self.memory, self.bar, self.executor = memory, bar, executor

    def kept(self, description, compute):
        """A stored result, or a new one, stored."""
        found = self.store.read(description) if self.store is not None else None
        if found is None:
            found = compute()
            if self.store is not None:
                self.store.write(description, found)
                self.checkpoint(description).clear()
        return found

    def checkpoint(self, description):
        """Where an unfinished result stands, or None without a store."""
        return None if self.store is None else Checkpoint(self.store, description)

    def finite(self):
        """All networks, (size, seed, step, ...)."""
        study = self.study
        # The costliest first: what does not fit in memory or time shows at once.
        cells = sorted(study.cells(self.store), key=lambda cell: -self._work_of(cell[0]))
        missing = [(size, first, count) for size, first, count, done in cells if not done]
        weights = {id(c): self._work_of(c[0]) * c[2] for c in missing}
        self.bar.start("finite networks", max(1.0, sum(weights.values())))
        futures = {}
        if self.executor is not None:
            arguments = (study.problem, study.training, study.key, study.record, study.observe, self.memory)
            arguments += (study.dtype, study.sampler)
            for cell in missing:
                futures[_name(cell)] = self.executor.submit(compute_cell, study.model, *cell, *arguments)
        parts = {}
        for size, first, count, _ in cells:
            description = cell_description(self.identity, size, first, count)

            def compute(size=size, first=first, count=count, description=description):
                future = futures.get(_name((size, first, count)))
                if future is not None:
                    self.bar.advance(self._work_of(size) * count)
                    return future.result()
                unit = self._work_of(size) / study.training.steps
                return compute_cell(
                    study.model, size, first, count, study.problem, study.training, study.key, study.record,
                    study.observe, self.memory, study.dtype, study.sampler,
                    lambda steps: self.bar.advance(unit * steps), self.checkpoint(description),
                )  # fmt: skip

            parts.setdefault(tuple(size.items()), []).append(self.kept(description, compute))
        networks = []
        for size, pieces in parts.items():
            joined = xr.concat(pieces, "seed", join="exact", data_vars="minimal", combine_attrs="override")
            networks.append(joined.isel(seed=slice(0, study.seeds)).expand_dims({k: [v] for k, v in size}))
        common = set.intersection(*(set(network.data_vars) for network in networks))
        networks = [network[[n for n in network.data_vars if n in common]] for network in networks]
        finite = xr.combine_by_coords(networks, join="exact", combine_attrs="override", data_vars="minimal")
        finite = finite.transpose(*study.sizes, "seed", "step", ...)
        laws = json.dumps([dataclasses.asdict(law) for law in study.model.laws()])
        for name in study.sizes:
            finite[name].attrs.update(long_name=f"{name} of the network", units="1")
        return finite.assign_attrs(laws=laws, seeds=study.seeds, responds=int(study.model.responds))

    def _work_of(self, size):
        """Operations of training one network of a size."""
        system = self.study.system(size)
        return system.operations(self.study.problem, self.study.training) * self.study.training.steps

    def limit(self, finite):
        study = self.study
        self.bar.start("limit", study.training.steps)

        def named(system):
            return {"limit": describe(system), **self.identity}

        def load(system):
            return self.store.read(named(system)) if self.store is not None else None

        def save(system, dataset):
            if self.store is not None:
                self.store.write(named(system), dataset)
                where(system).clear()

        def where(system):
            return self.checkpoint(named(system))

        observe = () if study.limit.exact else study.observe
        options = {"key": study.key, "record": study.record, "observe": observe, "memory": self.memory}
        if study.limit.exact or study.limit.rows is not None:

            def compute():
                arguments = (
                    study.problem,
                    study.training,
                    [],
                    study.key,
                    study.record,
                    observe,
                    self.memory,
                )
                where = self.checkpoint(named(study.limit))
                return run(study.limit, *arguments, self.bar.advance, where)

            return fixed(study.limit, self.kept(named(study.limit), compute))
        smallest = smallest_errors(finite)
        widest = max(study.sizes.get("width", (512,)))
        start = 1 << max(8, (widest // 8).bit_length() - 1)
        return refine(
            study.limit, study.problem, study.training, **options, smallest=smallest, start=start,
            load=load, save=save, where=where,
        )  # fmt: skip

    def respond(self, finite, limit):
        """The networks with their first-order deviation, and the asymptotic spread and bias.

        The controls are moved by what their own limit is off `limit`, so that network − control − limit
        holds network − control against the limit that the control belongs to.
        """
        study = self.study
        prepared = study.response.prepare(study.model, study.problem, study.training, study.key, self.memory)
        about = {"response": describe(study.response), **self.identity}
        total = sum(size["width"] for size in study.grid()) * study.seeds
        self.bar.start("response", total)
        group = self.kept({"fluctuation": 1, **about}, lambda: fluctuation_group(prepared, study.record))
        controls = []
        for size in study.grid():
            pieces = []
            for first in range(0, study.seeds, BLOCK):
                numbers = list(range(first, min(first + BLOCK, study.seeds)))
                description = {"control": size, "seeds": numbers, **about}

                def compute(size=size, numbers=numbers):
                    return control_cell(prepared, study.system(size), numbers, study.key, study.record)

                pieces.append(self.kept(description, compute))
                self.bar.advance(size["width"] * len(numbers))
            joined = xr.concat(pieces, "seed", join="exact", combine_attrs="override")
            controls.append(joined.expand_dims({k: [v] for k, v in size.items()}))
        control = xr.combine_by_coords(controls, join="exact", combine_attrs="override")
        own = self.kept({"reference": 1, **about}, lambda: reference(prepared, study.record))
        for name in own.data_vars:
            moved = control[f"{name}_control"] + own[name] - limit[name]
            control[f"{name}_control"] = moved.assign_attrs(control[f"{name}_control"].attrs)
        if prepared.limit.random:
            finite = finite.assign_attrs(control_particles=prepared.limit.particles)
        merged = finite.assign(control.transpose(*study.sizes, "seed", "step", ...).data_vars)
        return merged, group


def _name(cell):
    size, first, count = cell
    return (tuple(size.items()), first, count)


def compute_cell(
    model, size, first, count, problem, training, key, record, observe, memory, dtype="float32",
    sampler=None, report=None, checkpoint=None,
):  # fmt: skip
    """One cell: networks of one size, seeds first ... first + count − 1."""
    numbers = list(range(first, first + count))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training diverged", RuntimeWarning)
        system = finite_system(model, size, dtype, sampler)
        return run(system, problem, training, numbers, key, record, observe, memory, report, checkpoint)


def finite_system(model, size, dtype, sampler):
    """The network of a size; `sampler` None leaves the choice to the model."""
    options = {} if sampler is None else {"sampler": sampler}
    return model.finite(**size, dtype=dtype, **options)


def smallest_errors(finite):
    """{quantity: smallest spread of one network over sizes}, from the variance over seeds."""
    result = {}
    for name in ("prediction", "test_prediction"):
        if name in finite and finite.sizes["seed"] > 1:
            variance = finite[name].astype(float).var("seed", ddof=1, skipna=True)
            dims = [d for d in variance.dims if d not in ("width", "depth", "embedding")]
            value = float(np.sqrt(variance.mean(dims, skipna=True)).min())
            if np.isfinite(value) and value > 0:
                result[name] = value
    return result or None


@contextlib.contextmanager
def _one_divergence_warning():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training diverged", RuntimeWarning)
        yield


def _warn_of_divergence(finite, limit):
    bad = finite.first_bad_step
    count = int((bad >= 0).sum())
    if count:
        worst = bad.where(bad >= 0)
        at = worst.isel(worst.argmin(...))
        where = ", ".join(f"{name} {int(at[name])}" for name in (*bad.dims[:-1], "seed"))
        warnings.warn(
            f"Training diverged for {count} of {bad.size} networks, first at step {int(at)} ({where}): "
            "values from `first_bad_step` on are NaN and the comparison leaves these seeds out.",
            RuntimeWarning,
            stacklevel=4,
        )
    if int(limit.first_bad_step) >= 0:
        warnings.warn(
            f"Training of the limit diverged at step {int(limit.first_bad_step)}: nothing is compared "
            "from there on.",
            RuntimeWarning,
            stacklevel=4,
        )


def study(
    model,
    problem,
    training,
    *,
    sizes,
    seeds=32,
    limit=None,
    store=None,
    key=0,
    record=None,
    observe=(),
    memory=None,
    progress=True,
    response=None,
    executor=None,
    dtype="float32",
    sampler=None,
):
    """Train networks of every size and many seeds, compute their limit, compare.

    Args:
        model: such as `TwoLayer(...)`.
        problem, training, key, record, observe, memory: as in `simulate`.
        sizes: {"width": [...]}, increasing positive integers.
        seeds: independent networks of every size.
        limit: `model.limit(...)`; by default its particles double until its error is a quarter of the
            smallest finite-width error, and the attribute `refinement` of `/limit` says how that ended.
        store: folder of results. A run that was killed goes on where it stopped when it is given again;
            more sizes or seeds reuse all that is there.
        progress: show a bar if standard error is a terminal.
        response: a `Response(...)`, which adds to every network its first-order deviation from the limit
            (a control variate, so that the bias can be seen) and the predicted spread in `/fluctuation`.
        executor: anything with `submit`, such as a Dask client, that computes cells elsewhere.
        dtype: precision of the networks, float32 or float64; draws are the same in both.
        sampler: how networks are sampled, for models that can choose: `Dense()`, or `MatrixFree(tolerance,
            above=4096)`, which draws networks up to that width densely and wider ones without matrices.
    Returns:
        xarray.DataTree with `/finite` (sizes, seed, step, ...), `/limit`, `/fit` (see `compare`).
    Raises:
        TypeError, ValueError: one sentence, before any computing; a store that holds another study or
            cannot be written to is a ValueError.
    """
    settings = Study(
        model, problem, training, sizes, seeds, limit, key, record, observe, memory, response, dtype,
        sampler,
    )  # fmt: skip
    return settings.run(store, progress=progress, executor=executor)


def width_study(model, problem, training, *, widths, **options):
    """`study` over widths: networks of every width against the infinitely wide limit."""
    return study(model, problem, training, sizes={"width": widths}, **options)


def open_study(store):
    """The finished study in a folder, without the script that made it.

    Raises:
        ValueError: if there is no store, or its study is not finished (give its command again).
    """
    store = Store(store)
    manifest = store.manifest()
    if manifest is None:
        raise StoreError(f"Argument `store` must be the folder of a study, but {store.path} holds none.")
    found = _finished(store, manifest["request"])
    if found is None:
        done = len(list((store.path / "cells").glob("[!.]*.nc")))
        raise StoreError(
            f"The study in {store.path} is not finished ({done} results are there): give the command that "
            "began it again."
        )
    return found


__all__ = ["BLOCK", "Study", "open_study", "seed_list", "study", "width_study"]
