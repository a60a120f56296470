"""How fast do the kernels of finite networks approach those of infinite width, and how deep can they be?

Claim: the kernel of the features of one network, the NNGP, and its tangent kernel at initialisation are at
relative distance C n^{-1/2} from their limits, at any fixed depth (Lee et al. 2018; Jacot, Gabriel & Hongler
2018); for one hidden layer this holds with its constant at every n, for a kernel is then a mean of n
independent terms of known variance. C grows with the depth: for relu at σ_w² = 2 the mean square of
Σ_n(x, x)/Σ(x, x) − 1 is (1 + 5/n)^L − 1 at every n and L (Hanin & Nica 2020; THEORY 3.1), which leaves its
power law where 5L/n is not small.

Data: digits 3 and 8, mean square 1 a pixel. Weight variances are 2 for relu, 1 for erf and tanh: fields stay
of order one at any depth.
Time: about two minutes on two cores.
"""

import meanfield as mf

SOURCES = (
    "Lee, Bahri, Novak, Schoenholz, Pennington & Sohl-Dickstein 2018, Deep neural networks as Gaussian "
    "processes, International Conference on Learning Representations",
    "Jacot, Gabriel & Hongler 2018, Neural tangent kernel: convergence and generalization in neural "
    "networks, Advances in Neural Information Processing Systems 31",
    "Hanin & Nica 2020, Finite depth and width corrections to the neural tangent kernel, International "
    "Conference on Learning Representations",
)

WEIGHT_VARIANCE = {"relu": 2.0, "erf": 1.0, "tanh": 1.0}
KERNELS = {"nngp": "NNGP", "ntk": "NTK"}


def studies(**options):
    """None: networks before training, each kept by `simulate`."""
    return {}


def compute(
    *,
    activations: tuple[str, ...] = ("relu", "erf", "tanh"),
    depths: tuple[int, ...] = (1, 2, 3, 4, 5),
    widths: tuple[int, ...] = (32, 64, 128, 256, 512),
    seeds: int = 64,
    samples: int = 12,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every activation, depth and width at initialisation, and their infinite kernels.

    Args:
        activations: of relu, erf, tanh.
        depths: numbers of hidden layers.
        widths: of every hidden layer, three at least.
        seeds: networks of every width, three at least; a narrow network is a part of a wide one.
        samples: images.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    for name in activations:
        if name not in WEIGHT_VARIANCE:
            raise ValueError(f"Argument `activations` must be of relu, erf, tanh, but has {name!r}.")
    problem = mf.datasets.digits(classes=(3, 8), samples=samples, test_samples=0, squared_norm=64, key=key)
    looks = (mf.observe.Kernel(at=(0,)), mf.observe.FeatureKernel(at=(0,)))
    options = {
        "seeds": seeds, "key": key, "record": [0], "observe": looks, "progress": progress,
        "store": part_of(store),
    }  # fmt: skip
    training = mf.GradientDescent(1e-3, 1)  # a run has one step at least; only its start is looked at
    shape = (len(activations), len(depths), len(widths), seeds)
    away = {name: np.empty(shape) for name in (*KERNELS, "variance")}
    constants = np.empty((len(KERNELS), len(activations)))
    for i, name in enumerate(activations):
        phi, variance = getattr(mf.activations, name), WEIGHT_VARIANCE[name]
        constants[:, i] = constants_of_one_layer(phi, problem.x, variance)
        for j, depth in enumerate(depths):
            truth = mf.kernels.mlp(problem.x, hidden_layers=depth, activation=phi, weight_variance=variance)
            model = mf.MLP(depth, phi, mf.parametrizations.ntk, weight_variance=variance)
            for k, width in enumerate(widths):
                run = mf.simulate(model.finite(width), problem, training, **options)
                nngp = variance * run["feature_kernel"].values[:, 0]
                at = i, j, k
                away["nngp"][at] = relative_distance(nngp, truth.nngp)
                away["ntk"][at] = relative_distance(run["kernel"].values[:, 0, :, 0, :, 0], truth.ntk)
                diagonal = np.einsum("spp->sp", nngp) / np.diag(truth.nngp)
                away["variance"][at] = np.mean((diagonal - 1) ** 2, 1)
    coords = {
        "activation": list(activations),
        "hidden_layers": ("hidden_layers", list(depths), {"long_name": "hidden layers L", "units": "1"}),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
        "seed": np.arange(seeds),
    }
    words = {name: f"relative distance of the {text} from its limit" for name, text in KERNELS.items()}
    words["variance"] = "mean square of NNGP(x, x) / limit − 1"
    dims = ("activation", "hidden_layers", "width", "seed")
    away = xr.Dataset(
        {name: (dims, away[name], {"long_name": text, "units": "1"}) for name, text in words.items()}, coords
    )
    about = {"long_name": "predicted √n × rms relative distance, one hidden layer", "units": "1"}
    constants = xr.Dataset(
        {"predicted": (("kernel", "activation"), constants, about)},
        {"kernel": list(KERNELS), "activation": list(activations)},
    )
    tree = xr.DataTree.from_dict(
        {"distances": away, "exponents": fitted(away), "constants": measured_constants(away, constants)}
    )
    tree.attrs = {"problem": repr(problem), "samples": samples, "seeds": seeds, "key": key}
    return tree


def relative_distance(kernels, limit):
    """‖K_s − K‖_F / ‖K‖_F of every seed."""
    import numpy as np

    return np.linalg.norm(kernels - limit, axis=(1, 2)) / np.linalg.norm(limit)


def constants_of_one_layer(phi, x, variance, nodes=60, angles=2000):
    """√n × root mean square of the relative distance of (NNGP, NTK) with one hidden layer.

    The kernels are means over neurons of σ² φφ' and σ² (φφ' + v² φ̇φ̇' k), v ~ N(0, 1) and the preactivations
    ~ N(0, k), k = σ² xxᵀ/d, σ² the weight variance. Their second moments are
    σ⁴ E[φ²φ'²] and σ⁴ (E[φ²φ'²] + 2k E[φφ̇φ'φ̇'] + 3k² E[φ̇²φ̇'²]), as E v² = 1, E v⁴ = 3.
    Gaussian averages of a pair in polar coordinates, Gauss-Laguerre in r²/2 and equal angles: spectral for
    smooth φ, O(1/angles) for the jumps of φ̇.
    """
    import jax
    import numpy as np

    k = variance * x @ x.T / x.shape[1]
    radius, weights = np.polynomial.laguerre.laggauss(nodes)
    radius = np.sqrt(2 * radius)[:, None]
    theta = 2 * np.pi * (np.arange(angles) + 0.5) / angles
    size = np.sqrt(np.diag(k))
    square = np.zeros(2)  # Σ_pq of the second moments, of the squared means
    means = np.zeros(2)
    with jax.enable_x64(True):
        for p in range(len(k)):
            u = size[p] * radius * np.cos(theta)
            phi_p, slope_p = (np.asarray(values) for values in phi.value_and_derivative(jax.numpy.asarray(u)))
            for q in range(p + 1):
                lag = np.arccos(np.clip(k[p, q] / (size[p] * size[q]), -1, 1))
                u = size[q] * radius * np.cos(theta - lag)
                phi_q, slope_q = (np.asarray(v) for v in phi.value_and_derivative(jax.numpy.asarray(u)))
                a, b = phi_p * phi_q, slope_p * slope_q * k[p, q]
                average = lambda values: weights @ values.mean(1)  # noqa: E731
                times = 1 if p == q else 2
                square += times * np.array([average(a * a), average(a * a + 2 * a * b + 3 * b * b)])
                means += times * np.array([average(a), average(a + b)]) ** 2
    return np.sqrt(square / means - 1)


def fitted(away):
    """Exponents of both distances in the width, with what narrow networks being off the law adds to their
    errors, and verdicts on −1/2."""
    import numpy as np
    import xarray as xr

    from meanfield.studies.compare import verdict
    from meanfield.studies.scaling_check import exponent_variables, exponents

    size = away[list(KERNELS)].to_dataarray("kernel")
    size = size.transpose("seed", "width", "kernel", "activation", "hidden_layers")
    value, error, _ = exponents(away["width"].values, size.values)
    predicted, seeds = np.full(value.shape, -0.5), away.sizes["seed"]
    words = np.vectorize(lambda *at: verdict(*at, seeds), otypes=[str])(value, error, predicted)
    dims, text = size.dims[2:], "exponent of the relative distance in the width"
    return xr.Dataset(
        exponent_variables(dims, text, value, error, predicted, words),
        {"kernel": list(KERNELS), **{name: away[name] for name in dims[1:]}},
    )


def measured_constants(away, constants):
    """Measured over predicted mean squares, all widths together, each with one standard error.

    - `squares` (kernel, activation): of the distance with one hidden layer, NaN if there is none;
    - `growth` (hidden_layers): of relu's Σ_n(x, x)/Σ(x, x) − 1, whose mean square is (1 + 5/n)^L − 1.
    """
    import numpy as np

    def over_seeds(values):
        """Mean and standard error; a narrow network is a part of a wide one, so widths come first."""
        values = values.mean("width")
        return values.mean("seed"), values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])

    one = (
        away[list(KERNELS)].to_dataarray("kernel").reindex(hidden_layers=[1]).isel(hidden_layers=0, drop=True)
    )
    found = {"squares": over_seeds(away["width"] * one**2 / constants["predicted"] ** 2)}
    if "relu" in away["activation"].values:
        predicted = (1 + 5 / away["width"]) ** away["hidden_layers"] - 1
        found["growth"] = over_seeds(away["variance"].sel(activation="relu", drop=True) / predicted)
    texts = {
        "squares": "squared distance with one hidden layer, measured / predicted",
        "growth": "mean square of relu's NNGP(x, x) / limit − 1, measured / predicted",
    }
    for name, (value, error) in found.items():
        constants[name] = value.assign_attrs(long_name=texts[name], units="1")
        constants[f"{name}_error"] = error.assign_attrs(
            long_name=f"one standard error of: {texts[name]}", units="1"
        )
    return constants


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    away, found, constants = (data[name].dataset for name in ("distances", "exponents", "constants"))
    widths = ", ".join(str(n) for n in away["width"].values)
    lines = [
        "kernels of one network at initialisation against those of infinite width",
        f"  on {data.attrs['problem']}",
        f"  widths {widths}; {data.attrs['seeds']} networks each",
        "",
        "exponent in the width of the relative distance (Frobenius norm), theory -0.5",
        f"  {'activation':<12}{'depth':<8}" + "".join(f"{text:<34}" for text in KERNELS.values()).rstrip(),
    ]
    for phi in found["activation"].values:
        for depth in found["hidden_layers"].values:
            row = f"  {phi:<12}{depth:<8}"
            for kernel in KERNELS:
                at = found.sel(activation=phi, hidden_layers=depth, kernel=kernel)
                slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
                row += f"{slope:<18}{at['verdict'].item():<16}"
            lines.append(row.rstrip())
    words = [str(word) for word in found["verdict"].values.ravel()]
    counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    lines.append(f"  all {len(words)}: {counted}")
    if 1 in away["hidden_layers"].values:
        lines += ["", "squared distance with one hidden layer, measured / predicted, theory 1"]
        for phi in away["activation"].values:
            row = f"  {phi:<20}"
            for kernel, text in KERNELS.items():
                at = constants.sel(activation=phi, kernel=kernel)
                ratio = with_error(float(at["squares"]), float(at["squares_error"]))
                row += f"{text} {ratio:<18}(rms {float(at['predicted']):.2f} n^-1/2)   "
            lines.append(row.rstrip())
    if "growth" in constants:
        lines += ["", "relu: mean square of NNGP(x, x) / limit - 1 over (1 + 5/n)^L - 1, theory 1"]
        for depth in away["hidden_layers"].values:
            at = constants.sel(hidden_layers=depth)
            ratio = with_error(float(at["growth"]), float(at["growth_error"]))
            lines.append(f"  {depth} hidden layer{'s' if depth > 1 else '':<13}{ratio}")
    return "\n".join(lines)


def draw(data):
    """Distances of the tangent kernel against the width; all exponents; the constants against the depth."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        draw_distances(data, axes[0])
        draw_exponents(data, axes[1])
        draw_constants(data, axes[2])
    return figure


def root_mean_square(values):
    import numpy as np

    return np.sqrt((values**2).mean("seed"))


def draw_distances(data, ax):
    """The tangent kernel of the first activation at every depth, light to dark, with the law."""
    from meanfield.plot.canvas import law_name, law_through, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import shades

    away = data["distances"].dataset.isel(activation=0)
    widths, depths = away["width"].values, away["hidden_layers"].values
    distance = root_mean_square(away["ntk"])
    ax.set_yscale("log")
    size_axis(ax, widths, right=1.9)
    handles = []
    for depth, colour in zip(depths, shades(len(depths)), strict=True):
        values = distance.sel(hidden_layers=depth).values
        label = f"{depth} layer{'s' if depth > 1 else ''}"
        handles += ax.plot(widths, values, color=colour, marker="o", ms=3.5, lw=1, label=label)
        law = law_through(ax, widths, values, -0.5)
    law_name(ax, r"$n^{-1/2}$", (widths[-1], law[-1]), xytext=(4, 0))
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel(r"$\|\Theta_n-\Theta\|\,/\,\|\Theta\|$, " + str(away["activation"].values))
    legend_above(ax, handles, columns=2)


def styles(names):
    """(colour, marker) of every activation."""
    from meanfield.plot.colours import DARK, LIGHT, THIRD

    return dict(zip(names, ((DARK, "o"), (LIGHT, "s"), (THIRD, "^")), strict=False))


def draw_exponents(data, ax):
    """Exponents of both kernels over the depth, with 95% intervals; open marks are the NNGP."""
    from matplotlib.lines import Line2D

    from meanfield.numerics.statistics import student_interval
    from meanfield.plot.canvas import estimates, legend_above
    from meanfield.plot.colours import LAW

    found = data["exponents"].dataset
    names, depths = found["activation"].values, found["hidden_layers"].values
    half = student_interval(data.attrs["seeds"])
    ax.axhline(-0.5, color=LAW, lw=0.8, zorder=1)
    handles = [Line2D([], [], color=LAW, lw=0.8, label="theory")]
    for i, (name, (colour, marker)) in enumerate(styles(names).items()):
        for kernel, shift, face in (("nngp", -0.05, "white"), ("ntk", 0.05, colour)):
            at = found.sel(activation=name, kernel=kernel)
            x, value = depths + shift + 0.24 * (i - (len(names) - 1) / 2), at["exponent"].values
            style = {"color": colour, "marker": marker, "ms": 3.5, "mfc": face, "mew": 0.8}
            estimates(ax, x, value, half * at["exponent_error"].values, **style)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=3.5, ls="none", label=name))
    style = {"color": "0.35", "marker": "o", "ms": 3.5, "mew": 0.8, "ls": "none"}
    handles += [
        Line2D([], [], label="NTK", **style), Line2D([], [], label="NNGP", **style | {"mfc": "white"}),
    ]  # fmt: skip
    ax.set_xticks(depths)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -0.65), max(high, -0.35))
    ax.set_xlabel("hidden layers $L$")
    ax.set_ylabel("exponent in the width")
    legend_above(ax, handles, columns=3)


def draw_constants(data, ax):
    """√n × distance at the largest width over the depth, the NNGP's with open marks; bars are the constants
    of one layer, the black line is the law of relu's diagonal."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import LIMIT

    away = data["distances"].dataset.isel(width=-1)
    names, depths, n = away["activation"].values, away["hidden_layers"].values, int(away["width"])
    handles = []
    for name, (colour, marker) in styles(names).items():
        at = away.sel(activation=name)
        style = {"color": colour, "marker": marker, "ms": 3.5, "lw": 1, "zorder": 3}
        ax.plot(depths, np.sqrt(n) * root_mean_square(at["ntk"]), **style)
        ax.plot(depths, np.sqrt(n) * root_mean_square(at["nngp"]), mfc="white", **style | {"lw": 0.6})
        handles.append(Line2D([], [], label=name, **style))
        if 1 in depths:
            known = data["constants"]["predicted"].sel(activation=name).values
            ax.plot([1, 1], known, color=LIMIT, marker="_", ms=9, mew=1.1, ls="none", zorder=4)
    if "relu" in names:
        variance = away["variance"].sel(activation="relu").mean("seed")
        handles += ax.plot(
            depths, np.sqrt(n * variance), color="0.35", marker="x", ms=4, ls="none", label=r"relu, $x=x'$"
        )
        law = np.linspace(depths[0], depths[-1], 50)
        handles += ax.plot(
            law,
            np.sqrt(n * ((1 + 5 / n) ** law - 1)),
            color=LIMIT,
            lw=1.1,
            label=r"theory, $\approx\sqrt{5L}$",
        )
    ax.set_xticks(depths)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("hidden layers $L$")
    ax.set_ylabel(rf"$\sqrt{{n}}\times$ relative distance, $n={n}$")
    legend_above(ax, handles, columns=2)
