"""What all observables share: names, steps, storage, divergence, padding, streams, compilation."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpy_network import ROUNDING

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.studies import trajectory

rng = np.random.default_rng(7)
X = rng.standard_normal((4, 2))
PROBLEM = mf.Problem(X, np.sin(2 * X[:, 0]), x_test=X[:3] + 0.2)
TRAINING = mf.GradientDescent(0.2, 6)


def squared(neuron):
    return jnp.sum(neuron["w"] ** 2)


def every(**options):
    """One of each, with the same options."""
    o = mf.observe
    return (
        o.Kernel(**options),
        o.Kernel(test=True, **options),
        o.FeatureKernel(**options),
        o.Displacement(**options),
        o.Moments(**options),
        o.Histogram("w1", 6, **options),
        o.Neurons(10, **options),
        o.TestFunction(squared, **options),
        o.AngularDistribution(6, **options),
    )


def declared(observe):
    return {name: variable for observable in observe for name, variable in observable.variables.items()}


def test_importing_observe_does_not_import_jax():
    code = "import sys, meanfield as mf; dir(mf.observe); mf.observe.Observable; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"Kernel", "Neurons", "TestFunction"} <= set(dir(mf.observe))
    with pytest.raises(AttributeError, match="no attribute 'Kernels'"):
        _ = mf.observe.Kernels


@pytest.mark.parametrize("kind", ["finite", "limit"])
def test_every_observable_is_labelled_as_it_declares_and_survives_a_file(kind, tmp_path):
    model = mf.TwoLayer(mf.activations.relu, bias=True)
    system = model.finite(12) if kind == "finite" else model.limit(16, 2)
    observe = every(at=3)
    data = mf.simulate(system, PROBLEM, TRAINING, seeds=2, observe=observe)
    lead = ("seed",) if kind == "finite" else ()
    for observable in observe:
        for name, variable in observable.variables.items():
            assert data[name].dims == (*lead, f"{observable.name}_step", *variable.dims)
            assert data[name].attrs == variable.attributes()
            has_error = kind == "limit" and observable.average
            assert (f"{name}_error" in data) == has_error
            if has_error:
                assert data[f"{name}_error"].dims == data[name].dims
                assert data[f"{name}_error"].attrs["long_name"].startswith("one standard error of the limit's own")
        np.testing.assert_array_equal(data[f"{observable.name}_step"], [0, 3, 6])
        np.testing.assert_allclose(data[f"{observable.name}_time"], [0, 0.6, 1.2])
    assert all(np.isfinite(data[name]).all() for name in data)
    data.to_netcdf(tmp_path / "looks.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "looks.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), data)


def test_settings_are_static_and_equal_ones_share_one_compiled_program():
    for one, other in zip(every(at=[0, 3]), every(at=(0, 3)), strict=True):
        assert one == other and hash(one) == hash(other) and repr(one) == repr(other)
        assert describe(one) == describe(other)
        assert one != type(one)(**{**{f: getattr(one, f) for f in one.__dataclass_fields__}, "at": (0, 4)})
    system = mf.TwoLayer(mf.activations.tanh).finite(12)
    mf.simulate(system, PROBLEM, TRAINING, observe=every(at=[0, 3]))
    before = trajectory.traces["look"]
    again = mf.TwoLayer(mf.activations.tanh).finite(13)  # another width with the same capacity
    mf.simulate(again, PROBLEM, TRAINING, key=1, observe=every(at=(0, 3)))
    assert trajectory.traces["look"] == before


def test_observables_of_one_kind_with_other_settings_stand_side_by_side():
    o = mf.observe
    observe = (
        o.Kernel(),
        o.Kernel(test=True),
        o.Kernel(at=(1,), name="early"),
        o.Histogram("a0", 4),
        o.Histogram("w0", 5),
        o.Histogram("a0", 6, name="fine"),
        o.Neurons(3),
        o.Neurons(5, name="more"),
        o.AngularDistribution(4),
        o.AngularDistribution(8, name="angles"),
        o.Moments(),
        o.Moments(at=(2,), name="later"),
    )
    data = mf.simulate(mf.TwoLayer(mf.activations.relu).finite(8), PROBLEM, TRAINING, observe=observe)
    assert set(declared(observe)) - {"neurons_b", "more_b"} <= set(data)
    assert data.early.dims == ("seed", "early_step", "sample", "output", "sample_2", "output_2")
    assert (data.sizes["histogram_a0_bin"], data.sizes["fine_bin"], data.sizes["angles_angle"]) == (4, 6, 8)


@pytest.mark.parametrize(
    "names", [("squared", "squared"), ("loss",), ("sample",), ("kernel",), ("neuron",), ("kernel_step",), ("step",)]
)
def test_a_name_that_is_taken_is_refused_in_one_sentence(names):
    observe = [mf.observe.Kernel(), mf.observe.Neurons(), *(mf.observe.TestFunction(squared, n) for n in names)]
    with pytest.raises(ValueError, match="`observe` must be a sequence of observables with names of their own"):
        mf.simulate(mf.TwoLayer(mf.activations.relu).finite(8), PROBLEM, TRAINING, observe=observe)


def test_looks_that_cannot_be_are_refused_in_one_sentence():
    system = mf.TwoLayer(mf.activations.relu).finite(8)
    with pytest.raises(ValueError, match="`at` must be steps of at most 6"):
        mf.simulate(system, PROBLEM, TRAINING, observe=mf.observe.Moments(at=(0, 7)))
    for kind in (mf.observe.Kernel, mf.observe.Moments, mf.observe.Neurons, mf.observe.Displacement):
        with pytest.raises(ValueError, match="`at` must be"):
            kind(at=1)
        with pytest.raises(ValueError, match="`at` must be"):
            kind(at=(3, 2))
        with pytest.raises(TypeError, match="`at` must be"):
            kind(at="always")
        with pytest.raises(TypeError, match="`name` must be"):
            kind(name=3)
    with pytest.raises(TypeError, match="`observe` must be a sequence of observables"):
        mf.simulate(system, PROBLEM, TRAINING, observe=[mf.observe.Kernel])
    with pytest.raises(ValueError, match="`count` must be an integer of at least 1"):
        mf.observe.Neurons(0)


def test_a_system_without_neurons_is_refused_in_one_sentence():
    class Other(mf.TwoLayer(mf.activations.relu).finite(8).__class__.__mro__[1]):
        pass

    for observable in every():
        with pytest.raises(ValueError, match="Other has: .* needs the neurons of a two-layer network"):
            observable.check(PROBLEM, Other())


def test_observables_do_not_depend_on_the_rows_that_are_carried_along():
    """Width 100 is computed with 128 rows, here also with 160; also alone or together with other seeds."""
    model = mf.TwoLayer(mf.activations.relu, bias=True)
    system = model.finite(100, dtype="float64")
    assert system.rows == 128
    wide = system.__class__(**{**{f: getattr(system, f) for f in system.__dataclass_fields__}, "rows": 160})
    first = mf.simulate(system, PROBLEM, TRAINING, seeds=3, observe=every())
    for other in (
        mf.simulate(wide, PROBLEM, TRAINING, seeds=3, observe=every()),
        mf.simulate(system, PROBLEM, TRAINING, seeds=3, observe=every(), memory=1e6),
    ):
        for name in declared(every()):
            np.testing.assert_allclose(other[name], first[name], **ROUNDING)
    alone = mf.simulate(system, PROBLEM, TRAINING, seeds=[2], observe=every())
    for name in declared(every()):
        np.testing.assert_allclose(alone[name][0], first[name][2], **ROUNDING)


def test_a_stream_is_observed_at_its_fixed_draw():
    """A stream whose draw is always the same is a problem: the same observables."""

    def draw(key, size):
        return jnp.asarray(X)[:size], jnp.sin(2 * jnp.asarray(X)[:size, 0])

    stream = mf.Stream(draw, 4, x_test=X[:3] + 0.2)
    system = mf.TwoLayer(mf.activations.relu, bias=True).finite(20, dtype="float64")
    one, other = (mf.simulate(system, p, TRAINING, observe=every()) for p in (PROBLEM, stream))
    for name in declared(every()):
        np.testing.assert_allclose(one[name], other[name], **ROUNDING)


def diverging(system, seeds, observe, rate):
    with pytest.warns(RuntimeWarning, match="above the stability edge"):
        with pytest.warns(RuntimeWarning, match="diverged"):
            return mf.simulate(system, PROBLEM, mf.GradientDescent(rate, 40), seeds=seeds, observe=observe)


def test_looks_of_a_network_are_nan_from_its_first_bad_step_on_and_not_before():
    """Some seeds diverge, others do not; looks at steps that nobody reaches are there and NaN."""
    system = mf.TwoLayer(mf.activations.quadratic).finite(8)
    data = diverging(system, 24, every(at=(0, 5, 40)), rate=0.35)
    bad = data.first_bad_step.values
    assert 0 < (bad >= 0).sum() < 24
    for observable in every():
        for name in observable.variables:
            if name not in data:
                continue
            late = (np.array([0, 5, 40])[None] >= bad[:, None]) & (bad[:, None] >= 0)
            values = data[name].values.reshape(24, 3, -1)
            assert np.isnan(values[late]).all()
            there = slice(None, 8) if name.startswith("neurons") else slice(None)
            flat = data[name].values[~late]
            assert not np.isnan(flat[:, there] if flat.ndim > 1 else flat).any()


@pytest.mark.parametrize("at", [(0, 1, 40), (30, 40)])
@pytest.mark.parametrize("kind", ["finite", "limit", "quadrature"])
def test_when_everything_diverges_all_looks_stay_with_nan(kind, at):
    """Also where training stopped before the first look."""
    model = mf.TwoLayer(mf.activations.quadratic)
    system = {
        "finite": model.finite(8),
        "limit": model.limit(16, 3),
        "quadrature": model.limit(27, sampler=mf.Quadrature()),
    }[kind]
    observe = [o for o in every(at=at) if o.name in ("kernel", "neurons", "moments")]
    data = diverging(system, 2, observe, rate=40.0)
    bad = np.atleast_1d(data.first_bad_step.values)
    assert (bad >= 0).all() and (bad < 30).all()
    for name in ("kernel", "kernel_change", "moments_second", "neurons_w"):
        step = data[f"{name.partition('_')[0]}_step"]
        np.testing.assert_array_equal(step, at)
        values = np.atleast_2d(data[name].values) if kind == "finite" else data[name].values[None]
        late = step.values[None] >= bad[:, None]
        values = values.reshape(*late.shape, -1)
        assert np.isnan(values[late]).all() and not np.isnan(values[~late][:, :8]).any()
    for name in ("prediction", "loss"):
        late = np.broadcast_to(data.step.values[None] >= bad[:, None], (len(bad), 41))
        values = data[name].values.reshape(len(bad), 41, -1)
        assert np.isnan(values[late]).all() and np.isfinite(values[~late]).all()


def test_observing_does_not_change_the_run():
    system = mf.TwoLayer(mf.activations.tanh).finite(16)
    plain = mf.simulate(system, PROBLEM, TRAINING, seeds=2)
    observed = mf.simulate(system, PROBLEM, TRAINING, seeds=2, observe=every(at=(0, 2, 5)))
    np.testing.assert_allclose(observed.prediction, plain.prediction, rtol=1e-5, atol=1e-6)


def test_observables_hold_inside_float32_and_float64():
    """The float32 network is the float64 one up to rounding that six steps amplify by less than a hundred."""
    model = mf.TwoLayer(mf.activations.tanh, bias=True)
    low, high = (
        mf.simulate(model.finite(20, dtype=d), PROBLEM, TRAINING, observe=every()) for d in ("float32", "float64")
    )
    allowed = 1e3 * np.finfo(np.float32).eps
    for name in declared(every()):
        assert low[name].dtype == np.float32
        if not name.startswith(("histogram", "angular")):  # a point on the other side of an edge
            np.testing.assert_allclose(low[name], high[name], rtol=allowed, atol=allowed)
    assert jax.config.jax_enable_x64 in (True, False)
