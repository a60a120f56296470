"""The experiment on richness, at a size of seconds."""

import numpy as np
import pytest
import xarray as xr
from meanfield.experiments import richness as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

OPTIONS = {
    "richness": (0.05, 0.1, 0.2, 1.0), "width": 8, "seeds": 3, "particles": 512, "replicates": 4,
    "dimension": 3, "samples": 4, "test_samples": 3, "steps": 4, "tolerance": 1e-6, "fitted": 0.2,
    "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


@pytest.mark.slow
def test_the_limit_deviates_by_the_square_of_the_richness(data):
    """Within five of its errors, which hold the curvature of the law and the limit's own error at its
    worst."""
    found = data["slopes"].dataset
    assert (np.abs(found["exponent"] - 2) < 5 * found["exponent_error"] + 1e-3).all()
    assert float(found["exponent_error"].sel(quantity="features")) < 1


def test_slopes_are_those_of_a_power_law():
    gamma = np.array([0.1, 0.2, 0.4, 3.0])
    limit = xr.Dataset(
        {
            f"{name}_change{end}": (("richness", f"{name}_step"), np.stack([0 * gamma, value], 1))
            for name, power in (("features", 1), ("tangent", 3))
            for end, value in (("", 5 * gamma**power), ("_error", 0.5 * gamma**power))
        },
        {"richness": gamma},
    )
    found = experiment.slopes(limit, 0.4)
    np.testing.assert_allclose(found["exponent"], [1, 3], rtol=1e-12)
    # Errors of a tenth that pull the outer two of three points, 2 ln 2 apart, against each other.
    np.testing.assert_allclose(found["exponent_error"], 0.1 / np.log(2), rtol=1e-12)


@pytest.mark.slow
def test_alignment_changes_more_the_richer_training_is(data):
    """Kernels are positive semidefinite: alignments between 0 and 1."""
    for name in ("networks", "limit"):
        for kernel in experiment.LAWS:
            values, moved = data[name][kernel], np.abs(experiment.change(data[name].dataset, kernel))
            assert ((values > 0) & (values <= 1)).all()
            moved = moved.transpose("richness", ...).values.reshape(4, -1).mean(1)
            assert (np.diff(moved) > 0).all()


@pytest.mark.slow
def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


@pytest.mark.slow
def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
