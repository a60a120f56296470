"""The experiment on richness, at a size of seconds."""

import numpy as np
import pytest
import xarray as xr
from meanfield.experiments import richness as experiment
from round_trip import check_protocol, check_resumption, no_advice

OPTIONS = {
    "richness": (0.02, 0.04, 0.08, 1.0), "width": 8, "seeds": 3, "particles": 32, "replicates": 2,
    "dimension": 3, "samples": 4, "test_samples": 3, "steps": 4, "fitted": 0.08, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def data(key, folder):
    with no_advice():
        return experiment.compute(**OPTIONS, key=key, store=str(folder))


def test_the_limit_deviates_by_the_square_of_the_richness(data):
    """Pairs of particles with opposite readouts leave no odd power of γ: y = C γ² (1 + c γ²), and the slope
    between γ and 2γ is 2 + O(γ²), off by five times its change without the largest γ at most."""
    found = data["slopes"].dataset
    off = np.abs(found["exponent"] - found["predicted"])
    assert (off < 5 * found["exponent_error"] + 1e-3).all()
    assert (found["exponent_error"] < 0.1).all()


def test_slopes_are_those_of_a_power_law():
    gamma = np.array([0.1, 0.2, 0.4, 3.0])
    looks = {"features": "features_step", "tangent": "kernel_step", "kernel_change": "kernel_step"}
    limit = xr.Dataset(
        {
            name: (("richness", look), np.stack([0 * gamma, 5 * gamma**power], 1))
            for (name, look), power in zip(looks.items(), (1, 2, 3), strict=True)
        },
        {"richness": gamma},
    )
    found = experiment.slopes(limit, 0.4)
    np.testing.assert_allclose(found["exponent"], [1, 2, 3], rtol=1e-12)
    np.testing.assert_allclose(found["exponent_error"], 0, atol=1e-12)


def test_alignment_is_that_of_the_observable(data):
    """Before training the tangent kernel is positive semidefinite: between 0 and 1, and it is not the same
    afterwards."""
    for name in ("networks", "limit"):
        values = data[name]["tangent"]
        assert ((values > 0) & (values <= 1)).all()
        assert (
            np.abs(values.isel(kernel_step=-1) - values.isel(kernel_step=0)).isel(richness=-1) > 1e-3
        ).all()


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
