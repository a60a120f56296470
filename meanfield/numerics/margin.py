"""The largest margin that ReLU networks of variation norm one reach: linear programs over directions."""

import itertools
from typing import NamedTuple

import numpy as np

from meanfield.base.checks import array, fail, integer, number
from meanfield.base.errors import ComputationError

FREE = 10  # most samples that may lie on one kink before their sign patterns are too many
ZERO = 1e-12  # |w·x| below this, relative to |x|, is a sample on the kink of w


class MaxMargin(NamedTuple):
    """Solution of max over ν, |ν| ≤ 1, of min_p y_p ∫ φ(w·x_p) dν(w), with what certifies it.

    margin: the value for `directions` and `masses`, a lower bound; `upper`: an upper bound from the dual.
    directions: unit vectors w that carry mass, (K, D); masses: signed masses ν, (K,), Σ|ν| = 1. One direction
        of the exact solution may come as several, closer to it than about √tolerance.
    duals: weights λ of the samples, (P,), ≥ 0, Σλ = 1: zero except at the samples of least margin.
    """

    margin: float
    upper: float
    directions: np.ndarray
    masses: np.ndarray
    duals: np.ndarray


def spread_directions(count, dimension):
    """Unit vectors spread over the circle (angles 2πi/count) or the sphere (Fibonacci points), (count, D)."""
    if dimension == 2:
        angle = 2 * np.pi * np.arange(count) / count
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)


def dual_function(x, y, duals, directions):
    """g(w) = Σ_p λ_p y_p φ(w·x_p) at every direction, (K,): max |g| over the sphere bounds every margin."""
    return np.maximum(directions @ x.T, 0) @ (duals * y)


def margin_on_directions(x, y, directions):
    """The largest margin with neurons in the given directions only: a linear program.

    Maximise m over signed masses ν_k, Σ|ν_k| ≤ 1, with y_p Σ_k ν_k φ(w_k·x_p) ≥ m for all p, φ = ReLU.

    Args:
        x: samples, (P, D); y: labels ±1, (P,); directions: unit vectors, (K, D).
    Returns:
        (margin, masses (K,), duals (P,)).
    Accuracy: that of HiGHS, about 1e-9. For the maximum over all directions it is a lower bound. On a circle
        with spacing h it is at least cos(h/2) times the maximum where no kink w·x_p = 0 separates an optimal
        direction from its two neighbours, since between them two neurons of total mass 1/cos(h/2) replace
        it. Optimal directions often lie on kinks, however, and then the loss is O(h).
    """
    import scipy.optimize

    signed = y[:, None] * np.maximum(x @ directions.T, 0)  # (P, K)
    samples, count = signed.shape
    cost = np.concatenate([np.zeros(2 * count), [-1.0]])
    rows = np.concatenate([-signed, signed, np.ones((samples, 1))], 1)
    budget = np.concatenate([np.ones(2 * count), [0.0]])
    bounds = [(0, None)] * (2 * count) + [(None, None)]
    found = scipy.optimize.linprog(
        cost, np.concatenate([rows, budget[None]]), np.concatenate([np.zeros(samples), [1.0]]), bounds=bounds,
        method="highs", options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    if found.status != 0:
        raise ComputationError(
            f"The linear program of the margin was not solved: {found.message} The samples are likely of "
            "very different lengths; rescale `x`."
        )
    duals = np.maximum(-found.ineqlin.marginals[:samples], 0)
    return float(found.x[-1]), found.x[:count] - found.x[count : 2 * count], duals / duals.sum()


def stationary_directions(x, coefficients):
    """Directions among which are all local maxima of |g|, g(w) = Σ_p c_p φ(w·x_p) on the circle or sphere.

    The kinks w·x_p = 0 cut the sphere into cells on which g is linear, g = v·w, so that a local maximum is
    ±v/|v| inside a cell, the same with v projected on the kinks that it lies on, or a corner of cells.

    Args:
        x: (P, D), D = 2 or 3; coefficients: c, (P,).
    Returns:
        unit vectors, (K, D), K = O(P^{D−1}).
    """
    length = np.linalg.norm(x, axis=1)
    x, coefficients, length = x[length > 0], coefficients[length > 0], length[length > 0]
    unit = x / length[:, None]
    if x.shape[1] == 2:
        corners = np.stack([-unit[:, 1], unit[:, 0]], 1)
    else:
        first, second = np.triu_indices(len(x), 1)
        corners = np.cross(unit[first], unit[second])
        size = np.linalg.norm(corners, axis=1)
        corners = corners[size > ZERO] / size[size > ZERO, None]
    # ±x_p stand for the cells where there is no corner.
    corners = np.concatenate([corners, -corners, unit, -unit])
    found = [corners]
    heights = corners @ unit.T
    heights = np.unique(np.where(np.abs(heights) <= ZERO, 0.0, np.sign(heights)), axis=0)  # (K, P)
    on_kink = (heights == 0).sum(1)
    if on_kink.max() > FREE:
        raise ValueError(
            f"Argument `x` must have at most {FREE} samples in one plane through the origin, "
            f"but has {on_kink.max()}."
        )
    for count in np.unique(on_kink):
        chosen = heights[on_kink == count]
        free = np.nonzero(chosen == 0)[1].reshape(len(chosen), count)  # (K', count)
        for signs in itertools.product((0.0, 1.0), repeat=int(count)):
            on = (chosen > 0).astype(float)
            np.put_along_axis(on, free, np.array(signs)[None], 1)
            v = (coefficients * on) @ x
            found.append(v)
            if x.shape[1] == 3 and count:
                along = unit[free]  # (K', count, 3)
                found.append((v[:, None] - (along @ v[:, :, None]) * along).reshape(-1, 3))
    found = np.concatenate(found)
    found = _unit(found[np.linalg.norm(found, axis=1) > 1e-14 * length.max()])
    return np.concatenate([found, -found])  # maxima of g, and of −g


def max_margin(x, y, *, tolerance=1e-9, directions=64, most_rounds=60):
    """The maximum margin in F_1: max over signed measures ν on the unit sphere, |ν| ≤ 1, of
    min_p y_p ∫ φ(w·x_p) dν(w), φ = ReLU.

    A linear program over some directions gives a lower bound and sample weights λ; the exact maximum of
    |Σ_p λ_p y_p φ(w·x_p)| over the sphere gives an upper bound and the directions to add, until both meet.

    Args:
        x: samples, (P, D), D = 2 or 3: inputs in the plane, or (x, 1) for neurons with bias.
        y: labels ±1, (P,) or (P, 1).
        tolerance: gap between the bounds to stop at, in units of the largest |x|.
        directions: number of directions to begin with.
    Returns:
        MaxMargin.
    Raises:
        ValueError: for other dimensions or labels.
        RuntimeError: where the linear program is not solved or the bounds do not meet.
    Accuracy: margin ≤ maximum ≤ upper, to the 1e-9 of the linear program.
    Cost: O(P^D) a round, a handful of rounds.
    Source: Chizat & Bach 2020, *equation (4)* (F_1 max-margin); THEORY 1.2.
    """
    x = array("x", x, (2,), "an array of shape (samples, 2) or (samples, 3)")
    y = array("y", y, (1, 2), "an array of shape (samples,) or (samples, 1)").ravel()
    if x.shape[1] not in (2, 3):
        fail("x", "an array of shape (samples, 2) or (samples, 3)", x)
    if y.shape[0] != x.shape[0] or not np.isin(y, (-1.0, 1.0)).all():
        raise ValueError(f"Argument `y` must hold one label -1 or 1 for each of {x.shape[0]} samples.")
    tolerance = number("tolerance", tolerance, above=0)
    scale = np.linalg.norm(x, axis=1).max()
    if scale == 0:
        fail("x", "an array with a row that is not zero", x)
    x = x / scale
    grid = spread_directions(integer("directions", directions, 4), x.shape[1])
    grid = np.concatenate([grid, _unit(x), -_unit(x)])
    for _ in range(most_rounds):
        margin, masses, duals = margin_on_directions(x, y, grid)
        candidates = stationary_directions(x, duals * y)
        height = np.abs(dual_function(x, y, duals, candidates))
        upper = float(height.max())
        if upper - margin <= tolerance:
            keep = np.abs(masses) > 1e-12
            return MaxMargin(scale * margin, scale * upper, grid[keep], masses[keep], duals)
        best = np.unique(np.round(candidates[height > margin + 0.1 * (upper - margin)], 14), axis=0)
        grid = np.concatenate([grid, _unit(best)])
    raise ComputationError(
        f"The bounds of the maximum margin, {scale * margin:.6g} and {scale * upper:.6g}, did not meet in "
        f"{most_rounds} rounds. The tolerance is likely below the accuracy of the linear program; raise "
        "`tolerance` above 1e-9."
    )


def _unit(vectors):
    size = np.linalg.norm(vectors, axis=1)
    return vectors[size > 0] / size[size > 0, None]
