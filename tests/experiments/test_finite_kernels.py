"""The experiment on kernels of finite networks, at a size of seconds, and its constants."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from assertions import assert_mean
from meanfield.experiments import finite_kernels as experiment
from round_trip import check_protocol, check_resumption, computed

import meanfield as mf

SEEDS = 128
OPTIONS = {
    "activations": ("relu",), "depths": (1, 2), "widths": (16, 32, 64), "seeds": SEEDS, "samples": 4,
    "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS)


def arc_cosine(k):
    """E[φ̇φ̇'], E[φφ'], E[φ²φ'²] of relu for preactivations of covariance k (Cho & Saul 2009)."""
    size = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    theta = np.arccos(np.clip(k / size, -1, 1))
    rest, sine, cosine = np.pi - theta, np.sin(theta), np.cos(theta)
    orders = rest, sine + rest * cosine, 3 * sine * cosine + rest * (1 + 2 * cosine**2)
    return [size**p * order / (2 * np.pi) for p, order in enumerate(orders)]


def test_the_constants_of_one_layer_are_those_of_the_arc_cosine_kernels():
    """relu: φφ̇ = φ and φ̇² = φ̇. A step of height h is seen to h/angles by equal angles, and every average has
    two of them: 2/angles of the squares, half of it of their root, divided by the share that the mean has in
    the second moment, 1 − mean²/square > 1/2 here."""
    x, variance = np.random.default_rng(0).normal(size=(5, 3)), 2.0
    k = variance * x @ x.T / 3
    slopes, kernel, square = arc_cosine(k)
    nngp = np.sqrt(square.sum() / (kernel**2).sum() - 1)
    tangent = square + 2 * k * kernel + 3 * k**2 * slopes
    ntk = np.sqrt(tangent.sum() / ((kernel + k * slopes) ** 2).sum() - 1)
    found = experiment.constants_of_one_layer(mf.activations.relu, x, variance)
    np.testing.assert_allclose(found, [nngp, ntk], rtol=2 / 2000)


def test_the_constants_of_one_layer_hold_for_the_quadratic_activation():
    """φ = z², unit k and one input: E φ⁴ = 105, (E φ²)² = 9, E[φ²φ̇²] = 4 E z⁶ = 60, E φ̇⁴ = 16 E z⁴ = 48,
    E φ̇² = 4. Polynomials are integrated exactly, here to 60 nodes' rounding."""
    found = experiment.constants_of_one_layer(mf.activations.quadratic, np.ones((1, 1)), 1.0)
    second, mean = 105 + 2 * 60 + 3 * 48, 3 + 4
    np.testing.assert_allclose(found, [np.sqrt(105 / 9 - 1), np.sqrt(second / mean**2 - 1)], rtol=1e-9)


def ratios(data):
    """Measured over predicted mean squares of every seed at the largest width."""
    away, constants = (data[n].dataset for n in ("distances", "constants"))
    away = away.sel(activation="relu").isel(width=-1)
    n = int(away["width"])
    for name in experiment.KERNELS:
        square = n * away[name].sel(hidden_layers=1) ** 2
        yield square / constants["predicted"].sel(kernel=name, activation="relu") ** 2
    for depth in away["hidden_layers"].values:
        yield away["variance"].sel(hidden_layers=depth) / ((1 + 5 / n) ** depth - 1)


def test_distances_are_of_the_predicted_size(data):
    """Exact in the mean at every width; 128 networks of width 64 have nearly Gaussian means. A factor of √2
    in a kernel is caught."""
    for ratio in ratios(data):
        assert_mean(ratio.values, 1.0)
        with pytest.raises(AssertionError):
            assert_mean(2 * ratio.values, 1.0)


def test_exponents_are_those_of_a_mean_over_neurons(data):
    """Student's t of all four at 1e-6."""
    found = data["exponents"].dataset
    allowed = scipy.stats.t.isf(1e-6 / (2 * found["exponent"].size), SEEDS - 1)
    assert (np.abs(found["exponent"] + 0.5) < allowed * found["exponent_error"]).all()


def test_a_wrong_law_is_noticed(data):
    """Distances that fall like n^{−5/2} are not consistent with −1/2: with an error of up to a half they
    would not be, and it is about a fifth."""
    away = data["distances"].dataset
    steeper = xr.Dataset({name: away[name] / away["width"] ** 2 for name in experiment.KERNELS})
    assert (experiment.fitted(steeper)["verdict"] == "inconsistent").all()


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="of relu, erf, tanh, but has 'gelu'"):
        experiment.compute(activations=("gelu",))


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    check_resumption(experiment, OPTIONS | {"key": key}, folder, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
