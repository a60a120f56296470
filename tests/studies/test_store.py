"""The store keeps what it acknowledged, and notices what was damaged."""

import errno
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import xarray as xr
from assertions import assert_one_sentence

from meanfield.studies.store import Store, StoreError, StoreWriteError, read_bytes, read_tree, to_bytes

IDENTITY = {"model": "m", "problem": "p", "training": "t"}
MANIFEST = {"identity": IDENTITY, "memory": 4e9, "request": "r"}
CELL = {"cell": {"width": 8}, "seeds": [0, 8], **IDENTITY}


def result(seed=0, size=64):
    values = np.random.default_rng(seed).standard_normal((2, size)).astype(np.float32)
    variable = (("seed", "step"), values, {"long_name": "loss", "units": "1", "source": "here"})
    return xr.Dataset({"loss": variable}, {"seed": [0, 1], "step": np.arange(size)}, {"settings": "{}"})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open(IDENTITY)
    store.write_manifest(MANIFEST)
    return store


def temporary_files(store):
    return [*store.path.glob(".*.tmp"), *(store.path / "cells").glob(".*.tmp")]


# --- whole files ------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back_bit_by_bit(store):
    store.write(CELL, result())
    assert store.has(CELL)
    xr.testing.assert_identical(store.read(CELL), result())
    assert store.read(CELL).loss.dtype == np.float32


def test_a_stored_file_is_plain_netcdf_to_others(store):
    """The checksum stands behind the data, where readers of netCDF do not look."""
    store.write(CELL, result())
    with xr.open_dataset(store.cell_path(CELL), engine="h5netcdf") as data:
        xr.testing.assert_identical(data.load(), result())


def test_a_result_that_is_not_there_is_none_without_a_word(store):
    assert store.read(CELL) is None and not store.has(CELL)


def test_the_name_of_a_file_is_that_of_its_description_whatever_the_order(store):
    assert store.cell_path(CELL) == store.cell_path(dict(reversed(CELL.items())))
    names = {store.cell_path({**CELL, part: "other"}).name for part in CELL} | {store.cell_path(CELL).name}
    assert len(names) == len(CELL) + 1


def test_every_cut_of_a_file_is_noticed(store):
    store.write(CELL, result())
    path = store.cell_path(CELL)
    content = path.read_bytes()
    lengths = {0, 1, 7, 8, 70, 71, 72, len(content) // 2, *range(len(content) - 75, len(content))}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError):
            read_bytes(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError):
        read_bytes(path)


def test_every_flipped_byte_is_noticed(store):
    """All positions of the header and of the trailer, and every 37th between, one bit each."""
    store.write(CELL, result())
    path = store.cell_path(CELL)
    content = path.read_bytes()
    positions = {*range(128), *range(128, len(content), 37), *range(len(content) - 80, len(content))}
    for position in positions:
        spoiled = bytearray(content)
        spoiled[position] ^= 1 << (position % 8)
        path.write_bytes(spoiled)
        with pytest.raises(ValueError, match="cut short|checksum"):
            read_bytes(path)
    path.write_bytes(content)
    assert read_bytes(path) == content[: -len(b"\nsha256=") - 64]


def test_without_the_checksum_a_flipped_byte_would_be_a_wrong_number(store):
    """Negative control: netCDF itself reads it without complaint."""
    store.write(CELL, result())
    path = store.cell_path(CELL)
    content = bytearray(path.read_bytes())
    at = content.index(result().loss.values.tobytes()[:64])
    content[at + 17] ^= 4
    path.write_bytes(content)
    with xr.open_dataset(path, engine="h5netcdf") as data:
        assert not np.array_equal(data.loss.values, result().loss.values)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "not ours", "a folder"])
def test_a_damaged_file_is_named_in_one_warning_and_counts_as_missing(damage, store):
    store.write(CELL, result())
    path = store.cell_path(CELL)
    content = path.read_bytes()
    flipped = content[:99] + bytes([content[99] ^ 1]) + content[100:]
    contents = {"cut": content[:-1], "flipped": flipped, "empty": b"", "not ours": b"x" * 500}
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(contents[damage])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store.read(CELL) is None
    (warning,) = caught
    assert warning.category is RuntimeWarning and str(path) in str(warning.message)
    if damage != "a folder":
        store.write(CELL, result())
        xr.testing.assert_identical(store.read(CELL), result())


def test_a_whole_file_under_another_name_is_no_result(store):
    """A copy of one cell in the place of another would be a wrong number with a right checksum."""
    store.write(CELL, result())
    other = {**CELL, "other": 1}
    store.cell_path(other).write_bytes(store.cell_path(CELL).read_bytes())
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert store.read(other) is None
    xr.testing.assert_identical(store.read(CELL), result())


def test_a_tree_whose_variables_have_names_of_groups_is_read_whole():
    """DataTree.load alone leaves such a variable in a file that is then closed."""
    groups = {name: result(seed).rename(loss=name) for seed, name in enumerate(("loss", "limit"))}
    groups |= {"fit": result(2).assign(limit=0.5), "fit/fit": result(3).rename(loss="fit")}
    tree = xr.DataTree.from_dict(groups)
    again = read_tree(to_bytes(tree))
    assert set(again.groups) == {"/", "/loss", "/limit", "/fit", "/fit/fit"}
    for name in groups:
        xr.testing.assert_identical(again[name].to_dataset(), tree[name].to_dataset())


# --- writing ----------------------------------------------------------------------------------------------


def test_a_result_is_flushed_then_renamed_then_its_folder_is_flushed(store, monkeypatch):
    """In that order a loss of power leaves the old state or the new one."""
    events = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        about = os.fstat(descriptor)
        names = [p.name for p in (store.path / "cells").iterdir() if p.stat().st_ino == about.st_ino]
        events.append(("flush", names[0] if names else "folder", about.st_size))
        fsync(descriptor)

    def watched_replace(source, target):
        events.append(("rename", source.name, target.name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    store.write(CELL, result())
    path = store.cell_path(CELL)
    (first, temporary, size), second, third = events[0], events[1], events[2]
    assert first == "flush" and temporary.startswith(".") and temporary.endswith(".tmp")
    assert size == path.stat().st_size
    assert second == ("rename", temporary, path.name)
    assert third[:2] == ("flush", "folder") and len(events) == 3
    assert not temporary_files(store)


def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one_never_a_part(store):
    """Killed half-way through, before the flush, before the rename, and before the folder's flush; once with
    nothing there before and once over an older result."""
    script = pathlib.Path(__file__).with_name("killed_writer.py")
    store.write({**CELL, "old": 1}, result(1))
    run = subprocess.run([sys.executable, script, store.path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout.splitlines()[-1])
    assert set(outcomes) == {"half", "flush", "rename", "folder"}
    for point, (fresh, over) in outcomes.items():
        assert fresh == ("new" if point == "folder" else "missing"), point
        assert over == ("new" if point == "folder" else "old"), point
    left = temporary_files(store)
    assert len(left) == 6  # two each, but for the last point
    names = {p.name for p in (store.path / "cells").glob("*.nc")}
    assert not any(name.startswith(".") for name in names)


def test_temporary_files_of_a_killed_run_are_swept_after_an_hour_and_never_read(store):
    store.write(CELL, result())
    old, young = (store.path / "cells" / f".{name}.nc.0123456789ab.tmp" for name in ("old", "young"))
    top = store.path / ".study.nc.0123456789ab.tmp"
    for path in (old, young, top):
        path.write_bytes(b"half a res")
    for path in (old, top):
        os.utime(path, (time.time() - 3700,) * 2)
    os.utime(young, (time.time() - 3500,) * 2)
    store.open(IDENTITY)
    assert young.exists() and not old.exists() and not top.exists()
    assert store.read(CELL) is not None


def assert_write_failed(caught, store, word):
    message = str(caught.value)
    assert_one_sentence(message.split(". What was finished")[0] + ".", str(store.path), word)
    assert message.endswith("What was finished is kept; give the same command again to go on.")
    assert not temporary_files(store)


def test_a_disk_that_is_full_is_one_sentence_and_loses_nothing(store):
    """A real refusal by the system: no file may grow beyond a kilobyte."""
    store.write({**CELL, "old": 1}, result(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    data = result()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(StoreWriteError) as caught:
            store.write(CELL, data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_write_failed(caught, store, "file too large")
    assert not store.has(CELL)
    xr.testing.assert_identical(store.read({**CELL, "old": 1}), result(1))
    store.write(CELL, data)
    xr.testing.assert_identical(store.read(CELL), data)


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "word"),
    [(errno.ENOSPC, "no space left on device"), (errno.EDQUOT, "quota"), (errno.EIO, "input/output error")],
)
def test_what_the_system_refuses_is_said_in_its_own_words(name, code, word, store, monkeypatch):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch, pytest.raises(StoreWriteError) as caught:
        patch.setattr(os, name, refuse)
        store.write(CELL, result())
    assert_write_failed(caught, store, word)
    assert not store.has(CELL)
    store.write(CELL, result())
    assert store.has(CELL)


def test_a_failed_write_leaves_the_older_result(store, monkeypatch):
    store.write(CELL, result(1))

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(StoreWriteError):
        patch.setattr(os, "fsync", refuse)
        store.write(CELL, result(2))
    xr.testing.assert_identical(store.read(CELL), result(1))


def test_an_interrupt_while_writing_leaves_no_temporary_file(store, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupt)
        store.write(CELL, result())
    assert not temporary_files(store) and not store.has(CELL)


# --- folders that are no store ----------------------------------------------------------------------------


def refused(path):
    with pytest.raises(StoreError) as caught:
        Store(path).open(IDENTITY)
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert str(path) in message and "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("below", ["", "store", "deep/store"])
def test_a_store_at_or_below_a_file_is_refused(below, tmp_path):
    (tmp_path / "file").touch()
    assert "not a directory" in refused(tmp_path / "file" / below)


def test_a_store_whose_cells_are_a_file_is_refused(tmp_path):
    (tmp_path / "cells").touch()
    assert "file exists" in refused(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert_one_sentence(refused(tmp_path / "store"), "permission denied")


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1")
    assert_one_sentence(refused(tmp_path).replace("thesis.tex", "thesis"), "`store`", "thesis")
    assert (tmp_path / "thesis.tex").read_text() == "chapter 1"


def test_hidden_files_are_nobody_s(tmp_path):
    (tmp_path / ".DS_Store").touch()
    Store(tmp_path).open(IDENTITY)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe\x00", b"[]", b"{}", b"3", b"null", b'"study"', b'{"identity": {}}',
        b'{"identity": {}, "memory": 1}', b'{"identity": [], "memory": 1, "request": "r"}',
    ],
)  # fmt: skip
def test_a_study_json_that_no_study_wrote_is_refused(content, tmp_path):
    (tmp_path / "study.json").write_bytes(content)
    assert "study.json" in refused(tmp_path)


def test_a_study_json_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "study.json").mkdir()
    assert_one_sentence(refused(tmp_path).replace("study.json", "study"), "is a directory")


@pytest.mark.parametrize("parts", [["model"], ["problem", "training"]])
def test_a_store_of_another_study_names_what_differs(parts, store):
    with pytest.raises(StoreError) as caught:
        store.open({**IDENTITY, **dict.fromkeys(parts, "other")})
    word = "differs" if len(parts) == 1 else "differ"
    message = str(caught.value).replace(". Choose", ", choose")
    assert_one_sentence(message, f"its {' and '.join(parts)} {word}")


def test_a_small_file_beside_the_results_is_written_whole(store):
    store.write_plain("experiment.json", b'{"a": 1}')
    assert (store.path / "experiment.json").read_bytes() == b'{"a": 1}'
    assert not temporary_files(store)


def test_bytes_of_a_dataset_do_not_need_a_file():
    assert to_bytes(result())[:4] == b"\x89HDF"
