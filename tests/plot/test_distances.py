"""Convergence: what is drawn is what /fit says."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn_studies import made_study, sentence, with_fit

import meanfield as mf

draw = mf.plot.convergence


def fit_of(study, kind, quantity="prediction"):
    return study["fit"].dataset.sel(kind=kind, quantity=quantity)


@pytest.mark.parametrize("quantity", ["prediction", "loss"])
@pytest.mark.parametrize("kind", ["fluctuation", "bias"])
def test_points_and_intervals_are_those_of_the_comparison(study, kind, quantity):
    drawn, fit = draw(study, quantity), fit_of(study, kind, quantity)
    resolved, not_resolved = drawn[kind].get_xydata(), drawn[f"{kind} unresolved"].get_xydata()
    np.testing.assert_array_equal(resolved[:, 0], fit.width)
    low, error = fit.error_low.values, fit.error.values
    np.testing.assert_array_equal(resolved[:, 1], np.where(low > 0, error, np.nan))
    seen = (low <= 0) & np.isfinite(not_resolved[:, 1])
    np.testing.assert_array_equal(not_resolved[seen, 1], error[seen])
    ends = np.array([segment[:, 1] for segment in drawn[f"{kind} interval"].get_segments()])
    np.testing.assert_array_equal(ends[:, 1], fit.error_high.values[fit.error_high.values > 0])
    np.testing.assert_array_equal(ends[low > 0, 0], low[low > 0])


def test_a_resolved_study_has_closed_points_and_lines_through_them(study):
    drawn = draw(study)
    assert np.isfinite(drawn["bias"].get_ydata()).all()
    assert not drawn["bias arrows"] and np.isnan(drawn["bias unresolved"].get_ydata()).all()
    for kind in ("fluctuation", "bias"):
        fit, line = fit_of(study, kind), drawn[f"{kind} fit"]
        x, y = line.get_data()
        np.testing.assert_allclose(y, float(fit.constant) * x ** float(fit.exponent), rtol=1e-12)
        x_law, y_law = drawn[f"{kind} law"].get_data()
        assert np.diff(np.log(y_law)) / np.diff(np.log(x_law)) == pytest.approx(
            float(fit.predicted), rel=1e-9
        )
        at = lambda lines, x: np.exp(np.interp(np.log(x), np.log(lines[0]), np.log(lines[1])))  # noqa: E731
        middle = np.sqrt(x[0] * x[1])  # the law goes through the middle of the fit
        assert at((x_law, y_law), middle) == pytest.approx(at((x, y), middle), rel=1e-9)


def test_where_the_interval_ends_at_zero_there_is_an_open_point_or_a_bound_and_an_arrow():
    low, error = np.array([0.01, 0.0, 0.0, 0.0]), np.array([0.02, 0.01, 0.0, 1e-9])
    study = with_fit(made_study(), error_low=low, error=error, error_high=np.full(4, 0.03), limit_error=0.0)
    drawn = draw(study)
    np.testing.assert_array_equal(drawn["fluctuation"].get_ydata(), [0.02, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(drawn["fluctuation unresolved"].get_ydata(), [np.nan, 0.01, np.nan, np.nan])
    np.testing.assert_array_equal(drawn["fluctuation cap"].get_ydata(), [np.nan, np.nan, 0.03, 0.03])
    assert drawn["fluctuation unresolved"].get_markerfacecolor() == "white"
    assert len(drawn["fluctuation arrows"]) == 3
    bottom = drawn.ax.get_ylim()[0]
    drawn.figure.draw_without_rendering()
    for arrow in drawn["fluctuation arrows"]:
        tip = drawn.ax.transData.inverted().transform(arrow.get_transform().transform(arrow.xyann))
        assert tip[1] > bottom or arrow.xy[1] > bottom


def test_the_axes_are_logarithmic_and_named(study):
    ax = draw(study).ax
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert (
        ax.get_xlabel() == "width $n$"
        and ax.get_ylabel() == "distance to the limit,\nprediction (training set)"
    )
    assert [t.get_text() for t in ax.get_xticklabels()] == ["32", "64", "128", "256"]


def test_the_legend_has_exponent_theory_and_verdict(study):
    texts = [t.get_text() for t in draw(study)["legend"].get_texts()]
    fit = fit_of(study, "fluctuation")
    number = mf.studies.report.with_error(float(fit.exponent), float(fit.exponent_error)).split(" ± ")
    assert texts[0] == f"one network: slope ${number[0]}\\pm{number[1]}$\ntheory $-1/2$: {fit.verdict.item()}"
    assert "theory $-1$: consistent" in texts[1]
    assert texts[2] == r"error of the limit: $1.0\times10^{-4}$"


@pytest.mark.parametrize("values, words", [
    ({"exponent": np.nan, "exponent_error": np.inf, "verdict": "not resolved"}, "no signal"),
    ({"exponent": -2.38, "exponent_error": np.inf, "verdict": "not resolved"}, "slope $-2.4$ ± unknown"),
])  # fmt: skip
def test_an_unresolved_exponent_is_said_to_be_so(study, values, words):
    text = draw(with_fit(study, **values))["legend"].get_texts()[0].get_text()
    assert text == f"one network: {words}\ntheory $-1/2$: not resolved"


def test_nothing_is_fitted_where_nothing_is_resolved():
    study = with_fit(made_study(), error_low=0.0, verdict="not resolved")
    drawn = draw(study)
    assert "fluctuation fit" not in drawn and "fluctuation law" not in drawn


def test_the_error_of_the_limit_is_a_floor_where_it_is_near_and_a_number_where_not():
    near, far = draw(made_study(error=2e-3)), draw(made_study(error=1e-12))
    assert near["limit"].get_extents().transformed(near.ax.transData.inverted()).y1 == pytest.approx(
        float(made_study(error=2e-3)["fit"].limit_error.sel(quantity="prediction"))
    )
    assert "limit" not in far and "10^{-12}" in far["legend"].get_texts()[-1].get_text()
    assert far.ax.get_ylim()[0] > 1e-4


def test_two_networks_have_points_without_intervals():
    drawn = draw(made_study(seeds=2))
    assert (
        np.isfinite(drawn["fluctuation"].get_ydata()).all()
        and not drawn["fluctuation interval"].get_segments()
    )
    assert "no slope" in drawn["legend"].get_texts()[0].get_text() and "bias" not in drawn


def test_one_width_is_a_point():
    drawn = draw(made_study(widths=(64,)))
    assert drawn["fluctuation"].get_xdata().tolist() == [64]
    drawn.figure.draw_without_rendering()


def test_many_widths_have_labels_that_do_not_touch():
    drawn = draw(made_study(widths=tuple(range(100, 1100, 25)), seeds=3))
    drawn.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in drawn.ax.get_xticklabels()]
    assert len(boxes) >= 2 and all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))
    assert drawn.ax.get_xticklabels()[-1].get_text() == "1075"


def test_intervals_and_points_lie_inside_the_axes(study):
    drawn = draw(study)
    low, high = drawn.ax.get_ylim()
    for kind in ("fluctuation", "bias"):
        for segment in drawn[f"{kind} interval"].get_segments():
            assert low < segment[0, 1] <= segment[1, 1] < high


def test_bad_input_is_one_sentence(study):
    with pytest.raises(
        ValueError, match="`quantity` must be one of prediction, loss, but is 'accuracy'"
    ) as error:
        draw(study, "accuracy")
    assert sentence(error)
    unfitted = study.copy()
    del unfitted["fit"]
    with pytest.raises(
        ValueError, match="must have the group /fit, but its groups are: /finite, /limit"
    ) as error:
        draw(unfitted)
    assert sentence(error)
    with pytest.raises(
        TypeError, match="`study` must be what meanfield.study returns, but is a Dataset"
    ) as error:
        draw(study["finite"].to_dataset())
    assert sentence(error)
    with pytest.raises(TypeError, match="`ax` must be matplotlib axes or None, but is a Figure") as error:
        draw(study, ax=plt.figure())
    assert sentence(error)
    assert len(plt.get_fignums()) == 1  # ours
