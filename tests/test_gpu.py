"""A GPU gives the numbers of the CPU: in float32 too, where its fast products keep only ten bits."""

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


def on_the_cpu(path, *names):
    """{name: array} of the headline runs, in a process that sees no GPU."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "headline_runs.py"), str(path), *names],
        capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(np.load(path))


def assert_same_numbers(here, there):
    """Equal up to ROUNDINGS of the largest entry, in the precision that a name says, float64 if none."""
    assert set(here) == set(there)
    for name, values in there.items():
        eps = EPS32 if "float32" in name else EPS
        worst = np.abs(here[name] - values).max() / (eps * np.abs(values).max())
        assert worst <= ROUNDINGS, f"{name} is off by {worst:.3g} roundings"


def here(*runs):
    return {f"{run.__name__}: {name}": value for run in runs for name, value in run().items()}


def test_another_process_gives_the_same_numbers(tmp_path):
    runs = (headline_runs.kernels, headline_runs.mlp)
    there = on_the_cpu(tmp_path / "cpu.npz", *(run.__name__ for run in runs))
    assert_same_numbers(here(*runs), there)


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu(tmp_path):
    assert jax.default_backend() == "gpu"
    there = on_the_cpu(tmp_path / "cpu.npz", *(run.__name__ for run in headline_runs.EXACT))
    assert_same_numbers(here(*headline_runs.EXACT), there)


@pytest.mark.gpu
def test_a_gpu_gives_the_law_of_the_cpu(tmp_path):
    """Two draws of one law: differences over their standard errors, Student's t with 7 degrees of freedom at
    least; false alarms at most 1e-6 over all entries."""
    assert jax.default_backend() == "gpu"
    mine, there = here(headline_runs.by_law), on_the_cpu(tmp_path / "cpu.npz", "by_law")
    for name in ("limit", "matrix-free"):
        value, error = f"by_law: {name}", f"by_law: {name} error"
        z = np.abs(mine[value] - there[value]) / np.hypot(mine[error], there[error])
        assert z.max() <= scipy.stats.t.isf(1e-6 / (4 * z.size), 7), f"{name} is off by {z.max():.1f}"
