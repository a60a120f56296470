"""Studies: what is computed once is kept, and however they were interrupted they end with the same bits."""

import concurrent.futures
import inspect
import json
import math
import pickle
import shutil
import time

import cases
import jax
import numpy as np
import pytest
import small
import xarray as xr
from assertions import assert_one_sentence
from small import SEEDS, WIDTHS, assert_same, counted, files, messages, pieces, study

import meanfield as mf
from meanfield.numerics.statistics import student_interval
from meanfield.studies import trajectory
from meanfield.studies.store import Store, StoreError
from meanfield.studies.study import Study, cell_description

SETTINGS = dict(jax.config.values)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(tree, store) of the small study, run in one go."""
    store = tmp_path_factory.mktemp("unbroken") / "store"
    return study(store), store


@pytest.fixture
def store(unbroken, tmp_path):
    """A copy of the finished store, to be spoiled."""
    return shutil.copytree(unbroken[1], tmp_path / "store")


def described(first=0, count=SEEDS, width=WIDTHS[0], **changes):
    options = small.settings(**changes)
    sizes = {"width": options.pop("widths")}
    options.pop("progress")
    made = Study(sizes=sizes, **options)
    return cell_description(made.identity(), {"width": width}, first, count)


def unfinish(store):
    """What a run leaves that was killed before its last file."""
    (store / "study.nc").unlink()


# --- with and without a store -----------------------------------------------------------------------------


def test_results_in_a_store_are_those_without_one(unbroken):
    assert_same(study(), unbroken[0])


def test_the_networks_of_a_study_are_those_of_simulate(unbroken):
    """Bit by bit: the same seeds, in batches of the same size."""
    options = small.settings()
    for width in WIDTHS:
        alone = mf.simulate(small.MODEL.finite(width), options["problem"], options["training"], seeds=SEEDS)
        kept = unbroken[0]["finite"].to_dataset().sel(width=width, drop=True)
        for name in alone.data_vars:
            np.testing.assert_array_equal(alone[name].values, kept[name].values, err_msg=name)


def test_the_limit_of_a_study_is_that_of_simulate(unbroken):
    options = small.settings()
    alone = mf.simulate(options["limit"], options["problem"], options["training"])
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name].values, unbroken[0]["limit"][name].values, err_msg=name)


def test_the_fit_of_a_study_is_that_of_compare(unbroken):
    tree = unbroken[0]
    again = mf.compare(tree["finite"].to_dataset(), tree["limit"].to_dataset())
    xr.testing.assert_identical(again.drop_attrs(), tree["fit"].to_dataset().drop_attrs())


def test_width_study_is_study_over_widths():
    options = small.settings()
    widths = options.pop("widths")
    assert_same(mf.study(sizes={"width": widths}, **options), study())


@pytest.mark.parametrize("x64", [True, False])
def test_the_caller_s_precision_changes_no_bit(x64, unbroken):
    with jax.enable_x64(x64):
        assert_same(study(), unbroken[0])


def test_no_global_setting_of_jax_is_changed(unbroken):
    """Since this file was imported, whatever studies have run before this one."""
    study(seeds=3)
    assert dict(jax.config.values) == SETTINGS


def test_nothing_is_shown_where_standard_error_is_no_terminal(capfd):
    study(progress=True)
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err == ""


# --- a store is gone on with ------------------------------------------------------------------------------


def test_a_finished_study_is_returned_without_computing(store, monkeypatch):
    """No cell, no trace, no new file, in less than a second."""
    before, traced = files(store), trajectory.traces.copy()
    start = time.process_time()
    with counted(monkeypatch) as cells:
        tree = study(store)
    assert time.process_time() - start < 1
    assert not cells and trajectory.traces == traced and files(store) == before
    assert_same(tree, study())


def test_a_study_whose_last_file_is_missing_is_put_together_from_its_cells(unbroken, store, monkeypatch):
    unfinish(store)
    before = files(store)
    with counted(monkeypatch) as cells:
        tree = study(store)
    after = files(store)
    assert not cells and all(after[name] == before[name] for name in before)
    assert_same(tree, unbroken[0])


def test_a_missing_cell_alone_is_computed_again(unbroken, store, monkeypatch):
    unfinish(store)
    Store(store).cell_path(described(width=8)).unlink()
    before = files(store)
    with counted(monkeypatch) as cells:
        tree = study(store)
    after = files(store)
    assert pieces(cells) == [(8, 0, SEEDS)] and all(after[name] == before[name] for name in before)
    assert_same(tree, unbroken[0])


def test_more_widths_reuse_every_cell(store, monkeypatch):
    before = files(store)
    with counted(monkeypatch) as cells:
        tree = study(store, widths=(4, 6, 8, 16))
    after = files(store)
    assert pieces(cells) == [(6, 0, SEEDS), (16, 0, SEEDS)]
    assert all(after[name] == before[name] for name in before if name.startswith("cells"))
    assert_same(tree, study(widths=(4, 6, 8, 16)))


def test_more_seeds_reuse_every_cell_and_end_with_the_bits_of_one_go(store, monkeypatch):
    """4 → 12 → 16 seeds: blocks of eight, taken in the powers of two that are there or missing."""
    for seeds, expected in ((12, [(4, 4), (8, 4)]), (16, [(12, 4)])):
        with counted(monkeypatch) as cells:
            tree = study(store, seeds=seeds)
        assert pieces(cells) == [(width, *piece) for width in WIDTHS for piece in expected]
    first = study(store, seeds=SEEDS)["finite"].to_dataset()
    xr.testing.assert_equal(tree["finite"].to_dataset().isel(seed=slice(SEEDS)), first)
    at_once = study(seeds=16)["finite"].to_dataset()
    assert_rounding(tree["finite"].to_dataset().prediction, at_once.prediction)


def assert_rounding(one, other):
    """Batches of another size may be added up in another order: 100 roundings of float32."""
    scale = float(np.abs(other).max())
    np.testing.assert_allclose(one.values, other.values, rtol=0, atol=100 * 2.0**-23 * scale)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_fewer_seeds_are_cut_from_the_cells_that_are_there(seeds, unbroken, store, monkeypatch):
    with counted(monkeypatch) as cells:
        tree = study(store, seeds=seeds)
    assert not cells
    finite = tree["finite"].to_dataset()
    assert finite.attrs["seeds"] == finite.sizes["seed"] == seeds
    xr.testing.assert_equal(finite, unbroken[0]["finite"].to_dataset().isel(seed=slice(seeds)))


def test_every_number_of_seeds_is_covered_once_by_blocks():
    """Whatever is stored: pieces are adjacent, start at 0, and only the last may reach beyond."""
    rng = np.random.default_rng(0)
    options = small.settings()
    options.pop("progress")
    sizes = {"width": options.pop("widths")}
    stored = set()
    for seeds in [*range(1, 20), *rng.integers(1, 100, 40)]:
        made = Study(sizes=sizes, **{**options, "seeds": int(seeds)})
        blocks = made.blocks(lambda *piece, there=frozenset(stored): piece in there)
        assert [first for first, _ in blocks] == [0, *np.cumsum([count for _, count in blocks])[:-1]]
        assert sum(count for _, count in blocks[:-1]) < seeds <= sum(count for _, count in blocks)
        assert all(count in (1, 2, 4, 8) and first % count == 0 for first, count in blocks)
        new = [piece for piece in blocks if piece not in stored]
        assert all(first + count <= seeds for first, count in new)
        stored |= set(blocks)


def test_the_memory_decided_once_is_kept_and_used_again(tmp_path, monkeypatch):
    store = tmp_path / "store"
    with counted(monkeypatch) as cells:
        study(store, memory=5e6)
        study(store, seeds=8)
    assert {cell[3] for cell in cells} == {5e6} and len(cells) == 4
    assert json.loads((store / "study.json").read_text())["memory"] == 5e6
    with counted(monkeypatch) as cells:
        study(store, seeds=12, memory=6e6)
    assert {cell[3] for cell in cells} == {6e6}


def test_a_wider_grid_of_a_finished_store_can_be_followed_by_the_first_command_again(unbroken, store):
    study(store, widths=(4, 8, 16))
    assert_same(study(store), unbroken[0])


def test_the_tree_returned_is_one_s_own_even_if_another_process_writes_the_last_file(
    unbroken, tmp_path, monkeypatch
):
    """Between the writing and the return another run with more widths may replace it."""
    plain = Store.write_path

    def write(self, path, data):
        plain(self, path, data)
        if path.name == "study.nc":
            plain(self, path, b"another")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_path", write)
        assert_same(study(tmp_path / "store"), unbroken[0])


# --- damage -----------------------------------------------------------------------------------------------


def limit_path(store):
    (path,) = [p for p in (store / "cells").glob("*.nc") if "refinement" not in xr.open_dataset(p).attrs
               and "seed" not in xr.open_dataset(p).dims]  # fmt: skip
    return path


@pytest.mark.parametrize("which", ["finite", "limit"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_cell_is_named_and_computed_anew_to_the_same_bits(
    which, damage, unbroken, store, monkeypatch
):
    unfinish(store)
    path = Store(store).cell_path(described()) if which == "finite" else limit_path(store)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
    path.write_bytes(content[:middle] if damage == "cut" else flipped)
    with messages() as said, counted(monkeypatch) as cells:
        tree = study(store)
    (text,) = said
    assert str(path) in text and "damaged" in text
    assert pieces(cells) == ([(4, 0, SEEDS)] if which == "finite" else [])
    assert_same(tree, unbroken[0])
    with messages() as said:
        assert_same(study(store), unbroken[0])
    assert not said


def test_a_damaged_last_file_is_named_and_put_together_anew(unbroken, store, monkeypatch):
    path = store / "study.nc"
    path.write_bytes(path.read_bytes()[:-1])
    with messages() as said, counted(monkeypatch) as cells:
        assert_same(study(store), unbroken[0])
    (text,) = said
    assert str(path) in text and not cells


def test_temporary_files_of_a_killed_run_are_never_read(unbroken, store):
    unfinish(store)
    for path in list((store / "cells").glob("*.nc")):
        (store / "cells" / f".{path.name}.0123456789ab.tmp").write_bytes(b"half")
    assert_same(study(store), unbroken[0])


# --- stores of other studies ------------------------------------------------------------------------------

OTHERS = {
    "model": {"model": mf.TwoLayer(mf.activations.sin)},
    "problem": {"problem": cases.problem(samples=3, test_samples=2, seed=1)},
    "training": {"training": mf.GradientDescent(0.2, 4)},
    "key": {"key": 1},
    "record": {"record": [0, 4]},
    "observe": {"observe": mf.observe.Moments()},
}


@pytest.mark.parametrize("part", OTHERS)
def test_a_store_of_another_study_is_refused_and_the_part_named(part, store):
    before = files(store)
    with pytest.raises(StoreError) as caught:
        study(store, **OTHERS[part])
    message = str(caught.value)
    assert f"holds another study: its {part} differs." in message and str(store) in message
    assert files(store) == before


@pytest.mark.parametrize("part", OTHERS)
def test_the_name_of_a_cell_depends_on_everything_that_determines_it(part):
    """Whatever the manifest says, no study can read a cell of another."""
    path = Store("s").cell_path
    assert path(described(**OTHERS[part])) != path(described())
    assert path(described()) == path(described())
    assert len({path(described(first, count)) for first, count in ((0, 4), (0, 8), (4, 4))}) == 3
    assert path(described(width=4)) != path(described(width=8))


CHANGES = {
    "dtype of x": lambda p: mf.Problem(p.x.astype("float32").astype(float), p.y),
    "one entry of x": lambda p: mf.Problem(np.where(p.x == p.x.max(), p.x + 1e-12, p.x), p.y),
    "loss": lambda p: mf.Problem(p.x, p.y, loss=mf.losses.huber),
    "delta": lambda p: mf.Problem(p.x, p.y, loss=mf.losses.Huber(0.5)),
    "test set": lambda p: mf.Problem(p.x, p.y, x_test=p.x),
}


def test_the_smallest_change_of_a_setting_changes_the_name_of_a_cell():
    base = cases.problem(samples=3, test_samples=0)
    variants = [base, *(change(base) for change in CHANGES.values())]
    names = {Store("s").cell_path(described(problem=p)) for p in variants}
    trainings = [
        mf.GradientDescent(0.1, 5), mf.GradientDescent(np.nextafter(0.1, 1), 4),
        mf.GradientDescent(0.1, 4, momentum=0.1), mf.GradientDescent(0.1, 4, weight_decay=0.1),
        mf.GradientDescent(0.1, 4, batch_size=2), mf.GradientDescent(0.1, 4, batch_size=2, batch_key=1),
        mf.GradientDescent(lambda step: 0.1 + 0 * step, 4), mf.Langevin(0.1, 4, 0.1),
        mf.GradientDescent(lambda step: 0.2 + 0 * step, 4),
    ]  # fmt: skip
    names |= {Store("s").cell_path(described(problem=base, training=t)) for t in trainings}
    models = [
        mf.TwoLayer(mf.activations.tanh, bias=True), mf.TwoLayer(mf.activations.tanh, richness=0.5),
        mf.TwoLayer(mf.activations.tanh, train_readout=False), mf.TwoLayer(mf.activations.leaky_relu(0.1)),
        mf.TwoLayer(mf.activations.leaky_relu(0.2)),
    ]  # fmt: skip
    names |= {Store("s").cell_path(described(problem=base, model=m, limit=m.limit(8))) for m in models}
    assert len(names) == len(variants) + len(trainings) + len(models)


def test_two_functions_that_compute_the_same_share_their_cells():
    one = described(training=mf.GradientDescent(lambda step: 0.1 / (1 + step), 4))
    other = described(training=mf.GradientDescent(lambda t: 0.1 / (1 + t), 4))
    assert Store("s").cell_path(one) == Store("s").cell_path(other)


# --- opening ----------------------------------------------------------------------------------------------


def test_a_store_is_opened_without_its_script(unbroken):
    tree, store = unbroken
    for path in (store, str(store)):
        opened = mf.open_study(path)
        assert_same(opened, tree)
        assert mf.report(opened) == mf.report(tree)


def test_a_study_that_is_not_finished_says_how_far_it_is(store):
    unfinish(store)
    with pytest.raises(ValueError) as caught:
        mf.open_study(store)
    message = str(caught.value)
    assert "not finished (3 results are there)" in message and "again" in message


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "junk", "list", "no request"])
def test_a_folder_without_a_study_is_one_sentence(what, tmp_path):
    path = tmp_path / "store"
    if what == "file":
        path.touch()
    elif what != "nothing":
        path.mkdir()
    contents = {"junk": "{", "list": "[]", "no request": '{"identity": {}, "memory": 1}'}
    if what in contents:
        (path / "study.json").write_text(contents[what])
    with pytest.raises(StoreError) as caught:
        mf.open_study(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_tree_passes_through_netcdf(unbroken, tmp_path):
    unbroken[0].to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as tree:
        assert_same(tree.load(), unbroken[0])


def test_the_last_file_is_plain_netcdf_to_others(unbroken):
    with xr.open_datatree(unbroken[1] / "study.nc", engine="h5netcdf") as tree:
        assert_same(tree.load(), unbroken[0])


# --- labels -----------------------------------------------------------------------------------------------


def test_every_variable_says_what_it_is_and_every_attribute_is_text_or_number(unbroken):
    for group in unbroken[0].subtree:
        data = group.to_dataset(inherit=False)
        for value in data.attrs.values():
            assert isinstance(value, str | int | float | np.number), value
        for name, variable in data.data_vars.items():
            assert {"long_name", "units", "source"} <= set(variable.attrs), name
            assert all(isinstance(v, str) and v for v in variable.attrs.values()), name
        for name, coordinate in data.coords.items():
            if coordinate.dtype.kind in "iuf":
                assert {"long_name", "units"} <= set(coordinate.attrs), name


def test_dimensions_and_coordinates_are_those_of_the_design(unbroken):
    tree = unbroken[0]
    finite, limit, fit = (tree[name].to_dataset() for name in ("finite", "limit", "fit"))
    assert finite.prediction.dims == ("width", "seed", "step", "sample", "output")
    assert finite.test_prediction.dims == ("width", "seed", "step", "test_sample", "output")
    assert finite.loss.dims == finite.test_loss.dims == ("width", "seed", "step")
    assert finite.first_bad_step.dims == ("width", "seed")
    assert limit.prediction.dims == ("step", "sample", "output") and "seed" not in limit.dims
    assert {f"{name}_error" for name in ("prediction", "loss", "test_prediction", "test_loss")} <= set(limit)
    assert fit.error.dims == ("width", "quantity", "kind")
    assert list(finite.width.values) == list(WIDTHS) == list(fit.width.values)
    assert list(finite.seed.values) == list(range(SEEDS))
    assert list(finite.step.values) == list(range(5))
    np.testing.assert_array_equal(finite.time, 0.1 * np.arange(5))
    assert finite.prediction.dtype == np.float32 and limit.prediction.dtype == np.float64


def test_coordinates_carry_values_and_not_positions():
    tree = study(widths=(5, 11), seeds=2, record=[0, 1, 4])
    finite = tree["finite"].to_dataset()
    assert list(finite.width.values) == [5, 11] and list(finite.step.values) == [0, 1, 4]
    np.testing.assert_array_equal(finite.time, [0.0, 0.1, 0.1 * 4])
    assert finite.prediction.sel(width=11, step=4).shape == (2, 3, 1)


def test_settings_versions_and_schema_are_written_down(unbroken):
    for group in ("/", "limit"):
        attributes = unbroken[0][group].attrs
        settings, versions = json.loads(attributes["settings"]), json.loads(attributes["versions"])
        assert settings["problem"]["class"] == "Problem" and settings["training"]["steps"] == 4
        assert {"meanfield", "jax", "numpy", "xarray"} <= set(versions)
        assert attributes["schema_version"] == 1 and attributes["device"]
    laws = json.loads(unbroken[0]["finite"].attrs["laws"])
    assert {law["kind"]: law["exponent"] for law in laws} == {"fluctuation": -0.5, "bias": -1.0}


def test_observables_have_their_place_in_every_group(tmp_path, monkeypatch):
    options = {"observe": mf.observe.Moments(at=(0, 4)), "store": tmp_path / "store"}
    tree = study(**options)
    assert tree["finite"]["moments_second"].dims[:3] == ("width", "seed", "moments_step")
    assert tree["limit"]["moments_second"].dims[0] == "moments_step"
    assert list(tree["finite"].moments_step.values) == [0, 4]
    with counted(monkeypatch) as cells:
        assert_same(study(**options), tree)
        study(seeds=8, **options)
    assert pieces(cells) == [(width, 4, 4) for width in WIDTHS]


# --- other hands ------------------------------------------------------------------------------------------


class Posted:
    """An executor that sends its work by post, as a cluster does."""

    def __init__(self):
        self.sent = 0

    def submit(self, function, *arguments):
        self.sent += 1
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        future = concurrent.futures.Future()
        future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        return future


def test_cells_that_others_compute_are_the_same(unbroken, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert_same(study(executor=threads), unbroken[0])
    posted = Posted()
    assert_same(study(tmp_path / "store", executor=posted), unbroken[0])
    assert posted.sent == 2
    assert_same(study(tmp_path / "store", executor=posted), unbroken[0])
    assert posted.sent == 2


def test_an_error_in_a_cell_reaches_the_caller_and_the_others_are_kept(tmp_path, monkeypatch):
    store = tmp_path / "store"
    plain = small.module.compute_cell

    def fail_once(model, size, *rest, **options):
        if size["width"] == 4:
            raise MemoryError("no room for width 4")
        return plain(model, size, *rest, **options)

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no room"):
        patch.setattr(small.module, "compute_cell", fail_once)
        study(store)
    with counted(monkeypatch) as cells:
        study(store)
    assert pieces(cells) == [(4, 0, SEEDS)]


# --- divergence -------------------------------------------------------------------------------------------


def let_diverge(monkeypatch, width, seeds):
    """From now on networks of one width and some seeds are trained at a rate at which all diverge."""
    plain = small.module.compute_cell

    def compute(model, size, first, count, problem, training, *rest):
        cell = plain(model, size, first, count, problem, training, *rest)
        if size["width"] != width:
            return cell
        wild = plain(model, size, first, count, problem, mf.GradientDescent(1e15, training.steps), *rest)
        wild = wild.assign_coords(time=cell.time).assign_attrs(cell.attrs)
        return xr.concat([(wild if s in seeds else cell).sel(seed=[s]) for s in cell.seed.values], "seed")

    monkeypatch.setattr(small.module, "compute_cell", compute)


def test_a_width_that_diverges_is_one_warning_and_the_others_go_on(tmp_path, monkeypatch, key):
    options = {"training": mf.GradientDescent(0.1, 12), "key": key, "seeds": 8, "store": tmp_path / "store"}
    with monkeypatch.context() as patch, messages() as said:
        let_diverge(patch, 4, (1, 6))
        tree = study(**options)
    (text,) = said
    assert "diverged for 2 of 16 networks" in text and "(width 4, seed " in text
    finite = tree["finite"].to_dataset()
    bad = finite.first_bad_step.values  # (width, seed)
    assert list(np.flatnonzero(bad[0] >= 0)) == [1, 6] and (bad[1] == -1).all()
    assert f"first at step {bad[0, [1, 6]].min()} " in text
    late = finite.step.values >= np.where(bad[0] >= 0, bad[0], 10**9)[:, None]
    assert late.any() and not late[:, 0].any()
    assert np.array_equal(np.isnan(finite.prediction.values[0, ..., 0, 0]), late)
    assert np.isfinite(finite.prediction.sel(width=8)).all()
    fit = tree["fit"].to_dataset()
    assert fit.attrs["seeds"] == 6 and fit.attrs["seeds_left_out"] == 2
    assert np.isfinite(fit.error.sel(kind="fluctuation")).all()
    assert "6 seeds (2 left out: diverged)" in mf.report(tree)
    # A network with NaN is done like any other.
    unfinish(tmp_path / "store")
    with counted(monkeypatch) as cells, messages() as again:
        assert_same(study(**options), tree)
    assert not cells and again == [text]


def test_where_every_seed_diverged_the_study_ends_without_a_verdict(tmp_path, monkeypatch):
    options = {"model": mf.TwoLayer(mf.activations.relu), "training": mf.GradientDescent(1e6, 60)}
    options["limit"] = options["model"].limit(8, 2)
    store = tmp_path / "store"
    with messages() as said:
        tree = study(store, **options)
    assert any("diverged" in text for text in said)
    assert (tree["fit"]["verdict"] == "not resolved").all() and (tree["finite"]["first_bad_step"] > 0).all()
    text = mf.report(tree)
    assert "not fitted" in text and "a smaller learning rate" in text and "nan" not in text
    with counted(monkeypatch) as cells, messages():
        assert_same(study(store, **options), tree)
    assert not cells


# --- the limit's particles --------------------------------------------------------------------------------


def test_the_limit_doubles_its_particles_until_its_error_is_a_quarter(tmp_path):
    """Of the smallest spread over the networks, and says which."""
    options = {"limit": None, "widths": (4, 64), "seeds": 8}
    tree = study(tmp_path / "store", **options)
    limit, finite = tree["limit"].to_dataset(), tree["finite"].to_dataset()
    assert limit.attrs["refinement"].startswith("reached: ")
    for name in ("prediction", "test_prediction"):
        error = math.sqrt(float((limit[f"{name}_error"] ** 2).mean()))
        spread = finite[name].astype(float).var("seed", ddof=1).mean(["step", finite[name].dims[3], "output"])
        assert error <= 0.25 * math.sqrt(float(spread.min())) * (1 + 1e-6)
    particles = limit.attrs["particles"]
    assert particles & (particles - 1) == 0 and limit.attrs["replicates"] == 8
    assert_same(study(tmp_path / "store", **options), tree)


# --- a real problem ---------------------------------------------------------------------------------------


def real(key, **changes):
    problem = mf.datasets.digits(classes=(3, 8), samples=10, test_samples=10, key=key)
    model = mf.TwoLayer(mf.activations.tanh)
    options = {"widths": (16, 32, 64, 128, 256, 512, 1024), "seeds": 32, "key": key, "progress": False}
    return mf.width_study(model, problem, mf.GradientDescent(0.5, 6), **{**options, **changes})


@pytest.fixture(scope="module")
def digits(key):
    return real(key)


def assert_the_fluctuation_exponent_is_minus_a_half(tree):
    """|p + ½| ≤ t₃₁(99.9%) se: false alarms near 1e-3 for each of four quantities; se ≤ 0.05."""
    for quantity in ("prediction", "test_prediction"):
        at = tree["fit"].to_dataset().sel(quantity=quantity, kind="fluctuation")
        error = float(at.exponent_error)
        assert error <= 0.05
        assert abs(float(at.exponent) + 0.5) <= student_interval(32, 0.999) * error
        assert at.verdict.item() != "inconsistent"


def test_networks_on_real_digits_approach_their_limit_as_the_root_of_the_width(digits):
    assert_the_fluctuation_exponent_is_minus_a_half(digits)
    assert digits["limit"].attrs["refinement"].startswith("reached")
    assert f"{float(digits['fit'].exponent.sel(quantity='prediction', kind='fluctuation')):.1f}" == "-0.5"


def test_a_limit_trained_twice_as_fast_is_not_called_consistent(digits, key):
    """Negative control: its predictions are off by more than a network of width 1024."""
    options = {"seeds": 1, "widths": (16,), "limit": small.MODEL.limit(2048)}
    problem = mf.datasets.digits(classes=(3, 8), samples=10, test_samples=10, key=key)
    wrong = mf.simulate(options["limit"], problem, mf.GradientDescent(1.0, 6))
    fit = mf.compare(digits["finite"].to_dataset(), wrong)
    for quantity in ("prediction", "loss"):
        assert fit.verdict.sel(quantity=quantity, kind="fluctuation").item() != "consistent"
    with pytest.raises(AssertionError):
        assert_the_fluctuation_exponent_is_minus_a_half({"fit": xr.DataTree(fit)})


@pytest.mark.slow
def test_the_digits_study_of_the_quick_start_finds_its_rate(key):
    """The defaults of the experiment, half a minute on two cores."""
    from meanfield.experiments import digits as experiment

    assert_the_fluctuation_exponent_is_minus_a_half(experiment.compute(key=key, progress=False))


# --- a response ------------------------------------------------------------------------------------------


def test_a_study_with_a_response_is_gone_on_with_like_any_other(tmp_path, monkeypatch):
    response = mf.Response(particles=16, draws=4, replicates=2, bias_draws=2)
    tree = study(tmp_path / "store", response=response)
    assert tree["finite"]["prediction_control"].dims == tree["finite"]["prediction"].dims
    assert {"prediction_std", "prediction_bias", "test_prediction_std"} <= set(tree["fluctuation"].data_vars)
    unfinish(tmp_path / "store")
    before = files(tmp_path / "store")
    with counted(monkeypatch) as cells:
        again = study(tmp_path / "store", response=response)
    after = files(tmp_path / "store")
    assert not cells and all(after[name] == before[name] for name in before)
    assert_same(again, tree)
    # Without the response it is the same study.
    with counted(monkeypatch) as cells:
        plain = study(tmp_path / "store")
    assert not cells and set(plain.children) == {"finite", "limit", "fit"}


# --- bad arguments ----------------------------------------------------------------------------------------

LIMIT = small.MODEL.limit
BAD = [
    ({"widths": (8, 4)}, ValueError, "widths"),
    ({"widths": (4, 4)}, ValueError, "widths"),
    ({"widths": ()}, ValueError, "widths"),
    ({"widths": (0, 4)}, ValueError, "widths"),
    ({"widths": (-4, 4)}, ValueError, "widths"),
    ({"widths": 4}, TypeError, "widths"),
    ({"widths": "48"}, TypeError, "widths"),
    ({"widths": None}, TypeError, "widths"),
    ({"widths": (4.0, 8.0)}, TypeError, "widths"),
    ({"widths": (True, 4)}, TypeError, "widths"),
    ({"seeds": 0}, ValueError, "seeds"),
    ({"seeds": -1}, ValueError, "seeds"),
    ({"seeds": 2**32 + 1}, ValueError, "seeds"),
    ({"seeds": 4.0}, TypeError, "seeds"),
    ({"seeds": [0, 1]}, TypeError, "seeds"),
    ({"seeds": None}, TypeError, "seeds"),
    ({"key": -1}, ValueError, "key"),
    ({"key": 2**63}, ValueError, "key"),
    ({"key": 0.5}, TypeError, "key"),
    ({"key": "seed"}, TypeError, "key"),
    ({"record": [4, 0]}, ValueError, "record"),
    ({"record": [0, 5]}, ValueError, "record"),
    ({"record": []}, ValueError, "record"),
    ({"record": 3}, TypeError, "record"),
    ({"memory": 0}, ValueError, "memory"),
    ({"memory": "4GB"}, TypeError, "memory"),
    ({"memory": math.nan}, ValueError, "memory"),
    ({"model": mf.activations.tanh}, TypeError, "model"),
    ({"model": small.MODEL.finite(4)}, TypeError, "model"),
    ({"problem": "digits"}, TypeError, "problem"),
    ({"training": 0.1}, TypeError, "training"),
    ({"training": mf.GradientDescent(0.1, 4, batch_size=9)}, ValueError, "batch_size"),
    ({"limit": 8}, TypeError, "limit"),
    ({"limit": small.MODEL.finite(8)}, TypeError, "limit"),
    ({"observe": 3}, TypeError, "observe"),
    ({"observe": ("kernel",)}, TypeError, "observe"),
    ({"observe": (mf.observe.Moments(), mf.observe.Moments())}, ValueError, "observe"),
    ({"progress": "yes"}, TypeError, "progress"),
    ({"response": True}, TypeError, "response"),
    ({"response": mf.Response(), "training": mf.Langevin(0.1, 4, 0.1)}, TypeError, "training"),
    ({"response": mf.Response(), "training": mf.GradientDescent(0.1, 4, batch_size=2)}, ValueError, "batch"),
]


def shown(case):
    return ", ".join(f"{name}={value!r}"[:40] for name, value in case[0].items())


@pytest.mark.parametrize(("options", "kind", "name"), BAD, ids=map(shown, BAD))
def test_a_bad_argument_is_named_in_one_sentence_before_anything_runs(options, kind, name, tmp_path):
    with pytest.raises(kind) as caught:
        study(tmp_path / "store", **options)
    assert_one_sentence(str(caught.value).replace("meanfield.", ""), f"`{name}")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("sizes", [None, {}, [4, 8], {"height": [4]}, {4: [4]}])
def test_sizes_that_the_model_does_not_have_are_refused(sizes):
    options = small.settings()
    options.pop("widths")
    with pytest.raises((TypeError, ValueError)) as caught:
        mf.study(sizes=sizes, **options)
    assert_one_sentence(str(caught.value), "`sizes`")


def test_the_public_signatures_are_those_of_the_design():
    names = ["model", "problem", "training", "sizes", "seeds", "limit", "store", "key", "record", "observe",
             "memory", "progress"]  # fmt: skip
    assert set(names) <= set(inspect.signature(mf.study).parameters)
    assert list(inspect.signature(mf.compare).parameters)[:2] == ["finite", "limit"]


# --- precision ----------------------------------------------------------------------------------------------


def test_a_study_in_double_precision_is_another_study(tmp_path):
    """The same draws, rounded differently; one store holds one precision."""
    single, double = study(tmp_path / "single"), study(tmp_path / "double", dtype="float64")
    one, other = (tree["finite"].prediction for tree in (single, double))
    assert one.dtype == np.float32 and other.dtype == np.float64
    scale = float(np.abs(other).max())
    assert 0 < float(np.abs(one - other).max()) < 1e4 * np.finfo(np.float32).eps * scale
    with pytest.raises(ValueError, match="another study: its dtype differs"):
        study(tmp_path / "single", dtype="float64")
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64"):
        study(dtype="float16")
