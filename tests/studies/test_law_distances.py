"""Distances of finite networks to the law of an ensemble: unbiased, of the right size, 0 for equal laws."""

import math

import numpy as np
import pytest
import xarray as xr
from assertions import assert_mean

from meanfield.model.system import Law
from meanfield.studies.compare import compare
from meanfield.studies.distances import LAW, _shape_gram, distances

DIMS = ("width", "seed", "step", "sample", "output")
LAWS = tuple(Law(kind, "width", -1.0, "made up") for kind in LAW)


def limit_of(mean, spread):
    dims = DIMS[2:]
    return xr.Dataset(
        {"prediction": (dims, mean), "prediction_spread": (dims, spread)},
        {"step": range(len(mean))},
        {"error_from": "draws"},
    )


def networks_of(values, widths):
    return xr.Dataset({"prediction": (DIMS, values)}, {"width": list(widths), "step": range(values.shape[2])})


def law(steps=3, samples=4, seed=0):
    rng = np.random.default_rng(seed)
    shape = (steps, samples, 1)
    return rng.standard_normal(shape), rng.uniform(0.5, 2.0, shape)


def discrepancy(shift, scale):
    """MMD² of N(δ, σ²) to N(0, 1) with exp(−(u − v)²/2): E over independent pairs of a Gaussian of variance
    v about m is exp(−m²/2(1 + v))/√(1 + v)."""

    def pair(mean, variance):
        return math.exp(-(mean**2) / (2 * (1 + variance))) / math.sqrt(1 + variance)

    return pair(0, 2 * scale**2) - 2 * pair(shift, 1 + scale**2) + pair(0, 2)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1.3), (-0.2, 0.7)])
def test_squares_have_the_mean_of_their_definition(shift, scale, key):
    """False alarms 1e-6 per kind; the first case is the negative control: equal laws have distance 0."""
    mean, spread = law()
    repeats, seeds = 400, 12
    rng = np.random.default_rng(key)
    z = rng.standard_normal((repeats, seeds, *mean.shape))
    finite = networks_of(mean + spread * (shift + scale * z), range(1, repeats + 1))
    found = distances(finite, limit_of(mean, spread), "prediction", "width", np.ones(len(mean), bool))
    typical = math.sqrt(np.mean(spread**2))
    excess = spread**2 * (scale**2 + shift**2 - 1) / (2 * typical)
    truth = {
        "bias": np.mean((spread * shift) ** 2),
        "spread": np.mean(excess**2),
        "distribution": discrepancy(shift, scale),
    }
    for kind in LAW:
        assert_mean(found[kind][0].value, truth[kind])


def test_the_kernel_of_shapes_is_centred_by_the_standard_normal(key):
    """E_{u~N(0,1)} of a row is 0 whatever the other network is; false alarms 1e-6."""
    rng = np.random.default_rng(key)
    others = np.array([[0.0], [1.0], [-3.0]])
    rows = [_shape_gram(np.concatenate([others, u]))[3, :3] for u in rng.standard_normal((4000, 1, 1))]
    assert_mean(np.array(rows), 0.0)


def test_a_law_that_approaches_like_one_over_the_width_has_that_exponent(key):
    """Mean and second moment off by exactly c/n; one that is off by c/√n is found out."""
    mean, spread = law(steps=4, samples=30)
    widths, seeds = (4, 8, 16, 32), 400
    rng = np.random.default_rng(key)

    def networks(power):
        values = []
        for n in widths:
            z = rng.standard_normal((seeds, *mean.shape))
            off = n**power  # E(f − m)² = s² (1 + 2 off)
            values.append(mean + spread * (off + math.sqrt(1 + 2 * off - off**2) * z))
        return networks_of(np.stack(values), widths)

    right, wrong = (compare(networks(power), limit_of(mean, spread), LAWS) for power in (-1.0, -0.5))
    assert list(right.kind.values) == list(LAW)
    for kind in ("bias", "spread"):
        at = {"quantity": "prediction", "kind": kind}
        found, error = float(right.exponent.sel(at)), float(right.exponent_error.sel(at))
        assert error < 0.1 and abs(found + 1) < 5.5 * error  # false alarms 1e-7
        assert wrong.verdict.sel(at) == "inconsistent", kind


def test_losses_have_a_bias_only(key):
    mean, spread = law()
    rng = np.random.default_rng(key)
    values = mean + spread * rng.standard_normal((2, 8, *mean.shape))
    finite = networks_of(values, (4, 8)).assign(loss=(DIMS[:3], rng.standard_normal((2, 8, 3))))
    limit = limit_of(mean, spread).assign(loss=("step", np.zeros(3)))
    fit = compare(finite, limit, LAWS)
    assert np.isfinite(fit.error.sel(quantity="loss", kind="bias")).all()
    assert np.isnan(fit.error.sel(quantity="loss", kind=["spread", "distribution"])).all()
    assert (fit.verdict.sel(quantity="loss", kind=["spread", "distribution"]) == "").all()


def test_where_the_law_has_no_width_shapes_are_not_compared(key):
    """Predictions on which all networks agree, such as fitted targets, would divide rounding by rounding."""
    mean, spread = law()
    spread[-1] = 0.0
    rng = np.random.default_rng(key)
    values = mean + spread * rng.standard_normal((2, 8, *mean.shape))
    fit = compare(networks_of(values, (4, 8)), limit_of(mean, spread), LAWS)
    assert np.isfinite(fit.error).all()
