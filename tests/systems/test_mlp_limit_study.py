"""The limit against networks of finite width, for several activations, depths and losses."""

import numpy as np
import pytest
import scipy.stats
from assertions import assert_mean
from revealed_runs import dense_runs, trained_runs

import meanfield as mf
from meanfield.model.parametrization import mup
from meanfield.studies import simulate as module

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5))
TASKS = {
    "square": mf.Problem(X, RNG.standard_normal(4)),
    "logistic": mf.Problem(X, np.array([1.0, -1.0, 1.0, -1.0]), loss=mf.losses.logistic),
}
RATES = {"square": 0.4, "logistic": 1.0}
PHI = {"tanh": mf.activations.tanh, "relu": mf.activations.relu, "erf": mf.activations.erf}
ALPHA = 1e-6


def perceptron(phi, depth):
    """Weights that keep the size of fields, so that all depths train alike."""
    return mf.MLP(depth, PHI[phi], mup, weight_variance=2.0 if phi == "relu" else 1.5)


def allowed(replicates, entries):
    """Standard errors of the limit that its mean may be off by, one false alarm in 10⁶ over all entries."""
    return scipy.stats.t.isf(ALPHA / (2 * entries), replicates - 1)


def assert_limit(samples, limit, error, replicates):
    """Networks (seed, step, sample) against the limit with its own error; the mean at step 0 is 0 in both."""
    assert_mean(samples, limit, bias=allowed(replicates, limit.size) * error, alpha=ALPHA)


def assert_told_apart(samples, limit, error, replicates):
    """Negative control: a limit that has learned less, by a fifth, is not taken for the right one."""
    with pytest.raises(AssertionError, match="standard errors"):
        assert_limit(samples, 0.8 * limit, error, replicates)


@pytest.mark.parametrize("phi, depth, loss", [("relu", 2, "logistic")])
def test_small_networks_extrapolate_to_the_limit(phi, depth, loss, key):
    """2f_128 − f_64 of 512 networks each, off by O(n⁻²), and 2048 particles, off by O(rank/M), 1/100, below
    the error that is allowed."""
    task, training, model = TASKS[loss], mf.GradientDescent(RATES[loss], 3), perceptron(phi, depth)
    wide, narrow = (
        dense_runs(model.finite(n, dtype="float64"), task, training, key + n, 512) for n in (128, 64)
    )
    limit, _ = trained_runs(model.limit(2048), task, training, key, 16)
    samples, found = (2 * wide - narrow)[:, 1:, :, 0], limit[:, 1:, :, 0]
    error = found.std(0, ddof=1) / 4
    assert_limit(samples, found.mean(0), error, 16)
    assert_told_apart(samples, found.mean(0), error, 16)


@pytest.mark.slow
@pytest.mark.parametrize("loss", TASKS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("phi", PHI)
def test_the_limit_is_where_networks_go(phi, depth, loss, key, monkeypatch):
    """Networks of 10⁵ neurons without their matrices, and dense ones of 1024 and 512 whose 1/n bias is
    removed, 2f_1024 − f_512; the limit's 32 replicates of 4096 particles."""
    monkeypatch.setattr(module, "warn_above_edge", lambda *_: None)
    task, training, model = TASKS[loss], mf.GradientDescent(RATES[loss], 10), perceptron(phi, depth)
    limit = mf.simulate(model.limit(4096, 32), task, training, key=key)
    f, error = limit.prediction.values[1:, :, 0], limit.prediction_error.values[1:, :, 0]
    free = mf.simulate(model.finite(100_000, sampler=mf.MatrixFree()), task, training, seeds=8, key=key)
    free = free.prediction.values[:, 1:, :, 0]
    wide, narrow = (
        mf.simulate(model.finite(n), task, training, seeds=64, key=key + n).prediction.values[:, 1:, :, 0]
        for n in (1024, 512)
    )
    scale = np.sqrt(np.mean(f**2))
    for name, samples in (("10⁵", free), ("dense", 2 * wide - narrow)):
        off = np.sqrt(np.mean((samples.mean(0) - f) ** 2))
        own = np.sqrt(np.mean(samples.var(0, ddof=1) / len(samples)))
        print(
            f"{phi} {depth} {loss} {name}: rms {off / scale:.2e}, networks {own / scale:.2e}, "
            f"limit {np.sqrt(np.mean(error**2)) / scale:.2e} of {scale:.2g}"
        )
        assert_limit(samples, f, error, 32)
        assert_told_apart(samples, f, error, 32)
