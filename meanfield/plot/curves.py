"""A quantity over training, all sizes and the limit."""

import numpy as np
from matplotlib.lines import Line2D

from meanfield.base.checks import fail
from meanfield.plot.canvas import Artists, axes_of, legend_above, plain_log_ticks, time_axis
from meanfield.plot.colours import LIMIT, shades
from meanfield.plot.parts import chosen_index, groups, mean_and_error, size_of, survivors
from meanfield.plot.words import label_of, prediction_label, size_label, symbol, time_label

PREDICTIONS = ("prediction", "test_prediction")


def training_curves(study, quantity="loss", ax=None, *, sample=0, output=0):
    """A quantity against training time: networks of all sizes light to dark, the limit black and on top.

    Lines are means over the networks that did not diverge, bands ± 2 standard errors of that mean. For the
    prediction of one sample, broken lines are where `/fluctuation`, if it is there, predicts the mean of so
    many networks of the smallest size to be: limit ± 2 std / √(n · networks). Axes are logarithmic where
    values are positive and span more than a decade.

    Args:
        study: the tree that `meanfield.study` returns.
        quantity: loss, test_loss, prediction, test_prediction, or what an observable gives as one number.
        ax: axes to draw on; by default those of a new figure.
        sample, output: which prediction; not looked at for other quantities.
    Returns:
        dict of artists by name ("width 64", "width 64 band", ..., "limit", "predicted"), with its `ax` and
        `figure`.
    """
    finite, limit = groups(study, "finite", "limit")
    size = size_of(finite)
    step = _step_of(finite, limit, quantity, size)
    networks, reference = (_one_number(run[quantity], sample, output) for run in (finite, limit))
    networks = networks.transpose(size, "seed", step)
    sizes = finite[size].values
    time = finite["time" if step == "step" else f"{step.removesuffix('_step')}_time"]
    times = time.values
    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        lowest, highest = _range(reference.values)
        for order, (n, colour) in enumerate(zip(sizes, shades(len(sizes)), strict=True)):
            mean, error = mean_and_error(survivors(finite.sel({size: n}), networks.sel({size: n}).values))
            name = f"{size} {n}"
            drawn[name] = ax.plot(times, mean, color=colour, lw=1.1, zorder=2 + order / 100)[0]
            ends = (mean - 2 * error, mean + 2 * error)
            drawn[f"{name} band"] = ax.fill_between(times, *ends, color=colour, alpha=0.3, lw=0, zorder=1.5)
            handles.append(Line2D([], [], color=colour, lw=2, label=str(n)))
            low, high = _range(mean)
            lowest, highest = np.nanmin([lowest, low]), np.nanmax([highest, high])
        drawn["limit"] = ax.plot(times, reference.values, color=LIMIT, lw=1.2, zorder=4)[0]
        handles.append(Line2D([], [], color=LIMIT, lw=1.2, label="limit"))
        repeats = finite.sizes["seed"]
        if "fluctuation" in study.children and quantity in PREDICTIONS:
            (predicted,) = groups(study, "fluctuation")
            std = _one_number(predicted[f"{quantity}_std"], sample, output).values
            half = 2 * std / np.sqrt(sizes[0] * repeats)
            style = {"color": LIMIT, "lw": 0.7, "ls": (0, (3, 2)), "zorder": 3}
            drawn["predicted"] = [ax.plot(times, reference.values + s * half, **style)[0] for s in (-1, 1)]
            handles.append(Line2D([], [], **style, label=f"predicted, ${symbol(size)}={sizes[0]}$"))
        time_axis(ax, times, time_label(time))
        if lowest > 0 and highest > 10 * lowest:
            ax.set_yscale("log")
            plain_log_ticks(ax.yaxis)
        one = quantity in PREDICTIONS
        ax.set_ylabel(prediction_label(finite, quantity, sample) if one else label_of(finite[quantity]))
        title = f"mean of {repeats} networks ± 2 standard errors" if repeats > 1 else "one network each"
        title += f",\n{size_label(size)}:"
        drawn["legend"] = legend_above(ax, handles, columns=4, title=title)
    return drawn


def _step_of(finite, limit, quantity, size):
    """The dimension of steps of a quantity that is one number per network and step."""

    def step_of(name):
        extra = [d for d in finite[name].dims if d not in (size, "seed")]
        if name in PREDICTIONS:
            return "step"
        return extra[0] if len(extra) == 1 and extra[0].endswith("step") else None

    known = [n for n in finite.data_vars if n in limit and not n.endswith("_control") and step_of(n)]
    if quantity not in known:
        fail("quantity", f"one of {', '.join(known)}", quantity)
    return step_of(quantity)


def _one_number(variable, sample, output):
    """The variable of one sample and output, where it has these dimensions."""
    for name, value in (("sample", sample), ("test_sample", sample), ("output", output)):
        if name in variable.dims:
            argument = name.removeprefix("test_")
            variable = variable.isel({name: chosen_index(argument, value, variable.sizes[name])})
    return variable


def _range(values):
    values = values[np.isfinite(values)]
    return (values.min(), values.max()) if values.size else (np.nan, np.nan)
