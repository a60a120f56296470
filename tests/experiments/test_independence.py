"""The experiment on the independence of features, at a size of seconds."""

import numpy as np
import pytest
import scipy.stats
from meanfield.experiments import independence as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

SEEDS = 24
OPTIONS = {
    "widths": (16, 64, 256), "seeds": SEEDS, "particles": 1024, "replicates": 2, "samples": 3, "steps": 3,
    "looks": 2, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


def test_predictions_are_those_of_the_parametrizations():
    """From a, b, c: the movement of the last hidden layer, and twice the exponent that it starts with."""
    for name, parametrization in experiment.candidates().items():
        sizes = parametrization.sizes(experiment.LAYERS, 9)
        assert sizes.hidden_change[-1] == experiment.MOVEMENT[name]
        assert 2 * sizes.hidden[-1] == experiment.EIGENVALUE[name]


@pytest.mark.slow
def test_features_move_and_collapse_as_predicted(data):
    """Student's t at 1e-6 for all of them together; errors hold what width 16 is off the law."""
    found = data["exponents"].dataset
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1) * found["exponent_error"]
    assert (np.abs(found["exponent"] - found["predicted"]) < allowed).all()


@pytest.mark.slow
def test_features_at_the_start_are_the_same_under_three_of_them(data):
    """The same draws: hidden fields are the same numbers, to rounding in float32 of n terms, and under the
    integrable one smaller by √n."""
    start = data["networks"]["smallest"].isel(look=0)
    mup = start.sel(parametrization="mup")
    for name in ("ntk", "standard, c = 1"):
        np.testing.assert_allclose(start.sel(parametrization=name), mup, rtol=1e-3)
    assert (start.sel(parametrization="integrable") < mup).all()


@pytest.mark.slow
def test_the_limit_starts_from_its_kernel(data):
    """An eigenvalue of the Gram matrix of M rows has the relative error √(2/M) where rows are Gaussian, less
    where they are bounded; M = 2048 in two replicates, a bias of P/M: seven of these."""
    ratio = float(data["limit"]["smallest"][0]) / data.attrs["kernel_smallest"]
    assert abs(ratio - 1) < 7 * np.sqrt(2 / 2048) + 3 / 1024


@pytest.mark.slow
def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


@pytest.mark.slow
def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
