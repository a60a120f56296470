"""A study in words and numbers."""

import math

import numpy as np
import xarray as xr

from meanfield.base.checks import fail
from meanfield.numerics.statistics import student_interval

NAMES = {
    "prediction": "prediction (training set)",
    "test_prediction": "prediction (test set)",
    "loss": "loss (training set)",
    "test_loss": "loss (test set)",
}
KINDS = {
    "fluctuation": "one network",
    "bias": "mean of networks",
    "spread": "spread of networks",
    "distribution": "law of predictions",
}


def with_error(value, error):
    """A value and its standard error with two digits of the error: -0.496 ± 0.011."""
    if not math.isfinite(value):
        return "no signal"
    if not math.isfinite(error):
        return f"{value:.2g} ± unknown"
    if error <= 0:
        return f"{value:.3g}"
    digits = max(0, min(12, 1 - math.floor(math.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def spread_ratios(study):
    """Measured over predicted spread per size, for every quantity that has both.

    Measured: √(n · mean over (step, sample, output) of the variance over seeds); predicted: the same mean of
    `prediction_std`². Returns {quantity: [(size, ratio, standard error)]}; the error joins the jackknife over
    seeds and the prediction's own.
    """
    result = {}
    if "fluctuation" not in study.children:
        return result
    finite, predicted = study["finite"].dataset, study["fluctuation"].dataset
    size = study["fit"].attrs["size"]
    for quantity in ("prediction", "test_prediction"):
        if f"{quantity}_std" not in predicted or quantity not in finite:
            continue
        std, own = predicted[f"{quantity}_std"].values, predicted[f"{quantity}_std_error"].values
        keep = std.reshape(std.shape[0], -1).max(1) > 0
        reference = math.sqrt(np.mean(std[keep] ** 2))
        reference_error = np.mean(std[keep] * own[keep]) / reference
        rows = []
        for n in finite[size].values:
            values = finite[quantity].sel({size: n}).values[:, keep].astype(float)
            values = values[np.isfinite(values).reshape(values.shape[0], -1).all(1)]
            repeats = values.shape[0]
            if repeats < 3:
                continue
            flat = values.reshape(repeats, -1)
            flat = flat - flat.mean(0)
            squares = np.mean(flat**2, 1)  # of each network's deviation from the mean
            total = squares.sum()
            ratio = math.sqrt(n * total / (repeats - 1)) / reference
            left_out = (total - squares * repeats / (repeats - 1)) / (repeats - 2)
            left_out = np.sqrt(n * np.maximum(left_out, 0)) / reference
            error = math.sqrt((repeats - 1) / repeats * np.sum((left_out - left_out.mean()) ** 2))
            rows.append((int(n), ratio, math.hypot(error, ratio * reference_error / reference), repeats))
        result[quantity] = rows
    return result


def report(study):
    """What a study found, as text.

    Per quantity and kind of error: the fitted exponent with its standard error, the predicted one, and the
    verdict (consistent: predicted inside the 95% interval and that shorter than 0.3; inconsistent: outside
    the 99.9% interval; otherwise not resolved, with the cheapest change that would resolve it); then the
    distances at every size, the limit's own error, and measured over predicted spread where there is one.

    Args:
        study: the tree of `study`, `width_study` or `open_study`.
    Returns:
        str.
    """
    if not isinstance(study, xr.DataTree) or "fit" not in study.children:
        fail("study", "the tree that meanfield.study returns", study, TypeError)
    fit, limit = study["fit"].dataset, study["limit"].dataset
    size = fit.attrs["size"]
    sizes = fit[size].values
    lines = [
        f"{study.attrs['model']}",
        f"  on {study.attrs['problem']}",
        f"  by {study.attrs['training']}",
        f"  {size}s {', '.join(str(n) for n in sizes)}; {fit.attrs['seeds']} seeds"
        + (f" ({fit.attrs['seeds_left_out']} left out: diverged)" if fit.attrs["seeds_left_out"] else ""),
        "",
        f"{'error ∝ ' + size + '^p':<28}{'kind':<13}{'measured p':<18}{'theory':<9}verdict",
    ]
    for quantity in fit["quantity"].values:
        for kind in fit["kind"].values:
            at = fit.sel(quantity=quantity, kind=kind)
            fitted = np.isfinite(at["error"].values).sum() > 1
            text = with_error(float(at["exponent"]), float(at["exponent_error"])) if fitted else "not fitted"
            verdict, predicted = str(at["verdict"].item()), float(at["predicted"])
            if not verdict:
                continue
            lines.append(f"{NAMES.get(quantity, quantity):<28}{kind:<13}{text:<18}{predicted:<9g}{verdict}")
            if at["advice"].item():
                lines.append(f"{'':<28}{'':<13}to resolve it: {at['advice'].item()}")
    shown = [q for q in ("test_prediction", "prediction") if q in fit["quantity"].values][:1]
    for quantity in shown:
        lines += ["", f"distance to the limit, {NAMES[quantity]}, rms over steps and samples [95% interval]"]
        kinds = [str(kind) for kind in fit["kind"].values]
        lines.append(f"{size:>8}   {''.join(f'{KINDS[kind]:<32}' for kind in kinds).rstrip()}")
        for n in sizes:
            cells = []
            for kind in kinds:
                at = fit.sel({size: n, "quantity": quantity, "kind": kind})
                low, value, high = (float(at[name]) for name in ("error_low", "error", "error_high"))
                interval = f" [{low:.1e}, {high:.1e}]" if math.isfinite(low) else ""
                cells.append(f"{value:.2e}{interval}" if math.isfinite(value) else "not known")
            lines.append(f"{n:>8}   {''.join(f'{cell:<32}' for cell in cells).rstrip()}")
        own = float(fit["limit_error"].sel(quantity=quantity))
        exact = limit.attrs["particles"] == 0
        about = (
            "no particles" if exact else f"{limit.attrs['replicates']} x {limit.attrs['particles']} particles"
        )
        own = f"{own:.2e}" if math.isfinite(own) else "not known"
        lines.append(f"   limit   {own} (one standard error; {about})")
        lines.append(f"           {limit.attrs['refinement']}")
    for quantity, rows in spread_ratios(study).items():
        lines += ["", f"spread of one network, measured / predicted, {NAMES[quantity]} [95% interval]"]
        for n, ratio, error, repeats in rows:
            half = student_interval(repeats) * error
            lines.append(f"{n:>8}   {ratio:.3f} [{ratio - half:.3f}, {ratio + half:.3f}]")
    return "\n".join(lines)
