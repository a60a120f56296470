"""A GPU gives the numbers of the CPU: in float32 too, where its fast products keep only ten bits."""

import contextlib
import os
import pathlib
import subprocess
import sys

import headline_runs
import jax
import numpy as np
import pytest
import scipy.stats
from assertions import EPS, EPS32

TESTS = pathlib.Path(__file__).parent
ROUNDINGS = 300  # ten steps, each with sums of tens of terms; ten bits instead of 24 would be 4000 and more


@contextlib.contextmanager
def on_the_cpu(path, *runs):
    """Meanwhile, those headline runs in a process that sees no GPU; afterwards what it yields has them."""
    command = [sys.executable, str(TESTS / "headline_runs.py"), str(path), *(run.__name__ for run in runs)]
    with subprocess.Popen(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}) as process:
        found = {}
        yield found
        assert process.wait() == 0
        found |= dict(np.load(path))


def both(path, *runs):
    """({name: array} of this process, the same of another one on the CPU)."""
    with on_the_cpu(path, *runs) as there:
        here = {f"{run.__name__}: {name}": value for run in runs for name, value in run().items()}
    return here, there


def assert_same_numbers(here, there):
    """Equal up to ROUNDINGS of the largest entry, in the precision that a name says, float64 if none."""
    assert set(here) == set(there)
    wrong = {}
    for name, values in there.items():
        eps = EPS32 if "float32" in name else EPS
        worst = np.abs(here[name] - values).max() / (eps * np.abs(values).max())
        print(f"{name}: {worst:.3g} roundings")
        if not worst <= ROUNDINGS:
            wrong[name] = worst
    assert not wrong, f"off by more than {ROUNDINGS} roundings: {wrong}"


def test_another_process_gives_the_same_numbers(tmp_path):
    assert_same_numbers(*both(tmp_path / "cpu.npz", headline_runs.law, headline_runs.distances))


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu(tmp_path):
    assert jax.default_backend() == "gpu"
    assert_same_numbers(*both(tmp_path / "cpu.npz", *headline_runs.EXACT))


@pytest.mark.gpu
def test_a_gpu_gives_the_law_of_the_cpu(tmp_path):
    """Two draws of one law: differences over their standard errors, Student's t with 7 degrees of freedom at
    least; false alarms at most 1e-6 over all entries."""
    assert jax.default_backend() == "gpu"
    here, there = both(tmp_path / "cpu.npz", headline_runs.by_law)
    for name in ("limit", "matrix-free"):
        value, error = f"by_law: {name}", f"by_law: {name} error"
        z = np.abs(here[value] - there[value]) / np.hypot(here[error], there[error])
        print(f"{name}: {z.max():.2f} standard errors at most")
        assert z.max() <= scipy.stats.t.isf(1e-6 / (4 * z.size), 7), f"{name} is off by {z.max():.1f}"
