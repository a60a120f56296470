"""The experiment on kernels of deep networks, at a size of seconds."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from meanfield.experiments import deep_alignment as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

SEEDS = 24
OPTIONS = {
    "widths": (4, 32, 256), "seeds": SEEDS, "particles": 512, "replicates": 2, "hidden_layers": 2,
    "above": 256, "dimension": 3, "samples": 3, "steps": 3, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


def test_its_activation_is_that_of_the_paper():
    z = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(experiment.scaled_tanh(z), np.tanh(0.8 * z) / 0.8, rtol=1e-5)


@pytest.mark.slow
def test_kernels_approach_those_of_the_limit(data):
    """−½ and −1 for both kernels of both layers, before and after training: Student's t at 1e-6 for all of
    them together, with what width 4 is off the law in the errors."""
    found = data["exponents"].dataset
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1) * found["exponent_error"]
    assert (np.abs(found["exponent"] - found["predicted"]) < allowed).all()
    assert (
        found["exponent"].sel(quantity="distance") > found["exponent"].sel(quantity="1 - alignment")
    ).all()


def test_distance_and_alignment_are_those_of_kernels_in_the_plane():
    """K = (1, 0), K_n = (cos θ, sin θ)·2: alignment cos θ, distance √(5 − 4 cos θ)."""
    theta = 0.7
    dims = ("layer_kernels_step", "layer", "sample", "sample_2")
    one = np.array([[[[1.0, 0.0]]]])
    other = 2 * np.array([np.cos(theta), np.sin(theta)]).reshape(1, 1, 1, 1, 1, 2)
    coords = {"layer": [1], "layer_kernels_step": [0]}
    finite, limit = {}, {}
    for kernel in experiment.KERNELS:
        name = f"layer_kernels_{kernel}"
        finite[name], limit[name] = (("width", "seed", *dims), other), (dims, one)
        limit[f"{name}_error"] = dims, 0.1 * one
    found = experiment.compared(xr.Dataset(finite, coords | {"width": [8]}), xr.Dataset(limit, coords))
    np.testing.assert_allclose(found["alignment"], np.cos(theta))
    np.testing.assert_allclose(found["distance"], np.sqrt(5 - 4 * np.cos(theta)))
    np.testing.assert_allclose(found["limit_error"], 0.1)


@pytest.mark.slow
def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=4)


@pytest.mark.slow
def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert set(experiment.studies()) == {"networks"}
