"""Neurons as points of the plane."""

import numpy as np
from matplotlib.lines import Line2D

from meanfield.base.checks import boolean, fail
from meanfield.plot.canvas import SQUARE, Artists, axes_of, legend_above
from meanfield.plot.colours import DARK, LIGHT
from meanfield.plot.parts import chosen_index, chosen_step, run_of

SIGNS = {"positive": (1, DARK, "o", "$a>0$"), "negative": (-1, LIGHT, "^", "$a<0$")}


def particles(dataset, step=-1, ax=None, *, scaled=False, seed=0, output=0):
    """Neurons in the plane: w for two inputs, (w, b) for one input and a bias; filled where a > 0, open else.

    The area of a point is proportional to the neuron's mass, where masses differ.

    Args:
        dataset: a run of `simulate` that was looked at with `meanfield.observe.Neurons()`.
        step: a step at which it looked; −1 is the last one.
        ax: axes to draw on; by default those of a new figure.
        scaled: draw |a|w (|a|(w, b)), which is all that counts for a homogeneous activation.
        seed: which network, one of the numbers in `dataset.seed`; not looked at for a limit.
        output: the component of a.
    Returns:
        dict of artists by name ("positive", "negative"), with its `ax` and `figure`.
    """
    run = run_of(dataset)
    if "neurons_w" not in run:
        raise ValueError("Argument `dataset` must have been observed with Neurons(), but has no neurons_w.")
    if "seed" in run.dims:
        if seed not in run["seed"].values:
            fail("seed", f"one of {', '.join(map(str, run['seed'].values))}", seed)
        run = run.sel(seed=seed)
    inputs = run.sizes["input"]
    if inputs != 2 and not (inputs == 1 and "neurons_b" in run):
        raise ValueError(
            "Argument `dataset` must have two inputs, or one and a bias, to be seen in the plane, but has "
            f"{inputs}{' and a bias' if 'neurons_b' in run else ''}."
        )
    scaled = boolean("scaled", scaled)
    run = run.isel(neurons_step=chosen_step(step, run["neurons_step"].values))
    a = run["neurons_a"].values[:, chosen_index("output", output, run.sizes["output"])]
    points = run["neurons_w"].values
    if inputs == 1:
        points = np.column_stack([points[:, 0], run["neurons_b"].values])
    if scaled:
        points = np.abs(a)[:, None] * points
    mass = run["neurons_weight"].values
    area = 9 * mass / mass[mass > 0].mean()
    names = ("$w$", "$b$") if inputs == 1 else ("$w_1$", "$w_2$")
    with axes_of(ax, size=SQUARE) as ax:
        drawn, handles = Artists(ax), []
        for name, (sign, colour, marker, label) in SIGNS.items():
            chosen = (sign * a > 0) & (mass > 0)
            style = {"marker": marker, "edgecolors": colour, "linewidths": 0.6, "alpha": 0.8}
            face = colour if sign > 0 else "none"
            drawn[name] = ax.scatter(*points[chosen].T, s=area[chosen], facecolors=face, label=label, **style)
            face = colour if sign > 0 else "white"
            style = {"marker": marker, "color": colour, "mfc": face, "ms": 4, "mew": 0.8}
            handles.append(Line2D([], [], ls="none", **style, label=label))
        if inputs == 2:
            reach = 1.06 * np.abs(points[mass > 0]).max()
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set_xlabel(f"$|a|\\,${names[0]}" if scaled else names[0])
        ax.set_ylabel(f"$|a|\\,${names[1]}" if scaled else names[1])
        title = f"{int((mass > 0).sum())} neurons at $t={float(run['neurons_time']):.4g}$"
        drawn["legend"] = legend_above(ax, handles, columns=2, title=title)
    return drawn
