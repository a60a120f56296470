"""simulate: what it returns, and that nothing but the settings decides it."""

import contextlib
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from assertions import EPS, EPS32, assert_close
from cases import Neurons, atoms, neurons_of, problem
from reference import NumpyTwoLayer

import meanfield as mf
from meanfield.base.precision import double
from meanfield.studies.trajectory import default_record, traces
from meanfield.systems.two_layer import network

TANH = mf.TwoLayer(mf.activations.tanh)
TASK = problem()
TRAINING = mf.GradientDescent(0.1, 12)
FINITE = TANH.finite(20, dtype="float64")
LIMIT = TANH.limit(32, replicates=2)


@pytest.fixture(scope="module")
def finite():
    return mf.simulate(FINITE, TASK, TRAINING, seeds=5)


@pytest.fixture(scope="module")
def limit():
    return mf.simulate(LIMIT, TASK, TRAINING)


# What comes back.


def test_a_network_has_seeds_and_a_limit_has_errors(finite, limit):
    dims = {"prediction": ("step", "sample", "output"), "loss": ("step",)}
    dims |= {"test_prediction": ("step", "test_sample", "output"), "test_loss": ("step",)}
    for name, expected in dims.items():
        assert finite[name].dims == ("seed", *expected)
        assert limit[name].dims == limit[f"{name}_error"].dims == expected
    assert finite["first_bad_step"].dims == ("seed",) and limit["first_bad_step"].dims == ()
    assert (finite["first_bad_step"] == -1).all() and int(limit["first_bad_step"]) == -1
    assert dict(finite.sizes) == {"seed": 5, "step": 13, "sample": 5, "output": 1, "test_sample": 3}
    assert "seed" not in limit.dims


def test_step_counts_integers_and_time_is_a_coordinate_along_it(finite, limit):
    for data in (finite, limit):
        assert np.issubdtype(data["step"].dtype, np.integer) and data["time"].dims == ("step",)
        np.testing.assert_array_equal(data["step"], np.arange(13))
        assert_close(data["time"], 0.1 * np.arange(13), 2)
    np.testing.assert_array_equal(finite["seed"], np.arange(5))


def test_every_variable_says_what_it_is_and_attributes_are_text_or_numbers(finite, limit):
    for data in (finite, limit):
        for name, variable in data.data_vars.items():
            assert {"long_name", "units", "source"} <= set(variable.attrs), name
        for owner in (data, *data.variables.values()):
            assert all(isinstance(value, str | int | float) for value in owner.attrs.values())
        settings = json.loads(data.attrs["settings"])
        assert settings["training"]["learning_rate"] == 0.1
        assert settings["problem"]["class"] == "Problem" and "system" in settings
        assert data.attrs["key"] == 0 and data.attrs["dtype"] == "float64"
        assert json.loads(data.attrs["versions"])["jax"] == jax.__version__


def test_a_dataset_survives_being_saved_and_loaded(finite, limit, tmp_path):
    for number, data in enumerate((finite, limit)):
        path = tmp_path / f"{number}.nc"
        data.to_netcdf(path, engine="h5netcdf")
        with xr.open_dataset(path, engine="h5netcdf") as loaded:
            xr.testing.assert_identical(loaded.load(), data)


def test_without_a_test_set_nothing_is_said_about_one():
    data = mf.simulate(FINITE, problem(test_samples=0), TRAINING)
    assert set(data.data_vars) == {"prediction", "loss", "first_bad_step"}
    inputs_only = mf.Problem(TASK.x, TASK.y, x_test=TASK.x_test)
    data = mf.simulate(FINITE, inputs_only, TRAINING)
    assert "test_prediction" in data and "test_loss" not in data


# Second implementation.

SETTINGS = {
    "plain": ("float32", {}, {"learning_rate": 0.1}),
    "momentum and decay": (
        *("float64", {"richness": 0.5}),
        {"learning_rate": 0.1, "momentum": 0.7, "weight_decay": 0.3},
    ),
    "mini-batches": ("float64", {"bias": True}, {"learning_rate": 0.1, "batch_size": 2, "batch_key": 7}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_seed_is_what_numpy_finds_from_the_same_neurons(name):
    """All seeds see the same samples in the same order. In float32 a step of size ηL = 0.1 · 2 at most adds
    its rounding to what is there: T times the operations of one step."""
    dtype, options, settings = SETTINGS[name]
    training = mf.GradientDescent(steps=12, **settings)
    model = mf.TwoLayer(mf.activations.tanh, **options)
    bias = options.get("bias", False)
    observe = Neurons(bias=bias, at=(0, 12))
    data = mf.simulate(model.finite(20, dtype=dtype), TASK, training, seeds=2, observe=observe)
    assert data["prediction"].dtype == dtype
    for seed in range(2):
        (points, weights), (after, _) = neurons_of(data, seed)
        points = {n: v.astype(float) for n, v in points.items()}
        keywords = {"richness": model.richness, "momentum": training.momentum}
        network = NumpyTwoLayer(
            points, np.full(20, 1 / 20), "tanh", weight_decay=training.weight_decay, **keywords
        )
        for step in range(13):
            operations = 2 * (20 + 5 + 2 + 12) * (step + 1) / model.richness
            eps = EPS if dtype == "float64" else EPS32
            scale = np.abs(points["a"]).max()
            found = data["prediction"].values[seed, step]
            assert_close(found, network.predict(TASK.x), operations, scale=scale, eps=eps)
            with double():
                x, y, _ = (np.asarray(v) for v in TASK.batch(step, training.batch_size, training.batch_key))
            network.descend(x, y, 0.1)
        np.testing.assert_allclose(weights, 1 / 20, rtol=eps)


# What must not matter.


def assert_same(first, second, tolerance=1e-12):
    """All variables of the first within the promise of DESIGN for other plans, 1e-12."""
    for name in first.data_vars:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=tolerance, err_msg=name)


def test_a_seed_does_not_depend_on_the_others(finite):
    for seeds in ([3], [1, 3, 4]):
        assert_same(mf.simulate(FINITE, TASK, TRAINING, seeds=seeds), finite.sel(seed=seeds))


def test_different_seeds_and_keys_are_different_networks(finite):
    start = finite["prediction"].values[:, 0, 0, 0]
    other = mf.simulate(FINITE, TASK, TRAINING, seeds=5, key=1)["prediction"].values[:, 0, 0, 0]
    assert len({*start, *other}) == 10


def test_chunks_and_batches_of_seeds_do_not_change_a_network(key):
    """4100 neurons, no multiple of a chunk, times 8 samples do not fit in a budget of 10⁶ bytes."""
    task, system = problem(samples=8), TANH.finite(4100, dtype="float64")
    small, large = system.plan(task, TRAINING, 3, 1e6), system.plan(task, TRAINING, 3, 4e9)
    assert small[0].particles.chunk is not None and small[1] == 1
    assert large[0].particles.chunk is None and large[1] == 3
    runs = [mf.simulate(system, task, TRAINING, seeds=3, key=key, memory=memory) for memory in (1e6, 4e9)]
    assert_same(*runs)


@pytest.mark.parametrize("training", [TRAINING, mf.Langevin(0.1, 12, 0.2)], ids=["descent", "noise"])
def test_the_callers_precision_does_not_change_a_bit(training):
    for system in (TANH.finite(20), LIMIT):
        results = []
        for context in (jax.enable_x64(False), jax.enable_x64(True), contextlib.nullcontext()):
            with context:
                results.append(mf.simulate(system, TASK, training))
        xr.testing.assert_identical(results[0], results[1])
        xr.testing.assert_identical(results[0], results[2])


def test_a_callers_context_is_left_as_it_was():
    for wanted in (False, True):
        with jax.enable_x64(wanted):
            mf.simulate(TANH.finite(20), TASK, TRAINING)
            assert jnp.ones(()).dtype == ("float64" if wanted else "float32")


def start_of(system):
    return neurons_of(mf.simulate(system, TASK, TRAINING, observe=Neurons(at=(0, 1)), record=[0]))[0]


def test_a_narrow_network_is_the_first_part_of_a_wide_one():
    wide, _ = start_of(TANH.finite(600, dtype="float64"))
    for width in (1, 20, 300):
        narrow, weights = start_of(TANH.finite(width, dtype="float64"))
        assert len(weights) == width and (weights == 1 / width).all()
        for name, value in narrow.items():
            np.testing.assert_array_equal(value, wide[name][:width])


def test_float32_is_the_cast_of_the_same_network():
    low, high = start_of(TANH.finite(20))[0], start_of(FINITE)[0]
    for name, value in low.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, high[name].astype(np.float32))


def test_padding_is_inert(finite, monkeypatch):
    """Neurons of weight zero that fill a shape up change nothing, not even where training diverges."""
    assert FINITE.plan(TASK, TRAINING, 5, 4e9)[0].rows == network.SHARED
    for rows in (20, 48):
        monkeypatch.setattr(network, "capacity", lambda width, operations, rows=rows: rows)
        assert_same(mf.simulate(FINITE, TASK, TRAINING, seeds=5), finite)


def test_recording_less_is_recording_all_and_cutting(finite, limit):
    chosen = [0, 3, 4, 11]
    assert_same(mf.simulate(FINITE, TASK, TRAINING, seeds=5, record=chosen), finite.sel(step=chosen))
    assert_same(mf.simulate(LIMIT, TASK, TRAINING, record=[5, 12]), limit.sel(step=[5, 12]))


def test_looking_at_neurons_does_not_change_training(finite):
    looked = mf.simulate(FINITE, TASK, TRAINING, seeds=5, observe=Neurons(at=(0, 4, 7, 12)))
    assert_same(finite, looked)


def test_the_default_record_is_every_step_to_a_thousand_then_even_in_the_logarithm():
    for steps in (1, 7, 1000):
        np.testing.assert_array_equal(default_record(steps), np.arange(steps + 1))
    for steps in (1001, 20_000, 10**6):
        record = default_record(steps)
        assert record[0] == 0 and record[-1] == steps and (np.diff(record) > 0).all() and len(record) <= 200
        late = record[record > 0.1 * steps]
        # Rounding to a whole step moves a ratio by 1/step at most.
        ratios = np.diff(np.log(late))
        assert np.ptp(ratios) <= 2 / late[0]


# Divergence.

QUADRATIC = mf.TwoLayer(mf.activations.quadratic).finite(17, dtype="float64")
UNSTABLE = mf.GradientDescent(0.7, 30)
LINE = mf.Problem([[-1.0], [0.5], [1.5]], [-1.0, 0.5, 1.0])


def simulate_with_warnings(*args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = mf.simulate(*args, **options)
    assert all(w.category is RuntimeWarning for w in caught)
    return data, [str(w.message) for w in caught]


@pytest.fixture(scope="module")
def diverging():
    return simulate_with_warnings(QUADRATIC, LINE, UNSTABLE, seeds=8, observe=Neurons(at=(0, 1)))


def first_bad_step_by_numpy(points, steps):
    """First step at which predictions or loss are not finite, −1 if none, and the predictions before."""
    network = NumpyTwoLayer(points, np.full(17, 1 / 17), "quadratic")
    seen = []
    with np.errstate(all="ignore"):
        for step in range(steps + 1):
            f = network.predict(LINE.x)
            if not np.isfinite(np.square(f - LINE.y).mean()):
                return step, seen
            seen.append(f)
            network.descend(LINE.x, LINE.y, 0.7)
    return -1, seen


def test_divergence_is_found_at_its_first_step_and_marked_from_there_on(diverging):
    """Growth is doubly exponential: the step at which numbers overflow does not hang on rounding."""
    data, _ = diverging
    bad = data["first_bad_step"].values
    assert (bad > 0).any() and (bad == -1).any()
    for seed in range(8):
        expected, seen = first_bad_step_by_numpy(neurons_of(data, seed)[0][0], 30)
        assert bad[seed] == expected
        last = expected if expected >= 0 else 31
        for name in ("prediction", "loss"):
            values = data[name].values[seed]
            assert np.isfinite(values[:last]).all() and np.isnan(values[last:]).all()
        np.testing.assert_allclose(data["prediction"].values[seed, 0], seen[0], rtol=0, atol=100 * EPS)


def test_divergence_is_said_once(diverging):
    _, messages = diverging
    diverged = [m for m in messages if "diverged" in m]
    edge = [m for m in messages if "stability edge" in m]
    assert len(diverged) == 1 and len(edge) == 1 and len(messages) == 2
    bad = diverging[0]["first_bad_step"].values
    assert f"{(bad >= 0).sum()} of 8 networks, first at step {bad[bad >= 0].min()}" in diverged[0]


def test_networks_that_diverge_do_not_touch_the_others(diverging):
    data, _ = diverging
    well = [int(s) for s in data["seed"] if data["first_bad_step"].sel(seed=s) == -1]
    alone, _ = simulate_with_warnings(QUADRATIC, LINE, UNSTABLE, seeds=well)
    # Errors of rounding grow along these trajectories, by far less than this.
    assert_same(alone[["prediction", "loss"]], data[["prediction", "loss"]].sel(seed=well), tolerance=1e-9)


def test_neither_padding_nor_recorded_steps_decide_when_training_diverges(diverging, monkeypatch):
    data, _ = diverging
    sparse, _ = simulate_with_warnings(QUADRATIC, LINE, UNSTABLE, seeds=8, record=[0, 30])
    monkeypatch.setattr(network, "capacity", lambda width, operations: 17)
    tight, _ = simulate_with_warnings(QUADRATIC, LINE, UNSTABLE, seeds=8)
    for other in (tight, sparse):
        np.testing.assert_array_equal(other["first_bad_step"], data["first_bad_step"])
    np.testing.assert_array_equal(np.isnan(sparse["loss"]), np.isnan(data["loss"].sel(step=[0, 30])))


def test_when_every_network_has_diverged_the_rest_is_filled_with_nan():
    data, messages = simulate_with_warnings(QUADRATIC, LINE, mf.GradientDescent(3.0, 200), seeds=3)
    assert (data["first_bad_step"] > 0).all() and data.sizes["step"] == 201
    assert np.isnan(data["loss"].values[:, 10:]).all() and "3 of 3 networks" in messages[-1]


def test_a_diverging_limit_is_marked_too():
    system = mf.TwoLayer(mf.activations.quadratic).limit(32, replicates=2)
    data, messages = simulate_with_warnings(system, LINE, mf.GradientDescent(3.0, 30))
    bad = int(data["first_bad_step"])
    assert bad > 0 and "the limit" in messages[-1]
    for name in ("prediction", "prediction_error", "loss", "loss_error"):
        # The spread of losses near 1e300 is infinite.
        assert not np.isnan(data[name].values[:bad]).any() and np.isnan(data[name].values[bad:]).all()
    assert np.isfinite(data["loss"].values[:bad]).all() and len(messages) == 2


# Compiled programs.


def new_traces(function):
    before = traces.copy()
    function()
    return traces - before


def test_equal_settings_share_one_compiled_program(finite):
    """Numbers of every kind are leaves: other rates, keys, seeds, widths, targets compile nothing."""
    other = mf.Problem(2 * TASK.x, 3 * TASK.y, x_test=TASK.x_test, y_test=TASK.y_test)
    assert not new_traces(lambda: mf.simulate(FINITE, TASK, TRAINING, seeds=5))
    assert not new_traces(lambda: mf.simulate(FINITE, other, mf.GradientDescent(0.05, 12), seeds=5, key=9))
    assert not new_traces(
        lambda: mf.simulate(FINITE, TASK, mf.GradientDescent(0.1, 12, weight_decay=0.1), seeds=range(4, 9))
    )
    wider = mf.TwoLayer(mf.activations.tanh, richness=0.7).finite(31, dtype="float64")
    assert not new_traces(lambda: mf.simulate(wider, TASK, TRAINING, seeds=5))


def test_widths_of_one_bucket_share_one_program():
    assert new_traces(lambda: mf.simulate(TANH.finite(300), TASK, TRAINING))
    assert not new_traces(lambda: mf.simulate(TANH.finite(400), TASK, TRAINING))


def test_a_leaky_relu_made_twice_shares_one_program():
    run = lambda: mf.simulate(mf.TwoLayer(mf.activations.leaky_relu(0.3)).finite(8), TASK, TRAINING)  # noqa: E731
    assert new_traces(run)
    assert not new_traces(run)


def test_another_activation_is_another_program(finite):
    """Negative control of the counter."""
    assert new_traces(lambda: mf.simulate(mf.TwoLayer(mf.activations.sin).finite(8), TASK, TRAINING))


# Other trainings.


def test_optax_sgd_is_gradient_descent(finite, limit):
    for system, expected in ((FINITE, finite), (LIMIT, limit)):
        seeds = {} if system.is_limit else {"seeds": 5}
        data = mf.simulate(system, TASK, mf.Optax(optax.sgd(0.1), 12), **seeds)
        assert_same(data, expected)
        np.testing.assert_array_equal(data["time"], np.arange(13))


def test_adam_acts_on_the_gradient_times_the_width():
    """Atoms against NumPy: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − η m̂/(√v̂ + ε), g = ∇Ψ."""
    law = atoms(20)
    system = mf.TwoLayer(mf.activations.tanh, initial=law).limit(20)
    data = mf.simulate(system, TASK, mf.Optax(optax.adam(0.05, b1=0.8, b2=0.9, eps=1e-3), 12))
    network = NumpyTwoLayer(law._points(), law.weights, "tanh")
    first = {n: np.zeros_like(v) for n, v in network.points.items()}
    second = {n: np.zeros_like(v) for n, v in network.points.items()}
    for step in range(13):
        # 1/ε = 1000 amplifies the rounding of a gradient where v is small.
        operations = 1000 * 2 * (20 + 5 + 2 + 12) * (step + 1)
        assert_close(data["prediction"].values[step], network.predict(TASK.x), operations)
        gradient = network.data_gradient(TASK.x, TASK.y)
        for name, g in gradient.items():
            first[name] = 0.8 * first[name] + 0.2 * g
            second[name] = 0.9 * second[name] + 0.1 * g * g
            m, v = first[name] / (1 - 0.8 ** (step + 1)), second[name] / (1 - 0.9 ** (step + 1))
            network.points[name] = network.points[name] - 0.05 * m / (np.sqrt(v) + 1e-3)


def test_adam_trains_networks_and_the_limit_alike():
    adam = mf.Optax(optax.adam(0.05), 12)
    finite = mf.simulate(TANH.finite(1000), TASK, adam, seeds=2)
    limit = mf.simulate(TANH.limit(2048), TASK, adam)
    assert (finite["loss"].values[:, -1] < finite["loss"].values[:, 0]).all()
    assert limit["loss"].values[-1] < limit["loss"].values[0]
    assert np.isfinite(limit["prediction_error"]).all()


def test_a_transform_that_keeps_the_parameters_runs():
    """Its memory starts as the parameters themselves; the time loop gives both buffers away."""
    back = optax.GradientTransformation(
        lambda p: p, lambda g, s, p: (jax.tree.map(lambda g, s, p: 0.1 * (s - p) - 0.1 * g, g, s, p), s)
    )
    for system in (FINITE, LIMIT):
        assert np.isfinite(mf.simulate(system, TASK, mf.Optax(back, 3))["loss"]).all()


def test_langevin_at_temperature_zero_is_gradient_descent(finite):
    assert_same(mf.simulate(FINITE, TASK, mf.Langevin(0.1, 12, 0.0), seeds=5), finite)


def test_gradient_flow_counts_saved_times_and_marks_where_it_failed():
    """Targets of 1e200 make squares overflow at once: from step 0 on, whatever is recorded."""
    flow = mf.GradientFlow(1.2, save=7, tolerance=1e-8)
    data = mf.simulate(FINITE, TASK, flow, seeds=2)
    assert_close(data["time"], 0.2 * np.arange(7), 2)
    np.testing.assert_array_equal(data["step"], np.arange(7))
    part = mf.simulate(FINITE, TASK, flow, seeds=2, record=[0, 3, 6])
    assert_same(part, data.sel(step=[0, 3, 6]))
    huge = mf.Problem(TASK.x, np.full(5, 1e200), x_test=TASK.x_test, y_test=TASK.y_test)
    for record in (None, [0, 3, 6]):
        failed, messages = simulate_with_warnings(FINITE, huge, flow, seeds=2, record=record)
        assert (failed["first_bad_step"] == 0).all() and np.isnan(failed["loss"]).all()
        assert any("diverged" in message for message in messages)


# Streams.


def draw(key, size):
    key_x, key_noise = jax.random.split(key)
    x = jax.random.normal(key_x, (size, 2))
    return x, jnp.sin(x[:, 0]) + 0.1 * jax.random.normal(key_noise, (size,))


STREAM = mf.Stream(draw, 6, x_test=np.eye(2), y_test=np.ones(2))


def test_one_pass_training_sees_fresh_samples_at_every_step():
    """A network against NumPy on the stream's own batches."""
    data = mf.simulate(FINITE, STREAM, TRAINING, seeds=2, observe=Neurons(at=(0, 12)))
    for seed in range(2):
        network = NumpyTwoLayer(neurons_of(data, seed)[0][0], np.full(20, 1 / 20), "tanh")
        for step in range(13):
            operations = 2 * (20 + 6 + 2 + 12) * (step + 1)
            assert_close(data["prediction"].values[seed, step], network.predict(STREAM.x), operations)
            with double():
                x, y, _ = (np.asarray(v) for v in STREAM.batch(step))
            network.descend(x, y, 0.1)
    assert data["test_prediction"].dims == ("seed", "step", "test_sample", "output")


def test_the_limit_takes_the_same_stream_as_the_networks():
    """Atoms in the limit are the network made of them, on the stream's batches."""
    law = atoms(20)
    data = mf.simulate(mf.TwoLayer(mf.activations.tanh, initial=law).limit(20), STREAM, TRAINING)
    network = NumpyTwoLayer(law._points(), law.weights, "tanh")
    for step in range(13):
        assert_close(data["prediction"].values[step], network.predict(STREAM.x), 2 * 40 * (step + 1))
        with double():
            x, y, _ = (np.asarray(v) for v in STREAM.batch(step))
        network.descend(x, y, 0.1)


def test_a_user_defined_activation_runs_in_networks_and_limits():
    softsign = mf.Activation(lambda z: z / (1 + jnp.abs(z)), "softsign")
    for system in (mf.TwoLayer(softsign).finite(20), mf.TwoLayer(softsign).limit(32, replicates=2)):
        data = mf.simulate(system, TASK, TRAINING)
        assert "softsign" in data.attrs["settings"]
        assert data["loss"].values.reshape(-1)[-1] < data["loss"].values.reshape(-1)[0]


def test_a_loss_with_other_outputs_than_targets_given_is_lowered_by_training():
    """Integer labels of three classes: three outputs. Gradients of all losses have their own test."""
    task = mf.Problem(TASK.x, [0, 1, 2, 1, 0], loss=mf.losses.softmax)
    data = mf.simulate(FINITE, task, TRAINING)
    assert data.sizes["output"] == 3 and (np.diff(data["loss"].values[0]) < 0).all()
