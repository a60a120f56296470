"""Histories that hold nothing new: hundreds of steps after convergence, one sample twice, more vectors than
neurons."""

import numpy as np
import pytest
from assertions import EPS, EPS32

import meanfield as mf
from meanfield.studies import simulate as module

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4))
X, Y = np.concatenate([X, X[:1]]), np.array([1.0, -1.0, 0.5, 1.0])
TASK = mf.Problem(X, Y, x_test=X[:2])
TRAINING = mf.GradientDescent(1.0, 600)
MODEL = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup, richness=0.7)
LOOKS = [0, 300, 450, 600]
SYSTEMS = {
    "matrix-free, float32": (MODEL.finite(64, sampler=mf.MatrixFree()), EPS32),
    "exact, more vectors than neurons": (
        MODEL.finite(16, sampler=mf.MatrixFree(0), dtype="float64"),
        EPS,
    ),
    "limit": (MODEL.limit(128, 2), EPS),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_has_converged_stays_where_it_is(name, key, monkeypatch):
    """Residuals fall to rounding and stay there, both copies of a sample have one prediction throughout, and
    no direction is revealed any more: at most as many as there are neurons in all.

    A residual moves predictions by its rounding; a thousand of them are allowed to predictions of order one.
    """
    monkeypatch.setattr(module, "warn_above_edge", lambda *_: None)
    system, eps = SYSTEMS[name]
    options = {} if system.is_limit else {"seeds": 2}
    run = mf.simulate(system, TASK, TRAINING, key=key, record=LOOKS, **options)
    f, loss, rank = run.prediction.values, run.loss.values, run["rank"].values
    assert np.isfinite(f).all() and np.isfinite(run.test_prediction.values).all()
    assert np.sqrt(2 * loss[..., 1:].max()) <= 1e3 * eps
    assert np.abs(f[..., 3, 0] - f[..., 0, 0]).max() <= 1e3 * eps
    assert np.abs(run.test_prediction.values[..., 0, :] - f[..., 0, :]).max() <= 1e3 * eps
    at = 0 if system.is_limit else 1  # the axis of steps
    np.testing.assert_array_equal(np.take(rank, -1, at), np.take(rank, 1, at))
    assert rank.max() < system.rows or rank.max() == 16
