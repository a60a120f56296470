"""A report says what the dataset holds, with the errors that belong to it."""

import math
import re

import numpy as np
import pytest
import small
import xarray as xr
from assertions import assert_close, assert_one_sentence
from synthetic import LAWS, WIDTHS, networks

import meanfield as mf
from meanfield.studies.report import spread_ratios, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-0.4963, 0.0112, "-0.496 ± 0.011"),
        (-0.4963, 0.112, "-0.50 ± 0.11"),
        (-0.4963, 1.12, "-0.5 ± 1.1"),
        (-12.34, 23.4, "-12 ± 23"),
        (-0.5, 0.0996, "-0.500 ± 0.100"),
        (1.0, 1e-15, "1.000000000000 ± 0.000000000000"),
        (math.nan, math.inf, "no signal"),
        (math.nan, 0.1, "no signal"),
        (-1.284, math.inf, "-1.3 ± unknown"),
        (-1.284, math.nan, "-1.3 ± unknown"),
        (-0.5, 0.0, "-0.5"),
    ],
)
def test_a_number_has_two_digits_of_its_error(value, error, text):
    assert with_error(value, error) == text


def made_up(key, *, fluctuation=None, **options):
    """A study's tree from made-up networks."""
    finite, limit = networks(np.random.default_rng(key), **options)
    fit = mf.compare(finite, limit, LAWS)
    limit = limit.assign_attrs(particles=64, replicates=8, refinement="reached: made up")
    groups = {"/finite": finite, "/limit": limit, "/fit": fit}
    if fluctuation is not None:
        groups["/fluctuation"] = fluctuation
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"model": "MODEL", "problem": "PROBLEM", "training": "TRAINING"}
    return tree


def test_every_exponent_stands_beside_the_predicted_one_and_its_verdict(key):
    tree = made_up(key, seeds=32, bias=0.3, control=True)
    text = mf.report(tree)
    fit = tree["fit"].to_dataset()
    for kind, predicted in (("fluctuation", "-0.5"), ("bias", "-1")):
        at = fit.sel(quantity="prediction", kind=kind)
        number = with_error(float(at.exponent), float(at.exponent_error))
        row = next(line for line in text.splitlines() if f" {kind} " in line and "training set" in line)
        assert re.split(r"\s{2,}", row.strip()) == ["prediction (training set)", kind, number, predicted,
                                                    at.verdict.item()]  # fmt: skip


def test_distances_intervals_and_the_limit_are_shown(key):
    tree = made_up(key, seeds=32)
    text, fit = mf.report(tree), tree["fit"].to_dataset()
    assert "MODEL" in text and "PROBLEM" in text and "TRAINING" in text
    assert f"widths {', '.join(map(str, WIDTHS))}; 32 seeds" in text
    for width in WIDTHS:
        at = fit.sel(width=width, quantity="prediction", kind="fluctuation")
        low, value, high = (float(at[n]) for n in ("error_low", "error", "error_high"))
        row = next(line for line in text.splitlines() if line.split()[:1] == [str(width)])
        assert f"{value:.2e} [{low:.1e}, {high:.1e}]" in row
    assert "8 x 64 particles" in text and "reached: made up" in text


def test_what_is_not_resolved_says_what_would_resolve_it(key):
    tree = made_up(key, bias=0.01)
    advised = tree["fit"].advice.sel(quantity="prediction", kind="bias").item()
    assert advised and f"to resolve it: {advised}" in mf.report(tree)


def test_seeds_left_out_are_counted_in_the_report(key):
    tree = made_up(key, seeds=8)
    finite = tree["finite"].to_dataset()
    finite["first_bad_step"][0, :3] = 1
    tree["fit"] = xr.DataTree(mf.compare(finite, tree["limit"].to_dataset(), LAWS))
    assert "5 seeds (3 left out: diverged)" in mf.report(tree)


@pytest.mark.parametrize("options", [{"seeds": 1}, {"seeds": 2}, {"widths": (64,)}])
def test_a_study_too_small_for_exponents_has_a_report(options, key):
    text = mf.report(made_up(key, **options))
    assert "not resolved" in text and "to resolve it: at least" in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_a_line_is_at_most_a_terminal_wide(key):
    assert max(map(len, mf.report(made_up(key, bias=0.01)).splitlines())) <= 120


@pytest.mark.parametrize("wrong", [None, 3, "store", {}, xr.Dataset(), xr.DataTree()])
def test_a_report_of_something_else_is_refused_in_one_sentence(wrong):
    with pytest.raises(TypeError) as caught:
        mf.report(wrong)
    assert_one_sentence(str(caught.value).replace("meanfield.", "").replace("\n", ""), "`study`")


# --- measured over predicted spread -----------------------------------------------------------------------


def predicted(spread, relative_error=0.0, steps=3, samples=4):
    std = np.full((steps, samples, 1), spread)
    dims = ("step", "sample", "output")
    return xr.Dataset({"prediction_std": (dims, std), "prediction_std_error": (dims, relative_error * std)})


def test_the_ratio_of_spreads_is_calibrated(key):
    """√n · spread / predicted = 1: over 200 studies × 7 widths of 16 seeds, the 95% Student interval misses
    at most 8% (binomial tail 1e-6), and a prediction 20% too large is caught."""
    missed, size = {1.0: 0, 1.2: 0}, xr.Dataset(attrs={"size": "width"})
    for number in range(200):
        for factor in missed:
            finite, _ = networks(np.random.default_rng([key, number]), seeds=16, spread=0.7)
            groups = {"/finite": finite, "/fit": size, "/fluctuation": predicted(0.7 * factor)}
            tree = xr.DataTree.from_dict(groups)
            for _, ratio, error, repeats in spread_ratios(tree)["prediction"]:
                assert repeats == 16
                missed[factor] += abs(ratio - 1) > 2.131 * error  # Student, 15 degrees of freedom
    most = 7 * 200 * 0.08 + 4.9 * math.sqrt(7 * 200 * 0.08 * 0.92)
    assert missed[1.0] <= most < missed[1.2]


def test_the_error_of_the_ratio_is_its_jackknife_and_joins_that_of_the_prediction(key):
    exact, rough = (made_up(key, seeds=6, fluctuation=predicted(1.0, e)) for e in (0.0, 0.1))
    finite = exact["finite"].to_dataset()
    for (n, ratio, error, _), (_, _, both, _) in zip(
        spread_ratios(exact)["prediction"], spread_ratios(rough)["prediction"], strict=True
    ):
        values = finite.prediction.sel(width=n).values.reshape(6, -1)
        again = [math.sqrt(n * np.delete(values, r, 0).var(0, ddof=1).mean()) for r in range(6)]
        assert_close(ratio, math.sqrt(n * values.var(0, ddof=1).mean()), 1000)
        assert_close(error, math.sqrt(5 / 6 * np.sum((again - np.mean(again)) ** 2)), 1e5)
        assert_close(both, math.hypot(error, 0.1 * ratio), 1000)


def test_the_report_shows_measured_over_predicted_spread(key):
    text = mf.report(made_up(key, seeds=16, fluctuation=predicted(1.0)))
    assert "spread of one network, measured / predicted" in text


def test_a_study_without_a_prediction_has_no_ratio(key):
    assert spread_ratios(made_up(key)) == {}


def test_the_report_of_a_real_study_names_all_its_quantities():
    text = mf.report(small.study())
    for quantity in ("prediction", "loss"):
        for part in ("training set", "test set"):
            assert text.count(f"{quantity} ({part})") >= 2
