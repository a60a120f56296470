"""The output of single networks over training, and where the limit predicts them."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from meanfield.base.checks import fail
from meanfield.plot.canvas import Artists, axes_of, legend_above, time_axis
from meanfield.plot.colours import DARK, LIMIT
from meanfield.plot.parts import chosen_index, chosen_size, groups, size_of
from meanfield.plot.words import prediction_label, symbol, time_label

SPLITS = {"train": "prediction", "test": "test_prediction"}


def predictions(study, sample=0, output=0, split="train", width=None, ax=None):
    """f(x_p) of every network of one size against training time, with the limit and the predicted spread.

    Thin lines are single networks, black is the limit; the band, where the study has `/fluctuation`, is
    limit ± 2 std / √n: asymptotically 95% of networks are inside it at any time.

    Args:
        study: the tree that `meanfield.study` returns.
        sample, output: which of them, counted from 0.
        split: "train" or "test".
        width: one of the sizes of the study; by default the smallest, which spreads most.
        ax: axes to draw on; by default those of a new figure.
    Returns:
        dict of artists by name ("networks": list of lines, "limit", "predicted"), with its `ax` and `figure`.
    """
    finite, limit = groups(study, "finite", "limit")
    if split not in SPLITS:
        fail("split", "train or test", split)
    quantity = SPLITS[split]
    if quantity not in finite or quantity not in limit:
        fail("split", "train for a study without a test set", split)
    size = size_of(finite)
    width = chosen_size("width", width, finite[size].values)
    axis = "sample" if split == "train" else "test_sample"
    at = {
        axis: chosen_index("sample", sample, finite.sizes[axis]),
        "output": chosen_index("output", output, finite.sizes["output"]),
    }
    networks = finite[quantity].sel({size: width}).isel(at).transpose("seed", "step").values
    reference = limit[quantity].isel(at).values
    times = finite["time"].values
    letter = symbol(size)
    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        thin = {"color": DARK, "lw": 0.5, "alpha": 0.55}
        drawn["networks"] = [ax.plot(times, values, zorder=2, **thin)[0] for values in networks]
        handles.append(Line2D([], [], **thin, label=f"{len(networks)} networks, ${letter}={width}$"))
        drawn["limit"] = ax.plot(times, reference, color=LIMIT, lw=1.4, zorder=4)[0]
        handles.append(Line2D([], [], color=LIMIT, lw=1.4, label="limit"))
        if "fluctuation" in study.children:
            (predicted,) = groups(study, "fluctuation")
            half = 2 * predicted[f"{quantity}_std"].isel(at).values / np.sqrt(width)
            band = {"color": "0.8", "lw": 0}
            drawn["predicted"] = ax.fill_between(times, reference - half, reference + half, zorder=1, **band)
            handles.append(Patch(**band, label=rf"predicted: limit $\pm$ 2 std$\,/\sqrt{{{letter}}}$"))
        time_axis(ax, times, time_label(finite["time"]))
        ax.set_ylabel(prediction_label(finite, quantity, sample))
        drawn["legend"] = legend_above(ax, handles, columns=2)
    return drawn
