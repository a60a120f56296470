"""Settings of the whole suite.

Shapes are matched on purpose (no implicit rank promotion), warnings are errors, figures need no screen, and
JAX's default precision is left alone: a forgotten float64 context must fail here. MEANFIELD_TEST_X64=1 runs
everything with float64 as the default, MEANFIELD_TEST_KEY=… draws other random numbers: every statistical
test holds for any key up to its stated rate of false alarms.
"""

import gc
import os

import jax
import matplotlib
import pytest

matplotlib.use("Agg")
gc.set_threshold(100_000, 50, 50)  # tracing leaves much garbage: a tenth of the time went into collecting it
jax.config.update("jax_numpy_rank_promotion", "raise")
if os.environ.get("MEANFIELD_TEST_X64", "0") not in ("", "0"):
    jax.config.update("jax_enable_x64", True)


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    # ott imports jaxopt, which announces its retirement.
    config.addinivalue_line("filterwarnings", "ignore:JAXopt is no longer maintained:DeprecationWarning")


@pytest.fixture(scope="session")
def key():
    """The integer that all random numbers of a test derive from."""
    return int(os.environ.get("MEANFIELD_TEST_KEY", "0"))
