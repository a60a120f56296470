"""What does a wide network lose when its biases leave only few neurons active?

Claim: with one hidden layer of relu whose biases all start at −B and inputs of one length, so that
preactivations are standard normal at B = 0, a fraction P(u > B) ≤ exp(−B²/2) of the neurons is active on an
input, at the start and through training (Song, Yang & Zhang 2021). The kernel regime has the bias-generalised
tangent kernel

    H(x, x') = (x·x'/d + 1) P(u > B, u' > B),     (u, u') Gaussian of correlation x·x'/d,

readout ±1 fixed, weights and biases trained; training is as fast as in dense networks, and there is a region
of thresholds in which the smallest eigenvalue is of the order of exp(−B²/2), as large as the diagonal (Yang,
Jiang, Zhang, Liang & Wang 2023). The matrix even becomes better conditioned with B: for x ≠ x' the chance
that both are active falls faster than the diagonal 2P(u > B), so that λ_min over it tends to 1.

What sparsity costs is width. Kernels of networks are means over neurons, at mean square relative distance
C²/n for every n, C² = Σ (x·x'/d + 1)² (P − P²)/‖H‖², of order 1/P(u > B): it is active neurons that count.
Sparse networks do learn faster at a rate in one proportion to the edge, but fall behind their kernel regime
the more the sparser they are; where as few neurons answer to an image as there are images, at B = 2.4 and
n = 4096, they leave it altogether: loss oscillates, and a quarter of the active neurons dies.

Data: digits 3 and 8 in 64 dimensions, every image of length √d.
Time: about a minute on two cores.
"""

import functools

import meanfield as mf

SOURCES = (
    "Song, Yang & Zhang 2021, Does preprocessing help training over-parameterized neural networks?, Advances "
    "in Neural Information Processing Systems 34",
    "Yang, Jiang, Zhang, Liang & Wang 2023, Neural networks with sparse activation induced by large bias: "
    "tighter analysis with bias-generalized NTK, arXiv 2301.00327",
    "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository",
)

SMALL = 1e-12  # variance of random biases that carry the learning rate of the constant one


def studies(**options):
    """None: networks with constant biases, a threshold and width at a time."""
    return {}


def compute(
    *,
    thresholds: tuple[float, ...] = (0.0, 0.6, 1.2, 1.8, 2.4),
    widths: tuple[int, ...] = (256, 1024, 4096),
    networks: int = 24,
    samples: int = 24,
    trained_width: int = 4096,
    trained_networks: int = 8,
    steps: int = 16,
    relative_rate: float = 0.5,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Kernels of networks and of infinite width at several thresholds, and networks trained at each.

    Args:
        thresholds: B.
        widths: of the hidden layer.
        networks: of every threshold and width, three at least.
        samples: images.
        trained_width: of trained networks.
        trained_networks: of every threshold, two at least.
        steps: steps of gradient descent.
        relative_rate: learning rate over the stability edge of the limit.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import scipy.special
    import xarray as xr

    from meanfield.base.progress import progress_bar
    from meanfield.studies.store import kept

    x, y = inputs(samples, key)
    limits, cells, runs = [], [], []
    with progress_bar(progress) as bar:
        bar.start("networks", len(thresholds))
        for i, threshold in enumerate(thresholds):
            kernel = infinite(x, threshold)
            limits.append([kernel.nngp, kernel.ntk])
            for n in widths:
                at = {"threshold": threshold, "width": n, "networks": networks, "key": [key, i, n]}
                about = {"sparse_activation": at, "samples": samples}
                cells.append(kept(store, about, lambda at=at: at_the_start(x, **at)))
            at = {
                "threshold": threshold, "width": trained_width, "networks": trained_networks,
                "steps": steps, "relative_rate": relative_rate, "key": [key, i, 1],
            }  # fmt: skip
            about = {"sparse_activation": at, "samples": samples}
            runs.append(kept(store, about, lambda at=at, kernel=kernel: trained(x, y, kernel, **at)))
            bar.advance()
    tail = scipy.special.ndtr(-np.array(thresholds))
    coords = {
        "threshold": ("threshold", list(thresholds), {"long_name": "threshold B", "units": "1"}),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
    }
    join = lambda name: np.stack([c[name].values for c in cells]).reshape(  # noqa: E731
        len(thresholds), len(widths), *cells[0][name].shape
    )
    pairs = ("sample", "sample_2")
    start = xr.Dataset(
        {
            "active": (
                ("threshold", "width", "network"),
                join("active"),
                {"long_name": "fraction of active neurons", "units": "1"},
            ),
            "kernel": (
                ("threshold", "width", "network", *pairs),
                join("kernel"),
                {"long_name": "tangent kernel of a network", "units": "1"},
            ),
            "limit": (
                ("threshold", *pairs),
                np.stack([ntk for _, ntk in limits]),
                {"long_name": "bias-generalised tangent kernel H", "units": "1"},
            ),
            "tail": ("threshold", tail, {"long_name": "P(u > B)", "units": "1"}),
            "inner": (pairs, x @ x.T / x.shape[1], {"long_name": "x·x'/d", "units": "1"}),
        },
        coords,
    )
    training = xr.concat(runs, xr.DataArray(list(thresholds), dims="threshold"))
    tree = xr.DataTree.from_dict({"start": start, "training": training})
    tree.attrs = {
        "networks": networks, "trained_width": trained_width, "trained_networks": trained_networks,
        "steps": steps, "samples": samples, "key": key,
    }  # fmt: skip
    return tree


def inputs(samples, key):
    """Images of length √d and their targets ±1, (P, d) and (P, 1)."""
    import numpy as np

    problem = mf.datasets.digits((3, 8), samples, 0, key=key)
    length = np.linalg.norm(problem.x, axis=1, keepdims=True)
    return np.sqrt(problem.x.shape[1]) * problem.x / length, problem.y


@functools.cache
def shifted_relu(threshold):
    """φ(z) = max(z − B, 0): a relu whose bias starts at −B."""
    import jax.numpy as jnp

    if threshold == 0:
        return mf.activations.relu

    def function(z):
        return jnp.maximum(z - threshold, 0)

    return mf.Activation(function, f"relu(z - {threshold:g})", kinks=((float(threshold), 1.0),))


def infinite(x, threshold):
    """E φφ' and H = (x·x'/d + 1) E φ̇φ̇' at infinite width.

    The trained bias is constant at the start: it has the part E φ̇φ̇' in Θ, that of random biases of variance
    SMALL with the learning rate 1/SMALL, whose own part in the preactivations is lost in rounding.
    """
    return mf.kernels.mlp(
        x, hidden_layers=1, activation=shifted_relu(threshold), rates=(1.0, 0.0),
        bias_variance=(SMALL, 0.0), bias_rates=(1 / SMALL, 0.0),
    )  # fmt: skip


def initial(rng, inputs, width, threshold):
    """Parameters of one network; integers are not trained."""
    import numpy as np

    return {
        "w": rng.standard_normal((width, inputs)),
        "b": np.full(width, -float(threshold)),
        "a": 2 * rng.integers(0, 2, width, dtype=np.int8) - 1,
    }


def preactivations(parameters, x):
    import math

    return x @ parameters["w"].T / math.sqrt(x.shape[1]) + parameters["b"][None]


def apply(parameters, x):
    """f (P,) = Σ a relu(w·x/√d + b)/√n of one network."""
    import jax.numpy as jnp

    h = jnp.maximum(preactivations(parameters, x), 0)
    return h @ parameters["a"].astype(h.dtype) / jnp.sqrt(h.shape[1])


def at_the_start(x, threshold, width, networks, key):
    """Active fractions and tangent kernels of independent networks, by differentiating them."""
    import numpy as np
    import xarray as xr

    rng = np.random.default_rng(key)
    active, kernels = [], []
    for _ in range(networks):
        parameters = initial(rng, x.shape[1], width, threshold)
        active.append((preactivations(parameters, x) > 0).mean())
        kernels.append(mf.kernels.empirical(apply, parameters, x).ntk)
    pairs = ("network", "sample", "sample_2")
    return xr.Dataset({"active": ("network", np.array(active)), "kernel": (pairs, np.stack(kernels))})


def trained(x, y, kernel, threshold, width, networks, steps, relative_rate, key):
    """Losses and active fractions of networks at every step, and the mean loss of the kernel regime."""
    import numpy as np
    import xarray as xr

    rng = np.random.default_rng(key)
    rate = relative_rate * 2 * len(x) / np.linalg.eigvalsh(kernel.ntk)[-1]
    starts = [initial(rng, x.shape[1], width, threshold) for _ in range(networks)]
    runs = [descended(p, x, y[:, 0], rate, steps) for p in starts]
    losses, active = (np.stack(values) for values in zip(*runs, strict=True))
    law = mf.kernels.predict(kernel, y, mf.GradientDescent(rate, steps))
    return xr.Dataset(
        {
            "loss": (("network", "step"), losses, {"long_name": "training loss", "units": "1"}),
            "active": (("network", "step"), active, {"long_name": "fraction of active neurons"}),
            "law": ("step", law["loss"].values, {"long_name": "mean loss in the kernel regime"}),
        },
        {"step": np.arange(steps + 1), "time": ("step", rate * np.arange(steps + 1.0))},
    )


def descended(parameters, x, y, rate, steps):
    """(losses, active fractions), (T + 1,) each, of gradient descent on (1/2P) Σ (f − y)², in float32."""
    import jax
    import numpy as np

    floats = jax.tree.map(lambda p: np.asarray(p, np.float32 if p.dtype == float else p.dtype), parameters)
    small = (np.asarray(v, np.float32) for v in (x, y))
    return [np.asarray(v, float) for v in compiled_descent(steps)(floats, *small, np.float32(rate))]


@functools.cache
def compiled_descent(steps):
    import jax

    def risk(moving, a, x, y):
        return ((apply(moving | {"a": a}, x) - y) ** 2).mean() / 2

    @jax.jit
    def train(parameters, x, y, rate):
        a = parameters["a"]

        def step(moving, _):
            loss, slope = jax.value_and_grad(risk)(moving, a, x, y)
            seen = loss, (preactivations(moving, x) > 0).mean()
            return jax.tree.map(lambda p, g: p - rate * g, moving, slope), seen

        return jax.lax.scan(step, {"w": parameters["w"], "b": parameters["b"]}, length=steps + 1)[1]

    return train


def distances(start):
    """(‖H_n − H‖_F/‖H‖_F of every network, √n × its predicted root mean square), (threshold, width, network)
    and (threshold,)."""
    import numpy as np

    limit, inner = start["limit"].values, start["inner"].values + 1
    away = np.linalg.norm(start["kernel"].values - limit[:, None, None], axis=(3, 4))
    size = np.linalg.norm(limit, axis=(1, 2))
    both = limit / np.where(inner > 1e-9, inner, 1)  # P(u > B, u' > B), where it matters
    variance = (inner**2 * (both - both**2)).sum((1, 2))
    return away / size[:, None, None], np.sqrt(variance) / size


def smallest(kernels):
    import numpy as np

    return np.linalg.eigvalsh(kernels)[..., 0]


def measured(data):
    """Rows of the table: what networks have, with standard errors, beside what is predicted, by threshold."""
    import numpy as np

    start, training = data["start"].dataset, data["training"].dataset
    mean = lambda v: (v.mean(), v.std(ddof=1) / np.sqrt(v.size))  # noqa: E731
    away, constant = distances(start)
    tail, rows = start["tail"].values, []
    for i, threshold in enumerate(start["threshold"].values):
        squares = (start["width"].values[:, None] * away[i] ** 2 / constant[i] ** 2).mean(0)
        run, limit = training.isel(threshold=i), start["limit"].values[i]
        rows.append({
            "threshold": threshold, "tail": tail[i], "active": mean(start["active"].values[i, -1]),
            "after": mean(run["active"].values[:, -1]), "squares": mean(squares),
            "smallest": smallest(limit), "share": smallest(limit) / (2 * tail[i]),
            "finite": mean(smallest(start["kernel"].values[i, -1])),
            "loss": mean(run["loss"].values[:, -1]), "law": float(run["law"][-1]),
        })  # fmt: skip
    return rows


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    about, start = data.attrs, data["start"].dataset
    widest = int(start["width"][-1])
    lines = [
        f"one hidden layer, {about['samples']} images of one length, {about['networks']} networks of every "
        f"width up to {widest}",
        "",
        f"{'':6}{'active neurons':<40}{'squared distance':<20}{'smallest eigenvalue'}",
        f"{'B':<6}{'theory':<9}{f'n = {widest}':<21}{'trained':<10}"
        f"{'over theory, 1':<20}{'limit':<10}{f'n = {widest}':<20}limit / diagonal",
    ]
    rows = measured(data)
    for row in rows:
        lines.append(
            f"{row['threshold']:<6g}{row['tail']:<9.4f}{with_error(*row['active']):<21}{row['after'][0]:<10.4f}"
            f"{with_error(*row['squares']):<20}{row['smallest']:<10.4f}{with_error(*row['finite']):<20}"
            f"{row['share']:.3f}"
        )
    lines += [
        "",
        f"loss after {about['steps']} steps, {about['trained_networks']} networks of width "
        f"{about['trained_width']}, rates in one proportion to the stability edge",
        f"{'B':<6}{'networks':<24}theory: kernel regime",
    ]
    for row in rows:
        lines.append(
            f"{row['threshold']:<6g}{row['loss'][0]:.3g} ± {row['loss'][1]:.1g}".ljust(30)
            + f"{row['law']:.3g}"
        )
    return "\n".join(lines)


def draw(data):
    """Active fractions and smallest eigenvalues over B; distances over active neurons; losses."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        draw_thresholds(data, axes[0])
        draw_distances(data, axes[1])
        draw_losses(data, axes[2])
    return figure


def draw_thresholds(data, ax):
    """Active neurons, and the smallest eigenvalue of the limit and of the widest networks, over B."""
    import numpy as np
    import scipy.special

    from meanfield.plot.canvas import legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LIGHT, LIMIT, THIRD

    start, rows = data["start"].dataset, measured(data)
    b = start["threshold"].values
    fine = np.linspace(b[0], b[-1], 100)
    limit = np.array([row["smallest"] for row in rows])
    ax.set_yscale("log")
    ax.plot(fine, scipy.special.ndtr(-fine), color=LIMIT, lw=0.9, zorder=1)
    handles = [
        *ax.plot(b, [r["active"][0] for r in rows], color=DARK, marker="o", ms=4, ls="none", label="active"),
        *ax.plot(
            b, [r["after"][0] for r in rows], color=LIGHT, marker="x", ms=5, ls="none", zorder=3,
            label="active, trained",
        ),
        *ax.plot(
            b, [r["finite"][0] for r in rows], color=THIRD, marker="^", ms=4, ls="none",
            label=r"$\lambda_{\min}$",
        ),
        *ax.plot(b, limit, color=LIMIT, lw=0.9, zorder=1, label="infinite width"),
        *ax.plot(
            b, limit / (2 * start["tail"].values), color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), zorder=1,
            label=r"$\lambda_{\min}/H(x,x)$",
        ),
    ]  # fmt: skip
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("threshold $B$")
    ax.set_ylabel("fraction, eigenvalue")
    legend_above(ax, handles, columns=2)


def draw_distances(data, ax):
    """Root mean square distance from H over the number of active neurons, all thresholds, with the theory."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, plain_log_ticks
    from meanfield.plot.colours import LIMIT, shades

    start = data["start"].dataset
    away, constant = distances(start)
    widths, tail = start["width"].values, start["tail"].values
    ax.set(xscale="log", yscale="log")
    handles = []
    for i, colour in enumerate(shades(len(tail))):
        rms = np.sqrt((away[i] ** 2).mean(1))
        label = f"$B={start['threshold'].values[i]:g}$"
        handles += ax.plot(
            widths * tail[i], rms, color=colour, marker="o", ms=3.5, ls="none", label=label, zorder=2
        )
        ax.plot(widths * tail[i], constant[i] / np.sqrt(widths), color=LIMIT, lw=0.7, zorder=1)
    handles.append(Line2D([], [], color=LIMIT, lw=0.9, label="theory"))
    plain_log_ticks(ax.xaxis)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("active neurons $n\\,P(u>B)$")
    ax.set_ylabel(r"$\|H_n-H\|\,/\,\|H\|$")
    legend_above(ax, handles, columns=3)


def draw_losses(data, ax):
    """Mean loss of networks over steps, from the smallest to the largest, and that of the kernel regime."""
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, plain_log_ticks
    from meanfield.plot.colours import LIMIT, shades

    training = data["training"].dataset
    steps = training["step"].values
    ax.set_yscale("log")
    handles = []
    for i, colour in enumerate(shades(training.sizes["threshold"])):
        run = training.isel(threshold=i)
        losses = run["loss"].values
        ax.fill_between(steps, losses.min(0), losses.max(0), color=colour, alpha=0.3, lw=0, zorder=1)
        ax.plot(steps, losses.mean(0), color=colour, lw=1.1, zorder=2)
        ax.plot(steps, run["law"], color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), zorder=3)
        handles.append(Line2D([], [], color=colour, lw=1.1, label=f"$B={float(run['threshold']):g}$"))
    handles.append(Line2D([], [], color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), label="kernel regime"))
    plain_log_ticks(ax.yaxis)
    ax.set_xlim(0, steps[-1])
    ax.set_ylim(bottom=0.3 * float(training["loss"].min()))
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    legend_above(ax, handles, columns=2)
