"""Studies: networks of every size, their limit and the comparison in one labelled tree."""

import inspect
import json
import math

import jax
import numpy as np
import pytest
import small
import xarray as xr
from small import SEEDS, WIDTHS, assert_same, counted, messages, pieces, study, unfinish

import meanfield as mf
from meanfield.numerics.statistics import student_interval

SETTINGS = dict(jax.config.values)


# --- with and without a store -----------------------------------------------------------------------------


def test_results_in_a_store_are_those_without_one(unbroken):
    assert_same(study(), unbroken[0])


def test_the_networks_of_a_study_are_those_of_simulate(unbroken):
    """Bit by bit: the same seeds, in batches of the same size."""
    options = small.settings()
    for width in WIDTHS:
        alone = mf.simulate(small.MODEL.finite(width), options["problem"], options["training"], seeds=SEEDS)
        kept = unbroken[0]["finite"].to_dataset().sel(width=width, drop=True)
        for name in alone.data_vars:
            np.testing.assert_array_equal(alone[name].values, kept[name].values, err_msg=name)


def test_the_limit_of_a_study_is_that_of_simulate(unbroken):
    options = small.settings()
    alone = mf.simulate(options["limit"], options["problem"], options["training"])
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name].values, unbroken[0]["limit"][name].values, err_msg=name)


def test_the_fit_of_a_study_is_that_of_compare(unbroken):
    tree = unbroken[0]
    again = mf.compare(tree["finite"].to_dataset(), tree["limit"].to_dataset())
    xr.testing.assert_identical(again.drop_attrs(), tree["fit"].to_dataset().drop_attrs())


def test_width_study_is_study_over_widths():
    options = small.settings()
    widths = options.pop("widths")
    assert_same(mf.study(sizes={"width": widths}, **options), study())


@pytest.mark.parametrize("x64", [True, False])
def test_the_caller_s_precision_changes_no_bit(x64, unbroken):
    with jax.enable_x64(x64):
        assert_same(study(), unbroken[0])


def test_no_global_setting_of_jax_is_changed(unbroken):
    """Since this file was imported, whatever studies have run before this one."""
    study(seeds=3)
    assert dict(jax.config.values) == SETTINGS


def test_nothing_is_shown_where_standard_error_is_no_terminal(capfd):
    study(progress=True)
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err == ""


def test_the_public_signatures_are_those_of_the_design():
    names = ["model", "problem", "training", "sizes", "seeds", "limit", "store", "key", "record", "observe",
             "memory", "progress"]  # fmt: skip
    assert set(names) <= set(inspect.signature(mf.study).parameters)
    assert list(inspect.signature(mf.compare).parameters)[:2] == ["finite", "limit"]


# --- labels -----------------------------------------------------------------------------------------------


def test_every_variable_says_what_it_is_and_every_attribute_is_text_or_number(unbroken):
    for group in unbroken[0].subtree:
        data = group.to_dataset(inherit=False)
        for value in data.attrs.values():
            assert isinstance(value, str | int | float | np.number), value
        for name, variable in data.data_vars.items():
            assert {"long_name", "units", "source"} <= set(variable.attrs), name
            assert all(isinstance(v, str) and v for v in variable.attrs.values()), name
        for name, coordinate in data.coords.items():
            if coordinate.dtype.kind in "iuf":
                assert {"long_name", "units"} <= set(coordinate.attrs), name


def test_dimensions_and_coordinates_are_those_of_the_design(unbroken):
    tree = unbroken[0]
    finite, limit, fit = (tree[name].to_dataset() for name in ("finite", "limit", "fit"))
    assert finite.prediction.dims == ("width", "seed", "step", "sample", "output")
    assert finite.test_prediction.dims == ("width", "seed", "step", "test_sample", "output")
    assert finite.loss.dims == finite.test_loss.dims == ("width", "seed", "step")
    assert finite.first_bad_step.dims == ("width", "seed")
    assert limit.prediction.dims == ("step", "sample", "output") and "seed" not in limit.dims
    assert {f"{name}_error" for name in ("prediction", "loss", "test_prediction", "test_loss")} <= set(limit)
    assert fit.error.dims == ("width", "quantity", "kind")
    assert list(finite.width.values) == list(WIDTHS) == list(fit.width.values)
    assert list(finite.seed.values) == list(range(SEEDS))
    assert list(finite.step.values) == list(range(5))
    np.testing.assert_array_equal(finite.time, 0.1 * np.arange(5))
    assert finite.prediction.dtype == np.float32 and limit.prediction.dtype == np.float64


def test_coordinates_carry_values_and_not_positions():
    tree = study(widths=(5, 11), seeds=2, record=[0, 1, 4])
    finite = tree["finite"].to_dataset()
    assert list(finite.width.values) == [5, 11] and list(finite.step.values) == [0, 1, 4]
    np.testing.assert_array_equal(finite.time, [0.0, 0.1, 0.1 * 4])
    assert finite.prediction.sel(width=11, step=4).shape == (2, 3, 1)


def test_settings_versions_and_schema_are_written_down(unbroken):
    for group in ("/", "limit"):
        attributes = unbroken[0][group].attrs
        settings, versions = json.loads(attributes["settings"]), json.loads(attributes["versions"])
        assert settings["problem"]["class"] == "Problem" and settings["training"]["steps"] == 4
        assert {"meanfield", "jax", "numpy", "xarray"} <= set(versions)
        assert attributes["schema_version"] == 1 and attributes["device"]
    laws = json.loads(unbroken[0]["finite"].attrs["laws"])
    assert {law["kind"]: law["exponent"] for law in laws} == {"fluctuation": -0.5, "bias": -1.0}


def test_observables_have_their_place_in_every_group(tmp_path, monkeypatch):
    options = {"observe": mf.observe.Moments(at=(0, 4)), "store": tmp_path / "store"}
    tree = study(**options)
    assert tree["finite"]["moments_second"].dims[:3] == ("width", "seed", "moments_step")
    assert tree["limit"]["moments_second"].dims[0] == "moments_step"
    assert list(tree["finite"].moments_step.values) == [0, 4]
    with counted(monkeypatch) as cells:
        assert_same(study(**options), tree)
        study(seeds=8, **options)
    assert pieces(cells) == [(width, 4, 4) for width in WIDTHS]


# --- divergence -------------------------------------------------------------------------------------------


def let_diverge(monkeypatch, width, seeds):
    """From now on networks of one width and some seeds are trained at a rate at which all diverge."""
    plain = small.module.compute_cell

    def compute(model, size, first, count, problem, training, *rest):
        cell = plain(model, size, first, count, problem, training, *rest)
        if size["width"] != width:
            return cell
        wild = plain(model, size, first, count, problem, mf.GradientDescent(1e15, training.steps), *rest)
        wild = wild.assign_coords(time=cell.time).assign_attrs(cell.attrs)
        return xr.concat([(wild if s in seeds else cell).sel(seed=[s]) for s in cell.seed.values], "seed")

    monkeypatch.setattr(small.module, "compute_cell", compute)


def test_a_width_that_diverges_is_one_warning_and_the_others_go_on(tmp_path, monkeypatch, key):
    options = {"training": mf.GradientDescent(0.1, 12), "key": key, "seeds": 8, "store": tmp_path / "store"}
    with monkeypatch.context() as patch, messages() as said:
        let_diverge(patch, 4, (1, 6))
        tree = study(**options)
    (text,) = said
    assert "diverged for 2 of 16 networks" in text and "(width 4, seed " in text
    finite = tree["finite"].to_dataset()
    bad = finite.first_bad_step.values  # (width, seed)
    assert list(np.flatnonzero(bad[0] >= 0)) == [1, 6] and (bad[1] == -1).all()
    assert f"first at step {bad[0, [1, 6]].min()} " in text
    late = finite.step.values >= np.where(bad[0] >= 0, bad[0], 10**9)[:, None]
    assert late.any() and not late[:, 0].any()
    assert np.array_equal(np.isnan(finite.prediction.values[0, ..., 0, 0]), late)
    assert np.isfinite(finite.prediction.sel(width=8)).all()
    fit = tree["fit"].to_dataset()
    assert fit.attrs["seeds"] == 6 and fit.attrs["seeds_left_out"] == 2
    assert np.isfinite(fit.error.sel(kind="fluctuation")).all()
    assert "6 seeds (2 left out: diverged)" in mf.report(tree)
    # A network with NaN is done like any other.
    unfinish(tmp_path / "store")
    with counted(monkeypatch) as cells, messages() as again:
        assert_same(study(**options), tree)
    assert not cells and again == [text]


def test_where_every_seed_diverged_the_study_ends_without_a_verdict(tmp_path, monkeypatch):
    options = {"model": mf.TwoLayer(mf.activations.relu), "training": mf.GradientDescent(1e6, 60)}
    options["limit"] = options["model"].limit(8, 2)
    store = tmp_path / "store"
    with messages() as said:
        tree = study(store, **options)
    assert any("diverged" in text for text in said)
    assert (tree["fit"]["verdict"] == "not resolved").all() and (tree["finite"]["first_bad_step"] > 0).all()
    text = mf.report(tree)
    assert "not fitted" in text and "a smaller learning rate" in text and "nan" not in text
    with counted(monkeypatch) as cells, messages():
        assert_same(study(store, **options), tree)
    assert not cells


# --- the limit's particles --------------------------------------------------------------------------------


def test_the_limit_doubles_its_particles_until_its_error_is_a_quarter(tmp_path):
    """Of the smallest spread over the networks, and says which."""
    options = {"limit": None, "widths": (4, 64), "seeds": 8}
    tree = study(tmp_path / "store", **options)
    limit, finite = tree["limit"].to_dataset(), tree["finite"].to_dataset()
    assert limit.attrs["refinement"].startswith("reached: ")
    for name in ("prediction", "test_prediction"):
        error = math.sqrt(float((limit[f"{name}_error"] ** 2).mean()))
        spread = finite[name].astype(float).var("seed", ddof=1).mean(["step", finite[name].dims[3], "output"])
        assert error <= 0.25 * math.sqrt(float(spread.min())) * (1 + 1e-6)
    particles = limit.attrs["particles"]
    assert particles & (particles - 1) == 0 and limit.attrs["replicates"] == 8
    assert_same(study(tmp_path / "store", **options), tree)


# --- a real problem ---------------------------------------------------------------------------------------


def real(key, **changes):
    problem = mf.datasets.digits(classes=(3, 8), samples=10, test_samples=10, key=key)
    model = mf.TwoLayer(mf.activations.tanh)
    options = {"widths": (16, 32, 64, 128, 256, 512, 1024), "seeds": 32, "key": key, "progress": False}
    return mf.width_study(model, problem, mf.GradientDescent(0.5, 6), **{**options, **changes})


@pytest.fixture(scope="module")
def digits(key):
    return real(key)


def assert_the_fluctuation_exponent_is_minus_a_half(tree):
    """|p + ½| ≤ t₃₁(99.9%) se: false alarms near 1e-3 for each of four quantities; se ≤ 0.05."""
    for quantity in ("prediction", "test_prediction"):
        at = tree["fit"].to_dataset().sel(quantity=quantity, kind="fluctuation")
        error = float(at.exponent_error)
        assert error <= 0.05
        assert abs(float(at.exponent) + 0.5) <= student_interval(32, 0.999) * error
        assert at.verdict.item() != "inconsistent"


def test_networks_on_real_digits_approach_their_limit_as_the_root_of_the_width(digits):
    assert_the_fluctuation_exponent_is_minus_a_half(digits)
    assert digits["limit"].attrs["refinement"].startswith("reached")
    assert f"{float(digits['fit'].exponent.sel(quantity='prediction', kind='fluctuation')):.1f}" == "-0.5"


def test_a_limit_trained_twice_as_fast_is_not_called_consistent(digits, key):
    """Negative control: its predictions are off by more than a network of width 1024."""
    options = {"seeds": 1, "widths": (16,), "limit": small.MODEL.limit(2048)}
    problem = mf.datasets.digits(classes=(3, 8), samples=10, test_samples=10, key=key)
    wrong = mf.simulate(options["limit"], problem, mf.GradientDescent(1.0, 6))
    fit = mf.compare(digits["finite"].to_dataset(), wrong)
    for quantity in ("prediction", "loss"):
        assert fit.verdict.sel(quantity=quantity, kind="fluctuation").item() != "consistent"
    with pytest.raises(AssertionError):
        assert_the_fluctuation_exponent_is_minus_a_half({"fit": xr.DataTree(fit)})


@pytest.mark.slow
def test_the_digits_study_of_the_quick_start_finds_its_rate(key):
    """The defaults of the experiment, half a minute on two cores."""
    from meanfield.experiments import digits as experiment

    assert_the_fluctuation_exponent_is_minus_a_half(experiment.compute(key=key, progress=False))


# --- precision ----------------------------------------------------------------------------------------------


def test_a_study_in_double_precision_is_another_study(tmp_path):
    """The same draws, rounded differently; one store holds one precision."""
    single, double = study(tmp_path / "single"), study(tmp_path / "double", dtype="float64")
    one, other = (tree["finite"].prediction for tree in (single, double))
    assert one.dtype == np.float32 and other.dtype == np.float64
    scale = float(np.abs(other).max())
    assert 0 < float(np.abs(one - other).max()) < 1e4 * np.finfo(np.float32).eps * scale
    with pytest.raises(ValueError, match="another study: its dtype differs"):
        study(tmp_path / "single", dtype="float64")
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64"):
        study(dtype="float16")
