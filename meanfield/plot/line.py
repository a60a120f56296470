"""The learned function of one input."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from meanfield.base.checks import array
from meanfield.plot.canvas import Artists, axes_of, legend_above
from meanfield.plot.colours import DARK, LIMIT, TARGET
from meanfield.plot.parts import (
    chosen_index,
    chosen_size,
    chosen_step,
    groups,
    is_study,
    run_of,
    size_of,
    survivors,
)
from meanfield.plot.words import label_of, symbol


def learned_function(dataset, x, target=None, ax=None, *, width=None, step=-1, output=0):
    """f(x) on the test inputs: mean of networks ± 2 standard deviations over networks, limit, target.

    Args:
        dataset: a study, of which one size and the limit are drawn, or a run of `simulate`.
        x: the test inputs, (P',) or (P', 1), or the problem with one input that has them; then its test
            targets are the target, unless another is given, and its training set is drawn as points.
        target: values at x, (P',) or (P', k).
        ax: axes to draw on; by default those of a new figure.
        width: one of the sizes of a study; by default the smallest.
        step: a recorded step; −1 is the last one.
        output: the component of f.
    Returns:
        dict of artists by name ("mean", "band", "limit", "target", "training"), with its `ax` and `figure`.
    """
    finite, limit, size = _runs(dataset, width)
    known = finite if finite is not None else limit
    if "test_prediction" not in known:
        raise ValueError("Argument `dataset` must have a test set, but has no test_prediction.")
    count = known.sizes["test_sample"]
    training = None
    if hasattr(x, "x_test"):
        if x.x_test is None:
            raise ValueError("Argument `x` must be a problem with a test set, but has none.")
        problem, x = x, x.x_test
        target = problem.y_test if target is None else target
        training = (np.asarray(problem.x), np.asarray(problem.y))
    x = array("x", x, (1, 2), f"{count} test inputs of one dimension").reshape(len(x), -1)
    if x.shape != (count, 1):
        raise ValueError(f"Argument `x` must be {count} test inputs of one dimension, but has {x.shape}.")
    if training is not None and training[0].shape[1] != 1:
        training = None
    output = chosen_index("output", output, known.sizes["output"])
    if target is not None:
        rule = f"one value per test input, {count}"
        target = array("target", target, (1, 2), rule).reshape(len(target), -1)
        if target.shape[0] != count or target.shape[1] <= output:
            raise ValueError(f"Argument `target` must be {rule}, but has shape {target.shape}.")
    step = chosen_step(step, known["step"].values)
    order = np.argsort(x[:, 0], kind="stable")
    across = x[order, 0]

    def values(run):
        found = run["test_prediction"].isel(step=step, output=output).transpose(..., "test_sample").values
        return found[..., order].astype(float)

    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        if target is not None:
            style = {"color": TARGET, "lw": 1.2, "ls": (0, (4, 2)), "label": "target"}
            drawn["target"] = ax.plot(across, target[order, output], **style, zorder=3)[0]
            handles.append(drawn["target"])
        if finite is not None:
            networks = survivors(finite, values(finite))
            mean, repeats = networks.mean(0), networks.shape[0]
            drawn["mean"] = ax.plot(across, mean, color=DARK, lw=1.1, zorder=2.5)[0]
            name = f", ${symbol(size)}={int(finite[size])}$" if size else ""
            words = f"mean of {repeats} networks{name}" if repeats > 1 else f"one network{name}"
            handles.append(Line2D([], [], color=DARK, lw=1.1, label=words))
            if repeats > 1:
                half = 2 * networks.std(0, ddof=1)
                band = {"color": DARK, "alpha": 0.25, "lw": 0}
                drawn["band"] = ax.fill_between(across, mean - half, mean + half, zorder=1, **band)
                handles.append(Patch(**band, label=r"$\pm$ 2 std over networks"))
        if limit is not None:
            drawn["limit"] = ax.plot(across, values(limit), color=LIMIT, lw=1.3, zorder=4)[0]
            handles.append(Line2D([], [], color=LIMIT, lw=1.3, label="limit"))
        if training is not None:
            style = {"ls": "none", "marker": "o", "ms": 3.5, "mfc": "white", "mec": LIMIT, "mew": 0.8}
            drawn["training"] = ax.plot(training[0][:, 0], training[1][:, output], **style, zorder=5)[0]
            handles.append(Line2D([], [], **style, label="training set"))
        ax.set_xlim(across[0], across[-1])
        ax.set_xlabel("input $x$")
        ax.set_ylabel(label_of(known["prediction"]))
        drawn["legend"] = legend_above(ax, handles, columns=2)
    return drawn


def _runs(dataset, width):
    """(networks of one size or None, limit or None, name of the size or None)."""
    if is_study(dataset):
        finite, limit = groups(dataset, "finite", "limit")
        size = size_of(finite)
        return finite.sel({size: chosen_size("width", width, finite[size].values)}), limit, size
    run = run_of(dataset)
    size = next((s for s in ("width", "depth", "embedding") if s in run.coords), None)
    return (run, None, size) if "seed" in run.dims else (None, run, None)
