"""Does a wide ReLU network trained on the logistic loss reach the largest margin of its architecture?

Claim: if the normalised gradient flow of the measure converges, it does so to a solution of the F_1
max-margin problem, max over signed measures ν on the sphere of (w, b), |ν| ≤ 1, of
min_p y_p ∫ φ(w·x_p + b) dν (Chizat & Bach 2020). That maximum is a linear program, solved here with a
certificate: no bound is a guess. With N = E|a||(w, b)| the margin min_p y_p f(x_p)/N should approach it from
below with a gap ∝ 1/N. Part of the constant is known: at the end the residuals are proportional to the dual
weights λ of the program, so that y_p f(x_p) = const − ln λ_p, and Σ_p λ_p y_p f(x_p) − min_p y_p f(x_p)
tends to Σ_p λ_p ln(1/λ_p) + ln max_p λ_p.

N grows like ln t along the flow, so that the gap is ∝ 1/ln t and a fixed step never gets there: steps are of
normalised length (meanfield.NormalizedDescent), which only changes the time of the flow; a run with a fixed
step shows what happens otherwise. Narrow networks end at a margin of their own.

Data: four noisy corners of a square, opposite ones alike.
Time: a quarter of a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Chizat & Bach 2020, Implicit bias of gradient descent for wide two-layer neural networks trained with "
    "the logistic loss, Proceedings of Machine Learning Research 125, 1305-1338",
    "Lyu & Li 2020, Gradient descent maximizes the margin of homogeneous neural networks, International "
    "Conference on Learning Representations",
)


def studies(**options):
    """None: one limit and networks in float64, each kept by `simulate`."""
    return {}


def compute(
    *,
    widths: tuple[int, ...] = (4, 8, 16, 64),
    seeds: int = 16,
    particles: int = 1024,
    replicates: int = 2,
    samples: int = 16,
    spread: float = 0.3,
    learning_rate: float = 0.5,
    steps: int = 4000,
    directions: int = 1600,
    pixels: int = 61,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """The maximum margin, the limit, networks, and a limit trained with a fixed step.

    Args:
        widths: numbers of hidden neurons.
        seeds: networks of every width.
        particles: of each replicate of the limit.
        replicates: of the limit.
        samples: training points, a multiple of 4.
        spread: standard deviation of a point around its corner.
        learning_rate: growth of N in one step.
        steps: steps of training; learning_rate x steps x margin stays below 700, or residuals underflow.
        directions: of a fixed grid on which the linear program is solved for comparison.
        pixels: of the picture of the decision, each way.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.xor(samples, spread=spread, loss=mf.losses.logistic, key=key)
    reach = 1.05 * np.abs(problem.x).max()
    axis = np.linspace(-reach, reach, pixels)
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    seen = mf.Problem(problem.x, problem.y, loss=problem.loss, x_test=plane)
    model = mf.TwoLayer(mf.activations.relu, bias=True, initial=mf.initial.Gaussian(bias=1.0))
    record = np.unique(np.round(np.geomspace(1, steps, 32)).astype(int)).tolist()
    size = mf.observe.TestFunction(neuron_size, "size", at=tuple(record))
    final = mf.observe.Neurons(particles, at=(steps,))
    normalised = mf.NormalizedDescent(learning_rate, steps)
    fixed = mf.GradientDescent(0.5 * mf.stability(model, problem), steps)
    options = {"key": key, "record": record, "progress": progress, "store": part_of(store)}
    limit = mf.simulate(
        model.limit(particles, replicates), seen, normalised, observe=(size, final), **options
    )
    slow = mf.simulate(model.limit(particles, replicates), problem, fixed, observe=(size,), **options)
    networks = [
        mf.simulate(
            model.finite(n, dtype="float64"), problem, normalised, seeds=seeds, observe=(size,), **options
        )
        for n in widths
    ]
    networks = xr.concat(
        [margins(run, problem) for run in networks], xr.DataArray(list(widths), dims="width")
    )
    networks["width"].attrs.update(long_name="width of the network", units="1")
    program = linear_program(problem, directions)
    neurons = limit[["neurons_a", "neurons_w", "neurons_b", "neurons_weight"]].isel(neurons_step=0, drop=True)
    decision = limit["test_prediction"].isel(step=-1, output=0, drop=True).values.reshape(pixels, pixels)
    best = best_function(program, plane).reshape(pixels, pixels)
    words = "of the solution of the linear program"
    picture = xr.Dataset(
        {
            "decision": (("x0", "x1"), decision, {"long_name": "output f(x) at the end", "units": "1"}),
            "best_decision": (("x0", "x1"), best, {"long_name": f"output f(x) {words}", "units": "1"}),
            "x": (("sample", "input"), problem.x, {"long_name": "training inputs", "units": "1"}),
            "y": ("sample", problem.y[:, 0], {"long_name": "labels", "units": "1"}),
        },
        coords={"x0": axis, "x1": axis},
    )
    groups = {
        "limit": margins(limit, problem, program["dual"].values), "fixed_step": margins(slow, problem),
        "networks": networks, "program": program, "neurons": neurons, "picture": picture,
    }  # fmt: skip
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "problem": repr(problem), "model": repr(model), "training": repr(normalised), "fixed": repr(fixed),
        "particles": particles, "replicates": replicates, "seeds": seeds, "key": key,
    }  # fmt: skip
    return tree


def neuron_size(theta):
    """|a| |(w, b)|, whose mean N bounds the norm of the function."""
    import jax.numpy as jnp

    return jnp.abs(theta["a"][0]) * jnp.sqrt(jnp.sum(theta["w"] ** 2) + theta["b"] ** 2)


def margins(run, problem, duals=None):
    """N and min_p y_p f(x_p)/N at the recorded steps, and Σ_p λ_p y_p f(x_p)/N where λ is given.

    Of a limit, f and N are means over replicates: those of the union of their particles.
    """
    import numpy as np
    import xarray as xr

    reached = problem.y[:, 0] * run["prediction"].values[..., 0]
    size = run["size"].values
    dims = run["prediction"].dims[:-2]
    found = {
        "size": (dims, size, {"long_name": "N, mean of |a||(w, b)|", "units": "1"}),
        "margin": (dims, reached.min(-1) / size, {"long_name": "margin min y f / N", "units": "1"}),
    }
    if duals is not None:
        about = {"long_name": "margin averaged with the dual weights", "units": "1"}
        found["dual_margin"] = (dims, reached @ duals / size, about)
    coords = {name: run[name] for name in ("seed", "step") if name in dims}
    assert np.array_equal(run["step"].values, run["size_step"].values)
    return xr.Dataset(found, coords=coords)


def linear_program(problem, directions):
    """The maximum margin with its certificate, and that of the program on a fixed grid of directions."""
    import numpy as np
    import xarray as xr

    from meanfield.numerics.margin import margin_on_directions, max_margin, spread_directions

    x, y = with_bias(problem.x), problem.y[:, 0]
    best = max_margin(x, y)
    on_grid = margin_on_directions(x, y, spread_directions(directions, 3))[0]
    duals = best.duals[best.duals > 1e-9]
    return xr.Dataset(
        {
            "direction": (
                ("atom", "coordinate"),
                best.directions,
                {"long_name": "directions with mass", "units": "1"},
            ),
            "mass": ("atom", best.masses, {"long_name": "signed mass", "units": "1"}),
            "dual": ("sample", best.duals, {"long_name": "dual weights of the samples", "units": "1"}),
        },
        coords={"coordinate": ["w0", "w1", "b"]},
        attrs={
            "margin": best.margin,
            "upper": best.upper,
            "grid_margin": on_grid,
            "grid_directions": directions,
            "dual_entropy": float(np.log(duals.max()) - duals @ np.log(duals)),
        },
    )


def with_bias(x):
    """(x, 1), (P, 3)."""
    import numpy as np

    return np.concatenate([x, np.ones((len(x), 1))], 1)


def best_function(program, x):
    """f of the solution of the linear program."""
    import numpy as np

    return np.maximum(with_bias(x) @ program["direction"].values.T, 0) @ program["mass"].values


def merged(program, apart=1e-2):
    """(directions, masses) of the linear program, those closer than `apart` taken together."""
    import numpy as np

    directions, masses = [], []
    for direction, mass in zip(program["direction"].values, program["mass"].values, strict=True):
        near = [i for i, other in enumerate(directions) if direction @ other > 1 - apart**2 / 2]
        if near:
            masses[near[0]] += mass
        else:
            directions.append(direction)
            masses.append(mass)
    return np.array(directions), np.array(masses)


def share_near(data, apart=0.1):
    """Share of N in neurons whose (w, b) is within `apart` of a direction of the linear program."""
    import numpy as np

    neurons, directions = data["neurons"].dataset, data["program"]["direction"].values
    points = np.concatenate([neurons["neurons_w"].values, neurons["neurons_b"].values[:, None]], 1)
    length = np.linalg.norm(points, axis=1)
    mass = np.abs(neurons["neurons_a"].values[:, 0]) * length * neurons["neurons_weight"].values
    near = (points @ directions.T).max(1) > length * np.cos(apart)
    return mass[near].sum() / mass.sum()


def gap_exponent(size, gap):
    """Exponent of the gap in N over the last factor of three in N, and its change from that over a factor of
    ten."""
    import numpy as np

    def slope(factor):
        chosen = (size > size[-1] / factor) & (gap > 0)
        return np.polyfit(np.log(size[chosen]), np.log(gap[chosen]), 1)[0] if chosen.sum() > 2 else np.nan

    return slope(3), abs(slope(3) - slope(10))


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, program = data.attrs, data["program"].dataset
    limit, slow, networks = (data[n].dataset for n in ("limit", "fixed_step", "networks"))
    best = program.attrs["margin"]
    gap = 1 - limit["margin"].values / best
    size = limit["size"].values
    slope, change = gap_exponent(size, gap)
    constant = size[-1] * float(limit["dual_margin"][-1] - limit["margin"][-1])
    on_grid = program.attrs["grid_margin"] / best
    lines = [
        about["model"],
        f"  on {about['problem']}",
        f"  by {about['training']}; limit of {about['replicates']} x {about['particles']} particles",
        "",
        f"maximum margin {best:.9f}, certified to {program.attrs['upper'] - best:.1g}: "
        f"{len(merged(program)[1])} neurons, {int((program['dual'] > 1e-6).sum())} support points",
        f"  on a grid of {program.attrs['grid_directions']} directions {on_grid:.4f} of it",
        f"margin of the limit / maximum: {1 - gap[-1]:.4f} at N = {size[-1]:.0f}; gap against N: slope "
        f"{with_error(slope, change)}, theory -1",
        f"N x (dual mean - minimum) of y f / N: {constant:.3f}, theory {program.attrs['dual_entropy']:.3f}",
        f"share of N within 0.1 radian of the program's directions: {share_near(data):.4f}, theory 1",
        f"fixed step, as many steps: {float(slow['margin'][-1]) / best:.4f} "
        f"at N = {float(slow['size'][-1]):.0f}",
    ]
    for n in networks["width"].values:
        last = networks["margin"].sel(width=n).isel(step=-1).values / best
        error = last.std(ddof=1) / np.sqrt(last.size) if last.size > 1 else np.nan
        mean = with_error(last.mean(), error)
        lines.append(f"width {n:>4}, mean of {last.size} networks: {mean}, best {last.max():.4f}")
    return "\n".join(lines)


def draw(data):
    """The decision in the plane; the gap to the maximum margin; where the neurons point."""
    from meanfield.plot.canvas import panels

    with panels(3, width_ratios=(1, 1.05, 1.25)) as (figure, axes):
        draw_decision(data, axes[0])
        draw_gap(data, axes[1])
        draw_directions(data, axes[2])
    return figure


def draw_decision(data, ax):
    """Training points, where f changes sign, and where the best function does; support points are ringed."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import DARK, LIGHT, LIMIT

    picture, program = data["picture"].dataset, data["program"].dataset
    across, up = picture["x0"].values, picture["x1"].values
    decision = picture["decision"].values.T
    ax.contourf(across, up, np.sign(decision), levels=[-2, 0, 2], colors=[LIGHT, DARK], alpha=0.12)
    ax.contour(across, up, decision, levels=[0], colors=LIMIT, linewidths=1.3)
    ax.contour(
        across,
        up,
        picture["best_decision"].values.T,
        levels=[0],
        colors="0.55",
        linewidths=1,
        linestyles="dashed",
    )
    x, y = picture["x"].values, picture["y"].values
    for label, colour, marker in ((1, DARK, "o"), (-1, LIGHT, "s")):
        ax.plot(*x[y == label].T, ls="none", marker=marker, ms=3.5, color=colour, zorder=3)
    support = program["dual"].values > 1e-9
    ax.plot(*x[support].T, ls="none", marker="o", ms=8, mfc="none", mec=LIMIT, mew=0.7, zorder=3)
    ax.set_aspect("equal")
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    handles = [
        Line2D([], [], color=LIMIT, lw=1.3, label="$f=0$, limit"),
        Line2D([], [], color="0.55", lw=1, ls="--", label="maximum margin"),
        Line2D([], [], ls="none", marker="o", ms=8, mfc="none", mec=LIMIT, mew=0.7, label="support point"),
    ]
    legend_above(ax, handles)


def draw_gap(data, ax):
    """1 − margin/maximum against N."""
    import numpy as np

    from meanfield.plot.canvas import law_name, legend_above
    from meanfield.plot.colours import LAW, LIMIT, shades

    limit, slow, networks = (data[n].dataset for n in ("limit", "fixed_step", "networks"))
    best = data["program"].attrs["margin"]
    ax.set_xscale("log")
    ax.set_yscale("log")
    handles = []
    for n, colour in zip(networks["width"].values, shades(networks.sizes["width"]), strict=True):
        at = networks.sel(width=n)
        gap = 1 - at["margin"].mean("seed") / best
        handles += ax.plot(at["size"].mean("seed"), gap, color=colour, lw=1.1, zorder=2, label=f"$n={n}$")
    size, gap = limit["size"].values, 1 - limit["margin"].values / best
    handles += ax.plot(size, gap, color=LIMIT, lw=1.3, zorder=4, label="limit")
    own = slow["size"].values, 1 - slow["margin"].values / best
    handles += ax.plot(*own, color=LIMIT, lw=1, ls=(0, (1, 1)), zorder=3, label="fixed step")
    ax.plot(own[0][-1], own[1][-1], marker="|", ms=7, mew=1.2, color=LIMIT, zorder=3)
    law = gap[-1] * size[-1] / size
    shown = law < 1
    ax.plot(size[shown], 0.6 * law[shown], color=LAW, lw=0.8, zorder=1)
    middle = np.flatnonzero(shown)[shown.sum() // 2]
    law_name(ax, "$N^{-1}$", (size[middle], 0.6 * law[middle]), xytext=(-4, -4), ha="right", va="top")
    ax.set_ylim(0.4 * gap[-1], 2)
    ax.set_xlabel(r"$N=\int|a||(w,b)|\,d\rho_t$")
    ax.set_ylabel("1 − margin / maximum margin")
    legend_above(ax, handles, columns=3)


def draw_directions(data, ax, pixels=181):
    """Neurons on the sphere of (w, b), in an equal-area map: dots by |a||(w, b)|, rings for the program.

    Lines: where the dual function |Σ_p λ_p y_p φ(w·x_p + b)| is 0.9 and 0.99 of its maximum; the support of
    any solution lies where it is 1.
    """
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.numerics.margin import dual_function
    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import DARK, LIGHT, LIMIT

    neurons, program, picture = (data[n].dataset for n in ("neurons", "program", "picture"))
    a, w, b = (neurons[f"neurons_{n}"].values for n in ("a", "w", "b"))
    mass = np.abs(a[:, 0]) * np.sqrt((w**2).sum(1) + b**2) * neurons["neurons_weight"].values
    angle, height = np.arctan2(w[:, 1], w[:, 0]), b / np.sqrt((w**2).sum(1) + b**2)
    azimuth, up = np.linspace(-np.pi, np.pi, pixels), np.linspace(-1, 1, pixels)
    flat = np.sqrt(1 - up**2)[:, None]
    sphere = np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), np.broadcast_to(up[:, None], (pixels, pixels))], -1
    )
    level = np.abs(
        dual_function(
            with_bias(picture["x"].values), picture["y"].values, program["dual"].values, sphere.reshape(-1, 3)
        )
    )
    ax.contour(
        azimuth,
        up,
        level.reshape(pixels, pixels) / program.attrs["margin"],
        levels=[0.9, 0.99],
        colors="0.6",
        linewidths=0.6,
    )
    for sign, colour in ((1, DARK), (-1, LIGHT)):
        chosen = np.sign(a[:, 0]) == sign
        ax.scatter(
            angle[chosen],
            height[chosen],
            s=1.5 + 25 * mass[chosen] / mass.max(),
            color=colour,
            lw=0,
            zorder=2,
        )
    direction, size = merged(program)
    ax.scatter(
        np.arctan2(direction[:, 1], direction[:, 0]),
        direction[:, 2],
        s=400 * np.abs(size),
        fc="none",
        ec=LIMIT,
        lw=0.8,
        zorder=3,
    )
    ax.set_xlim(-np.pi, np.pi)
    ax.set_ylim(-1, 1)
    ax.set_xticks([-np.pi, 0, np.pi], [r"$-\pi$", "0", r"$\pi$"])
    ax.set_xlabel("angle of $w$")
    ax.set_ylabel("$b\\,/\\,|(w,b)|$")
    handles = [
        Line2D([], [], ls="none", marker="o", ms=4, color=DARK, label="neurons, $a>0$"),
        Line2D([], [], ls="none", marker="o", ms=4, color=LIGHT, label="neurons, $a<0$"),
        Line2D([], [], ls="none", marker="o", ms=7, mfc="none", mec=LIMIT, mew=0.8, label="linear program"),
        Line2D([], [], color="0.6", lw=0.6, label="dual at 0.9, 0.99"),
    ]
    legend_above(ax, handles, columns=2)
