"""Where neurons of the plane point."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from meanfield.base.checks import fail
from meanfield.plot.canvas import SQUARE, Artists, axes_of, legend_above
from meanfield.plot.colours import DARK, LIGHT
from meanfield.plot.parts import chosen_index, chosen_step, mean_and_error, run_of, survivors

SIGNS = {"positive": (1, DARK, "-"), "negative": (-1, LIGHT, "--")}


def angular_distribution(dataset, step=-1, ax=None, *, name="angular_distribution", output=0):
    """Density of |a||w| over the angle of w, separately for a > 0 and a < 0.

    Polar where `ax` is polar and where it makes the axes itself, flat otherwise. Of networks the mean over
    seeds, of a limit over replicates; bands are ± 2 standard errors of that mean.

    Args:
        dataset: a run of `simulate` that was looked at with `meanfield.observe.AngularDistribution()`.
        step: a step at which it looked; −1 is the last one.
        ax: axes to draw on, polar or not; by default polar ones of a new figure.
        name: that of the observable.
        output: the component of a.
    Returns:
        dict of artists by name ("positive", "positive band", the same for negative), with its `ax` and
        `figure`.
    """
    run = run_of(dataset)
    known = [d.removesuffix("_angle") for d in run.dims if d.endswith("_angle")]
    if not known:
        raise ValueError(
            "Argument `dataset` must have been observed with AngularDistribution(), but has none of it."
        )
    if name not in known:
        fail("name", f"one of {', '.join(known)}", name)
    at = {
        f"{name}_step": chosen_step(step, run[f"{name}_step"].values),
        "output": chosen_index("output", output, run.sizes["output"]),
    }
    angle = run[f"{name}_angle"].values
    half_bin = np.pi / len(angle)
    edges = np.append(angle - half_bin, angle[-1] + half_bin)
    time = float(run[f"{name}_time"].values[at[f"{name}_step"]])
    with axes_of(ax, SQUARE, projection="polar") as ax:
        polar = ax.name == "polar"
        drawn, handles = Artists(ax), []
        for word, (sign, colour, style) in SIGNS.items():
            mean, error = _density(run, name, at, sign)
            line = ax.stairs(mean, edges, baseline=None, color=colour, lw=1.1, ls=style, zorder=3)
            line.set_label("$a>0$" if sign > 0 else "$a<0$")
            drawn[word] = line
            low = high = mean
            if np.isfinite(error).all():
                low, high = np.maximum(mean - 2 * error, 0), mean + 2 * error
            band = {"color": colour, "alpha": 0.25, "lw": 0}
            drawn[f"{word} band"] = ax.stairs(high, edges, baseline=low, fill=True, zorder=1, **band)
            handles.append(Line2D([], [], color=colour, lw=1.1, ls=style, label=line.get_label()))
        if polar:
            ax.set_ylim(bottom=0)
            ax.grid(color="0.88", lw=0.5)
            ax.set_xticks(np.arange(8) * np.pi / 4)
            ax.yaxis.set_major_locator(MaxNLocator(4))
        else:
            ax.set_xlim(-np.pi, np.pi)
            ax.set_xticks(np.arange(-2, 3) * np.pi / 2, [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
            ax.set_ylim(bottom=0)
            ax.set_xlabel("angle of $w$")
            ax.set_ylabel("density of $|a||w|$")
        title = f"density of $|a||w|$ over the angle of $w$, $t={time:.4g}$" if polar else f"$t={time:.4g}$"
        drawn["legend"] = legend_above(ax, handles, columns=2, title=title, lift=0.12 if polar else 0.03)
    return drawn


def _density(run, name, at, sign):
    """(density, standard error), (bins,), of neurons with one sign of a."""
    density = run[name].sel(sign=sign).isel(at)
    if "seed" in density.dims:
        return mean_and_error(survivors(run, density.transpose("seed", ...).values))
    error = run[f"{name}_error"].sel(sign=sign).isel(at).values if f"{name}_error" in run else np.nan
    return density.values, error
