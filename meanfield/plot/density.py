"""The density of one coordinate of the neurons."""

import numpy as np

from meanfield.base.checks import fail
from meanfield.plot.canvas import Artists, axes_of, legend_above
from meanfield.plot.colours import shades
from meanfield.plot.parts import mean_and_error, run_of, survivors
from meanfield.plot.words import label_of


def histogram(dataset, name=None, ax=None):
    """Density of one coordinate of the neurons at every step that was looked at, early light to late dark.

    Of networks the mean over seeds, of a limit over replicates; bands are ± 2 standard errors of that mean.

    Args:
        dataset: a run of `simulate` that was looked at with `meanfield.observe.Histogram(...)`.
        name: which one, such as histogram_a0, where there are several.
        ax: axes to draw on; by default those of a new figure.
    Returns:
        dict of artists by name ("step 0", "step 0 band", ...), with its `ax` and `figure`.
    """
    run = run_of(dataset)
    known = [d.removesuffix("_bin") for d in run.dims if d.endswith("_bin")]
    if not known:
        raise ValueError(
            "Argument `dataset` must have been observed with Histogram(...), but has no histogram."
        )
    if name is None:
        name = known[0]
        if len(known) > 1:
            raise ValueError(f"Argument `name` must be given where there are several: {', '.join(known)}.")
    if name not in known:
        fail("name", f"one of {', '.join(known)}", name)
    centres = run[f"{name}_bin"].values
    half_bin = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
    edges = np.append(centres - half_bin, centres[-1] + half_bin)
    times = run[f"{name}_time"].values
    with axes_of(ax) as ax:
        drawn, handles = Artists(ax), []
        steps = run[f"{name}_step"].values
        for position, (step, colour) in enumerate(zip(steps, shades(len(steps)), strict=True)):
            mean, error = _at(run, name, position)
            line = ax.stairs(mean, edges, color=colour, lw=1.1, zorder=2 + position / 100)
            line.set_label(f"$t={times[position]:.4g}$")
            drawn[f"step {step}"] = line
            handles.append(line)
            if np.isfinite(error).all():
                low, high = np.maximum(mean - 2 * error, 0), mean + 2 * error
                band = {"color": colour, "alpha": 0.25, "lw": 0, "zorder": 1}
                drawn[f"step {step} band"] = ax.stairs(high, edges, baseline=low, fill=True, **band)
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylim(bottom=0)
        coordinate = run[f"{name}_bin"].attrs["long_name"].rpartition(" ")[2]
        shown = coordinate_symbol(run, coordinate)
        ax.set_xlabel(shown)
        ax.set_ylabel(label_of(run[name]).partition(" (")[0].replace(coordinate, shown))
        drawn["legend"] = legend_above(ax, handles, columns=4)
    return drawn


def _at(run, name, position):
    """(density, standard error), (bins,), at one look."""
    density = run[name].isel({f"{name}_step": position})
    if "seed" in density.dims:
        return mean_and_error(survivors(run, density.transpose("seed", ...).values))
    error = run[f"{name}_error"].isel({f"{name}_step": position}).values if f"{name}_error" in run else np.nan
    return density.values, error


def coordinate_symbol(run, coordinate):
    """w_1 for w0: components count from 1 in print, and a single one has no number."""
    letter, number = coordinate[0], coordinate[1:]
    alone = not number.isdigit() or (letter == "a" and run.sizes.get("output") == 1)
    return f"${letter}$" if alone else f"${letter}_{{{int(number) + 1}}}$"
