"""Which layers learn features as the width grows, under each of the parametrizations in use?

Claim: with W^l = n^{−a_l} w^l, w^l ~ N(0, n^{−2b_l}) and learning rates η n^{−c_l}, features of layer l and
the output move by powers of n that follow from a, b, c (Yang & Hu 2021; THEORY 3). The maximal update
parametrization moves every layer by order one; the NTK parametrization, and the standard one with its
learning rate divided by n, by n^{-1/2}, the kernel regime; the standard one as it is moves by n^{1/2} in its
first step, its output by more, and training diverges. The integrable one (mean field in every layer) starts
from hidden fields that vanish: its first layer moves after the others, and beyond two hidden layers nothing
does (Hajjar, Chizat & Giraud 2021). Mean field in the narrow sense, one hidden layer, is shown there.

What grows has no firm exponent, for training is soon nonlinear: it has to grow, and only the first step of
training that is not stable is looked at. The output is centred, f − f_0. One exponent at these widths is not
the predicted one: a hidden field of n^{-1/2} at the start corrects the first step of the integrable
parametrization by that order, and its second layer falls like n^{-0.07}; from width 256 to 4096, like
n^{-0.002 ± 0.013}.

Data: digits 3 and 8, relu, one learning rate for all: a fifth of the stability edge of the kernel regime.
Time: half a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Yang & Hu 2021, Tensor programs IV: feature learning in infinite-width neural networks, Proceedings of "
    "Machine Learning Research 139, 11727-11737",
    "Jacot, Gabriel & Hongler 2018, Neural tangent kernel: convergence and generalization in neural "
    "networks, Advances in Neural Information Processing Systems 31",
    "Hajjar, Chizat & Giraud 2021, Training integrable parameterizations of deep neural networks in the "
    "infinite-width limit, arXiv:2110.15596",
)


def studies(**options):
    """None: networks of parametrizations without a common limit, each kept by `simulate`."""
    return {}


def candidates(hidden_layers):
    """{name: Parametrization} of those that have as many hidden layers."""
    known = mf.parametrizations
    found = {"standard": known.standard, "standard, c = 1": known.standard.with_rates(1), "ntk": known.ntk}
    if hidden_layers == 1:
        found["mean field"] = known.mean_field
    return {**found, "mup": known.mup, "integrable": known.integrable}


def compute(
    *,
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
    seeds: int = 16,
    hidden_layers: int = 2,
    samples: int = 16,
    steps: int = 10,
    relative_rate: float = 0.2,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every parametrization and width, trained from the same draws.

    Args:
        widths: of every hidden layer, three at least.
        seeds: networks of every width, three at least; a narrow network is a part of a wide one.
        hidden_layers: L.
        samples: training images.
        steps: steps of gradient descent, two at least.
        relative_rate: learning rate over the stability edge of the kernel regime.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import warnings

    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.digits((3, 8), samples, 0, squared_norm=64, key=key)
    layers = range(1, hidden_layers + 1)
    options = {"weight_variance": 2.0, "centred": True}
    relu, known = mf.activations.relu, candidates(hidden_layers)
    edge = mf.stability(mf.MLP(hidden_layers, relu, mf.parametrizations.ntk, **options), problem)
    training = mf.GradientDescent(relative_rate * edge, steps)
    looks = tuple(mf.observe.FeatureMovement((1, steps), layer=i, name=f"layer_{i}") for i in layers)
    quantities = [*(f"layer {i}" for i in layers), "output"]
    size = np.empty((len(known), seeds, len(widths), len(quantities), 2))
    loss = np.empty((len(known), len(widths), steps + 1))
    for i, parametrization in enumerate(known.values()):
        model = mf.MLP(hidden_layers, relu, parametrization, **options)
        for k, width in enumerate(widths):
            with warnings.catch_warnings():
                # Too large a learning rate, and what comes of it, is what the standard one is there to show.
                warnings.filterwarnings("ignore", "The learning rate|Training diverged", RuntimeWarning)
                run = mf.simulate(
                    model.finite(width), problem, training, seeds=seeds, observe=looks, key=key,
                    progress=progress, store=part_of(store),
                )  # fmt: skip
            for j, look in enumerate(looks):
                size[i, :, k, j] = run[look.name].values
            output = run["prediction"].sel(step=[1, steps]).transpose("seed", "step", ...)
            size[i, :, k, -1] = np.sqrt((output.values.astype(float) ** 2).mean((2, 3)))
            loss[i, k] = run["loss"].mean("seed", skipna=False)
    coords = {
        "parametrization": list(known),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
        "quantity": quantities,
        "look": ("look", [1, steps], {"long_name": "step", "units": "1"}),
    }
    dims = ("parametrization", "seed", "width", "quantity", "look")
    text = "rms movement of features and of the output"
    moved = xr.Dataset({"size": (dims, size, {"long_name": text, "units": "1"})}, coords)
    text = "training loss, mean over networks"
    groups = {
        "movement": moved,
        "exponents": fitted(moved, hidden_layers),
        "training": xr.Dataset(
            {"loss": (("parametrization", "width", "step"), loss, {"long_name": text, "units": "1"})},
            {"parametrization": list(known), "width": list(widths), "step": np.arange(steps + 1)},
        ),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "problem": repr(problem), "training": repr(training), "edge": edge, "seeds": seeds,
        "hidden_layers": hidden_layers, "key": key,
    }  # fmt: skip
    return tree


def predicted_sizes(parametrization, hidden_layers, look):
    """Exponents of the movement of all layers and of the output after that many steps; NaN where training is
    not stable and has made more than one."""
    if look > 1 and parametrization.regime(hidden_layers) == "unstable":
        return [float("nan")] * (hidden_layers + 1)
    sizes = parametrization.sizes(hidden_layers, look)
    return [*sizes.hidden_change, sizes.output_change]


def fitted(moved, hidden_layers):
    """Exponents in the width of everything, with what narrow networks being off the law adds to their errors,
    the predicted ones, and verdicts."""
    import numpy as np
    import xarray as xr

    from meanfield.studies.scaling_check import exponent_variables, exponents

    seeds, known = moved.sizes["seed"], candidates(hidden_layers)
    size = moved["size"].transpose("seed", "width", ...)
    value, error, _ = exponents(moved["width"].values, size.values)
    predicted = [
        [predicted_sizes(p, hidden_layers, int(look)) for look in moved["look"].values]
        for p in known.values()
    ]
    predicted = np.swapaxes(predicted, 1, 2)  # (parametrization, quantity, look)
    words = np.vectorize(lambda *at: verdict_on(*at, seeds), otypes=[str])(value, error, predicted)
    dims, text = size.dims[2:], "exponent of the movement in the width"
    return xr.Dataset(
        exponent_variables(dims, text, value, error, predicted, words),
        {name: moved[name] for name in dims},
    )


def verdict_on(value, error, predicted, seeds):
    """The usual words; "grows" where that is predicted and seen at 99.9%, "" where nothing is predicted."""
    import math

    from meanfield.numerics.statistics import student_interval
    from meanfield.studies.compare import verdict

    if math.isnan(predicted):
        return ""
    if predicted > 0 and value > student_interval(seeds, 0.999) * error:
        return "grows"
    return verdict(value, error, predicted, seeds)


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, found, loss = data.attrs, data["exponents"].dataset, data["training"].dataset
    layers = about["hidden_layers"]
    lines = [
        f"MLP with {layers} hidden layer{'s' if layers > 1 else ''} of relu, σ_w² = 2, output centred",
        f"  on {about['problem']}",
        f"  by {about['training']}; the stability edge of the kernel regime is at {about['edge']:.2g}",
        f"  widths {', '.join(str(n) for n in loss['width'].values)}; {about['seeds']} networks each",
        "",
        "movement ∝ width^p",
        "".join(
            [f"{'':<18}{'':<10}"]
            + [f"{'after ' + str(t) + (' steps' if t > 1 else ' step'):<42}" for t in found["look"].values]
        ).rstrip(),
    ]
    for name in found["parametrization"].values:
        for quantity in found["quantity"].values:
            row = f"{name if quantity == found['quantity'].values[0] else '':<18}{quantity:<10}"
            for look in found["look"].values:
                at = found.sel(parametrization=name, quantity=quantity, look=look)
                value, theory = float(at["exponent"]), float(at["predicted"])
                measured = (
                    with_error(value, float(at["exponent_error"])) if np.isfinite(value) else "diverged"
                )
                row += f"{measured:<17}" + (
                    "" if np.isnan(theory) else f"theory {theory:<5g}{at['verdict'].item():<13}"
                )
            lines.append(row.rstrip())
    words = [str(word) for word in found["verdict"].values.ravel() if word]
    counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    lines += [f"all {len(words)}: {counted}", "", f"training loss after {int(loss['step'][-1])} steps"]
    lines.append(f"{'':<18}" + "".join(f"{'n = ' + str(n):<12}" for n in loss["width"].values).rstrip())
    for name in loss["parametrization"].values:
        last = loss["loss"].sel(parametrization=name).isel(step=-1).values
        cells = (f"{value:<12.2e}" if np.isfinite(value) else f"{'diverged':<12}" for value in last)
        lines.append(f"{name:<18}" + "".join(cells).rstrip())
    return "\n".join(lines)


def styles(names):
    """(colour, marker, line) of every parametrization."""
    from meanfield.plot.colours import DARK, LIGHT, LIMIT, THIRD

    known = {
        "standard": ("0.45", "x", (0, (1, 1))), "standard, c = 1": ("0.45", "D", "-"),
        "ntk": (LIGHT, "s", "-"), "mean field": (THIRD, "v", "-"), "mup": (DARK, "o", "-"),
        "integrable": (LIMIT, "^", (0, (4, 2))),
    }  # fmt: skip
    return {name: dict(zip(("color", "marker", "ls"), known[name], strict=True)) for name in names}


LABELS = {"mup": r"$\mu$P", "ntk": "NTK", "standard, c = 1": "standard, $c=1$"}


def draw(data):
    """Movement of the last hidden layer against the width; all exponents; losses at the largest width."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        draw_movement(data, axes[0])
        draw_exponents(data, axes[1])
        draw_loss(data, axes[2])
    return figure


def draw_movement(data, ax):
    """Features of the last hidden layer after one step, with the predicted laws through their middle."""
    import numpy as np

    from meanfield.plot.canvas import law_through, legend_above, plain_log_ticks, size_axis

    moved = data["movement"]["size"].isel(look=0).isel(quantity=-2)
    predicted = data["exponents"]["predicted"].isel(look=0).isel(quantity=-2)
    widths = moved["width"].values
    ax.set_yscale("log")
    size_axis(ax, widths)
    handles = []
    for name, style in styles(moved["parametrization"].values).items():
        values = np.exp(np.log(moved.sel(parametrization=name)).mean("seed").values)
        power = float(predicted.sel(parametrization=name))
        law_through(ax, widths, values, power)
        handles += ax.plot(widths, values, ms=3.5, lw=1, label=LABELS.get(name, name), **style)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel("movement of the last hidden layer,\none step")
    legend_above(ax, handles, columns=2)


def draw_exponents(data, ax):
    """Exponents of every layer and the output with 95% intervals, open after one step; bars are predicted."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.numerics.statistics import student_interval
    from meanfield.plot.canvas import estimates, legend_above
    from meanfield.plot.colours import LAW

    found = data["exponents"].dataset
    half = student_interval(data.attrs["seeds"])
    names, quantities = found["parametrization"].values, found["quantity"].values
    place = np.arange(len(quantities))
    for i, (name, style) in enumerate(styles(names).items()):
        for look, face, shift in ((0, "white", -0.03), (1, style["color"], 0.03)):
            at = found.sel(parametrization=name).isel(look=look)
            x = place + shift + 0.16 * (i - (len(names) - 1) / 2)
            theory, y, error = (at[n].values for n in ("predicted", "exponent", "exponent_error"))
            kept = np.isfinite(theory) & np.isfinite(y)
            x, theory, y, error = x[kept], theory[kept], y[kept], half * error[kept]
            ax.hlines(theory, x - 0.08, x + 0.08, color=LAW, lw=1.4, zorder=1)
            estimates(ax, x, y, error, ms=3, mew=0.7, mfc=face, **style)
    ax.set_xticks(place, quantities)
    ax.set_ylabel("exponent of the movement in $n$")
    mark = {"marker": "o", "ls": "none", "ms": 3, "mew": 0.7, "color": "0.35"}
    handles = [
        Line2D([], [], mfc="white", label="one step", **mark),
        Line2D([], [], label=f"{int(found['look'][-1])} steps", **mark),
        Line2D([], [], color=LAW, lw=1.4, label="theory"),
    ]
    legend_above(ax, handles, columns=2)


def draw_loss(data, ax):
    """Training loss over the steps at the largest width, and thinner at the smallest."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, plain_log_ticks

    loss = data["training"]["loss"]
    steps, widths = loss["step"].values, loss["width"].values
    top = 10 * float(loss.isel(step=0).max())
    ax.set_yscale("log")
    for name, style in styles(loss["parametrization"].values).items():
        for width, lw in ((widths[0], 0.5), (widths[-1], 1.2)):
            values = loss.sel(parametrization=name, width=width).values
            beyond = np.flatnonzero(~(values < top))
            shown = values[: beyond[0] + 1] if beyond.size else values  # the way out, and no further
            ax.plot(steps[: len(shown)], shown, color=style["color"], ls=style["ls"], lw=lw)
    ax.set_ylim(top=top)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    handles = [
        Line2D([], [], color="0.35", lw=lw, label=f"$n={width}$")
        for width, lw in ((widths[0], 0.5), (widths[-1], 1.2))
    ]
    legend_above(ax, handles, columns=2)
