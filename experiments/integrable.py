"""From which depth on does the integrable parametrization stay where it starts, and what sets it moving?

Claim: with a mean field in every layer, a_l = 1 above the first, L hidden layers start at h^l ∝ n^{-(l-1)/2},
and the first step moves the first layer by n^{-(L-1)/2}, layer l by n^{-(L-l)/2-(l-2)} and the output by
n^{-(L-2)} (THEORY 3). Two hidden layers therefore train at infinite width; three, four weight matrices, stay
at a stationary point. With larger learning rates in the first step alone, n^{(L+1)/2} and n^{(L+2)/2}, every
layer moves by order one and goes on training (Hajjar, Chizat & Giraud 2021, IP-LLR).

All of this is at a fixed number of steps as n grows. At a finite width the stationary point is left in the
end: what the first step moves by n^{-1} grows from step to step, and after 30 of them networks of a thousand
neurons have trained all the same, so that the exponents there are those of no law. With large rates the first
step has to move a layer by more than the n^{-1/2} per layer that was there before the predicted power is
seen: in the third layer it is barely so at these widths.

Data: digits 3 and 8, relu. The first step has its own learning rate η in all of them.
Time: about a minute on two cores.
"""

import dataclasses

import meanfield as mf

SOURCES = (
    "Hajjar, Chizat & Giraud 2021, Training integrable parameterizations of deep neural networks in the "
    "infinite-width limit, arXiv:2110.15596",
    "Yang & Hu 2021, Tensor programs IV: feature learning in infinite-width neural networks, Proceedings of "
    "Machine Learning Research 139, 11727-11737",
)
NAMES = ("integrable", "large first step")


@dataclasses.dataclass(frozen=True)
class TwoRates:
    """The learning rate of the first step, and that of all others."""

    first: float
    later: float

    @property
    def __name__(self):
        return f"{self.first:g} once, then {self.later:g}"

    def __call__(self, step):
        import jax.numpy as jnp

        return jnp.where(step == 0, self.first, self.later)


def parametrization(name, hidden_layers):
    found = mf.parametrizations.integrable
    return found if name == "integrable" else found.with_large_first_step(hidden_layers)


def studies(**options):
    """None: networks without a common limit, each kept by `simulate`."""
    return {}


def compute(
    *,
    depths: tuple[int, ...] = (2, 3),
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
    seeds: int = 8,
    samples: int = 16,
    steps: int = 30,
    early: int = 5,
    first_rate: float = 3.0,
    learning_rate: float = 0.3,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of both kinds at every depth and width.

    Args:
        depths: numbers of hidden layers.
        widths: of every hidden layer, three at least.
        seeds: networks of every width, three at least; a narrow network is a part of a wide one.
        samples: training images.
        steps: steps of gradient descent, two at least.
        early: features are looked at after one step, after so many, and at the end.
        first_rate: η in the first step.
        learning_rate: η afterwards.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.digits((3, 8), samples, 0, squared_norm=64, key=key)
    training = mf.GradientDescent(TwoRates(first_rate, learning_rate), steps)
    layers, looked = range(1, max(depths) + 1), sorted({1, min(early, steps), steps})
    quantities = [*(f"layer {i}" for i in layers), "output"]
    size = np.full((len(NAMES), len(depths), seeds, len(widths), len(quantities), len(looked)), np.nan)
    loss = np.empty((len(NAMES), len(depths), len(widths), steps + 1))
    for i, name in enumerate(NAMES):
        for j, depth in enumerate(depths):
            model = mf.MLP(depth, mf.activations.relu, parametrization(name, depth), weight_variance=2.0)
            looks = tuple(
                mf.observe.FeatureMovement(tuple(looked), layer=layer, name=f"layer_{layer}")
                for layer in range(1, depth + 1)
            )
            for k, width in enumerate(widths):
                run = mf.simulate(
                    model.finite(width), problem, training, seeds=seeds, observe=looks, key=key,
                    progress=progress, store=part_of(store),
                )  # fmt: skip
                for q, look in enumerate(looks):
                    size[i, j, :, k, q] = run[look.name].values
                f = run["prediction"].transpose("seed", "step", ...).values.astype(float)
                size[i, j, :, k, -1] = np.sqrt(np.mean((f[:, looked] - f[:, :1]) ** 2, (2, 3)))
                loss[i, j, k] = run["loss"].mean("seed", skipna=False)
    coords = {
        "parametrization": list(NAMES),
        "hidden_layers": ("hidden_layers", list(depths), {"long_name": "hidden layers L", "units": "1"}),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
        "quantity": quantities,
        "look": ("look", looked, {"long_name": "step", "units": "1"}),
    }
    dims = ("parametrization", "hidden_layers", "seed", "width", "quantity", "look")
    text = "rms movement of features and of the output"
    moved = xr.Dataset({"size": (dims, size, {"long_name": text, "units": "1"})}, coords)
    text = "training loss, mean over networks"
    curves = {name: coords[name] for name in ("parametrization", "hidden_layers", "width")}
    groups = {
        "movement": moved,
        "exponents": fitted(moved),
        "training": xr.Dataset(
            {"loss": ((*curves, "step"), loss, {"long_name": text, "units": "1"})},
            {**curves, "step": np.arange(steps + 1)},
        ),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"problem": repr(problem), "training": repr(training), "seeds": seeds, "key": key}
    return tree


def predicted_sizes(name, hidden_layers, quantities, look):
    """Exponents of the movement of all layers and of the output after that many steps, NaN for layers that
    are not there."""
    sizes = parametrization(name, hidden_layers).sizes(hidden_layers, look)
    missing = (float("nan"),) * (quantities - 1 - hidden_layers)
    return [*sizes.hidden_change, *missing, sizes.output_change]


def fitted(moved):
    """Exponents in the width of everything, with what narrow networks being off the law adds to their errors,
    the predicted ones, and verdicts."""
    import numpy as np
    import xarray as xr

    from meanfield.studies.compare import verdict
    from meanfield.studies.scaling_check import exponent_variables, exponents

    dims = ("parametrization", "hidden_layers", "quantity", "look")
    value, error, _ = exponents(moved["width"].values, moved["size"].transpose("seed", "width", *dims).values)
    value = np.where(np.isfinite(moved["size"]).any(("seed", "width")).transpose(*dims), value, np.nan)
    predicted = np.array(
        [
            [
                [
                    predicted_sizes(name, int(depth), moved.sizes["quantity"], int(look))
                    for look in moved["look"]
                ]
                for depth in moved["hidden_layers"]
            ]
            for name in moved["parametrization"].values
        ]
    ).swapaxes(2, 3)
    words = np.vectorize(
        lambda v, e, p: "" if np.isnan(p) else verdict(v, e, p, moved.sizes["seed"]), otypes=[str]
    )(value, error, predicted)
    text = "exponent of the movement in the width"
    return xr.Dataset(
        exponent_variables(dims, text, value, error, predicted, words),
        {name: moved[name] for name in dims},
    )


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, found, loss = data.attrs, data["exponents"].dataset, data["training"]["loss"]
    lines = [
        f"MLP of relu, σ_w² = 2, integrable parametrization, on {about['problem']}",
        f"  by {about['training']}",
        f"  widths {', '.join(str(n) for n in loss['width'].values)}; {about['seeds']} networks each",
        "",
        "movement ∝ width^p",
    ]
    head = (f"after {t} step{'s' if t > 1 else ''}" for t in found["look"].values)
    lines.append(f"{'':<36}" + "".join(f"{text:<48}" for text in head).rstrip())
    for depth in found["hidden_layers"].values:
        for name in found["parametrization"].values:
            first = f"L = {depth}, {name}"
            for quantity in found["quantity"].values:
                row, shown = f"{first:<26}{quantity:<10}", False
                for look in found["look"].values:
                    at = found.sel(hidden_layers=depth, parametrization=name, quantity=quantity, look=look)
                    theory = float(at["predicted"])
                    if np.isnan(theory):
                        continue
                    shown = True
                    measured = with_error(float(at["exponent"]), float(at["exponent_error"]))
                    row += f"{measured:<20}theory {theory:<6g}{at['verdict'].item():<15}"
                if shown:
                    lines.append(row.rstrip())
                    first = ""
    words = [str(word) for word in found["verdict"].values.ravel() if word]
    counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    lines += [f"all {len(words)}: {counted}", "", f"training loss after {int(loss['step'][-1])} steps"]
    lines.append(f"{'':<24}" + "".join(f"{'n = ' + str(n):<12}" for n in loss["width"].values).rstrip())
    for depth in found["hidden_layers"].values:
        for name in found["parametrization"].values:
            last = loss.sel(hidden_layers=depth, parametrization=name).isel(step=-1).values
            cells = "".join(f"{value:<12.2e}" for value in last)
            lines.append(f"{f'L = {depth}, {name}':<24}{cells}".rstrip())
    return "\n".join(lines)


def draw(data):
    """Movement of every layer and the output at the greatest depth, of both; losses at the largest width."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        axes[1].sharey(axes[0])
        for ax, name in zip(axes, NAMES, strict=False):
            draw_movement(data, name, ax)
        draw_losses(data, axes[2])
    return figure


def draw_movement(data, name, ax):
    """Movement early in training against the width, with the predicted laws through the middle."""
    import numpy as np

    from meanfield.plot.canvas import law_through, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import LIMIT, shades

    depth = int(data["movement"]["hidden_layers"][-1])
    at = {"parametrization": name, "hidden_layers": depth}
    moved = data["movement"]["size"].sel(at).isel(look=-2)
    predicted = data["exponents"]["predicted"].sel(at).isel(look=-2)
    widths, handles = moved["width"].values, []
    ax.set_yscale("log")
    size_axis(ax, widths)
    for quantity, colour in zip(moved["quantity"].values, (*shades(depth), LIMIT), strict=True):
        values = np.exp(np.log(moved.sel(quantity=quantity)).mean("seed").values)
        power = float(predicted.sel(quantity=quantity))
        law_through(ax, widths, values, power)
        word = rf"{quantity}: $n^{{{power:g}}}$"
        handles += ax.plot(widths, values, color=colour, marker="o", ms=3.5, lw=1, label=word)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel(f"movement, {int(moved['look'])} steps" if name == NAMES[0] else "")
    legend_above(ax, handles, columns=2, title=f"{name}, $L={depth}$")


def draw_losses(data, ax):
    """Training losses of the largest width."""
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import DARK, LIGHT

    loss = data["training"]["loss"].isel(width=-1)
    handles = []
    for depth, line in zip(loss["hidden_layers"].values, ("-", (0, (4, 2)), (0, (1, 1))), strict=False):
        for name, colour in zip(NAMES, (LIGHT, DARK), strict=True):
            at = loss.sel(hidden_layers=depth, parametrization=name)
            ax.plot(at["step"], at, color=colour, ls=line, lw=1.2)
        handles.append(Line2D([], [], color="0.35", ls=line, lw=1.2, label=f"$L={depth}$"))
    handles += [
        Line2D([], [], color=colour, lw=1.2, label=name)
        for name, colour in zip(NAMES, (LIGHT, DARK), strict=True)
    ]
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel(f"training loss, $n={int(loss['width'])}$")
    legend_above(ax, handles, columns=2)
