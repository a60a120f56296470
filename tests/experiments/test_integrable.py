"""The experiment on the integrable parametrization, at a size of seconds."""

import numpy as np
import scipy.stats
from meanfield.experiments import integrable as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

SEEDS = 24
OPTIONS = {
    "depths": (3,), "widths": (16, 48, 144), "seeds": SEEDS, "samples": 3, "steps": 2, "early": 1,
    "first_rate": 1.0, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


def test_predictions_are_those_of_the_theory():
    """THEORY 3 by hand, L = 3: −(L−1)/2, −(L−l)/2 − (l−2) for l = 2, 3, −(L−2); 0 for every layer of two, but
    the first one in the first step; 0 everywhere with the large first step."""
    np.testing.assert_allclose(experiment.predicted_sizes("integrable", 3, 4, 1), [-1, -0.5, -1, -1])
    np.testing.assert_allclose(experiment.predicted_sizes("integrable", 2, 4, 1), [-0.5, 0, np.nan, 0])
    np.testing.assert_allclose(experiment.predicted_sizes("integrable", 2, 4, 9), [0, 0, np.nan, 0])
    for depth in (2, 3, 4):
        found = experiment.predicted_sizes("large first step", depth, 1 + depth, 1)
        np.testing.assert_allclose(found, 0)


def test_three_layers_stay_where_they_start(data):
    """Every layer moves by the predicted power in the first step: Student's t at 1e-6 for all of them, with
    what width 16 is off the law in the errors."""
    found = data["exponents"].dataset.sel(parametrization="integrable").isel(look=0)
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1) * found["exponent_error"]
    assert (np.abs(found["exponent"] - found["predicted"]) < allowed).all()
    assert (found["exponent"] < -0.2).all()


def test_the_large_first_step_moves_the_first_layer_by_order_one(data):
    """g¹ and x⁰ are those of the other, multiplied by n^{(L+1)/2 − 1} = n: exactly one power more, for the
    residual is −y up to f_0 = O(n^{−3/2}) in both."""
    found = data["exponents"]["exponent"].isel(look=0, hidden_layers=0).sel(quantity="layer 1")
    gained = found.sel(parametrization="large first step") - found.sel(parametrization="integrable")
    # What relu makes of a movement of order one leaves a tenth of a power at these widths.
    assert abs(float(gained) - 1) < 0.1


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
