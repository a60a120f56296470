"""The experiment on feature learning at infinite width, at a size of seconds."""

import numpy as np
import pytest
import scipy.stats
from meanfield.experiments import feature_learning as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

SEEDS = 24
# One hidden layer has no matrix: programs are compiled in a second.
OPTIONS = {
    "problems": ("xor",), "widths": (16, 128), "seeds": SEEDS, "particles": 1024, "replicates": 4,
    "hidden_layers": 1, "above": 16, "samples": 4, "test_samples": 3, "steps": 4, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


def test_one_network_is_as_far_away_as_it_should_be(data):
    """The exponent is −½ up to what 1/n adds at n = 16: Student's t at 1e-6 and 1/16, relative to ln 8."""
    fit = data["xor"]["fit"].dataset.sel(quantity="test_prediction", kind="fluctuation")
    allowed = scipy.stats.t.isf(1e-6 / 2, SEEDS - 1) * float(fit["exponent_error"])
    assert abs(float(fit["exponent"]) + 0.5) < allowed + 1 / 16 / np.log(8)
    assert allowed < 0.5  # two widths and 24 networks tell ½ from 0 and 1


def test_the_limit_is_closer_than_the_last_point(data):
    """1024 particles, four times, against 128 neurons: √32 at least, halved for what four replicates know."""
    fit = data["xor"]["fit"].dataset.sel(quantity="test_prediction")
    assert float(fit["limit_error"]) < float(fit["error"].sel(kind="fluctuation")[-1]) / 2


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=2)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert set(experiment.studies()) == {"digits", "xor"}
    with pytest.raises(ValueError, match="`problems` must be of digits, xor"):
        experiment.compute(problems=("mnist",))
