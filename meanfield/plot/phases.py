"""Order and chaos in the plane of weight and bias variance."""

import numpy as np

from meanfield.plot.canvas import COLUMN, Artists, axes_of
from meanfield.plot.colours import LIMIT

NEEDED = {
    "susceptibility": ("weight_variance", "bias_variance"),
    "critical_weight_variance": ("point",),
    "critical_bias_variance": ("point",),
}


def phase_diagram(dataset, ax=None, *, longest=100.0):
    """Layers over which a small difference shrinks or grows by e, 1/|ln χ_1|, and the critical line χ_1 = 1.

    Args:
        dataset: `susceptibility (weight_variance, bias_variance)`, χ_1 at the centres of a regular grid, and
            the line `critical_weight_variance (point)`, `critical_bias_variance (point)`, in the order of its
            points, as `meanfield.kernels.critical_line` gives it.
        ax: axes to draw on; by default those of a new figure.
        longest: number of layers from which on the colour stays the same.
    Returns:
        dict of artists by name ("scale", "critical line", "colours", "ordered", "chaotic"), with its `ax` and
        `figure`.
    """
    for name, dims in NEEDED.items():
        if name not in dataset or dataset[name].dims != dims:
            raise ValueError(
                f"Argument `dataset` must have {name} ({', '.join(dims)}), but has "
                f"{', '.join(map(str, dataset)) or 'nothing'}."
            )
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    greys = ListedColormap(colormaps["Greys"](np.linspace(0, 0.6, 256)))  # the line stays darker

    weight, bias = dataset["weight_variance"].values, dataset["bias_variance"].values
    chi = dataset["susceptibility"].values
    with np.errstate(divide="ignore"):
        scale = np.minimum(1 / np.abs(np.log(chi)), longest)
    extent = [v for axis in (weight, bias) for v in (_edge(axis, 0), _edge(axis, -1))]
    with axes_of(ax, size=COLUMN) as ax:
        drawn = Artists(ax)
        drawn["scale"] = ax.imshow(
            scale.T, origin="lower", aspect="auto", extent=extent, cmap=greys,
            norm=LogNorm(max(scale.min(), longest / 1e3), longest), interpolation="nearest",
        )  # fmt: skip
        x, y = (dataset[f"critical_{name}_variance"].values for name in ("weight", "bias"))
        drawn["critical line"] = ax.plot(x, y, color=LIMIT, lw=1.3, zorder=4)[0]
        ax.set(xlim=extent[:2], ylim=extent[2:])
        ax.set_xlabel(r"weight variance $\sigma_w^2$")
        ax.set_ylabel(r"bias variance $\sigma_b^2$")
        drawn["colours"] = ax.figure.colorbar(drawn["scale"], ax=ax, pad=0.02, extend="max")
        drawn["colours"].set_label(r"layers per factor e, $1/|\ln\chi_1|$")
        for name, x, side in (("ordered", 0.04, "left"), ("chaotic", 0.96, "right")):
            drawn[name] = ax.text(
                x, 0.96, name, transform=ax.transAxes, ha=side, va="top", fontsize="small", zorder=5
            )
    return drawn


def _edge(axis, end):
    """Where the first or the last cell of a regular grid of centres ends."""
    half = (axis[1] - axis[0]) / 2
    return float(axis[0] - half if end == 0 else axis[-1] + half)
