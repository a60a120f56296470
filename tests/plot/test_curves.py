"""Training curves, single networks and spread ratios: what is drawn is the data."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn_studies import made_study, sentence
from matplotlib.colors import to_rgb

import meanfield as mf
from meanfield.plot.colours import luminance
from meanfield.studies.report import spread_ratios


def outline(band):
    return band.get_paths()[0].vertices


def test_curves_are_means_over_networks_with_two_standard_errors(study):
    drawn, finite = mf.plot.training_curves(study), study["finite"].dataset
    for n in finite.width.values:
        loss = finite.loss.sel(width=n).values
        x, y = drawn[f"width {n}"].get_data()
        np.testing.assert_array_equal(x, finite.time)
        np.testing.assert_allclose(y, loss.mean(0), rtol=1e-14)
        half = 2 * loss.std(0, ddof=1) / np.sqrt(loss.shape[0])
        edge = outline(drawn[f"width {n} band"])
        for time, low, high in zip(x, y - half, y + half, strict=True):
            heights = edge[edge[:, 0] == time, 1]
            np.testing.assert_allclose([heights.min(), heights.max()], [low, high], rtol=1e-12)
    np.testing.assert_array_equal(drawn["limit"].get_ydata(), study["limit"].dataset.loss)
    assert "mean of 12 networks ± 2 standard errors" in drawn["legend"].get_title().get_text()


def test_widths_darken_and_the_limit_is_black_and_on_top(study):
    drawn = mf.plot.training_curves(study)
    lines = [drawn[f"width {n}"] for n in study["finite"].dataset.width.values]
    shades = [luminance(line.get_color()) for line in lines]
    assert all(a > b + 0.05 for a, b in zip(shades, shades[1:], strict=False))
    assert to_rgb(drawn["limit"].get_color()) == (0, 0, 0)
    assert drawn["limit"].get_zorder() > max(line.get_zorder() for line in lines)


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_shades_darken_for_any_number_of_widths(count):
    from meanfield.plot.colours import shades

    found = [luminance(colour) for colour in shades(count)]
    assert len(found) == count and all(a > b for a, b in zip(found, found[1:], strict=False))
    assert all(0.02 < value < 0.75 for value in found)  # neither black nor lost on paper


def test_luminance_is_that_of_the_standard():
    assert luminance("white") == pytest.approx(1) and luminance("black") == 0
    assert luminance((0.5, 0.5, 0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_positive_values_over_decades_have_logarithmic_axes(study):
    ax = mf.plot.training_curves(study).ax
    assert ax.get_yscale() == "log" and ax.get_xscale() == "symlog"
    assert ax.get_xlim() == (0, 4) and ax.get_xlabel() == "training time $t$"
    assert ax.get_ylabel() == "training loss $R$"
    ax = mf.plot.training_curves(study, "prediction").ax
    assert ax.get_yscale() == "linear" and ax.get_ylabel() == "network output $f(x)$,\ntraining sample 0"


def test_times_without_zero_are_logarithmic_and_short_ones_linear(study):
    def from_to(first, last):
        groups = {f"/{g}": study[g].to_dataset() for g in study.children}
        for g in ("/finite", "/limit"):
            groups[g] = groups[g].isel(step=slice(first, last))
        return type(study).from_dict(groups)

    assert mf.plot.training_curves(from_to(1, None)).ax.get_xscale() == "log"
    assert mf.plot.training_curves(from_to(0, 20)).ax.get_xscale() == "linear"


def test_networks_that_diverged_are_left_out_and_all_of_them_are_drawn_to_their_end(study):
    groups = {f"/{g}": study[g].to_dataset().copy(deep=True) for g in study.children}
    finite = groups["/finite"]
    finite.loss[0, 3, 20:] = np.nan
    finite.first_bad_step[0, 3] = 20
    finite.loss[1, :, 10:] = np.nan
    finite.first_bad_step[1, :] = 10
    drawn = mf.plot.training_curves(type(study).from_dict(groups))
    others = np.delete(finite.loss.values[0], 3, 0)
    np.testing.assert_allclose(drawn["width 32"].get_ydata(), others.mean(0), rtol=1e-14)
    y = drawn["width 64"].get_ydata()
    assert np.isfinite(y[:10]).all() and np.isnan(y[10:]).all()


def test_the_mean_of_networks_is_predicted_where_there_is_a_response(responded):
    drawn = mf.plot.training_curves(responded, "prediction", sample=1, output=1)
    f = responded["limit"].dataset.prediction[:, 1, 1].values
    half = 2 * 0.5 / np.sqrt(32 * 12)
    for line, sign in zip(drawn["predicted"], (-1, 1), strict=True):
        np.testing.assert_allclose(line.get_ydata(), f + sign * half, rtol=1e-13)
    assert "predicted" not in mf.plot.training_curves(responded, "loss")


def test_an_observable_with_one_number_is_a_quantity(study):
    groups = {f"/{g}": study[g].to_dataset() for g in study.children}
    looks = {"way_step": [0, 20, 40], "way_time": ("way_step", [0.0, 2.0, 4.0])}
    way = np.random.default_rng(0).random((4, 12, 3))
    groups["/finite"] = (
        groups["/finite"].assign(way=(("width", "seed", "way_step"), way)).assign_coords(looks)
    )
    groups["/limit"] = groups["/limit"].assign(way=("way_step", way.mean((0, 1)))).assign_coords(looks)
    drawn = mf.plot.training_curves(type(study).from_dict(groups), "way")
    np.testing.assert_array_equal(drawn["limit"].get_xdata(), [0, 2, 4])
    np.testing.assert_allclose(drawn["width 64"].get_ydata(), way[1].mean(0), rtol=1e-14)


def test_single_networks_are_drawn_with_the_predicted_band(responded):
    drawn = mf.plot.predictions(responded, sample=2, output=1, width=128)
    finite = responded["finite"].dataset
    for seed, line in enumerate(drawn["networks"]):
        np.testing.assert_array_equal(line.get_ydata(), finite.prediction.sel(width=128, seed=seed)[:, 2, 1])
    f = responded["limit"].dataset.prediction[:, 2, 1].values
    np.testing.assert_array_equal(drawn["limit"].get_ydata(), f)
    edge = outline(drawn["predicted"])
    half = 2 * 0.5 / np.sqrt(128)
    np.testing.assert_allclose(
        [edge[:, 1].min(), edge[:, 1].max()], [f.min() - half, f.max() + half], rtol=1e-12
    )
    assert drawn.ax.get_ylabel() == "network output $f(x)$,\ntraining sample 2"


def test_without_a_response_there_is_no_band_and_the_smallest_width_is_drawn(study):
    drawn = mf.plot.predictions(study)
    assert "predicted" not in drawn
    np.testing.assert_array_equal(
        drawn["networks"][0].get_ydata(), study["finite"].dataset.prediction[0, 0, :, 0, 0]
    )


def test_ratios_are_those_of_the_report(responded):
    from meanfield.numerics.statistics import student_interval

    drawn = mf.plot.spread_ratio(responded)
    rows = spread_ratios(responded)["prediction"]
    np.testing.assert_array_equal(drawn["prediction"].get_xydata(), [row[:2] for row in rows])
    for segment, (_, ratio, error, repeats) in zip(
        drawn["prediction interval"].get_segments(), rows, strict=True
    ):
        half = student_interval(repeats) * error
        np.testing.assert_allclose(segment[:, 1], [ratio - half, ratio + half], rtol=1e-12)
        assert drawn.ax.get_ylim()[0] < ratio - half and ratio + half < drawn.ax.get_ylim()[1]
    assert set(drawn["law"].get_ydata()) == {1} and drawn.ax.get_xscale() == "log"


def test_bad_input_is_one_sentence(study, responded):
    cases = [
        (
            lambda: mf.plot.training_curves(study, "accuracy"),
            "`quantity` must be one of prediction, loss, but is",
        ),
        (
            lambda: mf.plot.training_curves(study, "prediction", sample=3),
            "`sample` must be an integer from 0 to 2",
        ),
        (lambda: mf.plot.predictions(study, sample=-1), "`sample` must be an integer from 0 to 2"),
        (lambda: mf.plot.predictions(study, output=2), "`output` must be an integer from 0 to 1"),
        (lambda: mf.plot.predictions(study, width=48), "`width` must be one of 32, 64, 128, 256, but is 48"),
        (
            lambda: mf.plot.predictions(study, split="validation"),
            "`split` must be train or test, but is 'validation'",
        ),
        (
            lambda: mf.plot.predictions(study, split="test"),
            "`split` must be train for a study without a test set",
        ),
        (lambda: mf.plot.spread_ratio(study), "`study` must have the group /fluctuation"),
        (
            lambda: mf.plot.spread_ratio(made_study(seeds=2, response=True)),
            "`study` must have at least 3 seeds",
        ),
    ]
    for call, words in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert words in str(error.value) and sentence(error)
    assert not plt.get_fignums()
