"""Are wide networks, trained, distributed as the kernel regime says: mean, spread and covariance?

Claim: under gradient descent the outputs of networks of width n → ∞ in the NTK parametrization are Gaussian
at every time, with mean and covariance in closed form (Jacot, Gabriel & Hongler 2018; Lee et al. 2019; THEORY
3.1); mean and covariance at width n are O(1/n) off. At width 512 that is below the noise of 64 networks:
every deviation in units of that noise, a z-score, should be standard normal. Scores are taken of the mean
and of the variance (its χ² made normal) at every test image, and along every principal direction of the
predicted covariance. However they depend on each other, the largest of N exceeds the threshold of level α/2N
with probability α at most. To show that the table can say no, the same networks are held against the law of
networks whose readout alone is trained, which has the same start and Σ in place of Θ.

Data: digits 3 and 8, two hidden layers of relu, no biases.
Time: about half a minute on two cores.
"""

import meanfield as mf

SOURCES = (
    "Jacot, Gabriel & Hongler 2018, Neural tangent kernel: convergence and generalization in neural "
    "networks, Advances in Neural Information Processing Systems 31",
    "Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, Wide neural networks of any "
    "depth evolve as linear models under gradient descent, Advances in Neural Information Processing Systems "
    "32",
    "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository",
)

SCORES = {
    "mean": "mean, images",
    "variance": "variance, images",
    "mode_mean": "mean, directions",
    "mode_variance": "variance, directions",
}
LAW = ("test_prediction", "test_prediction_spread", "test_covariance")


def studies(**options):
    """None: one ensemble, kept by `simulate`."""
    return {}


def compute(
    *,
    width: int = 512,
    seeds: int = 64,
    hidden_layers: int = 2,
    samples: int = 32,
    test_samples: int = 24,
    steps: int = 200,
    relative_rate: float = 0.25,
    looks: tuple[int, ...] = (0, 2, 5, 10, 20, 200),
    false_alarms: float = 0.01,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """The ensemble, its law, and how far they are apart in units of the ensemble's noise.

    Args:
        width: of every hidden layer.
        seeds: networks, two at least.
        hidden_layers: L.
        samples: training images.
        test_samples: test images.
        steps: steps of gradient descent.
        relative_rate: learning rate over the stability edge.
        looks: steps whose z-scores are taken, at most `steps`.
        false_alarms: probability that a score of the table exceeds its threshold though the law is right.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np
    import xarray as xr

    from meanfield.studies.store import part_of

    problem = mf.datasets.digits((3, 8), samples, test_samples, squared_norm=64, key=key)
    model = mf.MLP(hidden_layers, mf.activations.relu, mf.parametrizations.ntk, weight_variance=2.0)
    edge = mf.stability(model, problem)
    training = mf.GradientDescent(relative_rate * edge, steps)
    record = sorted({*looks, *np.round(np.geomspace(1, steps, 40)).astype(int).tolist(), 0})
    ensemble = mf.simulate(
        model.finite(width), problem, training, seeds=seeds, key=key, record=record, progress=progress,
        store=part_of(store),
    )  # fmt: skip
    law = law_of(model, problem, training, record)
    frozen = law_of(model, problem, training, looks, readout_only=True)
    groups = {
        "ensemble": ensemble[["test_prediction"]].isel(output=0),
        "law": law,
        "scores": scores(ensemble, law.sel(step=list(looks)), false_alarms),
        "readout_only": scores(ensemble, frozen, false_alarms),
    }
    targets = problem.y_test[:, 0], {"long_name": "target y", "units": "1"}
    groups["law"]["target"] = ("test_sample", *targets)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "model": repr(model), "problem": repr(problem), "training": repr(training), "edge": edge,
        "width": width, "seeds": seeds, "false_alarms": false_alarms, "key": key,
    }  # fmt: skip
    return tree


def law_of(model, problem, training, steps, *, readout_only=False):
    """Mean, spread and covariance of the outputs on the test set at some steps, at infinite width."""
    import numpy as np

    def kernels(x1, x2=None):
        found = mf.kernels.mlp(
            x1, x2, hidden_layers=model.hidden_layers, activation=model.activation,
            weight_variance=model.weight_variance,
        )  # fmt: skip
        return mf.kernels.Kernel(found.nngp, found.nngp) if readout_only else found

    found = mf.kernels.predict(
        kernels(problem.x), problem.y, training, test=kernels(problem.x_test, problem.x),
        test_test=kernels(problem.x_test), times=training.times()[np.asarray(steps)], covariance=True,
    )  # fmt: skip
    return found[list(LAW)].isel(output=0)


def scores(ensemble, law, false_alarms):
    """z-scores of R networks against a law, each standard normal if it is theirs.

    Of R outputs f ~ N(μ, σ²) with mean m and variance s²: (m − μ)√R/σ, and the normal quantile of what
    χ²_{R−1} has below (R − 1)s²/σ². On the images, and along the eigenvectors of their covariance.
    """
    import numpy as np
    import scipy.special
    import scipy.stats
    import xarray as xr

    f = ensemble["test_prediction"].sel(step=law["step"]).transpose("step", "seed", "test_sample", ...)
    repeats = f.sizes["seed"]
    mean, spread, covariance = (law[name].values for name in LAW)
    deviation = f.values.reshape(f.shape[:3]).astype(float) - mean[:, None]  # (look, network, image)
    values, vectors = np.linalg.eigh(covariance)
    whitened = {"": deviation / spread[:, None], "mode_": deviation @ vectors / np.sqrt(values)[:, None]}
    data = {}
    for prefix, w in whitened.items():
        chi = repeats * w.var(1), repeats - 1
        lower, upper = scipy.stats.chi2.logcdf(*chi), scipy.stats.chi2.logsf(*chi)
        tail = scipy.special.ndtri_exp(np.minimum(lower, upper))
        data[f"{prefix}mean"] = w.mean(1) * np.sqrt(repeats)
        data[f"{prefix}variance"] = np.where(lower < upper, tail, -tail)
    count = sum(z.size for z in data.values())
    found = {}
    for name, text in SCORES.items():
        dims = ("step", "direction" if "mode" in name else "test_sample")
        found[name] = (dims, data[name], {"long_name": f"z-score, {text}", "units": "1"})
    threshold = float(scipy.stats.norm.isf(false_alarms / (2 * count)))
    return xr.Dataset(found, {"step": law["step"]}, {"count": count, "threshold": threshold})


def largest(table):
    """The largest |z| of every kind at every step, (step, kind)."""
    import numpy as np

    return np.stack([np.abs(table[name].values).max(1) for name in SCORES], 1)


def verdict(table):
    """consistent, if no score is above the threshold."""
    return "consistent" if largest(table).max() <= table.attrs["threshold"] else "inconsistent"


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    about, law = data.attrs, data["law"].dataset
    table, control = data["scores"].dataset, data["readout_only"].dataset
    rms = lambda name, step: np.sqrt(float((law[name].sel(step=step) ** 2).mean()))  # noqa: E731
    lines = [
        about["model"],
        f"  on {about['problem']}",
        f"  by {about['training']}; the stability edge is at {about['edge']:.2g}",
        f"  {about['seeds']} networks of width {about['width']}, {law.sizes['test_sample']} test images",
        "",
        f"{'':>8}{'law on test images, rms':<27}largest |z|",
        f"{'step':>6}  {'mean':<12}{'spread':<15}" + "".join(f"{t:<22}" for t in SCORES.values()).rstrip(),
    ]
    for step, row in zip(table["step"].values, largest(table), strict=True):
        sizes = (f"{rms(n, step):<12.2f}" for n in ("test_prediction", "test_prediction_spread"))
        lines.append(f"{step:>6}  {''.join(sizes)}   " + "".join(f"{z:<22.2f}" for z in row).rstrip())
    squares = [float((table[name] ** 2).mean()) for name in SCORES]
    lines += [
        f"{'mean of z², theory 1':<35}" + "".join(f"{z:<22.2f}" for z in squares).rstrip(),
        "",
        f"largest of all {table.attrs['count']} scores: {largest(table).max():.2f}, theory: at most "
        f"{table.attrs['threshold']:.2f} with probability {1 - about['false_alarms']:g}: {verdict(table)}",
        "the same networks against the law of a trained readout alone: "
        f"{largest(control).max():.2f}, {verdict(control)}",
    ]
    return "\n".join(lines)


def draw(data):
    """Networks and their law over training; means with their noise; all scores with the threshold."""
    from meanfield.plot.canvas import panels

    with panels(3, width_ratios=(1.1, 0.9, 1)) as (figure, axes):
        draw_band(data, axes[0])
        draw_means(data, axes[1])
        draw_scores(data, axes[2])
    return figure


def draw_band(data, ax):
    """Every network's output on the test image with the largest final spread, over training."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above, time_axis
    from meanfield.plot.colours import LIMIT, TARGET, shades

    law, ensemble = data["law"].dataset, data["ensemble"].dataset
    image = int(np.argmax(law["test_prediction_spread"].isel(step=-1).values))
    at = law.isel(test_sample=image)
    networks = ensemble["test_prediction"].isel(test_sample=image).transpose("step", "seed").values
    time, mean, spread = (at[n].values for n in ("time", "test_prediction", "test_prediction_spread"))
    colour = shades(3)[1]
    ax.plot(time, networks, color=colour, lw=0.35, alpha=0.5, zorder=1)
    for sign in (-1, 1):
        ax.plot(time, mean + sign * 2 * spread, color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), zorder=4)
    ax.plot(time, mean, color=LIMIT, lw=1.3, zorder=4)
    ax.axhline(float(at["target"]), color=TARGET, lw=1, ls=(0, (1, 1)), zorder=3)
    time_axis(ax, time, "training time $t$")
    ax.set_ylabel(f"network output, test image {image}")
    handles = [
        Line2D([], [], color=colour, lw=0.8, label=f"networks, $n={data.attrs['width']}$"),
        Line2D([], [], color=LIMIT, lw=1.3, label="mean of the law"),
        Line2D([], [], color=LIMIT, lw=0.9, ls=(0, (3, 1.5)), label=r"$\pm$ 2 std"),
        Line2D([], [], color=TARGET, lw=1, ls=(0, (1, 1)), label="target"),
    ]
    legend_above(ax, handles, columns=2)


def draw_means(data, ax):
    """Mean over networks ± 2 predicted standard errors against the predicted mean, all images and looks."""
    import numpy as np

    from meanfield.plot.canvas import intervals, legend_above
    from meanfield.plot.colours import LAW, shades

    steps = data["scores"]["step"].values
    law, ensemble = data["law"].dataset.sel(step=steps), data["ensemble"].dataset.sel(step=steps)
    measured = ensemble["test_prediction"].mean("seed").transpose("step", "test_sample").values
    half = 2 * law["test_prediction_spread"].values / np.sqrt(data.attrs["seeds"])
    handles = []
    for i, colour in enumerate(shades(len(steps))):
        x, y = law["test_prediction"].values[i], measured[i]
        intervals(ax, x, y - half[i], y + half[i], color=colour, alpha=0.5, zorder=2)
        handles += ax.plot(x, y, color=colour, marker="o", ms=2.5, ls="none", label=f"step {steps[i]}")
    ends = [float(law["test_prediction"].min()), float(law["test_prediction"].max())]
    ax.plot(ends, ends, color=LAW, lw=0.8, zorder=1)
    ax.set_xlabel("mean of the law")
    ax.set_ylabel(f"mean of {data.attrs['seeds']} networks")
    legend_above(ax, handles, columns=2)


def draw_scores(data, ax):
    """All z-scores at every look and the threshold; crosses are the largest against a trained readout."""
    import numpy as np
    from matplotlib.lines import Line2D

    from meanfield.plot.canvas import legend_above
    from meanfield.plot.colours import DARK, LAW, LIGHT, LIMIT

    table, control = data["scores"].dataset, data["readout_only"].dataset
    steps, threshold = table["step"].values, table.attrs["threshold"]
    place = np.arange(len(steps))
    dashed = {"color": LIMIT, "lw": 0.9, "ls": (0, (3, 1.5))}
    for sign in (-1, 1):
        ax.axhline(sign * threshold, zorder=1, **dashed)
    ax.axhline(0, color=LAW, lw=0.8, zorder=1)
    for name, shift in zip(SCORES, (-0.27, 0.09, -0.09, 0.27), strict=True):
        colour, marker = (DARK, "o") if "mean" in name else (LIGHT, "s")
        face = "white" if "mode" in name else colour
        style = {"color": colour, "marker": marker, "ms": 2, "mfc": face, "mew": 0.5, "ls": "none"}
        ax.plot(place + shift, table[name].values, zorder=2, **style)
    ax.plot(place, largest(control).max(1), color="0.35", marker="x", ms=4, ls="none", zorder=3)
    ax.set_xticks(place, [str(step) for step in steps])
    ax.set_xlabel("step")
    ax.set_ylabel("z-score")
    style = {"ls": "none", "ms": 3}
    handles = [
        Line2D([], [], color=DARK, marker="o", label="mean", **style),
        Line2D([], [], color=LIGHT, marker="s", label="variance", **style),
        Line2D([], [], color="0.35", marker="o", mfc="white", label="directions", **style),
        Line2D([], [], label="threshold", **dashed),
        Line2D([], [], color="0.35", marker="x", label="readout only", ls="none", ms=4),
    ]
    legend_above(ax, handles, columns=2)
