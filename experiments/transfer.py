"""Does the best learning rate of a narrow network serve a wide one?

Claim: the learning rate that leaves the smallest loss after a given number of steps tends to a constant as
the width grows, where the parametrization has a limit, and falls like 1/n in the standard one, which needs
c = 1 for stability: a rate found at one width serves all under the maximal update parametrization, with
descent and with Adam (Yang et al. 2022; learning rates in the width for Adam: Yang & Littwin 2023; THEORY
3). It does so under the NTK parametrization too, whose limit is the kernel regime and whose loss is larger
for that. With full batches the optimum is close to the edge of stability, and the curves are not smooth
beyond it: what lies between two points of the grid counts as error.

Data: digits 3 and 8, two hidden layers of relu, full batches, training loss.
Time: two minutes on two cores, half of them for Adam.
"""

import meanfield as mf

SOURCES = (
    "Yang, Hu, Babuschkin, Sidor, Liu, Farhi, Ryder, Pachocki, Chen & Gao 2022, Tensor programs V: tuning "
    "large neural networks via zero-shot hyperparameter transfer, arXiv:2203.03466",
    "Yang & Littwin 2023, Tensor programs IVb: adaptive optimization in the infinite-width limit, "
    "arXiv:2308.01814",
    "Yang & Hu 2021, Tensor programs IV: feature learning in infinite-width neural networks, Proceedings of "
    "Machine Learning Research 139, 11727-11737",
)

CASES = {  # group: (what it is, predicted exponent of the best learning rate)
    "standard": ("standard", -1.0),
    "ntk": ("NTK", 0.0),
    "mup": ("μP", 0.0),
    "mup_adam": ("μP, Adam", 0.0),
}


def studies(**options):
    """None: networks of many learning rates without limits, each kept by `simulate`."""
    return {}


def compute(
    *,
    widths: tuple[int, ...] = (64, 128, 256, 512),
    seeds: int = 12,
    samples: int = 64,
    steps: int = 40,
    octaves: tuple[float, float] = (-2.0, 2.0),
    adam: tuple[float, float] = (-3.333, -0.667),
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width, trained with every learning rate.

    Args:
        widths: of both hidden layers, two at least.
        seeds: networks of every width, three at least; a narrow network is a part of a wide one.
        samples: training images.
        steps: of gradient descent or Adam.
        octaves: from where to where learning rates of descent go, in powers of two of the stability edge of
            the kernel regime, three an octave; the grid of the standard parametrization has those of all
            widths.
        adam: the same for Adam, in powers of two; every rate is compiled anew.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import optax
    import xarray as xr

    from meanfield.studies.store import part_of

    known = mf.parametrizations
    problem = mf.datasets.digits((3, 8), samples, 0, squared_norm=64, key=key)
    options = {
        "seeds": seeds, "key": key, "record": [0, steps], "progress": progress,
        "store": part_of(store),
    }  # fmt: skip

    def model_of(parametrization):
        return mf.MLP(2, mf.activations.relu, parametrization, weight_variance=2.0)

    # At c = 1 the standard one has an edge of order one; at c = 0 it lies at that over n.
    edge, stable = (mf.stability(model_of(p), problem) for p in (known.ntk, known.standard.with_rates(1)))
    low, high = octaves
    grids = {
        "standard": stable / widths[-1] * powers_of_two(low, high + np.log2(widths[-1] / widths[0])),
        "ntk": edge * powers_of_two(low, high),
        "mup": edge * powers_of_two(low, high),
        "mup_adam": powers_of_two(*adam),
    }
    groups, words = {}, {"long_name": "learning rate η", "units": "1"}
    for name, rates in grids.items():
        model = model_of(getattr(known, name.partition("_")[0]))
        loss = np.empty((seeds, len(widths), len(rates)))
        for k, width in enumerate(widths):
            for j, rate in enumerate(rates):
                if name == "mup_adam":
                    training = mf.Optax(optax.adam(float(rate)), steps)
                else:
                    training = mf.GradientDescent(float(rate), steps)
                loss[:, k, j] = final_loss(model.finite(width), problem, training, options)
        text = f"training loss after {steps} steps, infinite if training diverged"
        groups[name] = xr.Dataset(
            {"loss": (("seed", "width", "rate"), loss, {"long_name": text, "units": "1"})},
            {"width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
             "rate": ("rate", rates, words)},
        )  # fmt: skip
    tree = xr.DataTree.from_dict({**groups, "drift": drift(groups)})
    tree.attrs = {
        "problem": repr(problem), "steps": steps, "seeds": seeds, "edge": edge, "key": key,
    }  # fmt: skip
    return tree


def powers_of_two(low, high):
    """From 2^low on, three an octave, up to 2^high."""
    import numpy as np

    return 2.0 ** np.arange(low, high + 1 / 6, 1 / 3)


def final_loss(system, problem, training, options):
    """Training loss of every network at the end, infinite where training diverged."""
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        # The grid goes beyond the edge of stability to have the optimum inside.
        warnings.filterwarnings("ignore", "The learning rate|Training diverged", RuntimeWarning)
        loss = mf.simulate(system, problem, training, **options)["loss"].isel(step=-1).values
    return np.where(np.isnan(loss), np.inf, loss)


def optima(rates, logs):
    """(rate of the smallest value, whether it lies inside the grid), over the last axis of logarithms.

    Between grid points by the parabola through the smallest value and its neighbours, which moves it by half
    a step at most; not where a neighbour diverged.
    """
    import numpy as np

    place = np.argmin(logs, -1)
    inside = (place > 0) & (place < len(rates) - 1)
    middle = np.clip(place, 1, len(rates) - 2)[..., None]
    left, here, right = (np.take_along_axis(logs, middle + i, -1)[..., 0] for i in (-1, 0, 1))
    smooth = inside & np.isfinite(left + right)
    left, right = np.where(smooth, left, here + 1), np.where(smooth, right, here + 1)
    bend = np.maximum(left - 2 * here + right, 1e-300)
    return rates[place] * (rates[1] / rates[0]) ** ((left - right) / (2 * bend) * inside), inside


def drift(groups):
    """The best learning rates, of the mean of log loss over networks, and their exponents in the width.

    The error joins the jackknife over networks and the grid: an optimum lies anywhere within half a step,
    step/√12 in the mean square. No verdict where an optimum is at an end of its grid.
    """
    import numpy as np
    import xarray as xr

    from meanfield.numerics.statistics import jackknife_error
    from meanfield.studies.compare import verdict

    widths = next(iter(groups.values()))["width"].values
    x = np.log(widths) - np.mean(np.log(widths))
    found = {name: [] for name in ("best", "outside", "exponent", "exponent_error", "predicted", "verdict")}
    for name, group in groups.items():
        rates, loss = group["rate"].values, np.log(group["loss"].transpose("seed", "width", "rate").values)
        networks = len(loss)
        best, inside = optima(rates, loss.mean(0))
        without = np.stack([np.delete(loss, s, 0).mean(0) for s in range(networks)])
        slope, left_out = (np.log(b) @ x / (x @ x) for b in (best, optima(rates, without)[0]))
        step = np.log(rates[1] / rates[0])
        error = np.hypot(jackknife_error(left_out), step / np.sqrt(12 * (x @ x)))
        predicted = CASES[name][1]
        word = verdict(slope, error, predicted, networks) if inside.all() else "not resolved"
        row = best, int((~inside).sum()), slope, error, predicted, word
        for values, value in zip(found.values(), row, strict=True):
            values.append(value)
    text = "exponent of the best learning rate in the width"
    words = {
        "best": "best learning rate", "outside": "widths whose optimum is at an end of the grid",
        "exponent": text, "exponent_error": f"one standard error of the {text}",
        "predicted": f"predicted {text}", "verdict": "measured against predicted exponent",
    }  # fmt: skip
    dims = {name: ("case", "width") if name == "best" else ("case",) for name in found}
    data = {n: (dims[n], np.array(v), {"long_name": words[n], "units": "1"}) for n, v in found.items()}
    return xr.Dataset(data, {"case": list(groups), "width": widths})


def mean_log(values):
    """exp E log over networks; infinite where one is."""
    import numpy as np

    return np.exp(np.log(values).mean("seed"))


def transferred(group):
    """(loss of the widest networks with the best rate of the narrowest, with their own), on the grid."""
    import numpy as np

    curves = mean_log(group["loss"])
    narrow, wide = curves.isel(width=0).values, curves.isel(width=-1).values
    return float(wide[np.argmin(narrow)]), float(wide.min())


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, found = data.attrs, data["drift"].dataset
    widths = data["ntk"]["width"].values
    lines = [
        "MLP with 2 hidden layers of relu, σ_w² = 2",
        f"  on {about['problem']}",
        f"  loss after {about['steps']} steps; {about['seeds']} networks of every width and learning rate",
        "",
        "best learning rate ∝ width^p",
    ]
    for name in found["case"].values:
        at = found.sel(case=name)
        slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
        theory = f"theory {float(at['predicted']):g}"
        lines.append(f"  {CASES[name][0]:<12}{slope:<18}{theory:<12}{at['verdict'].item()}")
        if at["outside"] > 0:
            lines.append(
                f"  {'':<12}at an end of the grid for {int(at['outside'])} widths: give a longer one"
            )
    lines += ["", "best learning rate, smallest loss"]
    lines.append(f"  {'':<12}" + "".join(f"{'n = ' + str(n):<22}" for n in widths).rstrip())
    for name in found["case"].values:
        group = data[name].dataset
        best, loss = found["best"].sel(case=name).values, mean_log(group["loss"]).min("rate").values
        cells = (f"{f'{b:.3g}, {v:.1e}':<22}" for b, v in zip(best, loss, strict=True))
        lines.append(f"  {CASES[name][0]:<12}" + "".join(cells).rstrip())
    lines += ["", f"the best rate of width {widths[0]} at width {widths[-1]}"]
    for name in found["case"].values:
        given, own = transferred(data[name].dataset)
        text = f"loss {given:.1e}, {given / own:.2g} times that of its own best"
        lines.append(f"  {CASES[name][0]:<12}{text if np.isfinite(given) else 'training diverges'}")
    return "\n".join(lines)


def draw(data):
    """Loss against the learning rate, a panel for every case."""
    from meanfield.plot.canvas import legend_above, panels

    with panels(len(CASES), sharey=True) as (figure, axes):
        for ax, name in zip(axes, CASES, strict=True):
            handles = draw_case(data, name, ax)
        axes[0].set_ylabel(f"training loss after {data.attrs['steps']} steps")
        legend_above(axes[0], handles, columns=2, lift=0.2)
    return figure


def draw_case(data, name, ax):
    """Loss against the learning rate, widths light to dark, every optimum on its curve."""
    import numpy as np
    from matplotlib.ticker import NullLocator

    from meanfield.plot.colours import shades
    from meanfield.plot.words import exponent_text, slope_text

    group, found = data[name].dataset, data["drift"].dataset.sel(case=name)
    curves, rates = mean_log(group["loss"]), group["rate"].values
    widths = group["width"].values
    handles = []
    ax.set_xscale("log")
    ax.set_yscale("log")
    for n, colour in zip(widths, shades(len(widths)), strict=True):
        values = curves.sel(width=n).values
        shown = np.where(np.isfinite(values) & (values < 2), values, np.nan)
        handles += ax.plot(rates, shown, color=colour, lw=1.1, marker=".", ms=3, label=f"$n={n}$")
        best = int(np.argmin(values))
        ax.plot(rates[best], values[best], color=colour, marker="o", ms=6, mfc="none", mew=1, zorder=3)
    if rates[-1] < 30 * rates[0]:
        ticks = 2.0 ** np.arange(np.ceil(np.log2(rates[0])), np.log2(rates[-1]))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(r"learning rate $\eta$")
    slope = slope_text(float(found["exponent"]), float(found["exponent_error"])).removeprefix("slope ")
    theory = f"theory ${exponent_text(float(found['predicted']))}$"
    title = CASES[name][0].replace("μ", r"$\mu$")
    ax.set_title(f"{title}\n{slope}, {theory}", loc="left")
    return handles
