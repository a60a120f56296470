"""The experiment on order and chaos, at a size of seconds, with networks of dense matrices."""

import numpy as np
import pytest
import xarray as xr
from assertions import assert_mean
from meanfield.experiments import order_chaos as experiment
from round_trip import check_protocol, computed

import meanfield as mf

OPTIONS = {
    "activations": ("erf",), "weight_variances": (0.8, 3.0), "pixels": 20, "curve": 4, "width": 1024,
    "depth": 30, "networks": 32, "progress": False,
}  # fmt: skip
ERF = mf.activations.erf
data = computed(experiment, OPTIONS)


def dense_differences(rng, n, depth, count, weight, bias):
    """1 − correlation of tanh networks with matrices, as the covariance of the last layer has it."""
    h = np.sqrt(0.7) * rng.standard_normal((count, n, 2))
    h[..., 1] = 0.4 * h[..., 0] + np.sqrt(1 - 0.4**2) * h[..., 1]
    for _ in range(depth - 2):
        w, b = rng.standard_normal((count, n, n)), rng.standard_normal((count, n, 1))
        h = np.sqrt(weight / n) * w @ np.tanh(h) + np.sqrt(bias) * b
    x = np.tanh(h)
    q = weight * np.einsum("rip,riq->rpq", x, x) / n + bias
    return 1 - q[:, 0, 1] / np.sqrt(q[:, 0, 0] * q[:, 1, 1])


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_networks_drawn_by_layers_have_the_law_of_dense_ones(weight, key):
    """Mean and mean square of 1 − c at layer 4, 2000 networks of width 12 each way, false alarms 1e-6;
    a quarter of the weight variance is noticed."""
    rng = np.random.default_rng([key, 11])
    dense = dense_differences(rng, 12, 4, 2000, weight, 0.1)
    moments = lambda values: np.stack([values, values**2], 1)  # noqa: E731

    def drawn(weight):
        options = {"weight_variance": weight, "bias_variance": 0.1}
        return experiment.differences(rng, mf.activations.tanh, 0.7, 0.6, 12, 4, 2000, **options)[:, 3]

    assert_mean(moments(dense) - moments(drawn(weight)), 0.0)
    with pytest.raises(AssertionError):
        assert_mean(moments(dense) - moments(drawn(weight / 4)), 0.0)


def test_nearly_equal_inputs_lose_no_digits():
    """χ_1 = 1 for φ = tanh at q → 0, σ_w² = 1: a difference of 1e-14 is kept to order q."""
    rng = np.random.default_rng(0)
    options = {"weight_variance": 1.0, "bias_variance": 0.0}
    found = experiment.differences(rng, mf.activations.tanh, 1e-8, 1e-14, 4096, 2, 64, **options)
    assert_mean(found[:, 1:] / 1e-14, 1.0)


def test_the_diagram_is_what_phases_say(data):
    """q* between points of a grid with steps h = 0.0085 of ln q: h²/8 of a curvature of order one, 1e-5."""
    found = data["diagram_erf"].dataset
    for i, j in ((0, 0), (5, 19), (10, 0), (19, 10)):
        at = found.isel(weight_variance=i, bias_variance=j)
        weight, bias = float(at["weight_variance"]), float(at["bias_variance"])
        truth = mf.kernels.phase(ERF, weight_variance=weight, bias_variance=bias)
        np.testing.assert_allclose(float(at["susceptibility"]), truth.susceptibility, rtol=1e-4)
    line = [found[f"critical_{name}_variance"].values for name in ("weight", "bias")]
    at = mf.kernels.phase(ERF, weight_variance=line[0][-1], bias_variance=line[1][-1])
    assert abs(at.susceptibility - 1) < 1e-9


def test_the_depth_scale_diverges_on_both_sides_of_the_line(data):
    """ξ_c → ∞ like 1/|σ_w² − critical| (with 2 in the chaotic phase, χ(c*) being the mirror image of χ_1)."""
    curve = data["curve_erf"].dataset
    away = curve["weight_variance"].values - curve.attrs["critical"]
    product = (np.abs(away) * curve["depth_scale"]).values
    for side in (away < 0, away > 0):
        nearest = np.argsort(np.abs(np.where(side, away, np.inf)))[:2]
        np.testing.assert_allclose(*product[nearest], rtol=0.05)


def test_rates_of_exponentials_are_exact():
    """log of a e^{−l/ξ} is a line whatever the weights; networks that differ by a factor have one slope, here
    with ripples of a hundredth over six periods. A decay of four layers has no window."""
    layers = np.arange(1, 41)
    predicted = 0.5 * np.exp(-layers / 7)
    difference = 0.3 + predicted * np.array([[0.9], [1.0], [1.1]]) * (1 + 0.01 * np.sin(layers))
    signals = xr.Dataset(
        {
            "difference": (("activation", "weight_variance", "network", "layer"), difference[None, None]),
            "predicted": (("activation", "weight_variance", "layer"), 0.3 + predicted[None, None]),
            "limit": (("activation", "weight_variance"), [[0.3]]),
        },
        {"activation": ["tanh"], "weight_variance": [2.0], "layer": layers},
    )
    found = experiment.rates(signals)
    np.testing.assert_allclose(found["rate_infinite"], 1 / 7, rtol=1e-12)
    assert abs(found["rate"].item() - 1 / 7) < 0.01 and found["rate_error"].item() < 1e-12
    short = experiment.rates(signals.isel(layer=slice(4)))
    assert np.isnan(short["rate"]).all()


def test_networks_decay_at_the_predicted_rates(data):
    """Student's t at 1e-6; at width 1024 the bias, of order 1/n, is a tenth of the error. A rate that is 1.5
    times too large is noticed."""
    found, networks = data["rates"].dataset, data.attrs["networks"]
    z, threshold = experiment.scores(found, networks, 1e-6)
    assert np.isfinite(z).all() and np.abs(z).max() < threshold
    wrong = found.assign(rate_infinite=1.5 * found["rate_infinite"])
    assert np.abs(experiment.scores(wrong, networks, 1e-6)[0]).max() > threshold


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="must be of tanh, erf, but has 'relu'"):
        experiment.compute(activations=("relu",))


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=4)


def test_a_store_is_used(data, folder, key, monkeypatch):
    monkeypatch.setattr(experiment, "decay", lambda *_, **__: pytest.fail("drawn again"))
    again = experiment.compute(**OPTIONS, key=key, store=str(folder))
    assert experiment.summary(again) == experiment.summary(data)
    assert experiment.studies(**OPTIONS) == {}
