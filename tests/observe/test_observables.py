"""What all observables share: names, steps, storage, divergence, padding, streams, compilation."""

import dataclasses
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from assertions import EPS32, assert_one_sentence
from numpy_network import ROUNDING

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.model.system import System
from meanfield.studies import trajectory
from meanfield.systems.two_layer import network

rng = np.random.default_rng(7)
X = rng.standard_normal((4, 2))
PROBLEM = mf.Problem(X, np.sin(2 * X[:, 0]), x_test=X[:3] + 0.2)
TRAINING = mf.GradientDescent(0.2, 6)
MODEL = mf.TwoLayer(mf.activations.relu, bias=True)


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
    code = "import sys, meanfield as mf; dir(mf.observe); mf.observe.Observable; "
    subprocess.run([sys.executable, "-c", code + "assert 'jax' not in sys.modules"], check=True)
    assert {"Kernel", "Neurons", "TestFunction"} <= set(dir(mf.observe))
    with pytest.raises(AttributeError, match="no attribute 'Kernels'"):
        _ = mf.observe.Kernels


@pytest.mark.parametrize("kind", ["finite", "limit"])
def test_every_observable_is_labelled_as_it_declares_and_survives_a_file(kind, tmp_path):
    system = MODEL.finite(12) if kind == "finite" else MODEL.limit(16, 2)
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
                error = data[f"{name}_error"].attrs["long_name"]
                assert error == f"one standard error of the limit's own {variable.long_name}"
        np.testing.assert_array_equal(data[f"{observable.name}_step"], [0, 3, 6])
        np.testing.assert_allclose(data[f"{observable.name}_time"], [0, 0.6, 1.2])
    assert all(np.isfinite(data[name]).all() for name in data)
    data.to_netcdf(tmp_path / "looks.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "looks.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), data)


def test_settings_are_static_and_equal_ones_share_one_compiled_program():
    """Also for another width with the same number of rows, and from an iterator for the steps."""
    for one, other in zip(every(at=[0, 3, 6]), every(at=range(0, 7, 3)), strict=True):
        assert one == other and hash(one) == hash(other) and repr(one) == repr(other)
        assert describe(one) == describe(other)
        assert one != dataclasses.replace(one, at=(0, 4))
    mf.simulate(MODEL.finite(12), PROBLEM, TRAINING, seeds=2, observe=every(at=3))
    before = trajectory.traces["look"]
    mf.simulate(MODEL.finite(13), PROBLEM, TRAINING, seeds=2, key=1, observe=every(at=3))
    assert trajectory.traces["look"] == before


def test_observables_of_one_kind_with_other_settings_stand_side_by_side():
    o = mf.observe
    observe = (
        *(o.Kernel(), o.Kernel(at=(1,), name="early")),
        *(o.Histogram("a0", 4), o.Histogram("w0", 5), o.Histogram("a0", 6, name="fine")),
        *(o.Neurons(3), o.Neurons(5, name="more")),
        *(o.AngularDistribution(4), o.AngularDistribution(8, name="angles")),
    )
    data = mf.simulate(MODEL.finite(8), PROBLEM, TRAINING, observe=observe)
    assert set(declared(observe)) <= set(data)
    assert data.early.dims == ("seed", "early_step", "sample", "output", "sample_2", "output_2")
    assert (data.sizes["histogram_a0_bin"], data.sizes["fine_bin"], data.sizes["angles_angle"]) == (4, 6, 8)
    assert (data.sizes["neuron"], data.sizes["more_neuron"]) == (3, 5)


@pytest.mark.parametrize("name", ["loss", "sample", "kernel", "neuron", "kernel_step", "step", "twice"])
def test_a_name_that_is_taken_is_refused_in_one_sentence(name):
    other = mf.observe.TestFunction(squared, "twice", at=(1,))
    observe = [mf.observe.Kernel(), mf.observe.Neurons(), other, mf.observe.TestFunction(squared, name)]
    rule = rf"`observe` must be a sequence of observables with names of their own .* is \['{name}'\]\."
    with pytest.raises(ValueError, match=rule):
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
    class Other(System):
        pass

    for observable in every():
        with pytest.raises(ValueError, match="observables that Other has") as caught:
            observable.check(PROBLEM, Other())
        assert_one_sentence(str(caught.value), "`observe`", type(observable).__name__)


def test_observables_do_not_depend_on_the_rows_that_are_carried_along(monkeypatch):
    """Width 12 is computed with more rows than neurons, here with 16 and with 24."""
    runs = []
    for rows in (16, 24):
        monkeypatch.setattr(network, "capacity", lambda width, operations, rows=rows: rows)
        system = MODEL.finite(12, dtype="float64")
        assert system.plan(PROBLEM, TRAINING, 2, 4e9)[0].rows == rows
        runs.append(mf.simulate(system, PROBLEM, TRAINING, seeds=2, observe=every(at=3)))
    one, other = runs
    for name in declared(every()):
        np.testing.assert_allclose(other[name], one[name], **ROUNDING)


def test_observables_of_a_network_do_not_depend_on_those_beside_it():
    """Seeds computed together, a few at a time because memory is small, and alone."""
    system = MODEL.finite(1000, dtype="float64")
    looks = (mf.observe.Moments(), mf.observe.FeatureKernel())
    assert system.plan(PROBLEM, TRAINING, 5, 1e6)[1] == 3
    runs = [
        mf.simulate(system, PROBLEM, TRAINING, seeds=5, observe=looks),
        mf.simulate(system, PROBLEM, TRAINING, seeds=5, observe=looks, memory=1e6),
    ]
    alone = mf.simulate(system, PROBLEM, TRAINING, seeds=[4], observe=looks)
    for name in declared(looks):
        np.testing.assert_allclose(runs[1][name], runs[0][name], **ROUNDING)
        np.testing.assert_allclose(alone[name][0], runs[0][name][4], **ROUNDING)


def test_a_stream_is_observed_at_its_fixed_draw():
    """A stream whose draw is always the same is a problem: the same observables."""

    def draw(key, size):
        return jnp.asarray(X)[:size], jnp.sin(2 * jnp.asarray(X)[:size, 0])

    stream = mf.Stream(draw, 4, x_test=X[:3] + 0.2)
    looks = every(at=3)[:4]
    system = MODEL.finite(12, dtype="float64")
    one, other = (mf.simulate(system, p, TRAINING, seeds=2, observe=looks) for p in (PROBLEM, stream))
    for name in declared(looks):
        np.testing.assert_allclose(one[name], other[name], **ROUNDING)


def diverging(system, seeds, observe, rate):
    with pytest.warns(RuntimeWarning, match="above the stability edge"):
        with pytest.warns(RuntimeWarning, match="diverged"):
            return mf.simulate(system, PROBLEM, mf.GradientDescent(rate, 40), seeds=seeds, observe=observe)


def test_looks_of_a_network_are_nan_from_its_first_bad_step_on_and_not_before():
    """Some seeds diverge, others do not."""
    system = mf.TwoLayer(mf.activations.quadratic).finite(8)
    at = np.array([0, 5, 40])
    names = ("kernel", "displacement", "moments", "histogram_w1", "neurons")
    looks = [observable for observable in every(at=at) if observable.name in names]
    data = diverging(system, 24, looks, rate=0.35)
    bad = data.first_bad_step.values[:, None]
    assert 0 < (bad >= 0).sum() < 24
    late = (at >= bad) & (bad >= 0)
    for name in set(declared(looks)) & set(data):
        values = data[name].values
        values = values[:, :, :8] if name.startswith("neurons") else values  # the others do not exist
        assert np.isnan(values[late]).all() and not np.isnan(values[~late]).any()


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
    looks = [o for o in every(at=at) if o.name in ("feature_kernel", "neurons")]
    data = diverging(system, 2, looks, rate=40.0)
    if kind != "finite":
        data = data.expand_dims("seed")
    bad = data.first_bad_step.values.reshape(-1, 1)
    assert (bad >= 0).all() and (bad < 30).all()
    for name, steps in (
        ("feature_kernel", np.array(at)),
        ("neurons_w", np.array(at)),
        ("prediction", data.step.values),
        ("loss", data.step.values),
    ):
        late = steps >= bad
        values = data[name].values
        values = values[:, :, :8] if name.startswith("neurons") else values  # the others do not exist
        assert late.shape == values.shape[:2]
        assert np.isnan(values[late]).all() and not np.isnan(values[~late]).any()


def test_observing_does_not_change_the_run():
    """Up to the rounding of float32: blocks of steps end at looks, and other programs round otherwise."""
    plain = mf.simulate(MODEL.finite(12), PROBLEM, TRAINING, seeds=2)
    observed = mf.simulate(MODEL.finite(12), PROBLEM, TRAINING, seeds=2, observe=every(at=3))
    np.testing.assert_allclose(observed.prediction, plain.prediction, rtol=100 * EPS32, atol=100 * EPS32)


def test_observables_hold_inside_float32_and_float64():
    """The float32 network is the float64 one up to rounding, which six steps amplify by less than 100."""
    networks = (MODEL.finite(12, dtype=dtype) for dtype in ("float32", "float64"))
    low, high = (mf.simulate(n, PROBLEM, TRAINING, seeds=2, observe=every(at=3)) for n in networks)
    for name in declared(every()):
        assert low[name].dtype == np.float32 and high[name].dtype == np.float64
        if not name.startswith(("histogram", "angular")):  # a point may lie on the other side of an edge
            np.testing.assert_allclose(low[name], high[name], rtol=1e3 * EPS32, atol=1e3 * EPS32)
