"""Weighted point clouds at the public doors: checked, in float64, without points of weight zero."""

import numpy as np

from meanfield.base import checks


def masses(name, weights, count):
    """Weights (n,) divided by their sum; None stands for equal weights, and equal weights give None."""
    if weights is None:
        return None
    rule = f"one weight for each point, shape ({count},), none negative, not all zero"
    weights = checks.array(name, weights, (1,), rule)
    good = weights.shape == (count,) and weights.min() >= 0 and weights.max() > 0
    checks.require(good, name, rule, weights if weights.size > 8 else weights.tolist())
    if (weights == weights[0]).all():
        return None
    weights = weights / weights.max()  # a sum that cannot overflow
    return weights / weights.sum()


def cloud(name, value, weights=None, dimensions=2):
    """Points (n, d), or (n,) for `dimensions=1`, and their masses (n,); those of weight zero are left out."""
    shape = "an array of numbers (n,)" if dimensions == 1 else "an array of points (n, d)"
    points = checks.array(name, value, (dimensions,), shape)
    weights = masses(f"weights_{name}", weights, len(points))
    if weights is not None and weights.min() == 0:
        points = points[weights > 0]
        weights = masses(f"weights_{name}", weights[weights > 0], len(points))
    return points, weights


def pair(x, y, weights_x=None, weights_y=None):
    """Two clouds (n, d) and (m, d) with their masses."""
    x, weights_x = cloud("x", x, weights_x)
    y, weights_y = cloud("y", y, weights_y)
    checks.require(y.shape[1] == x.shape[1], "y", f"points with the {x.shape[1]} coordinates of `x`", y)
    return x, y, weights_x, weights_y


def filled(weights, points):
    """The masses (n,) as an array: 1/n where they are equal."""
    return np.full(len(points), 1 / len(points)) if weights is None else weights


def power_mean(distances, weights, order):
    """(Σ_i w_i d_i^p)^{1/p}, scaled by the largest so that no power over- or underflows."""
    largest = float(np.max(distances))
    if largest == 0.0:
        return 0.0
    return largest * float(weights @ (distances / largest) ** order) ** (1 / order)
