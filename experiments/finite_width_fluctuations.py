"""How large are the fluctuations of wide networks, and does feature learning make them smaller?

Claim: over their initialisations, predictions and tangent kernels of networks of width n have variances of
order 1/n at fixed time, with constants that the dynamics of the limit determines; in the rich regime, where
features are learned, the constant of the predictions is smaller than in the lazy one (Bordelon & Pehlevan
2023). Outputs are centred, f − f_0, or the variance 1/(γ²n) of the output at initialisation would hide it.

Data: digits 3 and 8, predictions on test images after training at equal time, tanh, two hidden layers.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Bordelon & Pehlevan 2023, Dynamics of finite width kernel and prediction fluctuations in mean field "
    "neural networks, Advances in Neural Information Processing Systems 36",
    "Dyer & Gur-Ari 2020, Asymptotics of wide networks from Feynman diagrams, International Conference on "
    "Learning Representations",
)
QUANTITIES = {
    "prediction": "test predictions",
    "kernel": "tangent kernel",
}


def studies(**options):
    """None: networks of many γ, each kept by `simulate`."""
    return {}


def compute(
    *,
    widths: tuple[int, ...] = (32, 64, 128, 256, 512),
    richness: tuple[float, ...] = (0.25, 1.0, 4.0),
    seeds: int = 64,
    hidden_layers: int = 2,
    samples: int = 16,
    test_samples: int = 32,
    steps: int = 60,
    learning_rate: float = 0.4,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width and γ, their variances, exponents.

    Args:
        widths: of every hidden layer, three at least.
        richness: values of γ, increasing.
        seeds: networks of every width, three at least.
        hidden_layers: L.
        samples: training images.
        test_samples: test images.
        steps: steps of gradient descent.
        learning_rate: η.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.digits((3, 8), samples, test_samples, squared_norm=64, key=key)
    training = mf.GradientDescent(learning_rate, steps)
    shape = (len(QUANTITIES), len(richness), len(widths))
    variance, left_out = np.empty(shape), np.empty((seeds, *shape))
    loss = np.empty((2, *shape[1:]))
    for i, gamma in enumerate(richness):
        model = mf.MLP(hidden_layers, mf.activations.tanh, mf.parametrizations.mup, gamma, centred=True)
        for k, width in enumerate(widths):
            run = mf.simulate(
                model.finite(width), problem, training, seeds=seeds, observe=mf.observe.Kernel(), key=key,
                record=[0, steps], progress=progress, store=part_of(store),
            )  # fmt: skip
            end = run["test_prediction"].isel(step=-1), run["kernel"].isel(kernel_step=-1)
            for q, values in enumerate(end):
                variance[q, i, k], left_out[:, q, i, k] = relative_variance(values.values)
            loss[:, i, k] = [float(run[n].isel(step=-1).mean()) for n in ("loss", "test_loss")]
    coords = {
        "quantity": list(QUANTITIES),
        "richness": ("richness", list(richness), {"long_name": "richness", "units": "1"}),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
    }
    dims, text = tuple(coords), "variance over networks, relative to the mean square"
    measured = xr.Dataset(
        {
            "variance": (dims, variance, {"long_name": text, "units": "1"}),
            "left_out": (("seed", *dims), left_out, {"long_name": f"{text}, one left out", "units": "1"}),
            "loss": (dims[1:], loss[0], {"long_name": "training loss, mean over networks", "units": "1"}),
            "test_loss": (dims[1:], loss[1], {"long_name": "test loss, mean over networks", "units": "1"}),
        },
        coords,
    )
    tree = xr.DataTree.from_dict({"variances": measured, "exponents": fitted(measured)})
    tree.attrs = {
        "problem": repr(problem), "training": repr(training), "seeds": seeds, "key": key,
        "hidden_layers": hidden_layers,
    }  # fmt: skip
    return tree


def relative_variance(values):
    """(variance over the first axis, summed over all others and relative to the squares of the mean; the
    same with each repeat left out)."""
    import numpy as np

    flat = values.reshape(values.shape[0], -1).astype(float)
    repeats = len(flat)

    def ratio(total, squares, count):
        mean = np.sum((total / count) ** 2, -1)
        spread = (squares - count * mean) / (count - 1)
        return spread / (mean - spread / count)  # the square of the mean without its own noise

    total, squares = flat.sum(0), np.sum(flat**2)
    left = ratio(total - flat, squares - np.sum(flat**2, 1), repeats - 1)
    return ratio(total, squares, repeats), left


def fitted(measured):
    """Exponents of variances in the width by least squares on logarithms and, for every γ, the constant n·V
    over all widths relative to that of the smallest γ; errors by the jackknife over networks, all widths and
    γ together, and for exponents what the narrowest width leaves of a 1/n correction."""
    import numpy as np
    import xarray as xr

    from meanfield.numerics.statistics import jackknife_error
    from meanfield.studies.compare import verdict

    widths = measured["width"].values.astype(float)
    dims = ("quantity", "richness")

    def slope(values, first=0):
        x = np.log(widths[first:])
        x = x - x.mean()
        return np.log(values[..., first:]) @ x / np.sum(x**2)

    def constants(values):
        size = np.exp(np.mean(np.log(values * widths), -1))
        return size / size[..., :1]

    value = measured["variance"].transpose(*dims, "width").values
    left = measured["left_out"].transpose("seed", *dims, "width").values
    drift = (slope(value, 1) - slope(value)) / (1 - widths[0] / widths[1])
    own = jackknife_error((slope(left, 1) - slope(left)) / (1 - widths[0] / widths[1]))
    exponent, noise = slope(value), jackknife_error(slope(left))
    error = np.hypot(noise, np.sqrt(np.maximum(drift**2 - own**2, 0)))
    seeds = left.shape[0]
    words = np.vectorize(lambda v, e: verdict(v, e, -1.0, seeds), otypes=[str])(exponent, error)
    about = {
        "exponent": (exponent, "exponent of the variance in the width"),
        "exponent_error": (error, "one standard error of the exponent"),
        "predicted": (np.full(exponent.shape, -1.0), "predicted exponent"),
        "constant": (constants(value), "width x variance over that of the smallest richness"),
        "constant_error": (jackknife_error(constants(left)), "one standard error of that ratio"),
    }
    found = {name: (dims, v, {"long_name": text, "units": "1"}) for name, (v, text) in about.items()}
    found["verdict"] = dims, words, {"long_name": "measured against predicted exponent"}
    return xr.Dataset(found, {name: measured[name] for name in dims})


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    about, found, measured = data.attrs, data["exponents"].dataset, data["variances"].dataset
    lines = [
        f"MLP with {about['hidden_layers']} hidden layers of tanh, μP, output centred, on {about['problem']}",
        f"  by {about['training']}",
        f"  widths {', '.join(str(n) for n in measured['width'].values)}; {about['seeds']} networks each",
        "",
        "variance over networks after training ∝ width^p, and n x variance relative to the smallest γ",
    ]
    for quantity, text in QUANTITIES.items():
        lines.append(f"{text:<18}{'γ':<8}{'measured p':<18}{'theory':<8}{'':<16}relative n x variance")
        for gamma in found["richness"].values:
            at = found.sel(quantity=quantity, richness=gamma)
            slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
            ratio = with_error(float(at["constant"]), float(at["constant_error"]))
            lines.append(f"{'':<18}{gamma:<8g}{slope:<18}{-1:<8g}{at['verdict'].item():<16}{ratio}")
    at = found.sel(quantity="prediction").isel(richness=-1)
    ratio = with_error(float(at["constant"]), float(at["constant_error"]))
    lines += [
        f"predictions, γ = {float(at['richness']):g} against {float(found['richness'][0]):g}: {ratio}, "
        "theory below 1",
        "",
        f"{'γ':<8}{'training loss':<16}test loss, widest networks",
    ]
    for gamma in found["richness"].values:
        at = measured.sel(richness=gamma).isel(width=-1)
        lines.append(f"{gamma:<8g}{float(at['loss']):<16.3e}{float(at['test_loss']):.3e}")
    return "\n".join(lines)


def draw(data):
    """Variances of predictions and of the kernel against the width; n x variance against γ."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        for ax, quantity in zip(axes, QUANTITIES, strict=False):
            draw_variances(data, quantity, ax)
        draw_constants(data, axes[2])
    return figure


def draw_variances(data, quantity, ax):
    """Relative variances at every γ, light to dark, with their laws through the middle."""
    import numpy as np

    from meanfield.numerics.statistics import jackknife_error
    from meanfield.plot.canvas import (
        intervals,
        law_name,
        law_through,
        legend_above,
        plain_log_ticks,
        size_axis,
    )
    from meanfield.plot.colours import shades

    measured = data["variances"].dataset.sel(quantity=quantity)
    found = data["exponents"].dataset.sel(quantity=quantity)
    widths, handles = measured["width"].values, []
    ax.set_yscale("log")
    size_axis(ax, widths)
    for gamma, colour in zip(measured["richness"].values, shades(measured.sizes["richness"]), strict=True):
        values = measured["variance"].sel(richness=gamma).values
        left = measured["left_out"].sel(richness=gamma).transpose("seed", "width").values
        half = 2 * jackknife_error(np.log(left))
        law = law_through(ax, widths, values, -1.0)
        intervals(ax, widths, values * np.exp(-half), values * np.exp(half), color=colour, zorder=2)
        label = rf"$\gamma={gamma:g}$: {float(found['exponent'].sel(richness=gamma)):.2f}"
        handles += ax.plot(widths, values, color=colour, marker="o", ms=3.5, lw=1, label=label)
    law_name(ax, "$n^{-1}$", (widths[0], law[0]), xytext=(3, -8), va="baseline")
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel(f"relative variance over networks,\n{QUANTITIES[quantity]}")
    legend_above(ax, handles, title="richness: exponent")


def draw_constants(data, ax):
    """n x variance against γ, relative to the smallest."""
    from meanfield.plot.canvas import intervals, legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LAW, LIGHT

    found, handles = data["exponents"].dataset, []
    gamma = found["richness"].values
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axhline(1, color=LAW, lw=0.8, zorder=1)
    for quantity, colour, marker in (("prediction", DARK, "o"), ("kernel", LIGHT, "s")):
        at = found.sel(quantity=quantity)
        value, error = at["constant"].values, at["constant_error"].values
        intervals(ax, gamma, value - 2 * error, value + 2 * error, color=colour, zorder=2)
        handles += ax.plot(gamma, value, color=colour, marker=marker, ms=4, lw=1, label=QUANTITIES[quantity])
    ax.set_xticks(gamma, [f"{g:g}" for g in gamma])
    ax.set_xticks([], minor=True)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel(r"richness $\gamma$")
    ax.set_ylabel(r"$n\times$ variance over that of the smallest $\gamma$")
    legend_above(ax, handles)
