"""Stores of studies: what is computed once is kept, and however they were interrupted they end with the same
bits."""

import concurrent.futures
import json
import pickle
import time

import numpy as np
import pytest
import small
import xarray as xr
from small import SEEDS, WIDTHS, assert_same, counted, described, files, messages, pieces, study, unfinish

import meanfield as mf
from meanfield.studies import trajectory
from meanfield.studies.store import Store, StoreError
from meanfield.studies.study import Study

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
