"""Do the signals of deep networks come together or part, and over how many layers?

Claim: in the plane of weight and bias variance a line χ_1 = 1 parts an ordered phase, in which any two inputs
end with correlation 1, from a chaotic one, in which they end with a correlation c* < 1 (Poole et al. 2016).
On both sides the correlation approaches its fixed point like exp(−l/ξ_c), ξ_c = −1/ln χ(c*), and ξ_c diverges
at the line: networks that are many times deeper cannot tell inputs apart (Schoenholz et al. 2017).

Networks are drawn layer by layer: given the hidden activations of two inputs the preactivations of the next
layer are independent pairs of Gaussian numbers, one for every neuron, exactly. Decay rates are slopes of
log |mean c_l − c*| over the layers in which infinite networks are between a half and a fiftieth of where they
began, by least squares with the noise of the mean as its error, held against the slope of infinite networks
over the same layers; those are not yet at 1/ξ_c.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016, Exponential expressivity in deep neural networks "
    "through transient chaos, Advances in Neural Information Processing Systems 29",
    "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, Deep information propagation, International "
    "Conference on Learning Representations",
)

HIGH, LOW = 0.5, 0.02  # the part of a decay that is fitted, of its size at the first layer


def studies(**options):
    """None: signals of networks before training."""
    return {}


def compute(
    *,
    activations: tuple[str, ...] = ("tanh", "erf"),
    weight_variances: tuple[float, ...] = (0.6, 0.9, 1.1, 1.3, 2.1, 2.4, 3.0, 4.0),
    bias_variance: float = 0.05,
    largest: tuple[float, float] = (4.0, 0.5),
    pixels: int = 120,
    curve: int = 16,
    width: int = 4096,
    depth: int = 100,
    networks: int = 64,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """The phase diagram, depth scales along a line through it, and decays of networks on that line.

    Args:
        activations: of tanh, erf: χ_1 and the fixed point of the variance are read off the critical line.
        weight_variances: at which networks are drawn.
        bias_variance: of networks.
        largest: weight and bias variance where the diagram ends.
        pixels: of the diagram, each way.
        curve: weight variances of the predicted depth scale, away from the critical one.
        width: of every layer.
        depth: layers.
        networks: for every weight variance, three at least.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.base.progress import progress_bar
    from meanfield.studies.store import kept

    for name in activations:
        if name not in ("tanh", "erf"):
            raise ValueError(f"Argument `activations` must be of tanh, erf, but has {name!r}.")
    groups, decays = {}, []
    with progress_bar(progress) as bar:
        bar.start("layers of networks", len(activations) * len(weight_variances))
        for i, name in enumerate(activations):
            phi = getattr(mf.activations, name)
            groups[f"diagram_{name}"] = diagram(phi, largest, pixels)
            groups[f"curve_{name}"] = depth_scales(phi, weight_variances, bias_variance, curve)
            for j, variance in enumerate(weight_variances):
                at = {
                    "weight_variance": variance, "bias_variance": bias_variance, "width": width,
                    "depth": depth, "networks": networks, "key": [key, i, j],
                }  # fmt: skip
                about = {"order_chaos": name, **at}
                decays.append(kept(store, about, lambda phi=phi, at=at: decay(phi, **at)))
                bar.advance()
    shape = {"activation": list(activations), "weight_variance": list(weight_variances)}
    counts = len(activations), len(weight_variances)
    stacked = {}
    for name, first in decays[0].data_vars.items():
        values = np.stack([d[name].values for d in decays]).reshape(*counts, *first.shape)
        stacked[name] = ((*shape, *first.dims), values, first.attrs)
    signals = xr.Dataset(stacked, shape | {"layer": decays[0]["layer"]})
    signals["weight_variance"].attrs.update(long_name="weight variance", units="1")
    tree = xr.DataTree.from_dict(groups | {"signals": signals, "rates": rates(signals)})
    tree.attrs = {
        "bias_variance": bias_variance, "width": width, "depth": depth, "networks": networks, "key": key,
    }  # fmt: skip
    return tree


def diagram(phi, largest, pixels):
    """χ_1 over the plane, and the line χ_1 = 1, of an activation with one fixed point of the variance.

    V is q ↦ σ_w² E φ² + σ_b²: at a given q* the bias variance is q* − σ_w² E φ², which is inverted on a grid
    of q*, where both averages are known once for all. The critical line at q has σ_w² = 1/E φ'².
    """
    import numpy as np
    import xarray as xr

    weight, bias = (np.linspace(0, top, pixels + 1)[1:] - top / (2 * pixels) for top in largest)
    q = np.geomspace(1e-6, 2 * sum(largest) + 1, 2000)
    line = mf.kernels.critical_line(phi, q)
    slopes, squares = 1 / line[0], (q - line[1]) / line[0]
    susceptibility = np.empty((pixels, pixels))
    for i, variance in enumerate(weight):
        needed = q - variance * squares  # σ_b² of the fixed point q: falls at first where q = 0 repels
        rising = slice(int(np.argmin(needed)), None)
        susceptibility[i] = variance * np.interp(bias, needed[rising], slopes[rising])
    inside = (line[0] <= largest[0]) & (line[1] <= largest[1])
    return xr.Dataset(
        {
            "susceptibility": (
                ("weight_variance", "bias_variance"),
                susceptibility,
                {"long_name": "χ_1, growth of a small squared difference", "units": "1"},
            ),
            "critical_weight_variance": (
                "point",
                line[0][inside],
                {"long_name": "σ_w² on the critical line"},
            ),
            "critical_bias_variance": ("point", line[1][inside], {"long_name": "σ_b² on the critical line"}),
        },
        {
            "weight_variance": ("weight_variance", weight, {"long_name": "weight variance", "units": "1"}),
            "bias_variance": ("bias_variance", bias, {"long_name": "bias variance", "units": "1"}),
        },
        {"activation": phi.name},
    )


def depth_scales(phi, weight_variances, bias_variance, count):
    """ξ_c along a line of constant bias variance, at points that crowd about the critical one."""
    import numpy as np
    import xarray as xr

    critical = np.interp(bias_variance, *mf.kernels.critical_line(phi, np.geomspace(1e-3, 10, 400))[::-1])
    near = critical * (1 + np.outer([-1, 1], np.geomspace(0.003, 0.1, 5)).ravel())
    values = np.linspace(min(weight_variances) / 1.1, max(weight_variances) * 1.02, count)
    values = np.sort([*values[np.abs(values / critical - 1) > 0.1], *near])
    found = [
        mf.kernels.phase(phi, weight_variance=float(v), bias_variance=bias_variance).correlation_depth
        for v in values
    ]
    about = {"long_name": "depth scale ξ_c of the correlation", "units": "1"}
    return xr.Dataset(
        {"depth_scale": ("weight_variance", found, about)},
        {"weight_variance": ("weight_variance", values, {"long_name": "weight variance", "units": "1"})},
        {"critical": float(critical)},
    )


def decay(phi, weight_variance, bias_variance, width, depth, networks, key):
    """1 − correlation of two inputs at every layer, of networks and of infinite ones, at the fixed variance.

    In the ordered phase from correlation 0, in the chaotic one from halfway between c* and 1; NaN where the
    decay is over.
    """
    import numpy as np
    import xarray as xr

    options = {"weight_variance": weight_variance, "bias_variance": bias_variance}
    phase = mf.kernels.phase(phi, **options)
    start, limit = ((1 + phase.correlation) / 2 if phase.chaotic else 0.0), phase.correlation
    predicted = np.full(depth, np.nan)
    predicted[0] = start
    for layer in range(1, depth):
        if abs(predicted[layer - 1] - limit) < 0.3 * LOW * abs(start - limit):
            break
        predicted[layer] = mf.kernels.correlation_map(
            predicted[layer - 1], activation=phi, variance=phase.variance, **options
        )
    layers = int(np.isfinite(predicted).sum())
    found = np.full((networks, depth), np.nan)
    found[:, :layers] = differences(
        np.random.default_rng(key), phi, phase.variance, 1 - start, width, layers, networks, **options
    )
    words = {"long_name": "1 − correlation of two inputs", "units": "1"}
    infinite = {"long_name": "1 − correlation, infinite width", "units": "1"}
    end = {"long_name": "1 − correlation, infinite width and depth", "units": "1"}
    return xr.Dataset(
        {
            "difference": (("network", "layer"), found, words),
            "predicted": ("layer", 1 - predicted, infinite),
            "limit": ((), 1 - limit, end),
            "depth_scale": ((), phase.correlation_depth, {"long_name": "depth scale ξ_c", "units": "1"}),
        },
        {"layer": ("layer", np.arange(1, depth + 1), {"long_name": "layer l", "units": "1"})},
    )


def differences(rng, phi, variance, difference, width, depth, networks, weight_variance, bias_variance):
    """1 − correlation of the preactivations of two inputs, (R, L), from two of that variance and difference.

    Given the activations x, x' of n neurons the next preactivations have variances Q = σ_w²|x|²/n + σ_b² and
    Q', and 1 − c = (σ_w²|x − x'|²/n − (√Q − √Q')²)/(2√(QQ')), which keeps its digits near c = 1.
    """
    import numpy as np
    import scipy.special

    activate = {"tanh": np.tanh, "erf": scipy.special.erf}[phi.name]
    q = np.full((2, networks, 1), variance)
    delta = np.full((networks, 1), difference)
    found = [delta[:, 0]]
    for _ in range(depth - 1):
        z, own = rng.standard_normal((2, networks, width))
        u = np.sqrt(q[0]) * z
        v = np.sqrt(q[1]) * ((1 - delta) * z + np.sqrt(delta * (2 - delta)) * own)
        x, other = activate(u), activate(v)
        q = np.stack([weight_variance * (s * s).mean(1, keepdims=True) + bias_variance for s in (x, other)])
        apart = weight_variance * ((x - other) ** 2).mean(1, keepdims=True)
        size = np.sqrt(q)
        delta = (apart - (size[0] - size[1]) ** 2) / (2 * size[0] * size[1])
        found.append(delta[:, 0])
    return np.stack(found, 1)


def window(signals):
    """Layers over which a decay is fitted: those where the infinite network's is between HIGH and LOW."""
    import numpy as np

    left = np.abs(signals["predicted"] - signals["limit"])
    left = (left / left.isel(layer=0)).values
    return (left <= HIGH) & (left >= LOW)


def slope(layers, distances, weights):
    """Least-squares slope of log distances (..., layers)."""
    import numpy as np

    centred = weights * (layers - weights @ layers / weights.sum())
    return np.log(distances) @ centred / (centred @ layers)


def rates(signals):
    """Decay rates per layer of networks, with their jackknife errors, of infinite networks over the same
    layers, and 1/ξ_c; NaN where fewer than three layers are in the window."""
    import numpy as np
    import xarray as xr

    from meanfield.numerics.statistics import jackknife_error

    shape = signals["limit"].shape
    found = {name: np.full(shape, np.nan) for name in ("rate", "rate_error", "rate_infinite")}
    for at in np.ndindex(shape):
        one = signals.isel(activation=at[0], weight_variance=at[1])
        seen = window(one)
        if seen.sum() < 3:
            continue
        layers, limit = one["layer"].values[seen], float(one["limit"])
        delta = one["difference"].values[:, seen]
        mean, count = delta.mean(0), len(delta)
        without = (count * mean - delta) / (count - 1)
        predicted = np.abs(one["predicted"].values[seen] - limit)
        weights = (predicted / delta.std(0, ddof=1)) ** 2  # inverse squares of the noise of the logarithm
        found["rate"][at] = -slope(layers, np.abs(mean - limit), weights)
        found["rate_error"][at] = jackknife_error(-slope(layers, np.abs(without - limit), weights))
        found["rate_infinite"][at] = -slope(layers, predicted, weights)
    words = {
        "rate": "decay rate of networks",
        "rate_error": "one standard error of the decay rate",
        "rate_infinite": "decay rate of infinite networks over the same layers",
    }
    dims = signals["limit"].dims
    data = {name: (dims, found[name], {"long_name": text, "units": "1"}) for name, text in words.items()}
    return xr.Dataset(data, {name: signals[name] for name in dims})


def scores(rates, networks, false_alarms=0.01):
    """(z-scores of measured rates against those of infinite networks, the threshold of the largest)."""
    import numpy as np
    import scipy.stats

    z = ((rates["rate"] - rates["rate_infinite"]) / rates["rate_error"]).values
    count = int(np.isfinite(z).sum())
    return z, float(scipy.stats.t.isf(false_alarms / (2 * max(count, 1)), networks - 1))


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, signals, found = data.attrs, data["signals"].dataset, data["rates"].dataset
    z, threshold = scores(found, about["networks"])
    lines = [
        f"correlation of two inputs through networks of width {about['width']}, "
        f"{about['networks']} for every weight variance, bias variance {about['bias_variance']:g}",
        "",
        f"  {'':<8}{'weight':<9}{'':<10}{'decay rate per layer':<24}{'theory,':<14}{'theory,':<10}",
        f"  {'':<8}{'variance':<9}{'phase':<10}{'measured':<24}{'same layers':<14}{'1/xi_c':<10}z",
    ]
    for i, name in enumerate(signals["activation"].values):
        for j, variance in enumerate(signals["weight_variance"].values):
            at = found.isel(activation=i, weight_variance=j)
            scale = float(signals["depth_scale"][i, j])
            phase = "chaotic" if float(signals["limit"][i, j]) > 0 else "ordered"
            row = f"  {name:<8}{variance:<9g}{phase:<10}"
            if np.isfinite(at["rate"]):
                row += f"{with_error(float(at['rate']), float(at['rate_error'])):<24}"
                row += f"{float(at['rate_infinite']):<14.4f}{1 / scale:<10.4f}{z[i, j]:.1f}"
            else:
                row += f"{'longer than the network':<24}{'':<14}{1 / scale:<10.4f}"
            lines.append(row.rstrip())
    worst = np.nanmax(np.abs(z))
    lines += [
        "",
        f"largest |z| of {int(np.isfinite(z).sum())}: {worst:.2f}, theory: at most {threshold:.2f} with "
        f"probability 0.99: {'consistent' if worst <= threshold else 'inconsistent'}",
    ]
    return "\n".join(lines)


def draw(data):
    """The phase diagram of the first activation; decays of its networks; depth scales of all."""
    from meanfield.plot.canvas import panels

    with panels(3, width_ratios=(1.25, 1, 1)) as (figure, axes):
        name = str(data["signals"]["activation"].values[0])
        drawn = mf.plot.phase_diagram(data[f"diagram_{name}"].dataset, axes[0])
        draw_line(data, drawn)
        draw_decays(data, axes[1])
        draw_scales(data, axes[2])
    return figure


def draw_line(data, drawn):
    """Where networks were drawn, in the diagram."""
    signals = data["signals"].dataset
    x = signals["weight_variance"].values
    drawn.ax.plot(
        x, [data.attrs["bias_variance"]] * len(x), color="white", marker="o", ms=3, mec="black", mew=0.5,
        ls="none", zorder=5, clip_on=False,
    )  # fmt: skip


def draw_decays(data, ax):
    """|mean c_l − c*| over the layer: networks of the first activation, and infinite ones in black."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import DARK, LIGHT, LIMIT

    signals = data["signals"].dataset.isel(activation=0)
    layers = signals["layer"].values
    ax.set_yscale("log")
    for j in range(signals.sizes["weight_variance"]):
        one = signals.isel(weight_variance=j)
        limit = float(one["limit"])
        colour, marker = (LIGHT, "s") if limit > 0 else (DARK, "o")
        mean = np.abs(one["difference"].values.mean(0) - limit)
        theory = np.abs(one["predicted"].values - limit)
        seen = theory >= LOW * theory[0]
        ax.plot(layers[seen], mean[seen], color=colour, marker=marker, ms=1.8, mew=0, ls="none", zorder=2)
        ax.plot(layers[seen], theory[seen], color=LIMIT, lw=0.7, zorder=1)
    ax.set_xlabel("layer $l$")
    ax.set_ylabel(r"$|c_l-c^*|$, " + str(signals["activation"].values))
    legend_above(
        ax,
        [
            Line2D([], [], color=DARK, marker="o", ms=3, ls="none", label="ordered"),
            Line2D([], [], color=LIGHT, marker="s", ms=3, ls="none", label="chaotic"),
            Line2D([], [], color=LIMIT, lw=0.9, label="infinite width"),
        ],
        columns=2,
    )


def draw_scales(data, ax):
    """Measured depth scales with 95% intervals on the predicted curve, which diverges at the critical line.

    A measured rate is corrected by what the finite window does to the infinite network.
    """
    import numpy as np

    from meanfield.numerics.statistics import student_interval
    from meanfield.plot.canvas import intervals, legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LIGHT, LIMIT

    signals, found = data["signals"].dataset, data["rates"].dataset
    half = student_interval(data.attrs["networks"])
    ax.set_yscale("log")
    handles = []
    for i, (colour, marker, dashes) in enumerate(((DARK, "o", "-"), (LIGHT, "s", (0, (3, 1.5))))):
        if i >= signals.sizes["activation"]:
            break
        name = str(signals["activation"].values[i])
        curve = data[f"curve_{name}"].dataset
        for side in (curve["weight_variance"] < curve.critical, curve["weight_variance"] > curve.critical):
            part = curve.isel(weight_variance=side.values.nonzero()[0])
            ax.plot(part["weight_variance"], part["depth_scale"], color=LIMIT, lw=0.9, ls=dashes, zorder=1)
        at = found.isel(activation=i)
        good = np.isfinite(at["rate"].values)
        x = signals["weight_variance"].values[good]
        scale = signals["depth_scale"].values[i, good]
        rate, error, own = (at[n].values[good] for n in ("rate", "rate_error", "rate_infinite"))
        y = scale * own / rate
        intervals(ax, x, y / (1 + half * error / rate), y / (1 - half * error / rate), color=colour, zorder=2)
        handles += ax.plot(x, y, color=colour, marker=marker, ms=4, ls="none", label=name, zorder=3)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel(r"weight variance $\sigma_w^2$")
    ax.set_ylabel(r"depth scale $\xi_c$")
    legend_above(ax, handles, columns=2)
