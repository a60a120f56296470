"""Error against width, with its law."""

import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import offset_copy

from meanfield.plot.canvas import (
    Artists,
    axes_of,
    intervals,
    law_name,
    legend_above,
    plain_log_ticks,
    size_axis,
)
from meanfield.plot.colours import DARK, LAW, LIGHT, THIRD
from meanfield.plot.parts import chosen_quantity, groups
from meanfield.plot.words import KINDS, exponent_text, law_label, scientific, size_label, slope_text
from meanfield.studies.report import NAMES

MARKS = {
    "fluctuation": (DARK, "o", 0),
    "bias": (LIGHT, "s", 3),
    "spread": (DARK, "o", 0),
    "distribution": (THIRD, "^", -3),
}


def convergence(study, quantity=None, ax=None):
    """Distance to the limit against width, log-log, with the fitted and the predicted exponents.

    Points are root mean squares over steps, samples and outputs with 95% intervals: of one network
    (fluctuation) and of the mean of networks (bias). Open points are not resolved from 0: their interval goes
    on down to 0, an arrow; where the estimate itself is 0 the arrow alone shows how large it may be. Coloured
    lines are the fits, broken where the exponent is not resolved; thin grey lines are the laws, through the
    middle of the fit. In the hatched region lies less than one standard error of the limit itself. Exponents
    carry one standard error.

    Args:
        study: the tree that `meanfield.study` returns.
        quantity: one of those in `/fit`; by default the prediction, on the test set where there is one.
        ax: axes to draw on; by default those of a new figure.
    Returns:
        dict of artists by name ("fluctuation", "fluctuation interval", "fluctuation fit", "fluctuation law",
        the same for bias, "limit"), with its `ax` and `figure`.
    """
    (fit,) = groups(study, "fit")
    quantity = chosen_quantity(quantity, fit["quantity"].values)
    size = fit.attrs["size"]
    fit = fit.sel(quantity=quantity)
    sizes = fit[size].values
    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        ax.set_yscale("log")
        size_axis(ax, sizes, right=1.9)
        floor = float(fit["limit_error"])
        bottom = _bottom(fit, floor)
        for kind in fit["kind"].values:
            at = fit.sel(kind=kind)
            if not np.isfinite(at["error"].values).any():
                continue
            _points(drawn, kind, sizes, at, bottom)
            _lines(drawn, kind, sizes, at, size)
            handles.append(_handle(kind, at))
        ax.set_ylim(bottom=bottom)
        if floor > 0:
            if floor > bottom:
                drawn["limit"] = ax.axhspan(bottom, floor, fc="none", ec=LAW, hatch="////", lw=0, zorder=0.5)
            words = f"error of the limit: ${scientific(floor)}$"
            handles.append(Patch(fc="none", ec=LAW, hatch="//////", lw=0, label=words))
        ax.set_xlabel(size_label(size))
        ax.set_ylabel(f"distance to the limit,\n{NAMES.get(quantity, quantity)}")
        plain_log_ticks(ax.yaxis)
        drawn["legend"] = legend_above(ax, handles)
    return drawn


def _bottom(fit, floor):
    """The lower end of the axis: below all that is resolved and not far below all that is not."""
    error, low, high = (fit[name].values for name in ("error", "error_low", "error_high"))
    known = np.where(np.isfinite(low), low, error)
    values = np.concatenate([known[known > 0], high[(high > 0) & ~(known > 0)] / 3])
    if not values.size:
        return 1e-16
    return min(values.min() / 1.5, floor / 1.7 if floor > values.min() / 30 else math.inf)


def _points(drawn, kind, sizes, at, bottom):
    """Points with intervals; an interval that goes down to 0 has an arrow for its lower end."""
    ax = drawn.ax
    colour, marker, shift = MARKS[kind]
    # Aside, as two intervals must not cover each other.
    place = offset_copy(ax.transData, ax.figure, shift, units="points")
    error, low, high = (at[name].values for name in ("error", "error_low", "error_high"))
    resolved = ~(low <= 0)  # with too few seeds for an interval, too
    seen = error > np.where(resolved, 0, 2 * bottom)
    common = {"ls": "none", "ms": 4, "color": colour, "mew": 0.9, "zorder": 3, "transform": place}
    points = {
        "": (resolved & seen, error, {"marker": marker}),
        " unresolved": (~resolved & seen, error, {"marker": marker, "mfc": "white"}),
        " cap": (~resolved & ~seen, high, {"marker": "_"}),
    }
    for name, (chosen, values, style) in points.items():
        drawn[kind + name] = ax.plot(sizes, np.where(chosen, values, np.nan), **common, **style)[0]
    shown = np.isfinite(high) & (high > 0)
    start = np.where(resolved, low, np.where(seen, error, high))
    line = {"color": colour, "zorder": 2.5, "transform": place}
    drawn[f"{kind} interval"] = intervals(ax, sizes[shown], start[shown], high[shown], **line)
    drawn[f"{kind} arrows"] = []
    for position in np.flatnonzero(shown & ~resolved):
        style = {"arrowstyle": "<-,head_length=0.2,head_width=0.13", "color": colour, "lw": 0.9, "shrinkA": 0}
        style["shrinkB"] = 2 if seen[position] else 0
        foot = (sizes[position], start[position])
        options = {"xycoords": place, "textcoords": "offset points", "zorder": 2.4}
        drawn[f"{kind} arrows"].append(ax.annotate("", foot, (0, -13), arrowprops=style, **options))


def _lines(drawn, kind, sizes, at, size):
    """The fit, and the law through the middle of it, where there is anything to fit."""
    ax = drawn.ax
    names = ("exponent", "exponent_error", "constant", "predicted")
    slope, spread, constant, law = (float(at[name]) for name in names)
    error = at["error"].values
    known = (error > 0) & ~(at["error_low"].values <= 0)
    settled = at["verdict"].item() in ("consistent", "inconsistent")
    if known.sum() < 2 and not settled:
        return
    ends = np.array([sizes[0], sizes[-1]], float)
    if math.isfinite(slope) and math.isfinite(spread):
        middle = math.sqrt(ends[0] * ends[1])
        through = constant * middle**slope
        style = "-" if settled else (0, (4, 2))
        line = {"color": MARKS[kind][0], "lw": 1, "ls": style, "zorder": 2}
        drawn[f"{kind} fit"] = ax.plot(ends, constant * ends**slope, **line)[0]
    else:
        middle, through = (math.exp(np.mean(np.log(v[known]))) for v in (sizes, error))
    if math.isfinite(law):
        ends = np.array([ends[0] / 1.15, ends[1] * 1.15])
        heights = through * (ends / middle) ** law
        drawn[f"{kind} law"] = ax.plot(ends, heights, color=LAW, lw=0.8, zorder=1.5)[0]
        drawn[f"{kind} law label"] = law_name(ax, law_label(size, law), (ends[1], heights[1]))


def _handle(kind, at):
    colour, marker, _ = MARKS[kind]
    slope = slope_text(float(at["exponent"]), float(at["exponent_error"]))
    if at["error"].size < 2 or np.isnan(at["error_low"].values).all():
        slope = "no slope"  # one size, or too few networks
    words = [f"{KINDS[kind]}: {slope}"]
    if math.isfinite(float(at["predicted"])):
        words.append(f"theory ${exponent_text(float(at['predicted']))}$: {at['verdict'].item()}")
    face = "white" if (at["error_low"].values <= 0).all() else colour
    return Line2D([], [], color=colour, marker=marker, mfc=face, mew=0.9, ms=4, lw=1, label="\n".join(words))
