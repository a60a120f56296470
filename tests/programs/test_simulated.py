"""Matrix-free networks and limits through `simulate` and `width_study`: stored, diverged, grown, the same
whatever precision the caller has."""

import jax
import numpy as np
import pytest
from assertions import EPS32, assert_close

import meanfield as mf
from meanfield.model.parametrization import mup
from meanfield.programs import trained
from meanfield.studies import simulate as module
from meanfield.studies.trajectory import traces

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 3))
TASK = mf.Problem(X, RNG.standard_normal(3), x_test=np.concatenate([X[:2], RNG.standard_normal((1, 3))]))
MODEL = mf.MLP(2, mf.activations.tanh, mup)
TRAINING = mf.GradientDescent(0.6, 6)
FREE = MODEL.finite(40, sampler=mf.MatrixFree())
LIMIT = MODEL.limit(128, 2)
SYSTEMS = {"matrix-free": FREE, "limit": LIMIT}


@pytest.fixture(autouse=True)
def no_advice(monkeypatch):
    """Whether the learning rate is stable is not asked here; the kernels it takes cost more than training."""
    monkeypatch.setattr(module, "warn_above_edge", lambda *_: None)


@pytest.fixture(scope="module")
def data(key):
    seeds = {"matrix-free": {"seeds": 2}, "limit": {}}
    return {name: mf.simulate(s, TASK, TRAINING, key=key, **seeds[name]) for name, s in SYSTEMS.items()}


def assert_equal(one, other):
    assert set(one) == set(other) and one.sizes == other.sizes
    for name in one:
        np.testing.assert_array_equal(one[name].values, other[name].values)


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_stored_comes_back_and_is_not_computed_again(name, data, key, tmp_path, monkeypatch):
    seeds = {"seeds": 2} if name == "matrix-free" else {}
    first = mf.simulate(SYSTEMS[name], TASK, TRAINING, key=key, store=tmp_path, **seeds)
    monkeypatch.setattr(module, "_computed", None)
    again = mf.simulate(SYSTEMS[name], TASK, TRAINING, key=key, store=tmp_path, **seeds)
    assert_equal(first, data[name])
    assert_equal(first, again)


@pytest.mark.parametrize("name", SYSTEMS)
def test_results_do_not_depend_on_the_precision_of_the_caller(name, data, key):
    seeds = {"seeds": 2} if name == "matrix-free" else {}
    before = traces.copy()
    with jax.enable_x64(not jax.config.jax_enable_x64):
        assert_equal(mf.simulate(SYSTEMS[name], TASK, TRAINING, key=key, **seeds), data[name])
    assert traces == before, "compiled again"


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_bad_step_is_that_of_the_first_value_that_is_not_finite(name, data, key):
    """A learning rate of 10¹²: values up to there are finite, everything from there on is NaN."""
    training = mf.GradientDescent(1e12, 6)
    with pytest.warns(RuntimeWarning, match="[Dd]iverge"):
        found = mf.simulate(SYSTEMS[name], TASK, training, key=key)
    bad = int(np.ravel(found.first_bad_step.values)[0])
    assert 1 <= bad <= 6
    for quantity in ("prediction", "test_prediction", "loss"):
        values = np.moveaxis(found[quantity].values, found[quantity].dims.index("step"), 0)
        assert np.isfinite(values[:bad]).all() and np.isnan(values[bad:]).all()
    assert (data[name].first_bad_step.values == -1).all()


def test_seeds_are_independent_of_those_that_run_with_them(data, key):
    one = mf.simulate(FREE, TASK, TRAINING, key=key, seeds=[1])
    np.testing.assert_array_equal(one.prediction.values[0], data["matrix-free"].prediction.values[1])
    two = data["matrix-free"].prediction.values
    assert np.abs(two[0] - two[1]).max() > 1e-3


def test_buffers_that_grow_change_nothing_beyond_rounding(data, key, monkeypatch):
    """From 16 columns, which the training outgrows. Rounding of float32, grown by what is divided by the
    smallest direction kept, 1e-3."""
    monkeypatch.setattr(trained, "SMALL_BUFFER", 0)
    before = traces["advance growing"]
    found = mf.simulate(FREE, TASK, TRAINING, key=key)
    assert traces["advance growing"] > before
    whole = data["matrix-free"].isel(seed=[0])
    np.testing.assert_array_equal(found["rank"].values, whole["rank"].values)
    assert found["rank"].values.max() + 3 > 16
    assert_close(found.prediction.values, whole.prediction.values, 1e3 * 40, eps=EPS32)


def test_a_training_point_in_the_test_set_has_its_predictions_in_the_limit(data):
    """Its fields are revealed anew in every look: equal up to the noise that the limit states."""
    found = data["limit"]
    train, test = found.prediction.values[:, :2], found.test_prediction.values[:, :2]
    error = np.sqrt(
        found.prediction_error.values[:, :2] ** 2 + found.test_prediction_error.values[:, :2] ** 2
    )
    assert np.abs(train - test).max() < 0.5
    print(np.abs(train - test).max(), error.max())
