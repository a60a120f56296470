"""The experiment on ensembles in the kernel regime, at a size of seconds, and its scores."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from meanfield.experiments import kernel_ensemble as experiment
from round_trip import check_protocol, check_resumption, computed

import meanfield as mf

ALPHA = 1e-6
OPTIONS = {
    "width": 256, "seeds": 96, "hidden_layers": 1, "samples": 8, "test_samples": 6, "steps": 12,
    "looks": (0, 1, 4, 12), "false_alarms": ALPHA, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS)


def gaussian_law(key, looks=3, outputs=5):
    """A made-up law, as `law_of` gives it."""
    root = np.random.default_rng([key, 1]).normal(size=(looks, outputs, outputs))
    covariance = root @ root.swapaxes(1, 2) + 0.1 * np.eye(outputs)
    mean = np.random.default_rng([key, 2]).normal(size=(looks, outputs))
    spread = np.sqrt(np.einsum("tpp->tp", covariance))
    dims = ("step", "test_sample")
    arrays = zip(experiment.LAW, ((dims, mean), (dims, spread), ((*dims, "other"), covariance)), strict=True)
    return xr.Dataset(dict(arrays), {"step": np.arange(looks)})


def draws(law, seeds, key):
    mean, _, covariance = (law[name].values for name in experiment.LAW)
    noise = np.random.default_rng([key, 3]).normal(size=(len(mean), seeds, mean.shape[1]))
    f = mean[:, None] + noise @ np.linalg.cholesky(covariance).swapaxes(1, 2)
    dims = ("step", "seed", "test_sample")
    return xr.Dataset({"test_prediction": (dims, f)}, {"step": law["step"]})


def test_scores_of_draws_from_the_law_are_standard_normal(key):
    """Along principal directions all scores are independent: Kolmogorov-Smirnov on 600 of them at 1e-6. On
    the images they are the same numbers in other coordinates, and none is above the threshold."""
    law = gaussian_law(key, looks=60)
    table = experiment.scores(draws(law, 9, key), law, ALPHA)
    independent = np.concatenate([table[name].values.ravel() for name in ("mode_mean", "mode_variance")])
    assert scipy.stats.kstest(independent, "norm").pvalue > ALPHA
    assert experiment.verdict(table) == "consistent"
    assert table.attrs["count"] == 60 * 5 * 4
    np.testing.assert_allclose(scipy.stats.norm.sf(table.attrs["threshold"]), ALPHA / 2400)


@pytest.mark.parametrize("wrong", ["mean", "spread"])
def test_scores_of_another_law_are_not(key, wrong):
    """A mean that is one standard deviation off has a score of √R = 20; a spread twice too large leaves a
    quarter of χ²: 100, 299 below R − 1 = 399, of standard deviation 28."""
    law = gaussian_law(key)
    mean, spread, covariance = (law[name].values for name in experiment.LAW)
    other = law.copy(deep=True)
    if wrong == "mean":
        other[experiment.LAW[0]].values[:] = mean + spread
    else:
        other[experiment.LAW[1]].values[:] = 2 * spread
        other[experiment.LAW[2]].values[:] = 4 * covariance
    table = experiment.scores(draws(law, 400, key), other, ALPHA)
    for name in ("", "mode_"):
        which = f"{name}{'mean' if wrong == 'mean' else 'variance'}"
        assert np.abs(table[which]).max() > table.attrs["threshold"]


def test_directions_see_correlations_and_images_do_not(key):
    """Independent images against a law of correlated ones with equal spreads: along the direction of the
    smallest eigenvalue λ the variance is vᵀDv > 2λ."""
    law = gaussian_law(key)
    covariance = law[experiment.LAW[2]]
    alone = law.assign({experiment.LAW[2]: covariance * np.eye(covariance.shape[1])})
    table = experiment.scores(draws(alone, 400, key), law, ALPHA)
    assert np.abs(table["mode_variance"]).max() > table.attrs["threshold"]
    assert max(np.abs(table["mean"]).max(), np.abs(table["variance"]).max()) < table.attrs["threshold"]


def test_networks_follow_their_law(data):
    """False alarms ≤ 1e-6 but for what O(1/n) adds: with one hidden layer of 256 neurons a few hundredths of
    a standard deviation, so a few tenths of a score."""
    table = data["scores"].dataset
    assert experiment.largest(table).max() < table.attrs["threshold"] + 0.5


def test_the_law_is_that_of_the_limit(data):
    """Two doors to one closed form: `kernels.predict` and the limit of the model."""
    problem = mf.datasets.digits((3, 8), 8, 6, squared_norm=64, key=data.attrs["key"])
    model = mf.MLP(1, mf.activations.relu, mf.parametrizations.ntk, weight_variance=2.0)
    training = mf.GradientDescent(0.25 * data.attrs["edge"], 12)
    limit = mf.simulate(model.limit(), problem, training, record=data["law"]["step"].values)
    for name in ("test_prediction", "test_prediction_spread"):
        np.testing.assert_allclose(data["law"][name].values, limit[name].values[..., 0], atol=1e-10)


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
