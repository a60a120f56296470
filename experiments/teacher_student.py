"""Is the spread of 200 networks of one width the one that the response of their limit predicts?

Claim: at fixed training time √n (f_n − f) is Gaussian with the covariance of the limit's linear response, and
n (E f_n − f) tends to half the mean of its second response (Rotskoff & Vanden-Eijnden 2018; Sirignano &
Spiliopoulos 2020; THEORY 1.1). Nothing is fitted: both curves have their constants. The bias is far below the
noise of a mean over 200 networks; with the first-order deviation of each network taken off it is seen.

Data: six points on the circle, labelled by a teacher of two neurons; predictions on the whole circle. A
neuron has three parameters, so that for smooth activations the limit and its response are sums over a
Gauss-Hermite rule; softplus is the one for which that converges fastest. For relu the limit is sampled, the
response sees its kinks through a mollified second derivative, and the predicted bias carries noise of about
a third.
Time: half a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Rotskoff & Vanden-Eijnden 2018, Parameters as interacting particles: long time convergence and "
    "asymptotic error scaling of neural networks, Advances in Neural Information Processing Systems 31",
    "Sirignano & Spiliopoulos 2020, Mean field analysis of neural networks: a central limit theorem, "
    "Stochastic Processes and their Applications 130(3), 1820-1852",
)


def studies(
    *,
    activation: str = "softplus",
    widths: tuple[int, ...] = (32, 64, 128, 256, 512),
    seeds: int = 200,
    samples: int = 6,
    angles: int = 48,
    steps: int = 40,
    learning_rate: float = 0.2,
    nodes: int = 8,
    key: int = 0,
):
    """The one study behind the figure."""
    from meanfield.studies.study import Study

    phi = getattr(mf.activations, activation)
    model = mf.TwoLayer(phi)
    if phi.kinks:
        limit = model.limit(2**14)
        response = mf.Response(1024, replicates=4, bias_draws=256)
    else:
        rule = mf.Quadrature(nodes)
        limit = model.limit(nodes**3, sampler=rule)
        response = mf.Response(nodes**3, sampler=rule, bias_draws=nodes**3)
    training = mf.GradientDescent(learning_rate, steps)
    record = sorted({round(steps * i / 10) for i in range(11)})
    problem = circle_problem(phi, samples, angles, key)[0]
    return {
        "networks": Study(
            model, problem, training, {"width": widths}, seeds, limit, key, record, response=response
        )
    }


def circle_problem(phi, samples, angles, key):
    """(problem with evenly spaced angles as test inputs, the teacher on them)."""
    import numpy as np

    known = mf.datasets.sphere_teacher(2, 2, samples, 0, activation=phi, key=key)
    angle = 2 * np.pi * np.arange(angles) / angles
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    teacher = mf.datasets.sphere_teacher_draw(2, 2, activation=phi, key=key).target(circle)
    return mf.Problem(known.x, known.y, x_test=circle), np.asarray(teacher, float)


def compute(
    *,
    activation: str = "softplus",
    widths: tuple[int, ...] = (32, 64, 128, 256, 512),
    seeds: int = 200,
    samples: int = 6,
    angles: int = 48,
    steps: int = 40,
    learning_rate: float = 0.2,
    nodes: int = 8,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width with their first-order deviations, the limit, its response.

    Args:
        activation: softplus, tanh, erf, relu or any other name in meanfield.activations.
        widths: numbers of hidden neurons.
        seeds: networks of every width.
        samples: training points; with samples x steps at most 768 the response is an exact matrix.
        angles: points of the circle on which predictions are compared.
        steps: steps of gradient descent.
        learning_rate: in the units of the limit, well below the stability edge.
        nodes: of the quadrature rule in each of three dimensions; its cost grows as nodes^6.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import xarray as xr

    from meanfield.studies.store import part_of

    study = studies(
        activation=activation, widths=widths, seeds=seeds, samples=samples, angles=angles, steps=steps,
        learning_rate=learning_rate, nodes=nodes, key=key,
    )["networks"]  # fmt: skip
    tree = study.run(part_of(store, "networks"), progress=progress)
    groups = {name: node.dataset for name, node in tree.children.items()}
    finite = groups["finite"]
    plain = finite.drop_vars([name for name in finite if name.endswith("_control")])
    groups["fit_without_control"] = mf.compare(plain, groups["limit"])
    groups["agreement"] = agreement(tree)
    groups["data"] = circle_data(
        study.problem, circle_problem(study.model.activation, samples, angles, key)[1]
    )
    result = xr.DataTree.from_dict(groups)
    result.attrs = {**tree.attrs, "edge": mf.stability(study.model, study.problem)}
    return result


def circle_data(problem, teacher):
    """The training points and the teacher, over the angle."""
    import numpy as np
    import xarray as xr

    def angle(x):
        return np.arctan2(x[:, 1], x[:, 0]) % (2 * np.pi)

    described = {"long_name": "angle of the input", "units": "radian"}
    return xr.Dataset(
        {
            "target": ("sample", problem.y[:, 0], {"long_name": "target y", "units": "1"}),
            "teacher": ("test_sample", teacher[:, 0], {"long_name": "teacher f*(x)", "units": "1"}),
        },
        coords={
            "sample_angle": ("sample", angle(problem.x), described),
            "test_angle": ("test_sample", angle(problem.x_test), described),
        },
    )


def agreement(tree):
    """Measured over predicted on the whole circle, per width, each with one standard error.

    - `spread_ratio`: of the standard deviation of one network, root mean square over steps and angles;
    - `coverage`: share of networks and angles within ± 2 predicted standard deviations at the last step;
    - `bias_ratio`: n ⟨mean f_n − f, b⟩ / ⟨b, b⟩ over steps and angles, b the predicted limit of
      n (E f_n − f), with the first-order deviation of each network taken off; `bias_ratio_plain` without.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.report import spread_ratios

    finite, limit, predicted = (tree[name].dataset for name in ("finite", "limit", "fluctuation"))
    std, bias = predicted["test_prediction_std"], predicted["test_prediction_bias"]
    deviation = finite["test_prediction"].astype(float) - limit["test_prediction"]
    # Noise of a sampled bias, which its own square would count as signal; a quadrature rule has none.
    sampled = "Quadrature" not in predicted.attrs["response"]
    noise = float((predicted["test_prediction_bias_error"] ** 2).sum()) if sampled else 0.0
    square = float((bias**2).sum()) - noise

    def over_seeds(values):
        values = values.transpose("seed", "width").values
        return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))

    def along_bias(values):
        return (values * bias).sum(bias.dims) * finite["width"] / square

    last = {"step": -1}
    inside = np.abs(deviation.isel(last)) * np.sqrt(finite["width"]) <= 2 * std.isel(last)
    controlled = along_bias(deviation - finite["test_prediction_control"])
    ratios = spread_ratios(tree)["test_prediction"]
    found = {
        "spread_ratio": (
            tuple(zip(*((row[1], row[2]) for row in ratios), strict=True)),
            "spread of one network",
        ),
        "coverage": (
            over_seeds(inside.mean(["test_sample", "output"])),
            "share within two standard deviations",
        ),
        "bias_ratio": (over_seeds(controlled), "bias, first-order deviation taken off"),
        "bias_ratio_plain": (over_seeds(along_bias(deviation)), "bias, plain mean"),
    }
    data = {}
    for name, ((value, error), text) in found.items():
        data[name] = ("width", np.array(value), {"long_name": f"{text}, measured / predicted", "units": "1"})
        about = {"long_name": f"one standard error of: {text}, measured / predicted", "units": "1"}
        data[f"{name}_error"] = ("width", np.array(error), about)
    data["coverage"][2]["long_name"] = "share within two predicted standard deviations"
    # A narrow network is the first part of a wide one: average the widths of a seed before taking errors.
    weight = 1 / data["bias_ratio_error"][1] ** 2
    joined = controlled.transpose("seed", "width").values @ weight / weight.sum()
    attrs = {
        "seeds": finite.sizes["seed"],
        "bias_ratio": float(joined.mean()),
        "bias_ratio_error": float(joined.std(ddof=1) / np.sqrt(joined.size)),
        "predicted_spread": float(np.sqrt((std**2).mean())),
        "predicted_bias": float(np.sqrt(max(square, 0.0) / bias.size)),
        "predicted_bias_noise": float(np.sqrt(noise / bias.size)),
    }
    return xr.Dataset(data, coords={"width": finite["width"]}, attrs=attrs)


def summary(data):
    """Measured numbers beside the predicted ones."""
    from meanfield.studies.report import with_error

    fits = {"fit": data["fit"].dataset, "plain": data["fit_without_control"].dataset}
    ratios = data["agreement"].dataset
    about = ratios.attrs
    lines = [
        data.attrs["model"],
        f"  on {data.attrs['problem']}",
        f"  by {data.attrs['training']}; the stability edge is at {data.attrs['edge']:.2g}",
        f"  {about['seeds']} networks of every width; all numbers on the whole circle",
        "",
    ]
    for words, fit, kind in (
        ("distance of one network", "fit", "fluctuation"),
        ("bias, first order taken off", "fit", "bias"),
        ("bias, plain mean", "plain", "bias"),
    ):
        at = fits[fit].sel(quantity="test_prediction", kind=kind)
        slope = with_error(float(at["exponent"]), float(at["exponent_error"]))
        lines.append(f"{words:<28} slope {slope}, theory {float(at['predicted']):g}: {at['verdict'].item()}")
    columns = ("spread_ratio", "coverage", "bias_ratio", "bias_ratio_plain")
    lines += [
        "",
        "measured / predicted, ± one standard error",
        f"{'width':>8}   {'spread':<17}{'within 2 std':<19}{'bias':<15}bias, plain mean",
    ]
    for n in ratios["width"].values:
        at = ratios.sel(width=n)
        cells = [with_error(float(at[name]), float(at[f"{name}_error"])) for name in columns]
        lines.append(f"{n:>8}   {cells[0]:<17}{cells[1]:<19}{cells[2]:<15}{cells[3]}")
    lines.append(f"{'theory':>8}   {'1':<17}{'0.954':<19}{'1':<15}1")
    together = with_error(about["bias_ratio"], about["bias_ratio_error"])
    lines += ["", f"bias at all widths together: {together} of the predicted one, theory 1"]
    if about["predicted_bias_noise"]:
        share = about["predicted_bias_noise"] / about["predicted_bias"]
        lines[-1] += f" (the prediction itself has noise of {share:.0%})"
    lines.append(
        f"predicted, rms over steps and angles: spread {about['predicted_spread']:.3g}/√n, "
        f"bias {about['predicted_bias']:.3g}/n"
    )
    return "\n".join(lines)


def draw(data):
    """The predicted band with single networks; the ratio of spreads; spread and bias against the width."""
    from meanfield.plot.canvas import panels

    with panels(3, width_ratios=(1.15, 0.9, 1)) as (figure, (band, ratio, laws)):
        draw_band(data, band)
        draw_ratio(data, ratio)
        draw_laws(data, laws)
    return figure


def draw_band(data, ax, shown=60):
    """Networks of the smallest width over the angle, at the last step, with the predicted ± 2 std."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import LIMIT, TARGET, shades

    finite, limit, predicted, points = (data[n].dataset for n in ("finite", "limit", "fluctuation", "data"))
    n = int(finite["width"][0])
    last = {"step": -1, "output": 0}
    angle = points["test_angle"].values
    around = lambda values: np.concatenate([values, values[..., :1]], -1)  # noqa: E731
    turn = np.append(angle, 2 * np.pi)
    networks = finite["test_prediction"].isel(width=0, **last)
    colour = shades(3)[1]
    ax.plot(turn, around(networks.values[:shown]).T, color=colour, lw=0.35, alpha=0.45, zorder=1)
    mean = around(limit["test_prediction"].isel(**last).values)
    half = 2 * around(predicted["test_prediction_std"].isel(**last).values) / np.sqrt(n)
    for sign in (-1, 1):
        ax.plot(turn, mean + sign * half, color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), zorder=4)
    ax.plot(turn, mean, color=LIMIT, lw=1.3, zorder=4)
    ax.plot(turn, around(points["teacher"].values), color=TARGET, lw=1.1, ls=(0, (1, 1)), zorder=3)
    ax.plot(
        points["sample_angle"],
        points["target"],
        ls="none",
        marker="o",
        ms=3.5,
        mfc="white",
        mec=LIMIT,
        mew=0.8,
        zorder=5,
    )
    ax.set_xlim(0, 2 * np.pi)
    ax.set_xticks([0, np.pi, 2 * np.pi], ["0", r"$\pi$", r"$2\pi$"])
    ax.set_xlabel("angle of the input")
    ax.set_ylabel("network output $f(x)$")
    handles = [
        Line2D([], [], color=colour, lw=0.8, label=f"networks, $n={n}$"),
        Line2D([], [], color=LIMIT, lw=1.3, label="limit"),
        Line2D([], [], color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), label=r"predicted $\pm$ 2 std"),
        Line2D([], [], color=TARGET, lw=1.1, ls=(0, (1, 1)), label="teacher"),
        Line2D([], [], ls="none", marker="o", ms=3.5, mfc="white", mec=LIMIT, mew=0.8, label="training set"),
    ]
    legend_above(ax, handles, columns=2)


def draw_ratio(data, ax):
    """Measured over predicted spread and bias, with 95% intervals."""
    from meanfield.numerics.statistics import student_interval
    from meanfield.plot.canvas import estimates, legend_above, size_axis
    from meanfield.plot.colours import DARK, LAW, LIGHT

    ratios = data["agreement"].dataset
    widths = ratios["width"].values
    half = student_interval(ratios.attrs["seeds"])
    ax.axhline(1, color=LAW, lw=0.8, zorder=1)
    handles = []
    for name, colour, marker, shift, label in (
        ("spread_ratio", DARK, "o", 0.96, "spread"),
        ("bias_ratio", LIGHT, "s", 1.04, "bias, first order\ntaken off"),
    ):
        value, error = ratios[name].values, half * ratios[f"{name}_error"].values
        style = {"color": colour, "marker": marker, "ms": 4, "label": label}
        handles += estimates(ax, widths * shift, value, error, **style)
    size_axis(ax, widths)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.8), max(high, 1.2))
    ax.set_xlabel("width $n$")
    ax.set_ylabel("measured / predicted")
    legend_above(ax, handles)


def draw_laws(data, ax):
    """Root mean square distances against the width; the grey laws have predicted constants."""
    import numpy as np

    from meanfield.plot.canvas import intervals, law_name, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import DARK, LAW, LIGHT

    about = data["agreement"].attrs
    widths = data["fit"]["width"].values
    ax.set_yscale("log")
    size_axis(ax, widths, right=1.9)
    handles, heights = [], []
    for fit, kind, colour, marker, shift, label in (
        ("fit", "fluctuation", DARK, "o", 1, "one network"),
        ("fit_without_control", "bias", "0.45", "D", 1.08, "mean of {} networks"),
        ("fit", "bias", LIGHT, "s", 0.94, "the same, first order\ntaken off"),
    ):
        at = data[fit].dataset.sel(quantity="test_prediction", kind=kind)
        low, value, high = (at[name].values for name in ("error_low", "error", "error_high"))
        resolved = low > 0
        style = {"color": colour, "marker": marker, "ms": 3.5, "ls": "none", "zorder": 3}
        # Where the interval goes down to 0, its upper end.
        bound = style | {"marker": "v", "mfc": "white"}
        seen = ax.plot(widths * shift, np.where(resolved, value, np.nan), **style)
        bounds = ax.plot(widths * shift, np.where(resolved, np.nan, high), **bound)
        handles += seen if resolved.any() else bounds
        handles[-1].set_label(label.format(about["seeds"]) + ("" if resolved.any() else ",\nupper bound"))
        intervals(ax, (widths * shift)[resolved], low[resolved], high[resolved], color=colour, zorder=2)
        heights += [low[resolved], high]
    heights = np.concatenate(heights)
    ends = np.array([widths[0] / 1.15, widths[-1] * 1.15])
    for constant, power, word in (
        (about["predicted_spread"], -0.5, r"$n^{-1/2}$"),
        (about["predicted_bias"], -1.0, "$n^{-1}$"),
    ):
        ax.plot(ends, constant * ends**power, color=LAW, lw=0.8, zorder=1)
        place = (ends[1], constant * ends[1] ** power)
        law_name(ax, word, place)
    ax.set_ylim(heights[heights > 0].min() / 1.5, heights.max() * 1.5)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel("distance to the limit")
    legend_above(ax, handles)
