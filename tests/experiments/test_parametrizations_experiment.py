"""The experiment on parametrizations, at a size of seconds."""

import numpy as np
import scipy.stats
from meanfield.experiments import parametrizations as experiment
from round_trip import check_protocol, check_resumption, computed

SEEDS = 24
OPTIONS = {"widths": (32, 64, 128), "seeds": SEEDS, "samples": 4, "steps": 3, "progress": False}
data = computed(experiment, OPTIONS)


def test_predictions_are_those_of_the_theory():
    """Yang & Hu 2021 by hand: r_l = ½, 0 for all layers of NTK and μP; standard at c = 1 has r_1 = 3/2; in
    its first step at c = 0 Δh² ∝ n^{1/2}. Integrable, L = 2 (THEORY 3): Δh¹ ∝ n^{−1/2}, then of order one."""
    known, nan = experiment.candidates(2), np.nan
    truth = {
        "standard": ([-0.5, 0.5, 1.5], [nan, nan, nan]),
        "standard, c = 1": ([-1.5, -0.5, 0], [-1.5, -0.5, 0]),
        "ntk": ([-0.5, -0.5, 0], [-0.5, -0.5, 0]),
        "mup": ([0, 0, 0], [0, 0, 0]),
        "integrable": ([-0.5, 0, 0], [0, 0, 0]),
    }
    assert set(truth) == set(known)
    for name, (one, three) in truth.items():
        np.testing.assert_allclose(experiment.predicted_sizes(known[name], 2, 1), one)
        np.testing.assert_allclose(experiment.predicted_sizes(known[name], 2, 3), three)


def test_mean_field_is_there_for_one_hidden_layer():
    assert "mean field" in experiment.candidates(1) and "mean field" not in experiment.candidates(2)


def test_movements_have_the_predicted_exponents(data):
    """Student's t at 1e-6 for all of them together; errors hold what narrow networks are off their power law.
    The integrable parametrization, which reaches its own late, is left out: see the experiment."""
    found = data["exponents"].dataset
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1)
    for name in ("standard, c = 1", "ntk", "mup"):
        at = found.sel(parametrization=name)
        assert (np.abs(at["exponent"] - at["predicted"]) < allowed * at["exponent_error"]).all()


def test_layers_move_as_differently_as_they_should(data):
    """The first residual is −y/P in all of them, and hidden fields are the same numbers, so that in the first
    step Δh¹ differs by a power of n alone: what relu makes of a movement of under a tenth leaves 0.02 of that
    power."""
    found = data["exponents"]["exponent"].sel(quantity="layer 1").isel(look=0)
    ntk = found.sel(parametrization="ntk")
    for name, power in (("mup", 0.5), ("standard", 0.0), ("standard, c = 1", -1.0)):
        assert abs(float(found.sel(parametrization=name) - ntk) - power) < 0.02


def test_the_standard_one_grows(data):
    """Faster than any power of the width, step after step: three of them leave an exponent of 3 or more."""
    found = data["exponents"]["exponent"].sel(parametrization="standard")
    assert (found.isel(look=0).sel(quantity=["layer 2", "output"]) > 0).all()
    assert (found.isel(look=1) > 3).all()


def test_verdicts_tell_laws_apart():
    assert experiment.verdict_on(0.01, 0.01, 0.0, 16) == "consistent"
    assert experiment.verdict_on(-0.5, 0.01, 0.0, 16) == "inconsistent"
    assert experiment.verdict_on(0.0, 0.2, 0.0, 16) == "not resolved"
    assert experiment.verdict_on(0.4, 0.01, 1.5, 16) == "grows"
    assert experiment.verdict_on(-0.4, 0.01, 1.5, 16) == "inconsistent"
    assert experiment.verdict_on(np.inf, np.inf, np.nan, 16) == ""


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
