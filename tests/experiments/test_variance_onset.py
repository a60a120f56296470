"""The experiment on the onset of variance, on laws that are known and at a size of seconds."""

import numpy as np
import pytest
import scipy.stats
from assertions import assert_mean
from meanfield.experiments import variance_onset as experiment
from round_trip import check_protocol, check_resumption, no_advice

DRAWS = 12
OPTIONS = {
    "richness": (0.03, 1.0), "samples": (4, 8, 16), "widths": (8, 16, 32), "draws": 3, "seeds": 2,
    "particles": 64, "dimension": 3, "test_samples": 16, "steps": 20, "learning_rate": 0.2, "progress": False,
}  # fmt: skip
SAMPLES, WIDTHS = (8, 16, 32, 64, 128, 256), (32, 64, 128, 256)


def tree(key, alpha=(2.0, 3.0), beta=(0.0, -0.5), nu=1.0, spread=0.0, constant=(2.0, 0.5)):
    """What the experiment gives for E = 100 P^{−α} and V = c P^β n^{−ν}, with noise of relative size `spread`
    that is independent on every draw; one network misses by E + V."""
    rng = np.random.default_rng(key)
    p, n = np.array(SAMPLES, float)[:, None, None], np.array(WIDTHS, float)
    parts = {name: [] for name in experiment.TEXTS}

    def noisy(values, *shape):
        return values * np.exp(spread * rng.standard_normal((len(SAMPLES), DRAWS, *shape)))

    for a, b, c in zip(alpha, beta, constant, strict=True):
        limit, variance = noisy(100 * p[..., 0] ** -a), noisy(c * p**b * n**-nu, len(WIDTHS))
        parts["limit_error"].append(limit)
        parts["variance"].append(variance)
        parts["error"].append(limit[..., None] + variance)
        parts["limit_loss"].append(0 * limit + 1e-6)
        parts["loss"].append(0 * variance + 1e-6)
    about = {
        "problem": "problem", "training": "training", "draws": DRAWS, "seeds": 2, "particles": 2,
        "replicates": 2, "key": key,
    }  # fmt: skip
    parts = {name: np.array(values) for name, values in parts.items()}
    return experiment.collected(parts, (0.03, 1.0), SAMPLES, WIDTHS, about)


def test_laws_without_noise_are_found_exactly(key):
    """ν = 1; lazy α = 2, β = 0, hence P* ∝ n^{1/2}; rich α = 3, β = −1/2, hence n^{2/5}; P* = (100 n/c)^p."""
    data = tree(key)
    found, onset = data["laws"].dataset, data["onset"].dataset
    for gamma, *expected in ((0.03, -1, -2, 0, 0.5, 0.5), (1.0, -1, -3, -0.5, 0.4, 0.4)):
        np.testing.assert_allclose(found["exponent"].sel(richness=gamma), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["exponent_error"], 0, atol=1e-12)
    n = np.array(WIDTHS, float)
    truth = np.array([(100 * n / 2) ** 0.5, (100 * n / 0.5) ** 0.4])
    np.testing.assert_allclose(onset["onset"], truth, rtol=1e-12)
    later = np.exp(np.mean(np.log(truth / truth[0]), 1))
    np.testing.assert_allclose(onset["later"], later, rtol=1e-12)
    one, many = (experiment.ratios(data["curves"].sel(richness=1.0), averaged)[0] for averaged in (0, 1))
    np.testing.assert_allclose(many, 1, rtol=1e-12)
    assert (one > 1).all()


def test_exponents_lie_within_their_errors(key):
    """Noise of a third a draw: Student's t at 1e-6 for all of them together, and far from laws that are a
    quarter off in every exponent."""
    found = tree(key, spread=0.3)["laws"].dataset
    truth = np.array([[-1, -2, 0, 0.5, 0.5], [-1, -3, -0.5, 0.4, 0.4]])
    away = np.abs(found["exponent"] - truth) / found["exponent_error"]
    allowed = scipy.stats.t.isf(1e-6 / (2 * truth.size), DRAWS - 1)
    assert (away < allowed).all()
    assert (found["verdict"].isel(richness=1)[1:] == "").all()  # nothing is predicted there
    other = tree(key, alpha=(2.5, 3.5), spread=0.02)["laws"].dataset
    assert np.abs(other["exponent"] - truth).sel(law="limit").min() > 0.4
    assert other["verdict"].sel(law="limit", richness=0.03) == "inconsistent"
    assert other["verdict"].sel(law="onset", richness=0.03) == "inconsistent"  # 2/5 and not 1/2


def test_no_onset_is_seen_where_the_variance_stays_below(key):
    data = tree(key, constant=(2.0, 1e-6))
    assert np.isfinite(data["onset"]["onset"].isel(richness=0)).all()
    assert np.isnan(data["onset"]["onset"].isel(richness=1)).all()
    assert "no signal" in experiment.summary(data)
    check_protocol(experiment, data, axes=4)


def test_a_crossing_is_where_straight_lines_cross():
    samples = np.array([1.0, 10.0, 100.0])
    ratio = np.array([[-1, 1, 2.0], [-3, -1, 3], [1, 2, 3], [-3, -2, -1], [0, 1, 2]])
    found = experiment.crossing(samples, ratio)
    np.testing.assert_allclose(found, [10**0.5, 10**1.25, np.nan, np.nan, np.nan])


def test_errors_and_variances_are_those_of_gaussians(key):
    """f ~ N(y + m, s²): mean square m² + s² and variance s² without bias from two networks, 400 times."""
    rng = np.random.default_rng(key)
    missed = 0.4 + 0.3 * rng.standard_normal((400, 2, 50, 1))
    found = np.array([experiment.error_and_variance(m) for m in missed])
    assert_mean(found[:, :1], 0.4**2 + 0.3**2)
    assert_mean(found[:, 1:], 0.3**2)
    with pytest.raises(AssertionError):
        assert_mean(found[:, 1:], 0.5 * 0.3**2)  # the variance without Bessel's correction


def test_it_is_drawn_and_survives_a_file(key):
    check_protocol(experiment, tree(key, spread=0.1), axes=4)


def test_a_small_run_gives_finite_numbers(key, folder):
    """The errors of single networks are those of their average and their variance."""
    options = OPTIONS | {"richness": (1.0,), "samples": (4, 8), "key": key}
    with no_advice():
        curves = experiment.compute(**options)["curves"].dataset
    assert curves["variance"].shape == (1, 2, 3, 3)
    assert np.isfinite(curves.to_array()).all()
    assert ((curves["variance"] > 0) & (curves["error"] > curves["variance"] / 2)).all()


@pytest.mark.slow
def test_a_store_is_used(folder, key, monkeypatch):
    with no_advice():
        data = check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
    check_protocol(experiment, data, axes=4)


@pytest.mark.slow
def test_the_variance_falls_as_one_over_the_width(key):
    """For so few samples no width has an onset, and V is averaged over all P: Student's t at 1e-6 for both γ,
    whose errors hold what the narrowest network is off the law."""
    options = OPTIONS | {
        "samples": (4, 8), "widths": (96, 192, 384), "draws": 24, "seeds": 6, "steps": 60,
        "particles": 256, "key": key,
    }  # fmt: skip
    with no_advice():
        data = experiment.compute(**options)
    assert np.isnan(data["onset"]["onset"]).all()
    found = data["laws"].dataset.sel(law="width")
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), 23) * found["exponent_error"]
    assert (np.abs(found["exponent"] + 1) < allowed).all()
    assert (found["exponent_error"] < 0.2).all()
