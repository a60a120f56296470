"""How random is the tangent kernel of a network that is as deep as it is wide, and do skip connections help?

Claim: for relu at σ_w² = 2 the fluctuations at initialisation are functions of depth over width alone. The
logarithm of |x^L|² has mean ≈ −5L/2n and variance ≈ 5L/n; the second moment of the tangent kernel of one
input is of order exp(5L/n) times its squared mean (Hanin & Nica 2020). That second moment is derived here
exactly, for every n, L and kind: in plain networks, with a = 1 + 5/n and b = 1 − 1/n,

    E Θ²/(E Θ)² = [a^L + (2/3) Σ_{k=1}^L (1 − k/(L+1)) (a^L + 2 a^{L−k} b^k)]/(L+1),

which tends to e^{5τ}/3 + (4/3)e^{5τ}(1/6τ − (1 − e^{−6τ})/36τ²), τ = L/n, so 1 + (11/3)τ for small τ. Skip
connections change the constant, not the law, as long as a branch is as large as what it is added to; with
branches of relative size L^{−1/2} the variance is of order 1/n at any depth (Littwin, Galanti & Wolf 2020).

One input meets every matrix W in one forward and one backward product, so that a network of width n is drawn
with O(n) numbers a layer, exactly: given h = Wx, Wᵀg is x(h·g)/|x|² plus Gaussian noise orthogonal to x.
Time: about a minute on two cores.
"""

SOURCES = (
    "Hanin & Nica 2020, Finite depth and width corrections to the neural tangent kernel, International "
    "Conference on Learning Representations",
    "Littwin, Galanti & Wolf 2020, On random kernels of residual architectures, arXiv 2001.10460",
    "Hanin & Nica 2020, Products of many large random matrices and gradients in deep neural networks, "
    "Communications in Mathematical Physics 376, 287-322",
)

KINDS = {
    "plain": "plain",
    "residual": "residual, branches of size 1",
    "scaled": "residual, branches of size $L^{-1/2}$",
}
BATCH = 2**21  # numbers of one array


def studies(**options):
    """None: networks before training, a batch of them at a time."""
    return {}


def compute(
    *,
    widths: tuple[int, ...] = (32, 64, 128),
    ratios: tuple[float, ...] = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
    networks: int = 3072,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """log |h|² and the tangent kernel of networks of three kinds at several depths over widths.

    Args:
        widths: of every hidden layer, at least 32: no layer of relu is dead then.
        ratios: depths over widths; the depth is rounded.
        networks: of every kind, width and depth.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.base.progress import progress_bar
    from meanfield.studies.store import kept

    if min(widths) < 32:
        raise ValueError(f"Argument `widths` must be of at least 32, but is {list(widths)}.")
    cells = [(kind, n, ratio) for kind in KINDS for n in widths for ratio in ratios]
    found = {}
    with progress_bar(progress) as bar:
        bar.start("drawing networks", sum(n * max(1, round(ratio * n)) for _, n, ratio in cells))
        for kind, n, ratio in cells:
            depth = max(1, round(ratio * n))
            about = {"depth_to_width": kind, "width": n, "depth": depth, "networks": networks, "key": key}
            cell = kept(store, about, lambda at=(kind, n, depth): sampled(*at, networks, key))
            found[kind, n, ratio] = cell
            bar.advance(n * depth)
    coords = {
        "kind": list(KINDS),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
        "ratio": ("ratio", list(ratios), {"long_name": "depth over width, before rounding", "units": "1"}),
    }
    shape, dims = (len(KINDS), len(widths), len(ratios)), tuple(coords)
    data = {}
    for name, (text, measure, predicted) in QUANTITIES.items():
        measured = np.array([measure(found[cell]) for cell in cells])
        truth = np.array([predicted(kind, n, found[kind, n, r].attrs["depth"]) for kind, n, r in cells])
        words = {"": text, "_error": f"one standard error of the {text}", "_theory": f"predicted {text}"}
        for suffix, values in zip(words, (measured[:, 0], measured[:, 1], truth), strict=True):
            about = {"long_name": words[suffix], "units": "1"}
            data[f"{name}{suffix}"] = (dims, values.reshape(shape), about)
    depths = np.array([found[cell].attrs["depth"] for cell in cells]).reshape(shape)[0]
    data["depth"] = (dims[1:], depths, {"long_name": "depth L", "units": "1"})
    return xr.Dataset(data, coords, {"networks": networks, "key": key})


def sampled(kind, width, depth, networks, key):
    """log |h^L|² against its start and Θ(x, x) of independent networks, as a dataset."""
    import numpy as np
    import xarray as xr

    rng = np.random.default_rng([key, list(KINDS).index(kind), width, depth])
    size = max(1, min(networks, BATCH // (width * depth)))
    draw = plain_networks if kind == "plain" else residual_networks
    scale = {"residual": 1.0, "scaled": depth**-0.5}.get(kind)
    options = {} if scale is None else {"scale": scale}
    parts = [
        draw(rng, width, depth, min(size, networks - start), **options) for start in range(0, networks, size)
    ]
    logs, kernels = (np.concatenate(values) for values in zip(*parts, strict=True))
    arrays = {"log_square": ("network", logs), "kernel": ("network", kernels)}
    return xr.Dataset(arrays, attrs={"kind": kind, "depth": depth})


def transposed(rng, x, h, g, variance):
    """Wᵀg given Wx = h, entries of W of that variance; (R, n) each, independent networks along R."""
    import numpy as np

    square = (x * x).sum(-1, keepdims=True)
    square[square == 0] = 1  # x = 0 fixes nothing
    noise = np.sqrt(variance * (g * g).sum(-1, keepdims=True)) * rng.standard_normal(x.shape)
    return noise + x * (((h * g).sum(-1, keepdims=True) - (x * noise).sum(-1, keepdims=True)) / square)


def plain_networks(rng, width, depth, networks):
    """(log |x^L|²/|x^0|², Θ), (R,) each: h^{l+1} = √(2/n) w φ(h^l), h¹ = √(2/d) w x, f = √(2/n) v·φ(h^L).

    With q_l = |x^l|²/n and g^l = ∂f/∂h^l, Θ = Σ_{l=1}^{L+1} 2 q_{l−1} |g^l|², q_0 = |x|²/d = 1, g^{L+1} = 1.
    """
    import numpy as np

    shape, h = (networks, width), []
    q = [np.ones((networks, 1))]
    for _ in range(depth):
        h.append(np.sqrt(2 * q[-1]) * rng.standard_normal(shape))
        q.append((np.maximum(h[-1], 0) ** 2).mean(-1, keepdims=True))
    kernel = 2 * q[-1]
    g = np.sqrt(2 / width) * rng.standard_normal(shape) * (h[-1] > 0)
    for level in range(depth - 1, -1, -1):
        kernel = kernel + 2 * q[level] * (g * g).sum(-1, keepdims=True)
        if level:
            x = np.maximum(h[level - 1], 0)
            g = transposed(rng, x, h[level], g, 2 / width) * (h[level - 1] > 0)
    return np.log(q[-1][:, 0]), kernel[:, 0]


def residual_networks(rng, width, depth, networks, scale):
    """(log |h^L|²/|h^0|², Θ), (R,) each: h^{l+1} = h^l + s √(2/n) V φ(u), u = W h^l/√n, h^0 = w x/√d,
    f = v·h^L/√n.

    With b^l = ∂f/∂h^l and c = ∂f/∂u a block adds 2s²|φ(u)|²/n |b^{l+1}|² + |h^l|²/n |c|² to Θ, the first
    layer |b^0|² and the readout |h^L|²/n.
    """
    import numpy as np

    shape = (networks, width)
    square = lambda v: (v * v).sum(-1, keepdims=True)  # noqa: E731
    h, gates = [rng.standard_normal(shape)], []
    for _ in range(depth):
        u = np.sqrt(square(h[-1]) / width) * rng.standard_normal(shape)
        gates.append(u)
        branch = scale * np.sqrt(2 / width * square(np.maximum(u, 0))) * rng.standard_normal(shape)
        h.append(h[-1] + branch)
    kernel = square(h[-1]) / width
    b = rng.standard_normal(shape) / np.sqrt(width)
    for level in range(depth - 1, -1, -1):
        u = gates[level]
        active, own = np.maximum(u, 0), h[level]
        c = transposed(rng, active, h[level + 1] - own, b, 2 * scale**2 / width) * (u > 0)
        kernel = kernel + 2 * scale**2 / width * square(active) * square(b) + square(own) / width * square(c)
        b = b + transposed(rng, own, u, c, 1 / width)
    kernel = kernel + square(b)
    return np.log(square(h[-1]) / square(h[0]))[:, 0], kernel[:, 0]


def plain_ratio(width, depth):
    """E Θ²/(E Θ)² of a plain network, exactly.

    For one input the gates of all layers are independent fair coins, and independent of the weights. Write
    Θ_l = A_{l−1}B_l for what layer l adds, A_l = 2q_l, B_l = |g^l|², E Θ_l = 2; A grows by a factor of mean
    1 and mean square a = 1 + 5/n in every layer, and so does B, backwards: E Θ_l² = 4a^L. For l < m both
    pass through the product M of the matrices and gates from layer l to m, once each way, from isotropic
    Gaussian vectors: E Θ_lΘ_m = 4a^{l−1} a^{L+1−m} F, F = E(2|M|_F²/n)². One more layer maps
    (E|M|_F⁴, E tr(MMᵀ)²) to (1/n)[[n+1, 4], [2, n+3]] times it, of eigenvalues a and b = 1 − 1/n, from
    n(n+1)/4 and n/2 for a gate alone: F = (a^{m−l} + 2b^{m−l})/3.
    """
    import numpy as np

    a, b, k = 1 + 5 / width, 1 - 1 / width, np.arange(1, depth + 1)
    pairs = (depth + 1 - k) * (a**depth + 2 * a ** (depth - k) * b**k)
    return float(((depth + 1) * a**depth + 2 / 3 * pairs.sum()) / (depth + 1) ** 2)


def residual_ratio(width, depth, square):
    """E Θ²/(E Θ)² of a residual network with s² = `square`, exactly.

    As for plain networks: J = I + (√κ/n)VDW, κ = 2s², is the map of a block, D its gates, M the product of k
    maps, F_k = E|M|_F⁴/n², G_k = E tr((MMᵀ)²)/n², which one more block maps linearly; |h|² and |b|² grow by
    a factor of mean square ρ. What a block adds through V is (κ/n²)|DWh|²|b|², through W (κ/n²)|h|²|DVᵀb|²,
    with the b behind it and the h before it. Two blocks that k others lie between have, in units of
    κ²(n+2)²ρ^{L−2−k}/n⁴ and with a = n/2 + κ(n+5)/4, c = n/2 + κ(n+1)/4,
    B = (n/2)F + κ((n+1)F/4 + G), C = (n/2)G + κ(F/2 + (n+3)G/4),

        E V V' = E W W' = a B_k,    E V W' = a² F_k,    E W V' = c B_k + κ C_k,

    and the input and output layers with a block κ(n+2)ρ^{L−1−k}/n² times B_k or a F_k.
    """
    import numpy as np

    n, kappa = width, 2 * square
    own = (kappa / n) ** 2
    rho = 1 + kappa + 2 * kappa / n + own * (n + 5) * (n + 2) / 4
    block = np.array([
        [1 + kappa + own * (n * (n + 1) / 4 + 1), 2 * kappa / n + own * (n + (n + 3) / 2)],
        [kappa / n + own * 3 * (n + 1) / 4, 1 + kappa + kappa / n + own * (1 + (n + 1) * (n + 3) / 4)],
    ])  # fmt: skip
    moments = [np.array([1.0, 1 / n])]
    for _ in range(depth):
        moments.append(block @ moments[-1])
    F, G = np.array(moments).T
    a, c = n / 2 + kappa * (n + 5) / 4, n / 2 + kappa * (n + 1) / 4
    B = n / 2 * F + kappa * ((n + 1) / 4 * F + G)
    C = n / 2 * G + kappa * (F / 2 + (n + 3) / 4 * G)
    k = np.arange(depth)
    within = depth * rho ** (depth - 1) * own * (n + 2) ** 2 * (n + 3) / n
    between = (2 * a * B + a * a * F + c * B + kappa * C)[: depth - 1]
    between = 2 * own * ((n + 2) / n) ** 2 * ((depth - 1 - k) * rho ** (depth - 2.0 - k))[:-1] @ between
    ends = 4 * kappa * (n + 2) / n**2 * rho ** (depth - 1.0 - k) @ (B + a * F)[:depth]
    ends += 2 * (n + 2) / n * rho**depth + 2 * F[-1]
    return float((within + between + ends) / residual_mean(depth, square) ** 2)


def kernel_ratio(kind, width, depth):
    """E Θ²/(E Θ)² of a kind of network."""
    if kind == "plain":
        return plain_ratio(width, depth)
    return residual_ratio(width, depth, 1.0 if kind == "residual" else 1 / depth)


def log_moments(width):
    """(mean, variance) of what a plain layer adds to log |x|²: log (2/n)χ²_K, K ~ Bin(n, ½), given K > 0."""
    import numpy as np
    import scipy.special
    import scipy.stats

    active = np.arange(1, width + 1)
    weight = scipy.stats.binom.pmf(active, width, 0.5)
    weight /= weight.sum()
    mean = scipy.special.digamma(active / 2) + np.log(4 / width)
    total = weight @ mean
    return float(total), float(weight @ (scipy.special.polygamma(1, active / 2) + (mean - total) ** 2))


def block_moments(width, square, nodes=16):
    """(mean, variance) of what a residual block of s² = `square` adds to log |h|².

    The direction of h aside, |h|² is multiplied by (1 + βz)² + β²χ², z ~ N(0, 1), χ² of n − 1 degrees of
    freedom, β² = 2s²S/n², S = χ²_K, K ~ Bin(n, ½): 1 + s² in the mean. To first order in 1/n the variance
    is (4s² + 7s⁴)/(1 + s²)²n. Gauss quadrature in all three.
    """
    import numpy as np
    import scipy.special
    import scipy.stats

    def chi_square(degrees):
        x, w = scipy.special.roots_genlaguerre(nodes, degrees / 2 - 1)
        return 2 * x, w / w.sum()

    z, weight_z = np.polynomial.hermite_e.hermegauss(nodes)
    rest, weight_rest = chi_square(width - 1)
    active = np.arange(1, width + 1)
    chance = scipy.stats.binom.pmf(active, width, 0.5)  # without K = 0: 2^{-n} of log 1
    kept = chance > 1e-14
    S, weight_S = (np.stack(v) for v in zip(*(chi_square(k) for k in active[kept]), strict=True))
    beta = np.sqrt(2 * square * S / width**2)[..., None, None]
    logs = np.log((1 + beta * z[:, None]) ** 2 + beta**2 * rest)  # (K, S, z, χ²)
    weight = (chance[kept, None] * weight_S)[..., None, None] * (weight_z / weight_z.sum())[:, None]
    weight = weight * weight_rest
    mean = (weight * logs).sum()
    return float(mean), float((weight * logs**2).sum() - mean**2)


def log_law(kind, width, depth):
    """(mean, variance) of log |h^L|²/|h^0|², a sum of independent contributions of the layers."""
    if kind == "plain":
        mean, variance = log_moments(width)
    else:
        mean, variance = block_moments(width, 1.0 if kind == "residual" else 1 / depth)
    return depth * mean, depth * variance


def kernel_mean(kind, depth):
    """E Θ, at every width."""
    if kind == "plain":
        return 2.0 * (depth + 1)
    return residual_mean(depth, 1.0 if kind == "residual" else 1 / depth)


def residual_mean(depth, square):
    """1 + s² for every block, by which both |h|² and |b|² grow; a block adds s² twice."""
    return 2 * (1 + square) ** depth + 2 * depth * square * (1 + square) ** (depth - 1)


def with_spread(values):
    """Mean and its standard error."""
    import numpy as np

    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def mean_of_logs(cell):
    return with_spread(cell["log_square"].values)


def variance_of_logs(cell):
    """Sample variance, and its standard error from the spread of the squares."""
    values = cell["log_square"].values
    count = len(values)
    return with_spread((values - values.mean()) ** 2 * count / (count - 1))


def relative_kernel(cell):
    return cell["kernel"].values / kernel_mean(cell.attrs["kind"], cell.attrs["depth"])


QUANTITIES = {
    "log_mean": (
        "mean of log |h^L|²/|h^0|²", mean_of_logs, lambda kind, n, depth: log_law(kind, n, depth)[0],
    ),
    "log_variance": (
        "variance of log |h^L|²/|h^0|²", variance_of_logs, lambda kind, n, depth: log_law(kind, n, depth)[1],
    ),
    "kernel_mean": (
        "mean of Θ over E Θ", lambda cell: with_spread(relative_kernel(cell)), lambda *_: 1.0,
    ),
    "kernel_variance": (
        "variance of Θ over (E Θ)²",
        lambda cell: with_spread((relative_kernel(cell) - 1) ** 2),
        lambda kind, n, depth: kernel_ratio(kind, n, depth) - 1,
    ),
}  # fmt: skip

HEAVY = 0.25  # L/n above which the variance of Θ, unless branches are scaled, is made by a few networks


def sampled_well(data, name):
    """Whether a mean is one over many networks and not over a few large ones, (kind, width, ratio)."""
    few = (data["kind"] != "scaled") & (data["ratio"] > HEAVY) & (name == "kernel_variance")
    return ~few.broadcast_like(data[name]).transpose(*data[name].dims)


def scores(data, false_alarms=0.01):
    """(z-scores of all measured means, the threshold that the largest exceeds with that probability)."""
    import numpy as np
    import scipy.stats

    found = []
    gaussian = {"kernel_mean": HEAVY, "kernel_variance": HEAVY / 4}  # L/n up to which skewness is small
    for name in QUANTITIES:
        z = (data[name] - data[f"{name}_theory"]) / data[f"{name}_error"]
        reach = data["ratio"] <= gaussian.get(name, np.inf)
        z = z.where(reach | (data["kind"] == "scaled")).values.ravel()
        found.append(z[np.isfinite(z)])
    found = np.concatenate(found)
    return found, float(scipy.stats.t.isf(false_alarms / (2 * len(found)), data.attrs["networks"] - 1))


def growth(data, kind):
    """Measured slope of the variance of log |h|² in L/n over its prediction, with one standard error."""
    import numpy as np

    at = data.sel(kind=kind)
    value, error, theory = (at[f"log_variance{end}"].values for end in ("", "_error", "_theory"))
    weight = (theory / error) ** 2
    return float((weight * value / theory).sum() / weight.sum()), float(1 / np.sqrt(weight.sum()))


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    widths = ", ".join(str(n) for n in data["width"].values)
    words = {kind: text.replace("$L^{-1/2}$", "L^-1/2") for kind, text in KINDS.items()}
    lines = [
        "fluctuations of networks at initialisation, relu, one input",
        f"  widths {widths}; {data.attrs['networks']} networks of every kind, width and depth",
        "",
        "variance of log |h^L|^2, measured / predicted over all widths and depths, theory 1",
    ]
    lines += [f"  {words[kind]:<36}{with_error(*growth(data, kind))}" for kind in KINDS]
    n = int(data["width"][-1])
    lines += [
        "",
        f"width {n}",
        f"  {'':<36}{'L':>4}   {'var log |h^L|^2':<18}{'theory':<9}{'Var T/(E T)^2':<18}theory",
    ]
    for kind in KINDS:
        for ratio in data["ratio"].values:
            at = data.sel(kind=kind, width=n, ratio=ratio)
            row = f"  {words[kind]:<36}{int(at['depth']):>4}   "
            row += f"{with_error(float(at['log_variance']), float(at['log_variance_error'])):<18}"
            row += f"{float(at['log_variance_theory']):<9.3g}"
            if bool(sampled_well(data, "kernel_variance").sel(kind=kind, width=n, ratio=ratio)):
                row += f"{with_error(float(at['kernel_variance']), float(at['kernel_variance_error'])):<18}"
                row += f"{float(at['kernel_variance_theory']):.4g}"
            lines.append(row.rstrip())
    z, threshold = scores(data)
    verdict = "consistent" if np.abs(z).max() <= threshold else "inconsistent"
    lines += [
        "",
        f"largest of all {len(z)} |z| against exact values: {np.abs(z).max():.2f}, theory: at most "
        f"{threshold:.2f} with probability 0.99: {verdict}",
    ]
    return "\n".join(lines)


def draw(data):
    """Variances of log |h|² and of the tangent kernel over L/n; of the kernel over the depth."""
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, panels
    from meanfield.plot.colours import LIMIT

    with panels(3, size=(7.2, 3.0)) as (figure, axes):
        draw_logs(data, axes[0])
        draw_moments(data, axes[1])
        draw_depths(data, axes[2])
        handles = [
            Line2D([], [], color=colour, marker=marker, ms=3.5, ls="none", label=KINDS[kind])
            for kind, (colour, marker) in styles().items()
        ]
        legend_above(axes[0], handles)
        sizes = [
            Line2D([], [], color="0.35", marker="o", ms=size, ls="none", label=f"$n={n}$")
            for n, size in marks(data)
        ]
        legend_above(axes[1], sizes)
        legend_above(axes[2], [
            Line2D([], [], color=LIMIT, lw=0.9, label="exact"),
            Line2D([], [], color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), label=r"$n\to\infty$ at fixed $L/n$"),
        ])  # fmt: skip
    return figure


def styles():
    """(colour, marker) of every kind."""
    from meanfield.plot.colours import DARK, LIGHT, THIRD

    return dict(zip(KINDS, ((DARK, "o"), (LIGHT, "s"), (THIRD, "^")), strict=True))


def marks(data):
    """(width, size of its marks)."""
    return [(int(n), 2.6 + 1.0 * i) for i, n in enumerate(data["width"].values)]


def points(data, ax, name, x, scale=lambda at: 1):
    """Measured numbers of all kinds and widths with 95% intervals; x and scale are functions of a row.

    Narrow networks are in front of wide ones, whose marks are larger.
    """
    from meanfield.numerics.statistics import student_interval
    from meanfield.plot.canvas import intervals

    half = student_interval(data.attrs["networks"])
    good = sampled_well(data, name)
    for kind, (colour, marker) in styles().items():
        for i, (n, size) in enumerate(marks(data)):
            order = 3 - 0.1 * i
            at = data.sel(kind=kind, width=n)
            at = at.isel(ratio=good.sel(kind=kind, width=n).values.nonzero()[0])
            y, error = scale(at) * at[name].values, half * scale(at) * at[f"{name}_error"].values
            intervals(ax, x(at), y - error, y + error, color=colour, alpha=0.6, zorder=2)
            style = {"color": colour, "marker": marker, "ms": size, "mew": 0.4, "mec": "white"}
            ax.plot(x(at), y, ls="none", zorder=order, **style)


def share(at):
    """L/n of a row."""
    return at["depth"].values / int(at["width"])


def exact_curves(data, ax, x, scale):
    """scale(n) Var Θ/(E Θ)² of all kinds and widths over x(n, L), as far as networks are shown."""
    import numpy as np

    from meanfield.plot.colours import LIMIT

    for kind in KINDS:
        for n, _ in marks(data):
            ratios = data["ratio"].values[
                sampled_well(data, "kernel_variance").sel(kind=kind, width=n).values
            ]
            ends = np.maximum(1, np.round(n * ratios[[0, -1]]))
            depths = np.unique(np.round(np.geomspace(*ends, 30)).astype(int))
            y = [scale(n) * (kernel_ratio(kind, n, depth) - 1) for depth in depths]
            ax.plot(x(n, depths), y, color=LIMIT, lw=0.7, zorder=1)


def draw_logs(data, ax):
    """Variance of log |h^L|² against L/n."""
    from meanfield.plot.canvas import plain_log_ticks
    from meanfield.plot.colours import LIMIT

    ax.set(xscale="log", yscale="log")
    points(data, ax, "log_variance", share)
    for kind in KINDS:
        for n, _ in marks(data):
            at = data.sel(kind=kind, width=n)
            ax.plot(share(at), at["log_variance_theory"], color=LIMIT, lw=0.7, zorder=1)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("depth over width $L/n$")
    ax.set_ylabel(r"variance of $\log\,|h^L|^2$")


def draw_moments(data, ax):
    """Var Θ/(E Θ)² against L/n, with the exact curve of every width and what they tend to."""
    import numpy as np

    from meanfield.plot.canvas import plain_log_ticks
    from meanfield.plot.colours import LIMIT

    ax.set(xscale="log", yscale="log")
    data = data.sel(ratio=data["ratio"] <= HEAVY)
    points(data, ax, "kernel_variance", share)
    exact_curves(data, ax, lambda n, depths: depths / n, lambda n: 1.0)
    tau = np.geomspace(float(data["ratio"].min()) / 1.2, 1.2 * HEAVY, 100)
    limit = np.exp(5 * tau) / 3 * (1 + 4 * (1 / (6 * tau) + np.expm1(-6 * tau) / (36 * tau**2))) - 1
    ax.plot(tau, limit, color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), zorder=1)
    plain_log_ticks(ax.xaxis)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("depth over width $L/n$")
    ax.set_ylabel(r"$\mathrm{Var}\,\Theta/(E\,\Theta)^2$")


def draw_depths(data, ax):
    """n Var Θ/(E Θ)² against the depth."""
    from meanfield.plot.canvas import plain_log_ticks

    ax.set(xscale="log", yscale="log")
    points(data, ax, "kernel_variance", lambda at: at["depth"].values, lambda at: int(at["width"]))
    exact_curves(data, ax, lambda n, depths: depths, lambda n: n)
    plain_log_ticks(ax.xaxis)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("depth $L$")
    ax.set_ylabel(r"$n\,\mathrm{Var}\,\Theta/(E\,\Theta)^2$")
