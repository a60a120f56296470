"""Studies that are killed at random moments, or run twice at once, end with the bits of an unbroken one."""

import collections
import functools
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
KILLS = 50
NETWORKS = 28  # cells of the quick start: seven widths, four blocks of seeds


def sharing(cache):
    """The environment of processes that share what they have compiled."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


class Runner:
    """Starts studies in processes of their own."""

    def __init__(self, settings, cache):
        self.settings, self.environment = settings, sharing(cache)

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

    @functools.cached_property
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
    """Three kills, each after about two new results of seventeen: it hardly ends before the last."""
    store, rng = tmp_path / "store", np.random.default_rng(key)
    assert sum(kill_somewhere(runner, store, rng) for _ in range(3)) >= 2
    assert_ends_unbroken(runner, store, runner.unbroken)


@pytest.mark.parametrize("runner", [TINY], indirect=True, ids=["tiny"])
def test_two_processes_on_one_store_both_end_with_the_same_bits(runner, tmp_path):
    store = tmp_path / "store"
    for process in runner.start(store, 2):
        runner.finish(process)
    assert_same(mf.open_study(store), runner.unbroken)
    assert len(list(store.glob("cells/*.nc"))) == len(TINY["widths"]) + 1
    assert not [p for p in store.rglob("*") if p.name.endswith(".tmp")]


class QuickStart:
    """The command behind `make quickstart`, and how long its parts take when nothing breaks it."""

    def __init__(self, folder):
        self.environment = sharing(folder / "compiled")
        self.store = folder / "unbroken"
        process, start = self.start(self.store), time.monotonic()
        for _ in moments(process):
            if len(results(self.store)) < NETWORKS:
                networks = time.monotonic()
        assert process.returncode == 0
        self.seconds, self.seconds_after_networks = time.monotonic() - start, time.monotonic() - networks
        self.tree, self.results = mf.open_study(self.store), results(self.store)

    def start(self, store):
        command = [sys.executable, "-m", "meanfield.cli", "run", "digits", "--store", str(store)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=self.environment, **quiet)


def results(store):
    return {path.name for path in store.glob("cells/[!.]*")}


def moments(process):
    """Looks at a process while it runs."""
    while process.poll() is None:
        yield
        time.sleep(0.01)


def kill_quick_start(quick, store, rng):
    """Start it, kill it at a random moment; where it then was, or None if it ended before.

    Most moments follow a random number of new results, by a random while; others are random in time, or lie
    behind the networks, in the limit or what puts all together.
    """
    before = finished_files(store)
    kind = rng.choice(["results", "time", "end"], p=[0.6, 0.25, 0.15])
    wanted = {"results": len(results(store)) + rng.integers(0, 3), "time": 0, "end": NETWORKS}[kind]
    each = quick.seconds / len(quick.results)
    wait = rng.uniform(0, {"results": each, "time": 8 * each, "end": quick.seconds_after_networks}[kind])
    process = quick.start(store)
    for _ in moments(process):
        if len(results(store)) >= wanted:
            break
    begun = time.monotonic()
    for _ in moments(process):
        if time.monotonic() - begun >= wait:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert_kept(before, finished_files(store))
    if process.returncode != -signal.SIGKILL:
        assert process.returncode == 0
        return None
    done = results(store)
    if not done:
        return "before the first result"
    if len(done) < NETWORKS:
        return "in the networks"
    return "in the limit" if done < quick.results else "putting together"


def kill_until_ended(quick, store, rng, most):
    """Where the quick start was at every kill, `most` at most, before it came to its end in a store; then it
    ends there with the bits of an unbroken one."""
    where, place = [], "begun"
    while place is not None and len(where) < most:
        place = kill_quick_start(quick, store, rng)
        where += [] if place is None else [place]
    before = finished_files(store)
    assert quick.start(store).wait(1800) == 0
    after = finished_files(store)
    assert_kept({path: stamp for path, stamp in before.items() if path.name != "study.nc"}, after)
    assert results(store) == quick.results
    assert_same(mf.open_study(store), quick.tree)
    return where


@pytest.mark.slow
def test_fifty_kills_of_the_quick_start_cost_nothing_that_was_finished(tmp_path, key):
    """Whenever it has come to its end it is compared with the unbroken one, and a new store is begun."""
    quick, rng = QuickStart(tmp_path), np.random.default_rng(key)
    where, ended = [], 0
    while len(where) < KILLS:
        where += kill_until_ended(quick, tmp_path / f"store{ended}", rng, KILLS - len(where))
        ended += 1
    counted = collections.Counter(where)
    print(f"{KILLS} kills, {dict(counted)}; {ended} studies of {len(quick.results)} results each")
    assert ended >= 2 and counted["in the networks"] >= 5
    assert counted["in the limit"] + counted["putting together"] >= 3
