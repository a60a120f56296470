"""The experiment on fluctuations, at a size of seconds."""

import numpy as np
import pytest
import scipy.stats
from assertions import assert_mean
from meanfield.experiments import finite_width_fluctuations as experiment
from round_trip import check_protocol, check_resumption, computed, no_advice

SEEDS = 48
OPTIONS = {
    "widths": (8, 32, 128), "richness": (0.5, 2.0), "seeds": SEEDS, "samples": 4, "test_samples": 3,
    "hidden_layers": 1, "steps": 5, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS, no_advice)


@pytest.mark.slow
def test_variances_fall_as_one_over_the_width(data):
    """Student's t at 1e-6 for all of them together; errors hold what width 8 is off the law."""
    found = data["exponents"].dataset
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1) * found["exponent_error"]
    assert (np.abs(found["exponent"] + 1) < allowed).all()
    assert (found["exponent_error"] < 0.3).all()


def test_the_relative_variance_is_that_of_gaussians(key):
    """Entries N(m_i, s²): Σ var / Σ m² without bias from few repeats, 400 times, and far from a twentieth
    more; left-out values are those of fewer repeats."""
    rng = np.random.default_rng(key)
    mean = np.array([1.0, -2.0, 0.5])
    found = [experiment.relative_variance(mean + 0.3 * rng.standard_normal((30, 3)))[0] for _ in range(400)]
    truth = 3 * 0.3**2 / np.sum(mean**2)
    assert_mean(np.array(found)[:, None], truth, bias=truth * truth / 30)
    with pytest.raises(AssertionError):
        assert_mean(np.array(found)[:, None], 1.2 * truth, bias=truth * truth / 30)
    values = rng.standard_normal((5, 2)) + 3
    _, left = experiment.relative_variance(values)
    np.testing.assert_allclose(left[2], experiment.relative_variance(np.delete(values, 2, 0))[0])


@pytest.mark.slow
def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


@pytest.mark.slow
def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
