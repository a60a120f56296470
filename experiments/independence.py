"""Which parametrization learns features that move and stay linearly independent as the width grows?

Claim: under the maximal update parametrization features of the infinitely wide network move by order one and
stay linearly independent through training, the smallest eigenvalue of their Gram matrix above 0; in the NTK
parametrization, and in the standard one with its learning rate divided by n, they are as independent but do
not move; in the integrable one, a mean field in every layer, they move and collapse (Chen, Yang, Zhao & Gu
2025). In numbers: movement n^0, n^{-1/2}, n^{-1/2}, n^0 in the order named. The smallest eigenvalue at the
start tends to that of the kernel of infinite width in all but the last, whose second layer starts at n^{-1/2}
with a Gram matrix of n^{-1}. What training makes of it there are functions of one number a neuron, its
readout weight: a large eigenvalue and next to nothing else.

Data: digits 3 and 8, tanh. The limit under μP is computed with particles, that of NTK is its kernel.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Chen, Yang, Zhao & Gu 2025, Global convergence and rich feature learning in L-layer infinite-width "
    "neural networks under μ parametrization, Proceedings of Machine Learning Research 267, 9614-9641",
    "Yang & Hu 2021, Tensor programs IV: feature learning in infinite-width neural networks, Proceedings of "
    "Machine Learning Research 139, 11727-11737",
    "Hajjar, Chizat & Giraud 2021, Training integrable parameterizations of deep neural networks in the "
    "infinite-width limit, arXiv:2110.15596",
)
LABELS = {"mup": r"$\mu$P", "ntk": "NTK", "standard, c = 1": "standard, $c=1$", "integrable": "integrable"}
LAYERS = 2


def studies(**options):
    """None: networks of parametrizations without a common limit, each kept by `simulate`."""
    return {}


def candidates():
    """{name: Parametrization}."""
    known = mf.parametrizations
    return {
        "standard, c = 1": known.standard.with_rates(1), "ntk": known.ntk, "mup": known.mup,
        "integrable": known.integrable,
    }  # fmt: skip


# Exponents of the movement in training, and of the smallest eigenvalue before it.
MOVEMENT = {"standard, c = 1": -0.5, "ntk": -0.5, "mup": 0.0, "integrable": 0.0}
EIGENVALUE = {"standard, c = 1": 0.0, "ntk": 0.0, "mup": 0.0, "integrable": -1.0}


def compute(
    *,
    widths: tuple[int, ...] = (128, 256, 512, 1024, 2048),
    seeds: int = 8,
    particles: int = 2048,
    replicates: int = 4,
    samples: int = 12,
    steps: int = 60,
    looks: int = 7,
    learning_rate: float = 0.5,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every parametrization and width, trained from the same draws, and the limit under μP.

    Args:
        widths: of both hidden layers, three at least.
        seeds: networks of every width, three at least; a narrow network is a part of a wide one.
        particles: of one replicate of the limit.
        replicates: of the limit.
        samples: training images.
        steps: steps of gradient descent.
        looks: how often features are looked at, evenly from the first step to the last.
        learning_rate: η, in the units of the kernel regime.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.digits((3, 8), samples, 0, squared_norm=64, key=key)
    training = mf.GradientDescent(learning_rate, steps)
    observe = (mf.observe.FeatureMovement(looks, name="moved"), mf.observe.Independence(looks, name="gram"))
    options = {
        "observe": observe, "key": key, "record": [0, steps], "progress": progress,
        "store": part_of(store),
    }  # fmt: skip
    phi, known, runs = mf.activations.tanh, candidates(), []
    for parametrization in known.values():
        model, own = mf.MLP(LAYERS, phi, parametrization, centred=True), []
        for width in widths:
            run = mf.simulate(model.finite(width), problem, training, seeds=seeds, **options)
            own.append(kept(run))
        runs.append(xr.concat(own, "width", combine_attrs="override"))
    networks = xr.concat(runs, "parametrization", combine_attrs="override")
    about = {"long_name": "width n", "units": "1"}
    networks = networks.assign_coords(width=("width", list(widths), about), parametrization=list(known))
    limit = mf.MLP(LAYERS, phi, mf.parametrizations.mup).limit(particles, replicates)
    gram = mf.kernels.mlp(problem.x, hidden_layers=LAYERS, activation=phi).nngp
    groups = {
        "networks": networks,
        "limit": kept(mf.simulate(limit, problem, training, **options)),
        "exponents": fitted(networks),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "problem": repr(problem), "training": repr(training), "samples": samples, "seeds": seeds,
        "particles": particles, "replicates": replicates, "key": key,
        "kernel_smallest": float(np.linalg.eigvalsh(gram)[0]),
    }  # fmt: skip
    return tree


def kept(run):
    """Movement, smallest eigenvalue, effective rank over one axis of looks; training loss at the end."""
    names = {"moved": "moved", "gram_smallest": "smallest", "gram_rank": "rank"}
    found = {}
    for name, word in names.items():
        for end in ("", "_error"):
            if name + end in run:
                look = f"{name.partition('_')[0]}_step"
                found[word + end] = run[name + end].rename({look: "look"}).reset_coords(drop=True)
    import xarray as xr

    result = xr.Dataset(found | {"loss": run["loss"].isel(step=-1).reset_coords(drop=True)})
    about = {"long_name": "step", "units": "1"}
    return result.assign_coords(look=("look", run["gram_step"].values, about))


def fitted(networks):
    """Exponents in the width of the movement in training and of the smallest eigenvalue before it, with what
    narrow networks being off the law adds to their errors, and verdicts."""
    import numpy as np
    import xarray as xr

    from meanfield.studies.compare import verdict
    from meanfield.studies.scaling_check import exponent_variables, exponents

    names = networks["parametrization"].values
    dims = ("seed", "width", "parametrization")
    size = np.stack(
        [
            networks["moved"].isel(look=-1).transpose(*dims).values,
            networks["smallest"].isel(look=0).transpose(*dims).values,
        ],
        -1,
    )
    value, error, _ = exponents(networks["width"].values, size)
    predicted = np.array([[MOVEMENT[name], EIGENVALUE[name]] for name in names])
    words = np.vectorize(lambda *at: verdict(*at, networks.sizes["seed"]), otypes=[str])(
        value, error, predicted
    )
    dims, text = ("parametrization", "quantity"), "exponent in the width"
    return xr.Dataset(
        exponent_variables(dims, text, value, error, predicted, words),
        {"parametrization": names, "quantity": ["movement", "smallest eigenvalue"]},
    )


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    about, found = data.attrs, data["exponents"].dataset
    networks, limit = data["networks"].dataset, data["limit"].dataset
    lines = [
        f"MLP with {LAYERS} hidden layers of tanh, output centred, on {about['problem']}",
        f"  by {about['training']}",
        f"  widths {', '.join(str(n) for n in networks['width'].values)}; {about['seeds']} networks each; "
        f"limit under μP of {about['replicates']} x {about['particles']} particles",
        "",
        "last hidden layer: movement in training and smallest eigenvalue before it ∝ width^p",
        f"{'':<18}{'movement':<44}smallest eigenvalue",
    ]
    for name in found["parametrization"].values:
        row = f"{name:<18}"
        for quantity in found["quantity"].values:
            at = found.sel(parametrization=name, quantity=quantity)
            slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
            row += f"{slope:<17}theory {float(at['predicted']):<6g}{at['verdict'].item():<14}"
        lines.append(row.rstrip())
    width = int(networks["width"][-1])
    lines += [
        "",
        f"at width {width}, P = {about['samples']} samples: before -> after training",
        f"{'':<18}{'movement':<20}{'smallest eigenvalue':<26}{'effective rank':<20}training loss",
    ]
    wide = networks.isel(width=-1).mean("seed")
    rows = {name: wide.sel(parametrization=name) for name in networks["parametrization"].values}
    for name, at in (*rows.items(), ("limit, mup", limit)):
        smallest, rank = at["smallest"].values, at["rank"].values
        lines.append(
            f"{name:<18}{float(at['moved'][-1]):<20.3g}{f'{smallest[0]:.2e} -> {smallest[-1]:.2e}':<26}"
            f"{f'{rank[0]:.2f} -> {rank[-1]:.2f}':<20}{float(at['loss']):.2e}"
        )
    start, own = float(limit["smallest"][0]), float(limit["smallest_error"][0])
    lines += [
        f"smallest eigenvalue of the limit before training {with_error(start, own)}, theory (NNGP) "
        f"{about['kernel_smallest']:.3e}",
    ]
    return "\n".join(lines)


def styles():
    """{parametrization: (colour, marker, line)}."""
    from meanfield.plot.colours import DARK, LIGHT, THIRD

    return {
        "standard, c = 1": {"color": "0.45", "marker": "D", "ls": "-"},
        "ntk": {"color": LIGHT, "marker": "s", "ls": "-"},
        "mup": {"color": DARK, "marker": "o", "ls": "-"},
        "integrable": {"color": THIRD, "marker": "^", "ls": (0, (4, 2))},
    }


def draw(data):
    """Movement and smallest eigenvalue against the width; both against each other through training."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        for ax in axes:
            ax.set_yscale("log")
        draw_width(data, "moved", "movement of features in training", axes[0])
        draw_width(data, "smallest", "smallest eigenvalue of the Gram matrix", axes[1])
        draw_paths(data, axes[2])
    return figure


def draw_width(data, name, label, ax):
    """A quantity after training against the width, with the limit under μP as a black line; eigenvalues
    before training are open."""
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import LIMIT

    networks, limit = data["networks"].dataset, data["limit"].dataset
    widths, handles = networks["width"].values, []
    size_axis(ax, widths)
    for parametrization, style in styles().items():
        at = networks[name].sel(parametrization=parametrization).mean("seed")
        handles += ax.plot(widths, at.isel(look=-1), ms=3.5, lw=1, label=LABELS[parametrization], **style)
        if name == "smallest":
            ax.plot(widths, at.isel(look=0), ms=3.5, mfc="white", zorder=3, **style | {"ls": "none"})
    ax.axhline(float(limit[name][-1]), color=LIMIT, lw=1, zorder=1)
    if name == "moved":
        handles.append(Line2D([], [], color=LIMIT, lw=1, label=r"limit, $\mu$P"))
    else:
        mark = {"marker": "o", "ls": "none", "ms": 3.5, "color": "0.35"}
        handles = [
            Line2D([], [], mfc="white", label="before training", **mark),
            Line2D([], [], label="after training", **mark),
            Line2D([], [], color=LIMIT, lw=1, label=r"limit, $\mu$P, after"),
        ]
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel(label)
    legend_above(ax, handles, columns=2)


def draw_paths(data, ax):
    """Smallest eigenvalue against the movement, look after look, at the largest width and in the limit."""
    from meanfield.plot.canvas import legend_above, plain_log_ticks
    from meanfield.plot.colours import LIMIT

    networks, limit = data["networks"].dataset.isel(width=-1), data["limit"].dataset
    for name, style in styles().items():
        at = networks.sel(parametrization=name)
        ax.plot(at["moved"].mean("seed"), at["smallest"].mean("seed"), ms=2.5, lw=0.9, **style)
    handles = ax.plot(
        limit["moved"], limit["smallest"], color=LIMIT, lw=1.2, zorder=4, label=r"limit, $\mu$P"
    )
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("movement of features")
    ax.set_ylabel("smallest eigenvalue of the Gram matrix")
    legend_above(ax, handles, title=f"through training, $n={int(networks['width'])}$")
