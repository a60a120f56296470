"""Transport distances that only need sorting: on the line, and averaged over lines through a cloud.

Definitions, and what a distance between two samples says about their laws: `transport`.
"""

import math

import jax
import numpy as np

from meanfield.base import checks, precision
from meanfield.numerics import clouds


def wasserstein_1d(x, y, *, weights_x=None, weights_y=None, order=2):
    """W_p(μ, ν) = (∫_0^1 |F_μ^{-1}(u) − F_ν^{-1}(u)|^p du)^{1/p}, exact in one dimension.

    F^{-1} are the quantile functions of the two clouds, step functions here, so the integral is a sum over
    at most n + m − 1 steps.

    Args:
        x, y: points on the line, (n,) and (m,).
        weights_x, weights_y: weights (n,) and (m,), not negative; divided by their sum. Equal if not given.
        order: p ≥ 1.
    Returns:
        The distance, in the unit of the points.
    Accuracy: rounding, relative, for equal weights (levels are integers then). Otherwise the cumulative
        weights are rounded, and W_p^p has an absolute error up to (n + m) 2^{-53} (max − min)^p.
    Cost O((n + m) log(n + m)) time, O(n + m) memory.
    Source: Villani (2003), Topics in Optimal Transportation, theorem 2.18.
    """
    order = checks.number("order", order, least=1)
    x, weights_x = clouds.cloud("x", x, weights_x, dimensions=1)
    y, weights_y = clouds.cloud("y", y, weights_y, dimensions=1)
    return float(_line_distances([(x, y)], len(x), len(y), weights_x, weights_y, order)[0])


def sliced_wasserstein(x, y, *, weights_x=None, weights_y=None, directions=128, order=2, key=0):
    """SW_p(μ, ν) = (E_θ W_p(θ·μ, θ·ν)^p)^{1/p}, θ uniform on the unit sphere of R^d, with its standard error.

    E over θ is the mean over independent directions; each W_p is exact. A shift by c gives
    SW_2 = |c|/√d, and SW_2 ≤ W_2/√d for all clouds. The same key gives the same directions, and distances
    with the same directions obey the triangle inequality. The clouds' own sampling error decays in n at the
    rate of one dimension, but it is there (`transport`), and the standard error does not contain it.

    Args:
        x, y: points, (n, d) and (m, d).
        weights_x, weights_y: weights (n,) and (m,), not negative; divided by their sum. Equal if not given.
        directions: how many θ, two or more.
        order: p ≥ 1.
        key: an integer or a JAX key, for the directions.
    Returns:
        (distance, standard error from the finite number of directions), two floats in the unit of the
        points; (W_p, 0) if d = 1, where every direction is the same.
    Accuracy: se(SW) = se(SW^p)/(p SW^{p−1}), the delta method; for p > 1 the root leaves a bias of about
        −(p − 1) se²/(2 SW), smaller than se by the factor se/SW.
    Cost O(directions (n d + n log n)) time, O(n + directions d) memory.
    Source: Rabin, Peyré, Delon, Bernot (2012), section 3; Bonneel, Rabin, Peyré, Pfister (2015).
    """
    order = checks.number("order", order, least=1)
    directions = checks.integer("directions", directions, least=2)
    x, y, weights_x, weights_y = clouds.pair(x, y, weights_x, weights_y)
    theta = np.ones((1, 1)) if x.shape[1] == 1 else _directions(key, directions, x.shape[1])
    projected = ((x @ direction, y @ direction) for direction in theta)
    distances = _line_distances(projected, len(x), len(y), weights_x, weights_y, order)
    value = clouds.power_mean(distances, np.full(len(theta), 1 / len(theta)), order)
    if value == 0.0 or len(theta) == 1:
        return value, 0.0
    powers = (distances / value) ** order  # mean one
    return value, value * float(np.std(powers, ddof=1)) / (order * math.sqrt(len(theta)))


def _line_distances(pairs, n, m, weights_x, weights_y, order):
    """W_p of each pair of clouds on the line, all pairs with the same sizes and weights, as an array."""
    equal = weights_x is None and weights_y is None
    distances = []
    if equal:
        # Integer levels in units of 1/lcm(n, m): nothing is rounded.
        divisor = math.gcd(n, m)
        steps = _steps(np.arange(1, n + 1) * (m // divisor), np.arange(1, m + 1) * (n // divisor))
    for x, y in pairs:
        if equal:
            x, y = np.sort(x), np.sort(y)
        else:
            order_x, order_y = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
            x, y = x[order_x], y[order_y]
            steps = _steps(_levels(weights_x, order_x), _levels(weights_y, order_y))
        mass, index_x, index_y = steps
        distances.append(clouds.power_mean(np.abs(x[index_x] - y[index_y]), mass, order))
    return np.array(distances)


def _levels(weights, order):
    """Cumulative weights in the given order, the last one exactly 1."""
    levels = np.arange(1.0, len(order) + 1) if weights is None else np.cumsum(weights[order])
    return levels / levels[-1]


def _steps(levels_x, levels_y):
    """Steps of the two quantile functions: mass of each step, and its index in both sorted clouds."""
    levels = np.union1d(levels_x, levels_y)
    mass = np.diff(levels, prepend=0) / levels[-1]
    return mass, np.searchsorted(levels_x, levels), np.searchsorted(levels_y, levels)


def _directions(key, count, d):
    """Independent uniform unit vectors, (count, d)."""
    with precision.double():
        if checks.is_integer(key):
            key = jax.random.key(checks.integer("key", key, least=0, most=2**63 - 1))
        is_key = isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        checks.require(is_key and key.shape == (), "key", "an integer or one JAX key", key, TypeError)
        theta = np.asarray(jax.random.normal(key, (count, d), np.float64))
    return theta / np.linalg.norm(theta, axis=1, keepdims=True)
