"""What does richness change, from lazy training to feature learning, in networks and at infinite width?

Claim: the output is divided by γ and the learning rate multiplied by γ², so that training takes the same time
at every γ, while features move by O(γ) (Chizat, Oyallon & Bach 2019; Geiger, Spigler, Jacot & Wyart 2020;
Bordelon & Pehlevan 2022). As γ → 0 the limit is the kernel regime, deviating by γ²: by so much the
alignment of kernels with the labels changes, which then rises with γ; where the target rewards features the
test loss falls below that of the kernel regime. Beside the limit at every γ stand
networks of finite width, their output centred, which differ by n^{-1/2}.

Data: a staircase x_1 + x_1x_2 on the hypercube, whose second term is hard for the kernel.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Chizat, Oyallon & Bach 2019, On lazy training in differentiable programming, Advances in Neural "
    "Information Processing Systems 32",
    "Geiger, Spigler, Jacot & Wyart 2020, Disentangling feature and lazy training in deep neural networks, "
    "Journal of Statistical Mechanics 2020(11), 113301",
    "Bordelon & Pehlevan 2022, Self-consistent dynamical field theory of kernel evolution in wide neural "
    "networks, Advances in Neural Information Processing Systems 35",
    "Abbe, Boix-Adsera & Misiakiewicz 2022, The merged-staircase property, Conference on Learning Theory",
)


def studies(**options):
    """None: runs of one width and of the limit at many γ, each kept by `simulate`."""
    return {}


def compute(
    *,
    richness: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0),
    width: int = 256,
    seeds: int = 8,
    particles: int = 512,
    replicates: int = 4,
    dimension: int = 10,
    samples: int = 32,
    test_samples: int = 128,
    steps: int = 100,
    learning_rate: float = 0.4,
    tolerance: float = 1e-3,
    fitted: float = 0.25,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks and the limit at every γ, and the kernel regime.

    Args:
        richness: values of γ, increasing.
        width: n of the networks.
        seeds: networks at every γ, three at least.
        particles: of one replicate of the limit.
        replicates: of the limit, whose spread is its error.
        dimension: d.
        samples: training samples.
        test_samples: test samples.
        steps: steps of gradient descent.
        learning_rate: η, in the units of the kernel regime.
        tolerance: part of a vector that the limit may drop; what it computes of smaller changes is rounding.
        fitted: the laws of small γ are fitted up to this one, three values at least.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import xarray as xr

    from meanfield.studies.store import part_of

    monomials = ((0,), (0, 1))
    problem = mf.datasets.staircase(dimension, monomials, samples, test_samples, key=key)
    training = mf.GradientDescent(learning_rate, steps)
    options = {
        "key": key, "record": sorted({0, steps // 2, steps}), "progress": progress,
        "store": part_of(store),
    }  # fmt: skip
    looks = (
        mf.observe.Alignment(name="features"),
        mf.observe.Alignment(mf.observe.Kernel(), name="tangent"),
    )
    phi, sizes = mf.activations.gelu, {"weight_variance": 2.0, "centred": True}
    networks, limits = [], []
    for gamma in richness:
        model = mf.MLP(2, phi, mf.parametrizations.mup, gamma, **sizes)
        run = mf.simulate(model.finite(width), problem, training, seeds=seeds, observe=looks, **options)
        networks.append(kept(run))
        limit = model.limit(particles, replicates, tolerance=tolerance)
        limits.append(kept(mf.simulate(limit, problem, training, observe=looks, **options)))
    lazy = mf.MLP(2, phi, mf.parametrizations.ntk, **sizes)
    regime = mf.simulate(lazy.limit(), problem, training, **options)
    axis = xr.DataArray(list(richness), dims="richness", name="richness")
    axis.attrs = {"long_name": "richness", "units": "1"}
    groups = {
        "networks": xr.concat(networks, axis, combine_attrs="override"),
        "limit": xr.concat(limits, axis, combine_attrs="override"),
        "kernel_regime": regime[["loss", "test_loss"]],
    }
    groups["slopes"] = slopes(groups["limit"], fitted)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "problem": repr(problem), "training": repr(training), "width": width, "seeds": seeds,
        "particles": particles, "replicates": replicates, "key": key, "edge": mf.stability(lazy, problem),
    }  # fmt: skip
    return tree


def kept(run):
    """Losses and alignments, with the errors of a limit's own."""
    names = ("loss", "test_loss", "features", "features_change", "tangent", "tangent_change")
    return run[[name + end for name in names for end in ("", "_error") if name + end in run]]


LAWS = {"features": "features", "tangent": "tangent kernel"}


def change(run, name, end=""):
    """What training has changed the alignment by, or the error of that."""
    return run[f"{name}_change{end}"].isel({f"{name}_step": -1})


def slopes(limit, most):
    """Exponents in γ of the change of alignments in the limit, for γ up to `most`, by least squares on
    logarithms. Their error holds what leaving out the largest γ changes, as y = C γ² (1 + c γ²), and what the
    limit's own errors, the same draws at every γ, can do to the slope if they all act together: particles of
    finite number leave a term of order γ M^{−1/2}."""
    import numpy as np
    import xarray as xr

    gamma = limit["richness"].values
    small = gamma[gamma <= most * (1 + 1e-9)]
    x, found = np.log(small), []
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    for name in LAWS:
        size = np.abs(change(limit, name).values[: len(small)])
        own = change(limit, name, "_error").values[: len(small)] / size
        y = np.log(size)
        value, fewer = weights @ y, np.polyfit(x[:-1], y[:-1], 1)[0]
        found.append((value, np.hypot(value - fewer, np.abs(weights) @ own)))
    value, error = np.array(found).T
    texts = ("exponent in the richness", "one standard error of it", "predicted exponent")
    arrays = dict(
        zip(("exponent", "exponent_error", "predicted"), (value, error, 0 * value + 2), strict=True)
    )
    return xr.Dataset(
        {
            name: ("quantity", values, {"long_name": text, "units": "1"})
            for (name, values), text in zip(arrays.items(), texts, strict=True)
        },
        {"quantity": list(LAWS)},
        {"richness": ", ".join(f"{g:g}" for g in small)},
    )


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, found = data.attrs, data["slopes"].dataset
    networks, limit, regime = (data[n].dataset for n in ("networks", "limit", "kernel_regime"))
    lines = [
        f"MLP with 2 hidden layers of gelu, σ_w² = 2, μP, on {about['problem']}",
        f"  by {about['training']}; the stability edge of the kernel regime is at {about['edge']:.2g}",
        f"  {about['seeds']} centred networks of width {about['width']}; limit of {about['replicates']} x "
        f"{about['particles']} particles",
        "",
        "limit: change of the alignment with the labels ∝ γ^p, fitted to γ = "
        f"{found.attrs['richness']}, theory 2",
    ]
    for name, text in LAWS.items():
        at = found.sel(quantity=name)
        lines.append(f"  {text:<18}{with_error(float(at['exponent']), float(at['exponent_error']))}")
    lines += ["", f"{'':<8}{'alignment of the features':<30}{'of the tangent kernel':<24}test loss"]
    lines.append(
        f"{'γ':<8}" + f"{'limit':<14}{'networks':<16}{'limit':<10}{'networks':<14}{'limit':<18}networks"
    )
    for gamma in limit["richness"].values:
        one, many = limit.sel(richness=gamma), networks.sel(richness=gamma)
        end = many["test_loss"].isel(step=-1).values
        lines.append(
            f"{gamma:<8g}{float(one['features'][-1]):<14.4f}"
            f"{float(many['features'].isel(features_step=-1).mean()):<16.4f}"
            f"{float(one['tangent'][-1]):<10.4f}"
            f"{float(many['tangent'].isel(tangent_step=-1).mean()):<14.4f}"
            f"{with_error(float(one['test_loss'][-1]), float(one['test_loss_error'][-1])):<18}"
            f"{with_error(end.mean(), end.std(ddof=1) / np.sqrt(end.size))}"
        )
    losses = limit["test_loss"].isel(step=-1).values
    best = int(np.argmin(losses))
    lazy, first = float(regime["test_loss"][-1]), limit.isel(richness=0, step=-1)
    lines += [
        f"kernel regime, test loss {lazy:.4f}; the laziest limit "
        f"{with_error(float(first['test_loss']), float(first['test_loss_error']))}, theory equal",
        f"best: γ = {float(limit['richness'][best]):g}, test loss {lazy / losses[best]:.1f} times below the "
        "kernel regime",
    ]
    return "\n".join(lines)


def draw(data):
    """Changes of the limit with their laws; alignments; test losses, all against γ."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        for ax in axes:
            ax.set_xscale("log")
            ax.set_xlabel(r"richness $\gamma$")
        draw_changes(data, axes[0])
        draw_alignments(data, axes[1])
        draw_losses(data, axes[2])
    return figure


def marks():
    """{quantity: (colour, marker, label)}."""
    from meanfield.plot.colours import DARK, LIGHT

    return {
        "features": (DARK, "o", "features"),
        "tangent": (LIGHT, "s", "tangent kernel"),
    }


def draw_changes(data, ax):
    """What training changes in the limit, lines, and in networks, marks; γ² through the smallest γ."""
    import numpy as np

    from meanfield.plot.canvas import law_name, legend_above
    from meanfield.plot.colours import LAW

    limit, networks = data["limit"].dataset, data["networks"].dataset
    gamma, handles = limit["richness"].values, []
    ax.set_yscale("log")
    for name, (colour, marker, label) in marks().items():
        values = np.abs(change(limit, name).values)
        handles += ax.plot(gamma, values, color=colour, lw=1.2, marker=marker, ms=3, mfc="white", label=label)
        shown = np.abs(change(networks, name).mean("seed").values)
        ax.plot(gamma, shown, color=colour, ls="none", marker=marker, ms=3.5, zorder=3)
        law = values[0] * (gamma / gamma[0]) ** 2
        ax.plot(gamma[law < 2], law[law < 2], color=LAW, lw=0.8, zorder=1)
    law_name(ax, r"$\gamma^2$", (gamma[1], law[1]), xytext=(-4, 3), ha="right", va="baseline")
    ax.set_ylabel("change of the alignment with the labels")
    legend_above(ax, handles)


def draw_alignments(data, ax):
    """Alignment with the labels before, broken, and after training."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import estimates, legend_above

    limit, networks = data["limit"].dataset, data["networks"].dataset
    gamma, handles = limit["richness"].values, []
    for name, (colour, marker, word) in marks().items():
        look = f"{name}_step"
        end = networks[name].isel({look: -1}).transpose("richness", "seed").values
        mean, error = end.mean(1), end.std(1, ddof=1) / np.sqrt(end.shape[1])
        estimates(ax, gamma, mean, 2 * error, color=colour, marker=marker, ms=3.5)
        ax.plot(gamma, limit[name].isel({look: -1}), color=colour, lw=1.2)
        ax.plot(gamma, limit[name].isel({look: 0}), color=colour, lw=0.8, ls=(0, (3, 2)))
        handles.append(Line2D([], [], color=colour, lw=1.2, marker=marker, ms=3.5, label=word))
    handles.append(Line2D([], [], color="0.35", lw=0.8, ls=(0, (3, 2)), label="before training"))
    ax.set_ylabel("alignment with the labels")
    ax.set_ylim(bottom=0)
    legend_above(ax, handles)


def draw_losses(data, ax):
    """Test loss of the limit and of networks at equal time, and of the kernel regime."""
    import numpy as np

    from meanfield.plot.canvas import estimates, legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LAW, LIMIT

    limit, networks, regime = (data[n].dataset for n in ("limit", "networks", "kernel_regime"))
    gamma = limit["richness"].values
    end = networks["test_loss"].isel(step=-1).transpose("richness", "seed").values
    mean, error = end.mean(1), end.std(1, ddof=1) / np.sqrt(end.shape[1])
    ax.set_yscale("log")
    own, half = (limit[n].isel(step=-1).values for n in ("test_loss", "test_loss_error"))
    ax.fill_between(gamma, own - 2 * half, own + 2 * half, color=LIMIT, alpha=0.15, lw=0)
    handles = [
        ax.plot(gamma, own, color=LIMIT, lw=1.3, zorder=4, label="limit")[0],
        estimates(
            ax, gamma, mean, 2 * error, color=DARK, marker="o", ms=4, label=f"$n={data.attrs['width']}$"
        )[0],
        ax.axhline(float(regime["test_loss"][-1]), color=LAW, lw=0.8, zorder=1, label="kernel regime"),
    ]  # fmt: skip
    plain_log_ticks(ax.yaxis)
    ax.set_ylabel("test loss")
    legend_above(ax, handles)
