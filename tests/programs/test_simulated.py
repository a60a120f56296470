"""Matrix-free networks and limits through `simulate` and `width_study`: stored, diverged, grown, the same
whatever precision the caller has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS32, assert_close

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.parametrization import mup
from meanfield.programs import trained
from meanfield.studies import growing
from meanfield.studies import simulate as module
from meanfield.studies import study as studies
from meanfield.studies.trajectory import network_keys, traces

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 3))
TASK = mf.Problem(X, RNG.standard_normal(3), x_test=np.concatenate([X[:2], RNG.standard_normal((1, 3))]))
MODEL = mf.MLP(2, mf.activations.tanh, mup)
TRAINING = mf.GradientDescent(0.6, 10)
FREE = MODEL.finite(40, sampler=mf.MatrixFree(above=16))
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
    """A huge learning rate: values up to there are finite, everything from there on is NaN."""
    training = mf.GradientDescent(1e12 if name == "matrix-free" else 1e90, 10)
    with pytest.warns(RuntimeWarning, match="[Dd]iverge"):
        found = mf.simulate(SYSTEMS[name], TASK, training, key=key)
    bad = int(np.ravel(found.first_bad_step.values)[0])
    assert 1 <= bad <= 10
    for quantity in ("prediction", "test_prediction", "loss"):
        values = np.moveaxis(found[quantity].values, found[quantity].dims.index("step"), 0)
        assert np.isfinite(values[:bad]).all() and np.isnan(values[bad:]).all()
    assert (data[name].first_bad_step.values == -1).all()


def test_seeds_are_independent_of_those_that_run_with_them(data, key):
    one = mf.simulate(FREE, TASK, TRAINING, key=key, seeds=[1])
    np.testing.assert_array_equal(one.prediction.values[0], data["matrix-free"].prediction.values[1])
    two = data["matrix-free"].prediction.values
    assert np.abs(two[0] - two[1]).max() > 1e-3


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_input_of_both_sets_has_one_prediction(name, data):
    """From step 0 on, where nothing of a network is known before it is looked at; up to the tolerance, as
    what is dropped from a field depends on what it is revealed with."""
    found = data[name]
    one, both = (found[n].values for n in ("prediction", "test_prediction"))
    first = np.take(both, [0, 1], found.test_prediction.dims.index("test_sample"))
    second = np.take(one, [0, 1], found.prediction.dims.index("sample"))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-3 * np.abs(second).max())
    assert name == "limit" or np.abs(second[:, 0]).max() > 0.02  # f_0 of a network is not 0


@pytest.mark.slow
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


def test_large_systems_have_a_pilot_and_buffers_for_half_of_what_it_revealed():
    """Ranks 50 and 20 of the pilot, 3 columns a step: ⌈(1.05 · 50 + 3)/2⌉ = 28 and 12 in tiles of 16."""
    with double():
        small, _ = FREE.plan(TASK, TRAINING, 1, np.inf)
        large, _ = MODEL.finite(10**6, sampler=mf.MatrixFree()).plan(TASK, TRAINING, 1, np.inf)
        state = small.start(TASK, TRAINING, network_keys(jax.random.key(0), [0])[0])
    assert small.pilot(TRAINING) is None and large.pilot(TRAINING).rows == trained.PILOT
    assert all(size >= 3 * TRAINING.steps for _, size in large.pilot(TRAINING).sizes)
    right, left = (
        side._replace(rank=np.int32(r)) for side, r in zip(state.bases["w2"], (50, 20), strict=True)
    )
    sized = large.sized(state._replace(bases={"w2": (right, left)}))
    assert sized.rows == 10**6 and dict(sized.sizes) == {("w2", 0): 32, ("w2", 1): 16}


@pytest.mark.slow
def test_a_pilot_changes_nothing_beyond_rounding(data, key, monkeypatch):
    """Buffers of half of what 20 neurons revealed, which 40 then outgrow once; roundings as above."""
    for name, value in (("SMALL_BUFFER", 0), ("PILOT", 20), ("LARGE", 2), ("TILE", 2)):
        monkeypatch.setattr(trained, name, value)
    began, begin = [], growing._Run.begin
    monkeypatch.setattr(growing._Run, "begin", lambda run, *a: (began.append(run.system), begin(run, *a))[1])
    found = mf.simulate(FREE, TASK, TRAINING, key=key)
    whole = data["matrix-free"].isel(seed=[0])
    assert [system.rows for system in began] == [20, 40]
    ranks = found["rank"].values.max((0, 1, 2))
    assert (np.array([size for _, size in began[1].sizes]) < ranks).all()
    np.testing.assert_array_equal(found["rank"].values, whole["rank"].values)
    assert_close(found.prediction.values, whole.prediction.values, 1e3 * 40, eps=EPS32)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
@pytest.mark.parametrize("on_host", [np.inf, 0])
def test_larger_buffers_hold_what_there_was(system, on_host, key, monkeypatch):
    """Bases, images, weights and momentum get zero columns, only where another step might not fit; those
    made on the device are used up."""
    monkeypatch.setattr(trained, "SMALL_BUFFER", 0)
    monkeypatch.setattr(trained, "ON_HOST", on_host)
    training = mf.GradientDescent(0.6, 10, 0.5)
    with double():
        system, _ = system.plan(TASK, training, 1, np.inf)
        state = system.start(TASK, training, network_keys(jax.random.key(key), [0])[0])
        rng = np.random.default_rng(key)
        fill = lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
        right, left = (jax.tree.map(fill, side)._replace(rank=np.int32(14)) for side in state.bases["w2"])
        left = left._replace(rank=np.int32(13))
        memory = state.memory._replace(slots=jax.tree.map(fill, state.memory.slots))
        state = state._replace(parameters=jax.tree.map(fill, state.parameters), memory=memory)
        state = state._replace(bases={"w2": (right, left)})
        assert bool(system.full(state))  # 14 and 3 more columns are above 16, 13 and 3 are not
        one = [np.array(leaf) for leaf in jax.tree.leaves(state)]
        larger, wide = system.grow(state)
        assert right.basis.is_deleted() == (on_host == 0)
        assert not larger.full(wide) and dict(larger.sizes) == {("w2", 0): 32, ("w2", 1): 16}
        other = [np.asarray(leaf) for leaf in jax.tree.leaves(wide)]
    changed = 0
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        if a.shape != b.shape:
            changed += 1
            assert b.shape == (a.shape[0], 32) and not b[:, 16:].any()
            b = b[:, :16]
        np.testing.assert_array_equal(a, b)
    assert changed == 4 + (right.noise is not None)  # basis, image, C, its velocity, matched noise


def test_a_study_that_was_interrupted_goes_on_with_what_is_there(data, key, tmp_path, monkeypatch):
    """Widths up to `above` are dense, wider ones without matrices, the same as `simulate` gives."""

    def study():
        options = {"widths": [16, 40], "seeds": 2, "limit": LIMIT, "sampler": mf.MatrixFree(above=16)}
        return mf.width_study(MODEL, TASK, TRAINING, store=tmp_path, key=key, progress=False, **options)

    plain, computed = studies.compute_cell, []

    def interrupted(cell, *arguments, **options):
        computed.append(cell)
        if len(computed) == 2:
            raise KeyboardInterrupt
        return plain(cell, *arguments, **options)

    monkeypatch.setattr(studies, "compute_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study()
    found = study()
    assert len(computed) == 3
    free = found["finite"].prediction.sel(width=40)
    np.testing.assert_array_equal(free.values, data["matrix-free"].prediction.values)
    np.testing.assert_array_equal(found["limit"].prediction.values, data["limit"].prediction.values)
    dense = mf.simulate(MODEL.finite(16), TASK, TRAINING, key=key, seeds=2)
    np.testing.assert_array_equal(found["finite"].prediction.sel(width=16).values, dense.prediction.values)
    assert set(found["fit"].kind.values) == {"bias", "fluctuation"}


def test_a_training_point_in_the_test_set_has_its_predictions_in_the_limit(data):
    """Its fields are revealed anew by every look: off by the noise of the two."""
    found = data["limit"]
    off = found.prediction.values[:, :2] - found.test_prediction.values[:, :2]
    assert np.sqrt(np.mean(off**2)) <= 3 * np.sqrt(np.mean(found.prediction_error.values[:, :2] ** 2))
