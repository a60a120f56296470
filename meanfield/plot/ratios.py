"""Measured over predicted spread."""

import numpy as np
from matplotlib.transforms import offset_copy

from meanfield.numerics.statistics import student_interval
from meanfield.plot.canvas import Artists, axes_of, intervals, legend_above, size_axis
from meanfield.plot.colours import DARK, LAW, LIGHT
from meanfield.plot.parts import groups
from meanfield.plot.words import size_label
from meanfield.studies.report import NAMES, spread_ratios

MARKS = {"prediction": (DARK, "o", -1.5), "test_prediction": (LIGHT, "s", 1.5)}


def spread_ratio(study, ax=None):
    """Spread of one network over seeds, measured / predicted, per size, with 95% intervals.

    Measured is √(n · variance over seeds), averaged as squares over steps, samples and outputs; predicted is
    the standard deviation in `/fluctuation`. The ratio tends to 1 as the size grows.

    Args:
        study: the tree that `meanfield.study` returns where `response` was given.
        ax: axes to draw on; by default those of a new figure.
    Returns:
        dict of artists by name ("prediction", "prediction interval", the same for test_prediction, "law"),
        with its `ax` and `figure`.
    """
    fit, _ = groups(study, "fit", "fluctuation")
    ratios = {name: rows for name, rows in spread_ratios(study).items() if rows}
    if not ratios:
        raise ValueError("Argument `study` must have at least 3 seeds that did not diverge, but has fewer.")
    size = fit.attrs["size"]
    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        drawn["law"] = ax.axhline(1, color=LAW, lw=0.8, zorder=1)
        for name, rows in ratios.items():
            colour, marker, shift = MARKS[name]
            sizes, ratio, error, repeats = (np.array(column) for column in zip(*rows, strict=True))
            half = error * [student_interval(int(count)) for count in repeats]
            place = offset_copy(ax.transData, ax.figure, shift if len(ratios) > 1 else 0, units="points")
            line = {"color": colour, "transform": place}
            drawn[f"{name} interval"] = intervals(ax, sizes, ratio - half, ratio + half, zorder=2, **line)
            points = {"ls": "none", "marker": marker, "ms": 4, "label": NAMES[name], "zorder": 3}
            drawn[name] = ax.plot(sizes, ratio, **points, **line)[0]
            handles.append(drawn[name])
        size_axis(ax, fit[size].values)
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, 0.9), max(high, 1.1))
        ax.set_xlabel(size_label(size))
        ax.set_ylabel("spread of one network,\nmeasured / predicted")
        drawn["legend"] = legend_above(ax, handles)
    return drawn
