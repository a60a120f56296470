"""From how many training samples on does it matter that a network is of finite width?

Claim: over initialisations, predictions of networks of width n have a variance V ∝ n^{-1} that hardly depends
on the number P of samples, while the test error E of the infinite-width limit falls with P. Beyond the P at
which V = E the variance is most of a network's test error; with E ∝ P^{-2} this onset is P* ∝ n^{1/2}, as
found for polynomial regression by ReLU networks. Feature learning moves it to larger P, and so does averaging
networks, which removes the variance (Atanasov, Bordelon, Sainathan & Pehlevan 2023; at realistic sizes Vyas
et al. 2023). In general E ∝ P^{-α} and V ∝ n^{-ν} P^{β} cross at P* ∝ n^{ν/(α+β)}, all of which is measured.

Data: a Hermite polynomial of one direction of the sphere, without noise, learned by two-layer ReLU networks
in pairs ±a until they fit it. E of lazy networks falls as P^{-2} where P is beyond the number of polynomials
of that degree, 16 for degree 1 in d = 16, and below that of the next one, 135; towards it, faster.
In the rich regime, γ = 1, V falls with P nearly as fast as E, and where they cross more slowly with n than
1/n at these widths: the onset is later but broad. Averages of narrow rich networks miss less than the limit.
Time: about three minutes on two cores.
"""

import meanfield as mf

SOURCES = (
    "Atanasov, Bordelon, Sainathan & Pehlevan 2023, The onset of variance-limited behavior for networks in "
    "the lazy and rich regimes, International Conference on Learning Representations",
    "Vyas, Atanasov, Bordelon, Morwani, Sainathan & Pehlevan 2023, Feature-learning networks are consistent "
    "across widths at realistic scales, Advances in Neural Information Processing Systems 36",
    "Bordelon & Pehlevan 2023, Dynamics of finite width kernel and prediction fluctuations in mean field "
    "neural networks, Advances in Neural Information Processing Systems 36",
)


def studies(**options):
    """None: networks and limits of many sample sizes, each kept by `simulate`."""
    return {}


def compute(
    *,
    richness: tuple[float, ...] = (0.03, 1.0),
    samples: tuple[int, ...] = (18, 27, 40, 60, 90, 135, 200, 320),
    widths: tuple[int, ...] = (32, 64, 128, 192),
    draws: int = 10,
    seeds: int = 4,
    particles: int = 1024,
    replicates: int = 2,
    degree: int = 1,
    dimension: int = 16,
    test_samples: int = 256,
    steps: int = 200,
    learning_rate: float = 1.0,
    momentum: float = 0.93,
    key: int = 0,
    store: str | None = None,
    progress: bool = True,
):
    """Networks of every width and the limit at every γ and P, their errors, the onset.

    Args:
        richness: values of γ, increasing.
        samples: values of P, increasing, two at least.
        widths: n, even, three at least.
        draws: of the data, each with a teacher, networks and replicates of its own, three at least.
        seeds: networks of every width on every draw, two at least.
        particles: of one replicate of the limit.
        replicates: of the limit, whose spread is its error.
        degree: of the polynomial.
        dimension: d.
        test_samples: test samples of every draw.
        steps: steps of gradient descent.
        learning_rate: η.
        momentum: μ; time runs 1/(1 − μ) times as fast.
        key: integer that all randomness derives from.
        store: folder of results.
        progress: show a bar on a terminal.
    """
    import numpy as np

    from meanfield.studies.store import part_of

    training = mf.GradientDescent(learning_rate, steps, momentum=momentum)
    target = mf.activations.hermite(degree)
    shape = (len(richness), len(samples), draws)
    parts = {name: np.empty(shape) for name in ("limit_error", "limit_loss")}
    parts |= {name: np.empty((*shape, len(widths))) for name in ("error", "variance", "loss")}
    options = {"record": [0, steps], "progress": progress, "store": part_of(store)}
    for i, gamma in enumerate(richness):
        initial = mf.initial.Gaussian(paired=True)
        model = mf.TwoLayer(mf.activations.relu, richness=gamma, initial=initial)
        for k, count in enumerate(samples):
            for r in range(draws):
                own = key * draws + r
                problem = mf.datasets.sphere_teacher(
                    dimension, 1, count, test_samples, activation=target, key=own
                )
                system = model.limit(particles, replicates)
                end = mf.simulate(system, problem, training, key=own, **options).isel(step=-1)
                noise = end["test_prediction_error"].values ** 2
                missed = end["test_prediction"].values - problem.y_test
                parts["limit_error"][i, k, r] = np.mean(missed**2 - noise)
                parts["limit_loss"][i, k, r] = end["loss"]
                for j, width in enumerate(widths):
                    system = model.finite(width)
                    end = mf.simulate(system, problem, training, seeds=seeds, key=own, **options)
                    end, at = end.isel(step=-1), (i, k, r, j)
                    missed = end["test_prediction"].values - problem.y_test
                    parts["error"][at], parts["variance"][at] = error_and_variance(missed)
                    parts["loss"][at] = end["loss"].mean()
    return collected(parts, richness, samples, widths, {
        "problem": f"Hermite polynomial of degree {degree} of one direction of the sphere, d = {dimension}",
        "training": repr(training), "draws": draws, "seeds": seeds, "particles": particles,
        "replicates": replicates, "key": key,
    })  # fmt: skip


def error_and_variance(missed):
    """(mean square, mean over samples of the unbiased variance over networks) of what networks miss on test
    samples, (seed, ...)."""
    import numpy as np

    return np.mean(np.square(missed, dtype=float)), np.mean(np.var(missed, 0, ddof=1, dtype=float))


TEXTS = {
    "limit_error": "test error of the limit, mean square",
    "limit_loss": "training loss of the limit",
    "error": "test error of one network, mean square",
    "variance": "variance of test predictions over networks",
    "loss": "training loss, mean over networks",
}


def collected(parts, richness, samples, widths, about):
    """The tree of an experiment from its arrays, (richness, samples, draw) and (…, width)."""
    import xarray as xr

    coords = {
        "richness": ("richness", list(richness), {"long_name": "richness", "units": "1"}),
        "samples": ("samples", list(samples), {"long_name": "training samples P", "units": "1"}),
        "width": ("width", list(widths), {"long_name": "width n", "units": "1"}),
    }
    dims = ("richness", "samples", "draw", "width")
    arrays = {
        name: (dims[: parts[name].ndim], parts[name], {"long_name": text, "units": "1"})
        for name, text in TEXTS.items()
    }
    curves = xr.Dataset(arrays, coords)
    laws, onset = fitted(curves)
    tree = xr.DataTree.from_dict({"curves": curves, "laws": laws, "onset": onset})
    tree.attrs = about
    return tree


LAWS = {  # name: (what it is, its symbol in a table)
    "width": ("exponent of the variance in the width, -ν", "V in n"),
    "limit": ("exponent of the limit's test error in the samples, -α", "E in P"),
    "samples": ("exponent of the variance in the samples, β", "V in P"),
    "onset": ("exponent of the onset P* in the width", "P* in n"),
    "implied": ("ν/(α+β)", "ν/(α+β)"),
}


def slope(x, values):
    """Least-squares slope of the values along their last axis on x."""
    import numpy as np

    x = np.asarray(x) - np.mean(x)
    return values @ x / np.sum(x**2)


def crossing(samples, ratio):
    """P at which log(V/E) (..., P), a straight line in log P between its points, first becomes positive; NaN
    where it never does or begins so."""
    import numpy as np

    x = np.log(samples)
    up = (ratio[..., :-1] < 0) & (ratio[..., 1:] >= 0)
    k = up.argmax(-1)
    low, high = (np.take_along_axis(ratio, (k + s)[..., None], -1)[..., 0] for s in (0, 1))
    there = up.any(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.exp(x[k] + (x[k + 1] - x[k]) * low / (low - high))
    return np.where(there, found, np.nan)


def window(samples, onset):
    """The sample sizes around the onsets: from the last one below them to the first one above; all of them
    where some network has no onset."""
    import numpy as np

    if not np.isfinite(onset).all():
        return slice(None)
    low, high = np.searchsorted(samples, [np.min(onset), np.max(onset)])
    return slice(max(low - 1, 0), high + 1)


def exponents(limit, variance, samples, widths, inside, first=0):
    """{name of a law: exponent} from the mean E (..., P) and V (..., P, n), for P `inside` a window and
    widths from the `first` one on; and the onsets (..., n)."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        log_e, log_v = np.log(limit), np.log(variance[..., first:])
    x, w = np.log(samples)[inside], np.log(widths)[first:]
    onset = crossing(samples, np.swapaxes(log_v - log_e[..., None], -1, -2))
    found = {
        "width": slope(w, log_v[..., inside, :].mean(-2)),
        "limit": slope(x, log_e[..., inside]),
        "samples": slope(x, log_v[..., inside, :].mean(-1)),
        "onset": slope(w, np.log(onset)),
    }
    found["implied"] = -found["width"] / (found["samples"] - found["limit"])
    return found, onset


def fitted(curves):
    """Exponents and onsets of every γ. Errors by the jackknife over draws of the data, on which everything
    else is drawn anew, and for exponents in the width what the narrowest leaves of a 1/n correction."""
    import numpy as np
    import xarray as xr

    from meanfield.numerics.statistics import jackknife_error
    from meanfield.studies.compare import verdict

    samples, widths = curves["samples"].values, curves["width"].values.astype(float)
    draws = curves.sizes["draw"]
    away = 1 / (1 - widths[0] / widths[1])
    rows, onsets = [], []
    for gamma in curves["richness"].values:
        at = curves.sel(richness=gamma)
        limit = left_out(at["limit_error"].transpose("draw", "samples").values)
        variance = left_out(at["variance"].transpose("draw", "samples", "width").values)
        _, onset = exponents(limit[0], variance[0], samples, widths, slice(None))
        inside = window(samples, onset)
        found, onset = exponents(limit, variance, samples, widths, inside)
        fewer, _ = exponents(limit, variance, samples, widths, inside, first=1)
        row = []
        for name in LAWS:
            value, noise = found[name][0], jackknife_error(found[name][1:])
            if name in ("width", "onset"):
                drift = away * (fewer[name] - found[name])
                own = jackknife_error(drift[1:])
                noise = np.hypot(noise, np.sqrt(np.maximum(drift[0] ** 2 - own**2, 0)))
            row.append((value, noise))
        rows.append(row)
        onsets.append((onset[0], jackknife_error(np.log(onset[1:])), onset))
    value, error = np.moveaxis(np.array(rows), -1, 0)  # (richness, law)
    predicted = np.full(value.shape, np.nan)
    names = list(LAWS)
    predicted[:, names.index("width")] = -1
    lazy = 0  # the square root is what lazy networks have
    for name, exponent in (("limit", -2), ("samples", 0), ("onset", 0.5)):
        predicted[lazy, names.index(name)] = exponent
    words = np.vectorize(lambda v, e, p: "" if np.isnan(p) else verdict(v, e, p, draws), otypes=[str])
    dims = ("richness", "law")
    laws = {
        "exponent": (dims, value, {"long_name": "exponent", "units": "1"}),
        "exponent_error": (dims, error, {"long_name": "one standard error of the exponent", "units": "1"}),
        "predicted": (dims, predicted, {"long_name": "predicted exponent", "units": "1"}),
        "verdict": (dims, words(value, error, predicted), {"long_name": "measured against predicted"}),
    }
    gamma = {"richness": curves["richness"]}
    dims = ("richness", "width")
    later = np.array([log for *_, log in onsets])  # (richness, 1 + draws, width)
    later = np.log(later) - np.log(later[:1])
    gain = np.exp(later.mean(-1))
    found = {
        "onset": (dims, np.array([v for v, *_ in onsets]), "samples P* at which V = E", "1"),
        "onset_error": (dims, np.array([e for _, e, _ in onsets]), "one standard error of log P*", "1"),
        "later": (dims[:1], gain[:, 0], "P* over that of the smallest richness, mean over widths", "1"),
        "later_error": (dims[:1], jackknife_error(gain[:, 1:].T), "one standard error of that ratio", "1"),
    }
    found = {n: (d, v, {"long_name": text, "units": unit}) for n, (d, v, text, unit) in found.items()}
    return xr.Dataset(laws, gamma | {"law": names}), xr.Dataset(found, gamma | {"width": curves["width"]})


def left_out(values):
    """Means over the first axis: of all, then with each one left out in turn, (1 + R, ...)."""
    import numpy as np

    total, repeats = values.sum(0), values.shape[0]
    return np.concatenate([total[None] / repeats, (total - values) / (repeats - 1)])


def ratios(curves, averaged):
    """(test error of one network, or of the average of infinitely many, over that of the limit; one standard
    error), (samples, width)."""
    import numpy as np

    from meanfield.numerics.statistics import jackknife_error

    error = curves["error"] - curves["variance"] if averaged else curves["error"]
    error = left_out(error.transpose("draw", "samples", "width").values)
    ratio = error / left_out(curves["limit_error"].transpose("draw", "samples").values)[..., None]
    return ratio[0], jackknife_error(np.asarray(ratio[1:]))


def summary(data):
    """Measured numbers beside the predicted ones."""
    import numpy as np

    from meanfield.studies.report import with_error

    about, curves = data.attrs, data["curves"].dataset
    laws, onset = data["laws"].dataset, data["onset"].dataset
    samples, widths = curves["samples"].values, curves["width"].values
    lines = [
        f"TwoLayer of relu in pairs ±a, on a {about['problem']}",
        f"  by {about['training']}",
        f"  {about['draws']} draws of the data, {about['seeds']} networks of every width on each; limit of "
        f"{about['replicates']} x {about['particles']} particles",
        "",
        f"{'γ':<8}{'':<10}{'measured exponent':<20}theory",
    ]
    for gamma in laws["richness"].values:
        for law, (_, symbol) in LAWS.items():
            at = laws.sel(richness=gamma, law=law)
            found = with_error(float(at["exponent"]), float(at["exponent_error"]))
            if law == "implied":
                beside = "exponent of P* in n where E and V are powers"
            elif np.isnan(at["predicted"]):
                beside = ""
            else:
                beside = f"{float(at['predicted']):<8g}{at['verdict'].item()}"
            lines.append(f"{gamma:<8g}{symbol:<10}{found:<20}{beside}".rstrip())
    lines += ["", f"{'γ':<8}" + "".join(f"P* at n = {n:<8}" for n in widths)]
    for gamma in onset["richness"].values:
        at = onset.sel(richness=gamma)
        size = at["onset"].values
        shown = [with_error(v, v * e) for v, e in zip(size, at["onset_error"].values, strict=True)]
        lines.append(f"{gamma:<8g}" + "".join(f"{text:<18}" for text in shown).rstrip())
    last = onset.isel(richness=-1)
    lines += [
        f"P* at γ = {float(last['richness']):g} over that at {float(onset['richness'][0]):g}: "
        f"{with_error(float(last['later']), float(last['later_error']))}, theory above 1",
        "",
        f"test error over that of the limit, P = {samples[-1]}, theory 1 for averages of wide networks",
        f"{'γ':<8}{'n':<8}{'one network':<18}average of many",
    ]
    for gamma in curves["richness"].values:
        one, mean = (ratios(curves.sel(richness=gamma), averaged) for averaged in (False, True))
        for j in (0, len(widths) - 1):
            shown = [with_error(float(v[-1, j]), float(e[-1, j])) for v, e in (one, mean)]
            lines.append(f"{gamma:<8g}{widths[j]:<8}{shown[0]:<18}{shown[1]}")
    lines += ["", f"{'γ':<8}training loss of the limit and of the narrowest networks, P = {samples[-1]}"]
    for gamma in curves["richness"].values:
        at = curves.sel(richness=gamma).isel(samples=-1).mean("draw")
        lines.append(f"{gamma:<8g}{float(at['limit_loss']):<12.1e}{float(at['loss'][0]):.1e}")
    return "\n".join(lines)


def draw(data):
    """Errors and variances against P, lazy and rich; the onset against the width; averages of networks."""
    from meanfield.plot.canvas import panels

    richness = data["curves"]["richness"].values
    with panels(4, rows=2, size=(7.2, 5.6)) as (figure, axes):
        for ax in axes:
            ax.set_xscale("log")
            ax.set_yscale("log")
        axes[1].sharey(axes[0])
        for ax, gamma in zip(axes, (richness[0], richness[-1]), strict=False):
            draw_curves(data, gamma, ax)
        draw_onsets(data, axes[2])
        draw_averages(data, axes[3])
    return figure


def draw_curves(data, gamma, ax):
    """E of the limit, black, and V of every width, light to dark, against P; where they cross, an onset."""
    import numpy as np

    from meanfield.numerics.statistics import jackknife_error
    from meanfield.plot.canvas import intervals, law_name, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import LAW, LIMIT, shades

    curves = data["curves"].dataset.sel(richness=gamma)
    onset = data["onset"].dataset.sel(richness=gamma)["onset"].values
    samples, widths, handles = curves["samples"].values, curves["width"].values, []

    def shown(values, colour, marker, label, **style):
        every = np.log(left_out(values))
        half = 2 * jackknife_error(every[1:])
        middle = np.exp(every[0])
        intervals(ax, samples, middle * np.exp(-half), middle * np.exp(half), color=colour, zorder=2)
        return middle, ax.plot(samples, middle, color=colour, marker=marker, ms=3, label=label, **style)

    size_axis(ax, samples)
    limit, line = shown(
        curves["limit_error"].transpose("draw", "samples").values, LIMIT, "s", "$E$, limit", lw=1.3, zorder=4
    )
    handles += line
    for width, colour in zip(widths, shades(len(widths)), strict=True):
        values = curves["variance"].sel(width=width).transpose("draw", "samples").values
        handles += shown(values, colour, "o", f"$V$, $n={width}$", lw=1)[1]
    if gamma == data["laws"]["richness"].values[0]:
        inside = window(samples, onset)
        x = samples[inside].astype(float)
        law = 0.4 * np.exp(np.mean(np.log(limit[inside] * x**2))) / x**2
        ax.plot(x, law, color=LAW, lw=0.8, zorder=1)
        law_name(ax, "$P^{-2}$", (x[-1], law[-1]), xytext=(0, -3), va="top", ha="center")
    there = np.isfinite(onset)
    height = np.exp(np.interp(np.log(onset[there]), np.log(samples), np.log(limit)))
    (cross,) = ax.plot(
        onset[there], height, ls="none", marker="o", ms=7, mfc="none", mec=LIMIT, mew=0.8, zorder=5,
        label="onset $P^*$",
    )  # fmt: skip
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("training samples $P$")
    ax.set_ylabel("test error $E$, variance $V$")
    legend_above(ax, [*handles, cross], columns=3, title=rf"richness $\gamma={gamma:g}$")


def draw_onsets(data, ax):
    """P* against the width at every γ, with the square root through the lazy ones."""
    import numpy as np

    from meanfield.plot.canvas import (
        intervals,
        law_name,
        law_through,
        legend_above,
        plain_log_ticks,
        size_axis,
    )
    from meanfield.plot.colours import DARK, LIGHT
    from meanfield.studies.report import with_error

    found, laws, handles = data["onset"].dataset, data["laws"].dataset.sel(law="onset"), []
    gammas, widths = found["richness"].values, found["width"].values
    size_axis(ax, widths)
    for gamma, colour, marker in ((gammas[0], DARK, "o"), (gammas[-1], LIGHT, "s")):
        at, law = found.sel(richness=gamma), laws.sel(richness=gamma)
        value, half = at["onset"].values, 2 * at["onset_error"].values
        if np.isfinite(value).all():
            heights = law_through(ax, widths.astype(float), value, 0.5)
            law_name(ax, "$n^{1/2}$", (widths[-1], heights[-1]), xytext=(5, -4))
        intervals(ax, widths, value * np.exp(-half), value * np.exp(half), color=colour, zorder=2)
        slope = with_error(float(law["exponent"]), float(law["exponent_error"]))
        label = rf"$\gamma={gamma:g}$: {slope}"
        handles += ax.plot(widths, value, color=colour, marker=marker, ms=4, lw=1, label=label)
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("width $n$")
    ax.set_ylabel("onset $P^*$, where $V=E$")
    legend_above(ax, handles, title="richness: exponent")


def draw_averages(data, ax):
    """Test error of the narrowest networks over that of the limit: one, and the average of many."""
    import numpy as np

    from meanfield.plot.canvas import intervals, legend_above, plain_log_ticks, size_axis
    from meanfield.plot.colours import DARK, LAW, LIGHT

    curves, handles = data["curves"].dataset, []
    gammas, samples, width = curves["richness"].values, curves["samples"].values, curves["width"].values[0]
    size_axis(ax, samples)
    ax.axhline(1, color=LAW, lw=0.8, zorder=1)
    for gamma, colour, marker in ((gammas[0], DARK, "o"), (gammas[-1], LIGHT, "s")):
        for averaged, word in ((False, "one"), (True, "average")):
            value, error = (v[:, 0] for v in ratios(curves.sel(richness=gamma), averaged))
            value = np.where(value > 0, value, np.nan)  # noise may hide an average
            low = np.maximum(value - 2 * error, value / 8)
            intervals(ax, samples, low, value + 2 * error, color=colour, zorder=2)
            style = {"mfc": "white", "ls": (0, (3, 2))} if averaged else {}
            handles += ax.plot(
                samples, value, color=colour, marker=marker, ms=3.5, lw=1, zorder=3, **style,
                label=rf"{word}, $\gamma={gamma:g}$",
            )  # fmt: skip
    plain_log_ticks(ax.yaxis)
    ax.set_xlabel("training samples $P$")
    ax.set_ylabel("test error over that of the limit")
    legend_above(ax, handles, columns=2, title=f"networks of width {width}")
