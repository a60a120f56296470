"""Does a network of fixed width have a deterministic tangent kernel when only its depth grows?

Claim: yes, from one special start (Lee, Choi, Ryu & No 2022). With d inputs, all positive, and k outputs
every hidden layer of relu has d + 1 + k neurons: d carry Cx, one is random, k carry C.

    W¹ = [C I; uᵀ; 0],  b¹ = (0, v, C),     W^l = [I, 0, 0; u_lᵀ, 0, 0; 0, 0, I],  b^l = (0, v_l, 0),
    f = (0, 0, I) z^L − C,     u_l ~ N(0, ρ²I/d),   v_l ~ N(0, C²β²),   u, v the same.

f is 0 and only the rows of W^l that lead to the k last neurons have a gradient, the layer's inputs. So the
tangent kernel is diagonal in the outputs and, at every L and C,

    Θ/(LC²) = x·x' + k + (1/L) Σ_l σ(g_l)σ(g_l)' + (1 + (x·x' + 1)/L)/C²,

g_l = u_l·x + v_l/C for l ≥ 2: independent draws of a Gaussian process of covariance ρ²x·x'/d + β². As L,
C → ∞ it tends to x·x' + k + E[σ(g)σ(g')], at the rate L^{-1/2} of a mean, with a constant that is known.

The kernel also stays there in training if C → ∞ too. For k = 1, with f = Θ c/(LC²) on the training set, the
last neuron goes from C to C + f on its way through the layers and its weight to itself from 1 to
1 + Σ_p c_p/(LC), so that to first order in 1/C, whatever the depth,

    ΔΘ/(LC²) = (f(x) + f(x'))/2C + (Σ_p c_p/C) Θ/(LC²).

The paper proves the limit, at the start and in training, for C growing with L; the exact kernel, the constant
and the first order in 1/C are derived here from its initialisation.
Data: a quarter of a circle, target x_1x_2, ρ = β = 1, as in the paper's figures.
Time: about a minute on two cores.
"""

import functools

import meanfield as mf

SOURCES = (
    "Lee, Choi, Ryu & No 2022, Neural tangent kernel analysis of deep narrow neural networks, International "
    "Conference on Machine Learning, Proceedings of Machine Learning Research 162, 12282-12351",
)


def studies(**options):
    """None: networks of a few thousand parameters."""
    return {}


def compute(
    *,
    depths: tuple[int, ...] = (16, 64, 256, 1024),
    scales: tuple[float, ...] = (4.0, 16.0, 64.0, 256.0),
    networks: int = 96,
    samples: int = 12,
    trained_depth: int = 256,
    trained_networks: int = 8,
    steps: int = 200,
    relative_rate: float = 0.25,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Kernels at the start over the depth, and what training changes over C.

    Args:
        depths: L, numbers of hidden layers; C = 5L there.
        scales: C of trained networks.
        networks: of every depth.
        samples: points on the quarter of the circle.
        trained_depth: L of trained networks.
        trained_networks: of every C.
        steps: steps of gradient descent.
        relative_rate: learning rate over the stability edge of the limit.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.base.progress import progress_bar
    from meanfield.studies.store import kept

    angles = np.pi / 2 * (np.arange(samples) + 0.5) / samples
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    y = x[:, :1] * x[:, 1:]
    with progress_bar(progress) as bar:
        bar.start("kernels and training", len(depths) + len(scales))
        kernels, runs = [], []
        for depth in depths:
            at = {"depth": depth, "networks": networks, "samples": samples, "key": key}
            kernels.append(kept(store, {"deep_narrow": at}, lambda at=at: kernels_at_the_start(x, **at)))
            bar.advance()
        for scale in scales:
            at = {
                "scale": scale, "depth": trained_depth, "networks": trained_networks, "steps": steps,
                "relative_rate": relative_rate, "samples": samples, "key": key,
            }  # fmt: skip
            runs.append(kept(store, {"deep_narrow": at}, lambda at=at: training(x, y, **at)))
            bar.advance()
    coords = {"angle": ("sample", angles, {"long_name": "angle of the input", "units": "rad"})}
    limit, constant = limit_kernel(x)
    start = xr.concat(kernels, xr.DataArray(list(depths), dims="depth")).assign_coords(coords)
    start["limit"] = (("sample", "sample_2"), limit, {"long_name": "limit of Θ/(LC²)", "units": "1"})
    start["depth"].attrs.update(long_name="hidden layers L", units="1")
    trained = xr.concat(runs, xr.DataArray(list(scales), dims="scale")).assign_coords(coords)
    trained["target"] = ("sample", y[:, 0], {"long_name": "target", "units": "1"})
    trained["scale"].attrs.update(long_name="C", units="1")
    tree = xr.DataTree.from_dict({"start": start, "training": trained})
    tree.attrs = {
        "constant": constant, "networks": networks, "trained_depth": trained_depth, "steps": steps,
        "trained_networks": trained_networks, "key": key,
    }  # fmt: skip
    return tree


def initial(rng, inputs, outputs, depth, scale):
    """Parameters of one network as the paper starts it, with ρ = β = 1."""
    import numpy as np

    width, one, last = inputs + 1 + outputs, inputs, slice(inputs + 1, None)
    u, v = rng.standard_normal((depth, inputs)) / np.sqrt(inputs), scale * rng.standard_normal(depth)
    head, head_bias = np.zeros((width, inputs)), np.zeros(width)
    head[:inputs] = scale * np.eye(inputs)
    head[one], head_bias[one], head_bias[last] = u[0], v[0], scale
    body, body_bias = np.zeros((depth - 1, width, width)), np.zeros((depth - 1, width))
    body[:] = np.eye(width)
    body[:, one, :inputs], body[:, one, one], body_bias[:, one] = u[1:], 0, v[1:]
    tail = np.zeros((outputs, width))
    tail[:, last] = np.eye(outputs)
    return {
        "head": head, "head_bias": head_bias, "body": body, "body_bias": body_bias,
        "tail": tail, "tail_bias": np.full(outputs, -scale),
    }  # fmt: skip


def apply(parameters, x):
    """f (P, k) of one network."""
    import jax

    def layer(z, row):
        weight, bias = row
        return jax.nn.relu(z @ weight.T + bias[None]), None

    z, _ = layer(x, (parameters["head"], parameters["head_bias"]))
    z, _ = jax.lax.scan(layer, z, (parameters["body"], parameters["body_bias"]))
    return z @ parameters["tail"].T + parameters["tail_bias"][None]


def limit_kernel(x, outputs=1):
    """(x·x' + k + E[σ(g)σ(g')], √L × rms relative distance of Θ/(LC²) from it as C → ∞)."""
    import numpy as np

    relu = mf.activations.relu
    covariance = x @ x.T / x.shape[1] + 1
    average = mf.kernels.mlp(x, hidden_layers=1, activation=relu, bias_variance=(1.0, 0.0)).nngp
    limit = x @ x.T + outputs + average
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    theta = np.arccos(np.clip(covariance / size, -1, 1))
    np.fill_diagonal(theta, 0)
    sine, cosine = np.sin(theta), np.cos(theta)
    square = size**2 * (3 * sine * cosine + (np.pi - theta) * (1 + 2 * cosine**2)) / (2 * np.pi)
    return limit, float(np.sqrt((square - average**2).sum()) / np.linalg.norm(limit))


def kernels_at_the_start(x, depth, networks, samples, key):
    """Θ/(LC²) of independent networks at C = 5L, by differentiating them."""
    import numpy as np
    import xarray as xr

    rng, scale = np.random.default_rng([key, 0, depth]), 5.0 * depth
    found = [
        mf.kernels.empirical(apply, initial(rng, x.shape[1], 1, depth, scale), x).ntk / (depth * scale**2)
        for _ in range(networks)
    ]
    about = {"long_name": "tangent kernel Θ/(LC²)", "units": "1"}
    return xr.Dataset({"kernel": (("network", "sample", "sample_2"), np.stack(found), about)})


def training(x, y, scale, depth, networks, steps, relative_rate, samples, key):
    """Predictions and kernels of trained networks beside those of the kernel regime.

    The law of a network is that of its own kernel at the start, so that 1/√L has no part in the distance.
    """
    import numpy as np
    import xarray as xr

    rng, unit = np.random.default_rng([key, 1, depth]), depth * scale**2
    rate = relative_rate * 2 * len(x) / np.linalg.eigvalsh(unit * limit_kernel(x)[0])[-1]
    starts = [initial(rng, x.shape[1], 1, depth, scale) for _ in range(networks)]
    ends, predictions = descended(starts, x, y, rate, steps)
    kernels = np.array(
        [[mf.kernels.empirical(apply, p, x).ntk for p in pair] for pair in zip(starts, ends, strict=True)]
    )
    rate_of = lambda theta: -np.expm1(steps * np.log1p(-rate * unit * theta / len(x))) / theta  # noqa: E731
    sums = []
    for before, _ in kernels / unit:
        values, vectors = np.linalg.eigh(before)
        sums.append(vectors.sum(0) @ (rate_of(values) * (vectors.T @ y[:, 0])))
    descent = mf.GradientDescent(rate, steps)
    laws = [
        mf.kernels.predict(
            mf.kernels.Kernel(before, before), y, descent, centred=True, times=[rate * steps]
        )["prediction"].values[0, :, 0]
        for before, _ in kernels
    ]  # fmt: skip
    dims = ("network", "sample")
    return xr.Dataset(
        {
            "prediction": (dims, predictions[..., 0], {"long_name": "output after training", "units": "1"}),
            "law": (dims, np.array(laws), {"long_name": "output in the kernel regime", "units": "1"}),
            "kernel": (
                ("network", "when", "sample", "sample_2"),
                kernels / unit,
                {"long_name": "tangent kernel Θ/(LC²)", "units": "1"},
            ),
            "coefficients": (
                "network",
                np.array(sums),
                {"long_name": "sum of c, f = Θ c/(LC²), in the kernel regime", "units": "1"},
            ),
        },
        {"when": ["start", "end"]},
    )


def descended(starts, x, y, rate, steps):
    """(parameters, outputs (R, P, k)) after gradient descent on (1/2P) Σ |f − y|², in float64."""
    import jax
    import numpy as np

    from meanfield.base.precision import double

    with double():
        stacked = jax.tree.map(lambda *rows: np.stack(rows), *starts)
        ends, outputs = jax.tree.map(np.asarray, compiled_descent(steps)(stacked, x, y, rate))
    return [jax.tree.map(lambda row, i=i: row[i], ends) for i in range(len(starts))], outputs


@functools.cache
def compiled_descent(steps):
    """One program for all networks of one shape."""
    import jax

    def risk(parameters, x, y):
        return ((apply(parameters, x) - y) ** 2).sum() / (2 * len(x))

    def train(parameters, x, y, rate):
        def step(parameters, _):
            slope = jax.grad(risk)(parameters, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, parameters, slope), None

        end = jax.lax.scan(step, parameters, length=steps)[0]
        return end, apply(end, x)

    return jax.jit(jax.vmap(train, (0, None, None, None)))


def distances(start):
    """‖Θ/(LC²) − limit‖_F/‖limit‖_F of every network, (depth, network)."""
    import numpy as np

    away = (start["kernel"] - start["limit"]).values
    return np.linalg.norm(away, axis=(2, 3)) / np.linalg.norm(start["limit"].values)


def changes(trained):
    """(measured, predicted) rms relative change of the kernel by training, and rms distance of outputs from
    the kernel regime over rms target, (scale, network) each."""
    import numpy as np

    kernel, f = trained["kernel"].values, trained["prediction"].values
    size = np.linalg.norm(kernel[:, :, 0], axis=(2, 3))
    moved = np.linalg.norm(kernel[:, :, 1] - kernel[:, :, 0], axis=(2, 3)) / size
    scale = trained["scale"].values[:, None, None, None]
    own = trained["coefficients"].values[..., None, None] * kernel[:, :, 0]
    first = ((f[..., :, None] + f[..., None, :]) / 2 + own) / scale
    target = np.sqrt((trained["target"].values ** 2).mean())
    away = np.sqrt(((f - trained["law"].values) ** 2).mean(-1)) / target
    return moved, np.linalg.norm(first, axis=(2, 3)) / size, away


def exponent(sizes, values):
    """Mean slope of log values (sizes, networks) in log sizes and its standard error over networks.

    Networks of every size are drawn anew, so rows are paired at will.
    """
    import numpy as np

    logs = np.log(sizes) - np.log(sizes).mean()
    slopes = logs @ np.log(values) / (logs @ logs)
    return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    start, trained, about = data["start"].dataset, data["training"].dataset, data.attrs
    away, depths = distances(start), start["depth"].values
    ratios = np.sqrt(depths)[:, None] * away / about["constant"]
    squares, count = ratios**2, ratios.shape[1]
    lines = [
        "tangent kernel of networks with 2 inputs, 1 output, 4 neurons a layer, at C = 5L",
        f"  {about['networks']} networks of every depth; distance from x·x' + 1 + E[relu(g)relu(g')]",
        "",
        f"exponent of the distance in the depth: {with_error(*exponent(depths, away))}, theory -0.5",
        "squared distance, measured / predicted, theory 1",
    ]
    for depth, row in zip(depths, squares, strict=True):
        value = with_error(row.mean(), row.std(ddof=1) / np.sqrt(count))
        lines.append(f"  {depth} layers".ljust(16) + f"{value:<18}(rms {about['constant']:.3f} L^-1/2)")
    moved, first, behind = changes(trained)
    scales = trained["scale"].values
    lines += [
        "",
        f"{about['trained_networks']} networks of {about['trained_depth']} layers, {about['steps']} steps",
        f"exponent in C of the kernel's change: {with_error(*exponent(scales, moved))}, theory -1",
        f"  of the distance from the kernel regime: {with_error(*exponent(scales, behind))}, theory -1",
        f"{'':>8}{'change of the kernel':<24}{'theory, to order 1/C':<24}distance from the kernel regime",
    ]
    for scale, *row in zip(scales, moved, first, behind, strict=True):
        lines.append(f"  C = {scale:<6g}" + "".join(f"{v.mean():<24.3g}" for v in row).rstrip())
    return "\n".join(lines)


def draw(data):
    """Kernels of networks and their limit; distances over the depth; what training changes over C."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        draw_profiles(data, axes[0])
        draw_distances(data, axes[1])
        draw_training(data, axes[2])
    return figure


def draw_profiles(data, ax):
    """Θ(x_0, x)/(LC²) of ten networks of the shallowest and the deepest kind, x_0 in the middle."""
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import LIMIT, shades

    start = data["start"].dataset
    middle, angles = start.sizes["sample"] // 2, start["angle"].values
    handles = []
    for i, colour in ((0, shades(3)[0]), (-1, shades(3)[-1])):
        at = start.isel(depth=i, network=slice(10), sample_2=middle)
        ax.plot(angles, at["kernel"].values.T, color=colour, lw=0.6, zorder=2 + i % 2)
        handles.append(Line2D([], [], color=colour, lw=0.9, label=f"$L={int(at['depth'])}$"))
    handles += ax.plot(
        angles, start["limit"].values[:, middle], color=LIMIT, lw=1.3, zorder=4, label=r"$L\to\infty$"
    )
    ax.set_xlabel("angle of the input $x$")
    ax.set_ylabel(r"$\Theta(x_0,x)\,/\,LC^2$")
    legend_above(ax, handles, columns=3)


def draw_distances(data, ax):
    """Distances of all networks from the limit over the depth, their rms and the law with its constant."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import DARK, LIMIT

    start = data["start"].dataset
    depths, away = start["depth"].values, distances(start)
    ax.set_yscale("log")
    size_axis(ax, depths)
    ax.plot(depths, away, color=DARK, marker=".", ms=2.5, mew=0, alpha=0.4, ls="none", zorder=2)
    rms, law = np.sqrt((away**2).mean(1)), data.attrs["constant"] / np.sqrt(depths)
    handles = [
        Line2D([], [], color=DARK, marker=".", ms=4, alpha=0.6, ls="none", label="networks"),
        *ax.plot(depths, rms, color=DARK, marker="o", ms=4, ls="none", zorder=3, label="root mean square"),
        *ax.plot(depths, law, color=LIMIT, lw=1, zorder=1, label=r"theory, $\propto L^{-1/2}$"),
    ]
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("hidden layers $L$")
    ax.set_ylabel("relative distance of the kernel")
    legend_above(ax, handles, columns=2)


def draw_training(data, ax):
    """Change of the kernel and distance from the kernel regime over C, with the first order in 1/C."""
    from meanfield.plot.canvas import intervals, law_name, legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LAW, LIGHT, LIMIT

    trained = data["training"].dataset
    scales, (moved, first, away) = trained["scale"].values, changes(trained)
    ax.set(xscale="log", yscale="log")
    handles = []
    for values, colour, marker, label in (
        (moved, DARK, "o", "change of the kernel"), (away, LIGHT, "s", "outputs against the kernel regime"),
    ):  # fmt: skip
        intervals(ax, scales, values.min(1), values.max(1), color=colour, alpha=0.6, zorder=2)
        handles += ax.plot(
            scales, values.mean(1), color=colour, marker=marker, ms=4, ls="none", label=label, zorder=3
        )
    handles += ax.plot(
        scales, first.mean(1), color=LIMIT, lw=1, zorder=1, label="theory, first order in $1/C$"
    )
    ax.plot(scales, away.mean(1)[-1] * scales[-1] / scales, color=LAW, lw=0.8, zorder=1)
    law_name(ax, "$C^{-1}$", (scales[-1], away.mean(1)[-1]), xytext=(5, 0))
    ax.set_xlim(right=2 * scales[-1])
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("scale $C$")
    ax.set_ylabel("relative change by training")
    legend_above(ax, handles)
