"""Maximum mean discrepancy: how far two laws are, from samples, without a curse of dimension.

MMD²(μ, ν) = E k(x, x') + E k(y, y') − 2 E k(x, y),  x, x' ~ μ and y, y' ~ ν independent,
k(x, y) = exp(−|x − y|²/(2h²)): the largest squared difference of averages over test functions in the unit
ball of the kernel's Hilbert space. Zero only if μ = ν. No unit.
"""

import math

import numpy as np

from meanfield.base import checks
from meanfield.numerics import clouds

BLOCK = 1024  # kernel matrices are met in tiles of at most BLOCK × BLOCK entries, 8 MiB


def median_bandwidth(x, y):
    """h = median of |z − z'| over pairs of distinct points of both clouds: the default of the discrepancy.

    Pairs are taken among at most 1024 points of each cloud (evenly spaced in its order; only then does the
    order matter), all of the same weight. A number that depends on the samples: for a study over widths fix
    one h for all of them.

    Args:
        x, y: points, (n, d) and (m, d).
    Returns:
        h > 0, in the unit of the points.
    Raises:
        ValueError: if half of the pairs coincide.
    Source: Gretton, Borgwardt, Rasch, Schölkopf, Smola (2012), section 8.
    """
    x, y, _, _ = clouds.pair(x, y)
    return _median(x, y)


def maximum_mean_discrepancy(x, y, *, weights_x=None, weights_y=None, bandwidth=None, unbiased=True):
    """MMD² between the laws that x and y are drawn from, with its standard error: (estimate, se).

        U = Σ_{i≠j} a_i a_j k(x_i, x_j)/(1 − Σa²) + Σ_{i≠j} b_i b_j k(y_i, y_j)/(1 − Σb²)
            − 2 Σ_ij a_i b_j k(x_i, y_j),                k(x, y) = exp(−|x − y|²/(2h²)).

    The square is what is returned, with its sign: for independent points, with weights that do not depend on
    them, U has mean MMD² exactly, so that for equal laws it is negative about half the time, and a root
    would spoil that. Without `unbiased` the pairs i = j are kept and nothing is divided: the squared
    distance between the two clouds as they are, never negative, zero for equal clouds, too large by
    Σa² (1 − E k(x, x')), that is by (1 − E k)/n, for each law.

    se² = V₁ + V₂, the two parts of Hoeffding's decomposition. V₂ = 2 Σ_{i≠j} a_i² a_j² k̃² + the same for y
    + 4 Σ_ij a_i² b_j² k̃², k̃ the doubly centred kernels. V₁ = Σ_i φ_i² + the same for y − 2V₂, not below
    zero, where φ_i = 2a_i [(row mean of k(x, x')) − (row mean of k(x, y))], centred: these squares contain
    V₂ twice. V₂ is all there is for equal laws, where U is no Gaussian but a weighted sum of centred χ²,
    skewed to the right: U/se is then no test of a stated level.

    Args:
        x, y: points, (n, d) and (m, d), independent of each other, n, m ≥ 2.
        weights_x, weights_y: weights a (n,) and b (m,), not negative, fixed (importance) weights for the
            standard error; divided by their sum. Equal if not given.
        bandwidth: h > 0, in the unit of the points; `median_bandwidth(x, y)` if not given.
        unbiased: whether pairs i = j are left out.
    Returns:
        (estimate of MMD², its standard error), two floats without unit.
    Accuracy: rounding, a few n 1e-16, absolute. The mean of se² is the variance to O(1/n) where the laws
        differ; where they are equal it lies between the variance and twice it (the estimate of V₁, whose
        truth is zero then, is cut at zero; 1.5 measured): se errs on the safe side.
    Cost O((n + m)² d) time, O((n + m) d) memory and one tile of 8 MiB, `BLOCK`.
    Source: Gretton et al. (2012, eq. 3 and 5); variance by Hoeffding (1948), Serfling (1980, section 5.2).
    """
    unbiased = checks.boolean("unbiased", unbiased)
    if bandwidth is not None:
        bandwidth = checks.number("bandwidth", bandwidth, above=0)
    x, y, a, b = clouds.pair(x, y, weights_x, weights_y)
    for name, points in (("x", x), ("y", y)):
        checks.require(len(points) >= 2, name, "two points or more of positive weight", points)
    a, b = clouds.filled(a, x), clouds.filled(b, y)
    bandwidth = _median(x, y) if bandwidth is None else bandwidth
    x, y = x / bandwidth, y / bandwidth

    within_x, within_y = _row_means(x, x, a), _row_means(y, y, b)  # (n,), (m,)
    across_x, across_y = _row_means(x, y, b), _row_means(y, x, a)
    mean_xy = float(a @ across_x)
    first, second = 0.0, 0.0
    value = -2 * mean_xy
    for points, mass, within, across in ((x, a, within_x, across_x), (y, b, within_y, across_y)):
        rest = float(1 - mass @ mass)  # 1 − 1/n for equal weights
        others = (within - mass) / (1 - mass)  # row means without the diagonal, k = 1
        mean_others = float(mass @ (within - mass)) / rest
        value += mean_others if unbiased else float(mass @ within)
        influence = 2 * mass * ((others - mean_others) - (across - mean_xy))
        first += float(influence @ influence) / rest
        second += 2 / rest**2 * _centred_square(points, points, mass, mass, others, others, mean_others)
    second += 4 * _centred_square(x, y, a, b, across_x, across_y, mean_xy)
    # The squared influences contain every pair of V₂ from both its ends.
    return value, math.sqrt(max(first - 2 * second, 0.0) + second)


def _median(x, y):
    import scipy.spatial.distance

    parts = [points[:: -(-len(points) // BLOCK)] for points in (x, y)]
    h = float(np.median(scipy.spatial.distance.pdist(np.concatenate(parts))))
    if h == 0.0:
        raise ValueError(
            "Argument `bandwidth` must be given where half of the pairs of points coincide, but is None."
        )
    return h


def _tiles(x, y):
    """Slices of rows and columns with the kernel exp(−|x_i − y_j|²/2) on them."""
    import scipy.spatial.distance

    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
            kernel = scipy.spatial.distance.cdist(x[rows], y[columns], "sqeuclidean")
            kernel *= -0.5
            yield rows, columns, np.exp(kernel, out=kernel)


def _row_means(x, y, weights):
    """Σ_j w_j k(x_i, y_j), (n,)."""
    means = np.zeros(len(x))
    for rows, columns, kernel in _tiles(x, y):
        means[rows] += kernel @ weights[columns]
    return means


def _centred_square(x, y, a, b, mean_x, mean_y, mean):
    """Σ_ij a_i² b_j² (k_ij − mean_x_i − mean_y_j + mean)², without i = j where both clouds are one."""
    total = 0.0
    for rows, columns, kernel in _tiles(x, y):
        kernel -= mean_x[rows, None]
        kernel -= mean_y[None, columns]
        kernel += mean
        kernel *= kernel
        if x is y and rows == columns:
            np.fill_diagonal(kernel, 0.0)
        total += float(a[rows] ** 2 @ kernel @ b[columns] ** 2)
    return total
