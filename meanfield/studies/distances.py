"""Squared distances of finite networks to their limit: to a trajectory, or to the law of an ensemble."""

import math

import numpy as np

from meanfield.numerics.statistics import mean_squares, squared_means

REPLICATES = "independent replicates"
TRAJECTORY = ("fluctuation", "bias")
LAW = ("bias", "spread", "distribution")
THINNEST = 1e-3  # of the largest spread: where the law is narrower, its shape is not compared
ENTRIES = 2**24  # of one array of pairs of networks


def kinds_of(limit):
    """The kinds of distance that a limit has: one network has none to a law."""
    return LAW if "prediction_spread" in limit else TRAJECTORY


def _gram(values, reference):
    """Inner products of the deviations of all seeds, averaged over steps, samples, outputs, (R, R)."""
    repeats = values.shape[0]
    deviations = (values - reference).reshape(repeats, -1)
    return deviations @ deviations.T / deviations.shape[1]


def squared_distances(finite, limit, quantity, size, selection):
    """Per size the squared distance of one network and of the mean of networks, the limit's error taken off.

    E|f_n − f|² and |E f_n − f|², averaged over recorded steps, samples and outputs; unbiased. Where the
    networks carry their first-order deviation (`prediction_control`), the mean is taken of what remains, and
    the limit's error has no part in it: the control is moved by as much as its own limit is off this one.
    Returns (fluctuation, bias, rms error of the limit): two `Squares` over sizes, a number.
    """
    reference = limit[quantity].values[selection]
    own = limit_error(limit, quantity, selection)
    control = f"{quantity}_control"
    singles, means = [], []
    for value in finite[size].values:
        network = finite[quantity].sel({size: value}).values[:, selection].astype(float)
        gram = _gram(network, reference)
        singles.append(np.diag(gram))
        if control in finite:
            gram = _gram(network - finite[control].sel({size: value}).values[:, selection], reference)
        means.append(gram)
    fluctuation, bias = mean_squares(np.stack(singles)), squared_means(np.stack(means))
    # Independent replicates add their variance to every square; a coarser rule bounds an error, no more.
    taken = own**2 if limit.attrs.get("error_from", REPLICATES) == REPLICATES else 0.0
    fluctuation, plain = (
        s._replace(value=s.value - taken, left_out=s.left_out - taken) for s in (fluctuation, bias)
    )
    return fluctuation, bias if control in finite else plain, own


def limit_error(limit, quantity, selection):
    """Root mean square of the standard error that the limit states, 0 if it states none."""
    if f"{quantity}_error" not in limit:
        return 0.0
    return math.sqrt(np.mean(limit[f"{quantity}_error"].values[selection] ** 2))


def distances(finite, limit, quantity, size, selection):
    """{kind: (Squares over sizes, what the limit's own error may add to each square)} for those kinds that
    the quantity has."""
    if f"{quantity}_spread" in limit:
        return _law_distances(finite, limit, quantity, size, selection)
    *both, own = squared_distances(finite, limit, quantity, size, selection)
    # The limit's error is common to all networks, so it multiplies their mean deviation only.
    shared = 2 * np.sqrt(np.maximum(both[1].value, 0)) * own + own**2
    found = dict(zip(TRAJECTORY, ((squares, shared) for squares in both), strict=True))
    if f"{quantity}_control" in finite:
        found["bias"] = both[1], _control_error(finite, size, both[1])
    return {kind: value for kind, value in found.items() if kind in kinds_of(limit)}


def _law_distances(finite, limit, quantity, size, selection):
    """Distances of the law of a network of a size to N(m, s²), entry by entry; squares averaged over entries.

    bias: E f − m. spread: (E(f − m)² − s²)/(2 s̄), s̄ the root mean square of s: to first order the difference
    of the standard deviations in proportion to s/s̄. distribution: the maximum mean discrepancy of
    (f − m)/s to N(0, 1) with the kernel exp(−(u − v)²/2), which is 0 for equal laws only. All three are
    unbiased as averages over pairs of networks.
    """
    mean, spread = limit[quantity].values[selection], limit[f"{quantity}_spread"].values[selection]
    typical = math.sqrt(np.mean(spread**2))
    own = limit_error(limit, quantity, selection)
    grams = {kind: [] for kind in LAW}
    for value in finite[size].values:
        network = finite[quantity].sel({size: value}).values[:, selection].astype(float)
        deviation = (network - mean).reshape(len(network), -1)
        grams["bias"].append(deviation @ deviation.T / deviation.shape[1])
        excess = (deviation**2 - spread.ravel() ** 2) / (2 * max(typical, 1e-300))
        grams["spread"].append(excess @ excess.T / excess.shape[1])
        wide = spread.ravel() > THINNEST * spread.max()
        grams["distribution"].append(_shape_gram(deviation[:, wide] / spread.ravel()[wide]))
    squares = {kind: squared_means(np.stack(values)) for kind, values in grams.items()}
    bias = np.sqrt(np.maximum(squares["bias"].value, 0))
    return {
        "bias": (squares["bias"], 2 * bias * own + own**2),
        "spread": (squares["spread"], np.zeros(len(bias))),
        "distribution": (squares["distribution"], np.zeros(len(bias))),
    }


def _shape_gram(u):
    """E over entries of ⟨k(u_r, ·) − μ, k(u_s, ·) − μ⟩, μ the mean of k(v, ·) over v ~ N(0, 1), (R, R)."""
    repeats, entries = u.shape
    towards = math.sqrt(0.5) * np.exp(-(u**2) / 4).mean(1)  # ⟨k(u_r, ·), μ⟩
    gram = np.zeros((repeats, repeats))
    length = max(1, ENTRIES // (repeats * repeats))
    for start in range(0, entries, length):
        part = u[:, start : start + length]
        gram += np.exp(-((part[:, None] - part[None]) ** 2) / 2).sum(-1)
    return gram / max(entries, 1) - towards[:, None] - towards[None] + math.sqrt(1 / 3)


def _control_error(finite, size, squares):
    """What the particles of the control's own limit can do to the squared bias: M of them have themselves a
    bias of the order of that of a network of width M."""
    particles = finite.attrs.get("control_particles", math.inf)
    bias = np.sqrt(np.maximum(squares.value, 0))
    own = float((bias * finite[size].values).max()) / particles
    return 2 * bias * own + own**2
