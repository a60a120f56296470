"""Studies that are killed at random moments, or run twice at once, end with the bits of an unbroken one."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from killed_study import made
from small import assert_same

import meanfield as mf
from meanfield.studies.store import read_bytes

SCRIPT = pathlib.Path(__file__).with_name("killed_study.py")
DATA = {"samples": 4, "test_samples": 3}
TINY = {"widths": list(range(1, 17)), "seeds": 4, "steps": 3, **DATA, "particles": 16}
DATA = {"samples": 32, "test_samples": 32}
SMALL = {"widths": [16, 32, 64, 128, 256], "seeds": 16, "steps": 60, **DATA, "particles": 0}


class Runner:
    """Starts studies in processes of their own, which share what they have compiled."""

    def __init__(self, settings, cache):
        self.settings = settings
        self.environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }

    def start(self, store, number=1):
        """Processes that have come to the point where they begin."""
        command = [sys.executable, SCRIPT, str(store), json.dumps(self.settings)]
        options = {"env": self.environment, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **options) for _ in range(number)]
        assert all(process.stdout.readline() == "ready\n" for process in processes)
        return processes

    def finish(self, process):
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 0 and out == "done\n"

    def unbroken(self):
        return made(**self.settings).run(progress=False)


@pytest.fixture(scope="module")
def runner(request, tmp_path_factory):
    return Runner(request.param, tmp_path_factory.mktemp("compiled"))


def finished_files(store):
    """{path: (inode, time of change)} of every file with a result's name; each must be whole."""
    paths = [*store.glob("cells/[!.]*"), *store.glob("study.nc")]
    for path in paths:
        read_bytes(path)
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def assert_kept(before, after):
    """Whatever was there is there, not even written again."""
    for path, stamp in before.items():
        assert after.get(path) == stamp, f"{path} was lost or computed again"


def kill_somewhere(runner, store, rng):
    """Start, kill after a random number of new results and a random while; whether it was killed in time."""
    before = finished_files(store)
    wanted, wait = len(before) + rng.integers(0, 3), rng.uniform(0, 0.06)
    (process,) = runner.start(store)
    while process.poll() is None and len(list(store.glob("cells/[!.]*"))) < wanted:
        time.sleep(0.002)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_kept(before, finished_files(store))
    return process.returncode == -signal.SIGKILL


def assert_ends_unbroken(runner, store, unbroken):
    """One more run ends the study: nothing is computed twice, and every bit is as without a kill."""
    before = finished_files(store)
    runner.finish(*runner.start(store))
    after = finished_files(store)
    assert_kept({path: stamp for path, stamp in before.items() if path.name != "study.nc"}, after)
    assert_same(mf.open_study(store), unbroken)


@pytest.mark.parametrize("runner", [TINY], indirect=True, ids=["tiny"])
def test_a_study_killed_a_few_times_ends_with_the_bits_of_an_unbroken_one(runner, tmp_path, key):
    """Four kills, each after about two new results of seventeen: it hardly ends before the last."""
    store, rng = tmp_path / "store", np.random.default_rng(key)
    assert sum(kill_somewhere(runner, store, rng) for _ in range(4)) >= 2
    assert_ends_unbroken(runner, store, runner.unbroken())


@pytest.mark.parametrize("runner", [TINY], indirect=True, ids=["tiny"])
def test_two_processes_on_one_store_both_end_with_the_same_bits(runner, tmp_path):
    store = tmp_path / "store"
    for process in runner.start(store, 2):
        runner.finish(process)
    assert_same(mf.open_study(store), runner.unbroken())
    assert len(list(store.glob("cells/*.nc"))) == len(TINY["widths"]) + 1
    assert not [p for p in store.rglob("*") if p.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("runner", [SMALL], indirect=True, ids=["digits"])
def test_fifty_kills_of_a_digits_study_cost_nothing_that_was_finished(runner, tmp_path, key):
    """A smaller quick start, its limit refined, killed fifty times; whenever it gets to its end it is
    compared with the unbroken one and a new store is begun."""
    unbroken, rng = runner.unbroken(), np.random.default_rng(key)
    kills, ended = 0, 0
    while kills < 50:
        store = tmp_path / f"store{ended}"
        while kills < 50 and not (store / "study.nc").exists():
            kills += kill_somewhere(runner, store, rng)
        assert_ends_unbroken(runner, store, unbroken)
        ended += 1
    assert ended >= 1
