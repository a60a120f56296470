"""Are the kernels of a trained deep network those of its infinite-width limit, and from which width on?

Claim: a network of three hidden layers, trained in the feature-learning regime, has feature kernels Φ^l and
gradient kernels G^l that follow the dynamical mean-field theory: their alignment with those of infinite width
rises to 1 with the width, and losses fall onto the curve of the limit (Bordelon & Pehlevan 2022, whose
setting this is: D = 25 Gaussian inputs, P = 10 samples, labels ±1 at random, φ(h) = tanh(0.8 h)/0.8, γ = 1,
full-batch descent with learning rate 0.1 for 100 steps). A kernel of a width n is at relative distance
n^{-1/2} from its limit, so that 1 − alignment ∝ 1/n (THEORY 9).

There the limit came from iterating self-consistent equations; here it is one causal pass forward in time.
Time: about two minutes on two cores.
"""

import meanfield as mf

SOURCES = (
    "Bordelon & Pehlevan 2022, Self-consistent dynamical field theory of kernel evolution in wide neural "
    "networks, Advances in Neural Information Processing Systems 35",
)
KERNELS = {"feature": r"\Phi", "gradient": "G"}


def scaled_tanh(z):
    """tanh(0.8 z)/0.8."""
    import jax.numpy as jnp

    return jnp.tanh(0.8 * z) / 0.8


def gaussian_problem(dimension, samples, key):
    """x ~ N(0, I_D), y = ±1 with equal probability."""
    import numpy as np

    rng = np.random.default_rng(key)
    x = rng.standard_normal((samples, dimension))
    return mf.Problem(x, rng.choice([-1.0, 1.0], samples))


def studies(
    *,
    widths: tuple[int, ...] = (2, 8, 32, 128, 512, 2000),
    seeds: int = 16,
    particles: int = 2048,
    replicates: int = 8,
    hidden_layers: int = 3,
    above: int = 512,
    dimension: int = 25,
    samples: int = 10,
    steps: int = 100,
    learning_rate: float = 0.1,
    richness: float = 1.0,
    key: int = 0,
):
    """The one study behind the figure."""
    from meanfield.studies.study import Study

    phi = mf.Activation(scaled_tanh, "tanh(0.8 z)/0.8")
    model = mf.MLP(hidden_layers, phi, mf.parametrizations.mup, richness)
    return {
        "networks": Study(
            model, gaussian_problem(dimension, samples, key), mf.GradientDescent(learning_rate, steps),
            {"width": widths}, seeds, model.limit(particles, replicates), key,
            observe=mf.observe.LayerKernels(), sampler=mf.MatrixFree(above=above),
        )
    }  # fmt: skip


def compute(
    *,
    widths: tuple[int, ...] = (2, 8, 32, 128, 512, 2000),
    seeds: int = 16,
    particles: int = 2048,
    replicates: int = 8,
    hidden_layers: int = 3,
    above: int = 512,
    dimension: int = 25,
    samples: int = 10,
    steps: int = 100,
    learning_rate: float = 0.1,
    richness: float = 1.0,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width with their kernels, the limit, distances and alignments.

    Args:
        widths: of every hidden layer; those of 32 and more are fitted, three at least.
        seeds: networks of every width.
        particles: of one replicate of the limit.
        replicates: of the limit, whose spread is its error.
        hidden_layers: L.
        above: networks of at most this width have their matrices drawn.
        dimension: D.
        samples: P.
        steps: steps of gradient descent.
        learning_rate: η, with the loss a mean over samples.
        richness: γ.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import xarray as xr

    from meanfield.studies.store import part_of

    study = studies(
        widths=widths, seeds=seeds, particles=particles, replicates=replicates, hidden_layers=hidden_layers,
        above=above, dimension=dimension, samples=samples, steps=steps, learning_rate=learning_rate,
        richness=richness, key=key,
    )["networks"]  # fmt: skip
    tree = study.run(part_of(store, "networks"), progress=progress)
    groups = {name: node.dataset for name, node in tree.children.items()}
    groups["kernels"] = compared(groups["finite"], groups["limit"])
    groups["exponents"] = fitted(groups["kernels"])
    result = xr.DataTree.from_dict(groups)
    result.attrs = tree.attrs
    return result


def compared(finite, limit):
    """Relative distance ‖K_n − K‖/‖K‖ and alignment ⟨K_n, K⟩/(‖K_n‖ ‖K‖) of all kernels of every network,
    before and after training, and the limit's own relative error."""
    import numpy as np
    import xarray as xr

    found = {"distance": [], "alignment": [], "limit_error": []}
    for kernel in KERNELS:
        name = f"layer_kernels_{kernel}"
        own = ("layer_kernels_step", "layer")
        truth = limit[name].transpose(*own, ...).values
        truth = truth.reshape(*truth.shape[:2], -1)  # (look, layer, entries)
        error = limit[f"{name}_error"].transpose(*own, ...).values.reshape(truth.shape)
        size = np.linalg.norm(truth, axis=-1)
        networks = finite[name].transpose("width", "seed", *own, ...).values
        networks = networks.reshape(*networks.shape[:4], -1).astype(float)
        found["distance"].append(np.linalg.norm(networks - truth, axis=-1) / size)
        inner = np.sum(networks * truth, -1)
        found["alignment"].append(inner / np.linalg.norm(networks, axis=-1) / size)
        found["limit_error"].append(np.linalg.norm(error, axis=-1) / size)
    dims = ("kernel", "width", "seed", "look", "layer")
    texts = {
        "distance": "relative distance of a kernel from its limit",
        "alignment": "alignment of a kernel with its limit",
        "limit_error": "relative standard error of the limit's own kernel",
    }
    return xr.Dataset(
        {
            name: (
                dims if name != "limit_error" else ("kernel", "look", "layer"), np.stack(values),
                {"long_name": texts[name], "units": "1"},
            )
            for name, values in found.items()
        },
        {
            "kernel": list(KERNELS), "width": finite["width"], "layer": finite["layer"],
            "look": ("look", finite["layer_kernels_step"].values, {"long_name": "step", "units": "1"}),
        },
    )  # fmt: skip


def fitted(kernels):
    """Exponents in the width of the distance and of 1 − alignment, widths of 32 and more, with what narrow
    networks being off the law adds to their errors, and verdicts on −1/2 and −1."""
    import numpy as np
    import xarray as xr

    from meanfield.studies.compare import verdict
    from meanfield.studies.scaling_check import exponent_variables, exponents

    wide = kernels.sel(width=kernels["width"] >= 32) if (kernels["width"] >= 32).sum() > 2 else kernels
    seeds, dims = kernels.sizes["seed"], ("kernel", "look", "layer")
    sizes = [wide["distance"].transpose("seed", "width", *dims), (1 - wide["alignment"])]
    sizes = np.stack([sizes[0].values, sizes[1].transpose("seed", "width", *dims).values], -1)
    value, error, _ = exponents(wide["width"].values, np.maximum(sizes, 1e-12))
    predicted = np.broadcast_to([-0.5, -1.0], value.shape)
    words = np.vectorize(lambda *at: verdict(*at, seeds), otypes=[str])(value, error, predicted)
    dims, text = (*dims, "quantity"), "exponent in the width"
    return xr.Dataset(
        exponent_variables(dims, text, value, error, predicted, words),
        {**{name: kernels[name] for name in dims[:3]}, "quantity": ["distance", "1 - alignment"]},
        {"widths": ", ".join(str(n) for n in wide["width"].values)},
    )


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    kernels, found, limit = (data[n].dataset for n in ("kernels", "exponents", "limit"))
    about, last = data.attrs, int(kernels["look"][-1])
    widths = kernels["width"].values
    lines = [
        f"{about['model']}",
        f"  on {about['problem']}",
        f"  by {about['training']}",
        f"  widths {', '.join(str(n) for n in widths)}; {about['seeds']} networks each; limit of "
        f"{limit.attrs['replicates']} x {limit.attrs['particles']} particles",
        "",
        f"alignment with the limit after {last} steps, mean over networks, theory 1 as n grows",
        f"{'':<10}" + "".join(f"{'n = ' + str(n):<10}" for n in widths).rstrip(),
    ]
    for kernel in KERNELS:
        for layer in kernels["layer"].values:
            at = kernels["alignment"].sel(kernel=kernel, layer=layer, look=last).mean("seed").values
            name = f"{'Phi' if kernel == 'feature' else 'G'}^{layer}"
            lines.append(f"{name:<10}" + "".join(f"{value:<10.5f}" for value in at).rstrip())
    lines += ["", f"exponents in the width, widths {found.attrs['widths']}"]
    for quantity, theory in (("distance", "-0.5"), ("1 - alignment", "-1")):
        for look in kernels["look"].values:
            lines.append(f"{quantity} after {look} steps, theory {theory}")
            for kernel in KERNELS:
                for layer in kernels["layer"].values:
                    at = found.sel(kernel=kernel, layer=layer, look=look, quantity=quantity)
                    value = with_error(float(at["exponent"]), float(at["exponent_error"]))
                    name = f"{'Phi' if kernel == 'feature' else 'G'}^{layer}"
                    lines.append(f"  {name:<8}{value:<18}{at['verdict'].item()}")
    words = [str(word) for word in found["verdict"].values.ravel()]
    counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    own = float(kernels["limit_error"].sel(look=last).max())
    nearest = float(kernels["distance"].sel(look=last).isel(width=-1).mean("seed").min())
    lines += [
        f"all {len(words)}: {counted}",
        f"relative error of the limit's kernels: at most {own:.1e}, nearest networks {nearest:.1e}",
        "",
        f"{'loss after ' + str(int(data['limit'].dataset['step'][-1])) + ' steps':<22}"
        + "".join(f"{'n = ' + str(n):<11}" for n in widths) + "limit",
        f"{'':<22}"
        + "".join(f"{v:<11.3e}" for v in data["finite"]["loss"].isel(step=-1).mean("seed").values)
        + with_error(*(float(limit[n].isel(step=-1)) for n in ("loss", "loss_error"))),
    ]  # fmt: skip
    return "\n".join(lines)


def draw(data):
    """Losses of all widths and the limit; 1 − alignment against the width; the last feature kernel of the
    widest network and of the limit."""
    from meanfield.plot.canvas import panels

    with panels(4, size=(7.2, 2.6), width_ratios=(1.15, 1.15, 0.8, 0.8)) as (figure, axes):
        mf.plot.training_curves(data, "loss", ax=axes[0])
        draw_alignment(data, axes[1])
        draw_kernels(data, axes[2:])
    return figure


def draw_alignment(data, ax):
    """1 − alignment after training with its law: feature kernels solid, gradient kernels broken."""
    from meanfield.plot.canvas import law_name, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import LAW, shades

    kernels = data["kernels"].dataset.isel(look=-1)
    widths, layers = kernels["width"].values, kernels["layer"].values
    away = (1 - kernels["alignment"]).mean("seed")
    ax.set_yscale("log")
    size_axis(ax, widths)
    handles = []
    for kernel, style in (("feature", "-"), ("gradient", (0, (4, 2)))):
        for layer, colour in zip(layers, shades(len(layers)), strict=True):
            handles += ax.plot(
                widths, away.sel(kernel=kernel, layer=layer), color=colour, ls=style, marker="o", ms=3, lw=1,
                mfc=colour if kernel == "feature" else "white", label=f"${KERNELS[kernel]}^{layer}$",
            )  # fmt: skip
    wide = widths >= min(32, widths[-2])
    law = 0.4 * float(away.isel(width=-1).min()) * widths[-1] / widths[wide]
    ax.plot(widths[wide], law, color=LAW, lw=0.8, zorder=1)
    law_name(ax, "$n^{-1}$", (widths[wide][0], law[0]), xytext=(0, -2), ha="center", va="top")
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel("$1-$ alignment with the limit")
    legend_above(ax, handles, columns=3)


def draw_kernels(data, axes):
    """Φ^L after training, samples in the order of their labels as the limit predicts them."""
    import numpy as np

    finite, limit = data["finite"].dataset, data["limit"].dataset
    last = limit["prediction"].isel(step=-1, output=0).values
    order = np.argsort(last)
    width = int(finite["width"][-1])
    at = {"layer": -1, "layer_kernels_step": -1}
    parts = {
        f"$n={width}$": finite["layer_kernels_feature"].isel(at | {"width": -1, "seed": 0}).values,
        "limit": limit["layer_kernels_feature"].isel(at).values,
    }
    most = max(np.abs(kernel).max() for kernel in parts.values())
    for ax, (title, kernel) in zip(axes, parts.items(), strict=True):
        ax.imshow(kernel[np.ix_(order, order)], cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set_title(rf"$\Phi^{int(finite['layer'][-1])}$, {title}")
        ax.set_xlabel("training sample")
        ax.set_xticks([])
        ax.set_yticks([])
