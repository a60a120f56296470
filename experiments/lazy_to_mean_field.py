"""At which rates does training leave the kernel regime as the richness grows, and what does it gain?

Claim: with the output divided by γ and f_0 = 0, training at fixed time is the kernel regime up to O(γ), and
neurons move by O(γ) (Chizat, Oyallon & Bach 2019). Where ρ_0 is symmetric in the readout weights a the first
order cancels: ∇ψ·∇ψ' is even in a, its derivative along the flow odd, so that the kernel and the predictions
change by O(γ²) (THEORY 1); where E a = 0 but E a³ ≠ 0 they change by O(γ), unless φ is odd and the law of w
symmetric. Both are run with stored neurons, whose limit has no sampling error: a = ±1, and a = 2 or −1/2 in
proportion 1 : 4; and besides Gaussian neurons in pairs ±a, as limit and as networks.

Data: a teacher of one neuron on the sphere in eight dimensions, gelu. The kernel regime is in closed form,
f_t = (I − (I − ηK/P)^t) y with each run's own kernel at the start, test predictions with that of infinitely
many Gaussian neurons. Test losses are compared at equal time and, as rich training is faster, at equal
training loss.
Time: about a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Chizat, Oyallon & Bach 2019, On lazy training in differentiable programming, Advances in Neural "
    "Information Processing Systems 32",
    "Jacot, Gabriel & Hongler 2018, Neural tangent kernel: convergence and generalization in neural "
    "networks, Advances in Neural Information Processing Systems 31",
)

QUANTITIES = {  # name: (what it is, exponent if ρ_0 is symmetric in a, if it is skewed)
    "kernel_change": ("relative change of the kernel", 2, 1),
    "distance": ("distance to the kernel regime", 2, 1),
    "displacement": ("displacement of neurons", 1, 1),
}


def studies(**options):
    """None: single networks and limits, each kept by `simulate`."""
    return {}


def compute(
    *,
    richness: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    width: int = 256,
    seeds: int = 8,
    particles: int = 1024,
    replicates: int = 4,
    stored: int = 256,
    samples: int = 40,
    test_samples: int = 200,
    dimension: int = 8,
    steps: int = 1200,
    relative_rate: float = 0.03,
    fitted: float = 0.005,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Limits and networks at every richness.

    Args:
        richness: γ, increasing; 1 is mean field.
        width: neurons of a network, even.
        seeds: networks at every richness.
        particles: of each replicate of the limit.
        replicates: of the limit.
        stored: input weights of the stored neurons, each with two readout weights.
        samples: training points.
        test_samples: test points.
        dimension: of the sphere's space.
        steps: steps of gradient descent.
        relative_rate: learning rate over the stability edge at the start; the kernel grows tenfold and more
            at the largest richness.
        fitted: slopes are fitted up to this richness.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    phi = mf.activations.gelu
    problem = mf.datasets.sphere_teacher(dimension, 1, samples, test_samples, activation=phi, key=key)
    gaussian = mf.initial.Gaussian(paired=True)
    laws = {"symmetric": (1.0, -1.0), "skewed": (2.0, -0.5)}
    laws = {name: stored_neurons(stored, dimension, *values, key) for name, values in laws.items()}
    edge = mf.stability(mf.TwoLayer(phi, initial=gaussian), problem)
    training = mf.GradientDescent(relative_rate * edge, steps)
    record = np.unique(np.round(np.geomspace(1, steps, 40)).astype(int))
    options = {
        "record": np.concatenate([[0], record]), "observe": (mf.observe.Kernel(), mf.observe.Displacement()),
        "key": key, "progress": progress, "store": part_of(store),
    }  # fmt: skip
    runs = {name: [] for name in ("limit", "networks", *laws)}
    for gamma in richness:
        model = mf.TwoLayer(phi, richness=gamma, initial=gaussian)
        runs["limit"].append(mf.simulate(model.limit(particles, replicates), problem, training, **options))
        network = model.finite(width, dtype="float64")
        runs["networks"].append(mf.simulate(network, problem, training, seeds=seeds, **options))
        for name, neurons in laws.items():
            model = mf.TwoLayer(phi, richness=gamma, initial=neurons)
            runs[name].append(mf.simulate(model.limit(), problem, training, **options))
    axis = xr.DataArray(list(richness), dims="richness", attrs={"long_name": "richness γ", "units": "1"})
    groups = {n: collected(parts, axis, problem, training) for n, parts in runs.items()}
    # Averaging replicates with kernels of their own leaves a distance that does not vanish with γ.
    groups["limit"] = groups["limit"].drop_vars("distance")
    groups["slopes"] = slopes(groups, fitted)
    groups["kernel_regime"] = kernel_regime(phi, problem, training, options["record"])
    tree = xr.DataTree.from_dict(groups)
    own = runs["limit"][0]["kernel"].isel(kernel_step=0).values.reshape(samples, samples)
    exact = gaussian_kernel(phi, problem.x, problem.x)
    kernel_error = float(np.linalg.norm(own - exact) / np.linalg.norm(exact))
    tree.attrs = {
        "problem": repr(problem), "training": repr(training), "edge": edge, "width": width, "seeds": seeds,
        "fitted": fitted, "key": key, "kernel_error": kernel_error,
    }  # fmt: skip
    return tree


def stored_neurons(count, dimension, positive, negative, key):
    """Atoms: every w with a = positive and a = negative, in such proportion that E a = 0."""
    import numpy as np

    w = np.random.default_rng([key, 3]).standard_normal((count, dimension))
    shares = np.array([-negative, positive]) / (positive - negative)
    a, weights = np.repeat([positive, negative], count), np.repeat(shares / count, count)
    return mf.initial.Atoms(a, np.concatenate([w, w]), weights=weights)


def gaussian_kernel(phi, x1, x2, terms=60):
    """K = E[φφ'] + x·x' E[φ'φ''] for unit vectors x, x', φ' the derivative, standard normal (a, w).

    By Mehler's formula E[g(u)g(v)] = Σ_k g_k² c^k with c = E[uv] = x·x' and g_k the Hermite coefficients of
    g; for gelu they fall as 2^{−k/2}.
    """
    import numpy as np

    z, weights = np.polynomial.hermite_e.hermegauss(150)
    hermite = [np.ones_like(z), z]
    for k in range(1, terms - 1):
        hermite.append((z * hermite[-1] - np.sqrt(k) * hermite[-2]) / np.sqrt(k + 1))
    hermite = np.stack(hermite) * weights / weights.sum()
    values, derivatives = double_values(phi, z)
    c = x1 @ x2.T
    powers = c[..., None] ** np.arange(terms)
    return powers @ (hermite @ values) ** 2 + c * (powers @ (hermite @ derivatives) ** 2)


def double_values(phi, z):
    """φ and its derivative in float64."""
    import jax
    import numpy as np

    with jax.enable_x64(True):
        return tuple(np.asarray(v) for v in phi.value_and_derivative(jax.numpy.asarray(z)))


def kernel_predictions(kernel, y, rate, steps):
    """f_t = (I − (I − ηK/P)^t) y on the training set, (..., step, sample), from kernels (..., P, P)."""
    import numpy as np

    values, vectors = np.linalg.eigh(kernel)
    samples = y.shape[0]
    kept = (1 - rate * values[..., None, :] / samples) ** np.asarray(steps)[:, None]
    along = np.einsum("...pm,p->...m", vectors, y)
    return y - np.einsum("...pm,...tm,...m->...tp", vectors, kept, along)


def kernel_regime(phi, problem, training, record):
    """Training and test loss of γ → 0 with Gaussian neurons: f_t(x) = K(x, X) K⁻¹ f_t(X)."""
    import numpy as np
    import xarray as xr

    kernel = gaussian_kernel(phi, problem.x, problem.x)
    f = kernel_predictions(kernel, problem.y[:, 0], training.learning_rate, record)  # (step, sample)
    test = f @ np.linalg.solve(kernel, gaussian_kernel(phi, problem.x, problem.x_test))
    losses = {"loss": (f, problem.y), "test_loss": (test, problem.y_test)}
    data = {}
    for name, (values, y) in losses.items():
        about = {"long_name": f"{name.replace('_', ' ')} of the kernel regime", "units": "1"}
        data[name] = ("step", 0.5 * np.mean((values - y[:, 0]) ** 2, 1), about)
    return xr.Dataset(data, coords={"step": ("step", record)})


def collected(parts, axis, problem, training):
    """One dataset over richness: losses, kernel change, displacement, and the distance to the kernel regime
    of the run's own kernel at the start, rms over steps and samples, relative to the targets."""
    import numpy as np
    import xarray as xr

    samples = problem.samples
    kept = []
    for part in parts:
        kernel = part["kernel"].isel(kernel_step=0).values
        kernel = kernel.reshape(*kernel.shape[:-4], samples, samples)
        lazy = kernel_predictions(kernel, problem.y[:, 0], training.learning_rate, part["step"].values)
        apart = np.mean((part["prediction"].values[..., 0] - lazy) ** 2, (-2, -1)) / np.mean(problem.y**2)
        dims = [d for d in ("seed",) if d in part.dims]
        names = ["loss", "test_loss", "loss_error", "test_loss_error"]
        dataset = part[[n for n in names if n in part]]
        about = {"long_name": "relative distance to the kernel regime", "units": "1"}
        dataset = dataset.assign(distance=(dims, np.sqrt(apart), about))
        for name, step in (("kernel_change", "kernel_step"), ("displacement", "displacement_step")):
            for full in (name, f"{name}_error"):
                if full in part:
                    dataset[full] = (
                        part[full]
                        .isel({step: -1})
                        .drop_vars([step, step.replace("step", "time")], errors="ignore")
                    )
        kept.append(dataset)
    return xr.concat(kept, axis, combine_attrs="drop_conflicts", coords="minimal", compat="override")


def slopes(groups, fitted):
    """Exponents in γ up to `fitted`, with an error: of the mean over networks, and of curvature.

    Curvature is what the slope changes by when the largest richness is left out.
    """
    import numpy as np
    import xarray as xr

    laws = list(groups)
    shape = (len(laws), len(QUANTITIES))
    value, error, theory = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for i, law in enumerate(laws):
        data = groups[law].sel(richness=slice(None, fitted * (1 + 1e-9)))
        x = np.log(data["richness"].values)
        for j, (name, (_, even, odd)) in enumerate(QUANTITIES.items()):
            theory[i, j] = odd if law == "skewed" else even
            if name not in data or x.size < 3:
                continue
            y = np.log(data[name].transpose("richness", ...).values.reshape(x.size, -1))  # (γ, network)
            each = np.polyfit(x, y, 1)[0]
            value[i, j] = each.mean()
            spread = each.std(ddof=1) / np.sqrt(each.size) if each.size > 1 else 0.0
            error[i, j] = np.hypot(spread, np.polyfit(x[:-1], y[:-1], 1)[0].mean() - value[i, j])
    dims = ("law", "quantity")
    words = "exponent in the richness"
    return xr.Dataset(
        {
            "exponent": (dims, value, {"long_name": words, "units": "1"}),
            "exponent_error": (dims, error, {"long_name": f"error of the {words}", "units": "1"}),
            "predicted": (dims, theory, {"long_name": f"predicted {words}", "units": "1"}),
        },
        coords={"law": laws, "quantity": list(QUANTITIES)},
    )


def at_equal_loss(data, target):
    """Test loss where the training loss first falls to `target`, (richness, ...), log-interpolated."""
    import numpy as np

    loss = data["loss"].transpose("richness", ..., "step").values
    test = data["test_loss"].transpose("richness", ..., "step").values
    below = loss <= target
    after = np.where(below.any(-1), below.argmax(-1), loss.shape[-1] - 1)[..., None]
    before = np.maximum(after - 1, 0)
    take = lambda values, at: np.log(np.take_along_axis(values, at, -1))[..., 0]  # noqa: E731
    l0, l1, t0, t1 = take(loss, before), take(loss, after), take(test, before), take(test, after)
    share = np.clip((np.log(target) - l0) / np.where(l1 < l0, l1 - l0, 1), 0, 1)
    return np.exp(t0 + share * (t1 - t0))


def common_loss(data):
    """The training loss that every run of the limit reaches."""
    return float(data["limit"].dataset["loss"].isel(step=-1).max()) * (1 + 1e-9)


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, found = data.attrs, data["slopes"].dataset
    names = {
        "limit": "limit, Gaussian",
        "networks": f"width {about['width']}, Gaussian pairs",
        "symmetric": "limit, a = ±1",
        "skewed": "limit, a skewed",
    }
    limit, regime = data["limit"].dataset, data["kernel_regime"].dataset
    time = float(limit["time"].values.ravel()[-1])
    lines = [
        "TwoLayer(gelu), f divided by the richness γ",
        f"  on {about['problem']}",
        f"  by {about['training']}: time {time:.3g}; the stability edge is at {about['edge']:.2g}",
        "",
        f"exponents in γ up to {about['fitted']:g}",
    ]
    for name, (words, _, _) in QUANTITIES.items():
        for law in found["law"].values:
            at = found.sel(law=law, quantity=name)
            if not np.isfinite(at["exponent"]):
                continue
            slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
            lines.append(f"  {words:<31} {names[str(law)]:<26} {slope:<18} theory {float(at['predicted']):g}")
    level = common_loss(data)
    equal = at_equal_loss(limit, level)
    lines += ["", f"test loss of the limit at equal time, and at equal training loss {level:.2g}"]
    lines.append(f"  {'γ':>6}   {'equal time':<12} {'equal loss':<12} kernel change")
    end = limit.isel(step=-1)
    for i, gamma in enumerate(limit["richness"].values):
        row = float(end["test_loss"][i]), equal[i], float(limit["kernel_change"][i])
        lines.append(f"  {gamma:>6g}   {row[0]:<12.3g} {row[1]:<12.3g} {row[2]:.3g}")
    lazy = float(regime["test_loss"][-1])
    best = int(np.argmin(equal))
    first = float(end["test_loss"][0])
    lines += [
        f"  kernel regime in closed form: {lazy:.3g}, "
        f"γ = {float(limit['richness'][0]):g} is off by {abs(first / lazy - 1):.1%} "
        f"(its kernel by {about['kernel_error']:.1%})",
        f"  best at equal training loss: γ = {float(limit['richness'][best]):g}, "
        f"{equal[0] / equal[best]:.1f} times below the laziest",
    ]
    return "\n".join(lines)


def draw(data):
    """Changes against the richness; distance to the kernel regime; test loss."""
    from meanfield.plot.canvas import panels

    with panels(3) as (figure, axes):
        for ax in axes:
            ax.set_xscale("log")
            ax.set_xlabel(r"richness $\gamma$")
        draw_power(data, axes[0], "kernel_change", r"kernel change $\|K_t-K_0\|\,/\,\|K_0\|$")
        draw_power(data, axes[1], "distance", "distance to the kernel regime")
        draw_test_loss(data, axes[2])
    return figure


def draw_power(data, ax, name, label):
    """One quantity against γ with its laws, through the smallest γ."""
    from matplotlib.ticker import LogLocator, NullFormatter

    from meanfield.plot.canvas import law_name, legend_above
    from meanfield.plot.colours import DARK, LAW, LIGHT, LIMIT

    about, found = data.attrs, data["slopes"].dataset
    limit, networks, skewed = (data[n].dataset for n in ("symmetric", "networks", "skewed"))
    gamma = limit["richness"].values
    ax.set_yscale("log")

    def words(law, text):
        at = found.sel(law=law, quantity=name)
        return f"{text}: slope {float(at['exponent']):.2f}"

    mean = networks[name].mean("seed").values
    handles = [
        ax.plot(
            gamma, limit[name], color=LIMIT, lw=1.3, zorder=4, label=words("symmetric", r"limit, $a=\pm 1$")
        )[0],
        ax.plot(
            gamma, mean, ls="none", marker="o", ms=4, color=DARK, zorder=3,
            label=words("networks", f"$n={about['width']}$, Gaussian"),
        )[0],
        ax.plot(
            gamma, skewed[name], color=LIGHT, lw=1.1, marker="s", ms=3.5, zorder=3,
            label=words("skewed", "limit, $a$ skewed"),
        )[0],
    ]  # fmt: skip
    for values, law, below in (
        (limit[name].values, "symmetric", True),
        (skewed[name].values, "skewed", False),
    ):
        power = float(found["predicted"].sel(law=law, quantity=name))
        line = values[0] * (gamma / gamma[0]) ** power
        shown = line < values.max()
        ax.plot(gamma[shown], line[shown], color=LAW, lw=0.8, zorder=1)
        text = r"$\gamma$" if power == 1 else rf"$\gamma^{{{power:g}}}$"
        place = {"xytext": (5, -3), "ha": "left", "va": "top"}
        if not below:
            place = {"xytext": (-5, 3), "ha": "right", "va": "bottom"}
        at = min(2, gamma.size - 1)
        law_name(ax, text, (gamma[at], line[at]), **place)
    ax.yaxis.set_major_locator(LogLocator(100))
    ax.yaxis.set_minor_locator(LogLocator(10, numticks=20))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel(label)
    legend_above(ax, handles)


def draw_test_loss(data, ax):
    """Test loss at equal time and at equal training loss, with the kernel regime."""
    import numpy as np

    from meanfield.plot.canvas import estimates, legend_above, plain_log_ticks
    from meanfield.plot.colours import DARK, LAW, LIGHT, LIMIT

    limit, networks, regime = (data[n].dataset for n in ("limit", "networks", "kernel_regime"))
    gamma = limit["richness"].values
    level = common_loss(data)
    end = networks["test_loss"].isel(step=-1).transpose("richness", "seed").values
    mean, error = end.mean(1), end.std(1, ddof=1) / np.sqrt(end.shape[1])
    ax.set_yscale("log")
    digits, _, power = f"{level:.0e}".partition("e")
    last = limit["test_loss"].isel(step=-1)
    handles = [
        ax.plot(gamma, last, color=LIMIT, lw=1.3, zorder=4, label="limit, equal time")[0],
        estimates(
            ax, gamma, mean, 2 * error, color=DARK, marker="o", ms=4,
            label=f"$n={data.attrs['width']}$, equal time",
        )[0],
        ax.plot(
            gamma, at_equal_loss(limit, level), color=LIGHT, lw=1.1, ls=(0, (4, 2)), zorder=3,
            label=rf"limit, at training loss ${digits}\times10^{{{int(power)}}}$",
        )[0],
        ax.axhline(float(regime["test_loss"][-1]), color=LAW, lw=0.8, zorder=1, label="kernel regime"),
    ]  # fmt: skip
    plain_log_ticks(ax.yaxis)
    ax.set_ylabel("test loss")
    legend_above(ax, handles)
