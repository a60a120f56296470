"""How far finite networks are from their limit, and the exponent with which the distance falls."""

import math

import numpy as np

from meanfield.base.checks import fail
from meanfield.base.schema import Variable, dataset
from meanfield.model.system import Law
from meanfield.numerics.statistics import fit_power_law, jackknife_error, student_interval
from meanfield.studies.distances import TRAJECTORY, distances, kinds_of, limit_error

QUANTITIES = ("prediction", "loss", "test_prediction", "test_loss")
LONGEST = 0.3  # of the 95% interval of an exponent that is called resolved

VARIABLES = {
    "error": Variable(("{size}", "quantity", "kind"), "distance to the limit", source="THEORY 9"),
    "error_low": Variable(("{size}", "quantity", "kind"), "lower end of the 95% interval of the distance"),
    "error_high": Variable(("{size}", "quantity", "kind"), "upper end of the 95% interval of the distance"),
    "exponent": Variable(("quantity", "kind"), "exponent of the distance in the size", source="THEORY 9"),
    "exponent_error": Variable(("quantity", "kind"), "one standard error of the exponent"),
    "constant": Variable(("quantity", "kind"), "constant C of C size^exponent"),
    "predicted": Variable(("quantity", "kind"), "exponent that theory predicts"),
    "verdict": Variable(("quantity", "kind"), "measured against predicted exponent"),
    "advice": Variable(("quantity", "kind"), "the cheapest change that would resolve it"),
    "limit_error": Variable(("quantity",), "root mean square of the limit's own standard error"),
}


def exponent(sizes, squares, cross):
    """(exponent, standard error, constant): jackknife over seeds, all sizes together, and on top of it what
    the limit's own error, which moves all squares by up to `cross` up or down at once, can do to the slope.

    Weights come from errors smoothed over sizes by a power law: where few seeds happen to give a small
    square they give it a small error too, and with such weights the slope spreads more than its error says.
    """
    errors = np.maximum(squares.error, 1e-12 * np.abs(squares.value).max() + 1e-300)
    x = np.log(np.asarray(sizes, float))
    errors = np.hypot(np.exp(np.polyval(np.polyfit(x, np.log(errors), 1), x)), cross)
    fit = fit_power_law(sizes, squares.value, errors)
    if math.isnan(fit.exponent):
        return math.nan, math.inf, math.nan
    again = np.array([fit_power_law(sizes, row, errors).exponent for row in squares.left_out])
    if np.isnan(again).any():
        return fit.exponent, math.inf, fit.constant
    own = float(jackknife_error(again))
    both = [fit_power_law(sizes, squares.value + shift, errors).exponent for shift in (cross, -cross)]
    moved = max((math.inf if math.isnan(p) else abs(p - fit.exponent)) for p in both)
    return fit.exponent, math.hypot(own, moved), fit.constant


def verdict(value, error, predicted, repeats):
    """consistent: predicted inside the 95% interval, shorter than 0.3; inconsistent: outside the 99.9%
    interval; not resolved otherwise."""
    if not math.isfinite(error) or math.isnan(value):
        return "not resolved"
    distance = abs(value - predicted)
    if distance > student_interval(repeats, 0.999) * error:
        return "inconsistent"
    half = student_interval(repeats) * error
    return "consistent" if distance <= half and 2 * half < LONGEST else "not resolved"


def advice(kind, error, repeats, squares, has_control, limit_error, crossed):
    """The cheapest change that would resolve an exponent."""
    half = student_interval(repeats) * error
    floor = limit_error**2 > 0.1 * max(float(np.abs(squares.value).min()), 1e-300)
    if repeats < 3:
        return "at least 3 seeds, 32 for a firm exponent"
    if kind == "bias" and has_control is False:
        return "the control variate: response=meanfield.Response()"
    if kind == "bias" and has_control and crossed > 0.2:
        return "more particles in the response, four times the largest width at least"
    if floor and not (kind == "bias" and has_control):
        return "more particles in the limit, or Quadrature() where a neuron has at most 3 dimensions"
    if math.isfinite(error) and 2 * half >= LONGEST:
        needed = math.ceil(1.1 * repeats * (2 * half / LONGEST) ** 2 / 8) * 8
        return f"about {needed} seeds instead of {repeats}"
    if math.isfinite(error):
        return "wider networks: the narrow ones are not yet in the asymptotic range"
    return f"about {16 * repeats} seeds instead of {repeats}"


def compare(finite, limit, laws=None):
    """Distances between finite networks and their limit, with exponents and verdicts.

    fluctuation(n)² = E|f_n − f|²  and  bias(n)² = |E f_n − f|², averaged over recorded steps, samples and
    outputs, without the bias that few seeds and the limit's own error would give them. Where the limit is the
    law of an ensemble, with a `prediction_spread`, no network is compared with a mean: the kinds are bias,
    spread (difference of the standard deviations) and distribution (maximum mean discrepancy of single
    predictions to the Gaussian). Exponents by weighted
    least squares on squares; their errors from a jackknife over seeds, all sizes, steps and samples together.

    Args:
        finite: dataset with dimensions (size, seed, step, ...), as in `/finite` of a study.
        limit: dataset of the limit at the same steps, as in `/limit`.
        laws: predicted exponents, `model.laws()`; by default those stored with `finite`.
    Returns:
        xarray.Dataset: `error`, `error_low`, `error_high` (size, quantity, kind), `exponent`,
        `exponent_error`, `constant`, `predicted`, `verdict`, `advice` (quantity, kind), `limit_error`. Sizes
        at which every seed diverged have no error, and seeds that diverged at another size are left out.
    Raises:
        ValueError: if the steps differ.
    Source: THEORY 9.
    """
    sizes = [d for d in finite.dims if d in ("width", "depth", "embedding")]
    if len(sizes) != 1:
        fail("finite", "a dataset with one size dimension, such as width", list(finite.dims))
    size = sizes[0]
    if not np.array_equal(finite.step.values, limit.step.values):
        raise ValueError("Argument `limit` must be recorded at the steps of `finite`, but its steps differ.")
    laws = _stored_laws(finite) if laws is None else laws
    predictions = {law.kind: law.exponent for law in laws if law.size == size}
    quantities = [q for q in QUANTITIES if q in finite and q in limit and not np.isnan(limit[q]).all()]
    everything = finite[size]
    finite, lost = _without_divergence(finite, size)
    limit_bad = int(limit.first_bad_step) if "first_bad_step" in limit else -1
    selection = finite.step.values < (limit_bad if limit_bad >= 0 else np.iinfo(np.int64).max)
    repeats = finite.sizes["seed"]
    kinds = kinds_of(limit)
    shape = (finite.sizes[size], len(quantities), len(kinds))
    out = {name: np.full(shape, np.nan) for name in ("error", "error_low", "error_high")}
    out |= {n: np.full(shape[1:], np.nan) for n in ("exponent", "exponent_error", "constant", "predicted")}
    out |= {n: np.full(shape[1:], "", object) for n in ("verdict", "advice")}
    out["limit_error"] = np.full(len(quantities), np.nan)
    for q, quantity in enumerate(quantities):
        if not (repeats and selection.any()):
            _fill_unresolved(out, q, predictions, "a smaller learning rate: training diverged", kinds)
            continue
        out["limit_error"][q] = limit_error(limit, quantity, selection)
        if repeats < 3:
            _fill_without_errors(out, q, finite, limit, quantity, size, selection, predictions, kinds)
            continue
        found = distances(finite, limit, quantity, size, selection)
        controllable = kinds == TRAJECTORY and finite.attrs.get("responds", 1)
        has_control = f"{quantity}_control" in finite if controllable else None
        for kind, (squares, cross) in found.items():
            k = kinds.index(kind)
            half = student_interval(repeats) * squares.error
            half = np.hypot(half, 1.96 * cross)
            for name, square in (
                ("error", squares.value),
                ("error_low", squares.value - half),
                ("error_high", squares.value + half),
            ):
                out[name][:, q, k] = np.sqrt(np.maximum(square, 0))
            if kind not in predictions:
                continue
            if finite.sizes[size] < 2:
                out["predicted"][q, k], out["exponent_error"][q, k] = predictions[kind], math.inf
                out["verdict"][q, k], out["advice"][q, k] = "not resolved", f"at least two {size}s"
                continue
            value, error, constant = exponent(finite[size].values, squares, cross)
            out["exponent"][q, k], out["exponent_error"][q, k] = value, error
            out["constant"][q, k], out["predicted"][q, k] = constant, predictions[kind]
            word = verdict(value, error, predictions[kind], repeats)
            out["verdict"][q, k] = word
            if word == "not resolved":
                out["advice"][q, k] = advice(
                    *(kind, error, repeats, squares, has_control, out["limit_error"][q]),
                    _share(cross, squares),
                )
    variables = {
        n: Variable(tuple(d.format(size=size) for d in v.dims), v.long_name, v.units, v.source)
        for n, v in VARIABLES.items()
    }
    out["verdict"], out["advice"] = out["verdict"].astype(str), out["advice"].astype(str)
    coords = {size: (size, finite[size].values), "quantity": quantities, "kind": list(kinds)}
    sources = {f"source_{law.kind}": law.source for law in laws if law.size == size}
    attrs = {"seeds": repeats, "seeds_left_out": lost, "size": size, **sources}
    return dataset(out, variables, coords, attrs).reindex({size: everything})


def _share(cross, squares):
    """Largest share of a square that the limit's error may make up."""
    return float((cross / np.maximum(np.abs(squares.value), 1e-300)).max())


def _fill_without_errors(out, q, finite, limit, quantity, size, selection, predictions, kinds):
    """With one or two seeds there are distances but no errors."""
    reference = limit[quantity].values[selection]
    for i, value in enumerate(finite[size].values):
        network = finite[quantity].sel({size: value}).values[:, selection].astype(float)
        if kinds[0] == "fluctuation":
            out["error"][i, q, 0] = math.sqrt(np.mean((network - reference) ** 2))
    _fill_unresolved(out, q, predictions, "at least 3 seeds, 32 for a firm exponent", kinds)


def _fill_unresolved(out, q, predictions, change, kinds):
    for k, kind in enumerate(kinds):
        if kind in predictions:
            out["predicted"][q, k], out["exponent_error"][q, k] = predictions[kind], math.inf
            out["verdict"][q, k], out["advice"][q, k] = "not resolved", change


def _without_divergence(finite, size):
    """(networks to compare, number of seeds left out): without the sizes at which every seed diverged, then
    without the seeds that diverged at any other, as resampling needs whole seeds."""
    if "first_bad_step" not in finite:
        return finite, 0
    good = finite.first_bad_step.transpose(size, "seed").values < 0
    some = good.any(1)
    seeds = good[some].all(0) if some.any() else good.any(0)
    sizes = some if seeds.any() else np.ones_like(some)
    return finite.isel({size: np.flatnonzero(sizes), "seed": np.flatnonzero(seeds)}), int((~seeds).sum())


def _stored_laws(finite):
    """Laws written with a study's finite networks."""
    import json

    if "laws" not in finite.attrs:
        raise ValueError(
            "Argument `laws` must be given for networks that were not stored by a study, but is None."
        )
    return tuple(Law(**law) for law in json.loads(finite.attrs["laws"]))
