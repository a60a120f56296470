"""Slopes with their errors, unbiased squared distances, jackknives."""

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats


def log_log_slope(sizes, errors, repeats):
    """Exponent p of errors ≈ C sizes^p, with its standard error.

    Least squares on logarithms. If each error is the root mean square of `repeats` independent Gaussian
    deviations, and errors of different sizes are independent, then
    se(p)² = 1/(2 repeats) / Σ (log size − mean)².

    Args:
        sizes: widths or step counts, (K,), increasing.
        errors: root-mean-square errors, (K,), positive, same units throughout.
        repeats: independent deviations behind each error.
    Returns:
        (slope, standard error), two floats.
    Raises:
        ValueError: if there are fewer than two sizes, if they do not increase, if an error is not positive.
    Accuracy: exact fit; the standard error to O(1/repeats).
    Source: delta method; THEORY 9.
    """
    sizes, errors = np.asarray(sizes, float), np.asarray(errors, float)
    if sizes.ndim != 1 or sizes.size < 2 or errors.shape != sizes.shape:
        raise ValueError(
            f"Argument `sizes` must hold at least two sizes, one per error, but is {sizes.tolist()}."
        )
    if not (np.diff(sizes) > 0).all() or not sizes[0] > 0:
        raise ValueError(f"Argument `sizes` must be positive and increasing, but is {sizes.tolist()}.")
    if not repeats >= 1:
        raise ValueError(f"Argument `repeats` must be at least 1, but is {repeats}.")
    if not (errors > 0).all() or not np.isfinite(errors).all():
        raise ValueError(f"Argument `errors` must be positive, but is {errors.tolist()}.")
    x = np.log(sizes)
    spread = np.sum((x - x.mean()) ** 2)
    slope = np.sum((x - x.mean()) * np.log(errors)) / spread
    return float(slope), float(math.sqrt(0.5 / repeats / spread))


class Squares(NamedTuple):
    """Squared distances, their values with each repeat left out, and one standard error."""

    value: np.ndarray
    left_out: np.ndarray
    error: np.ndarray


def jackknife_error(left_out):
    """Standard error of a statistic from its values with one repeat left out, (R, ...) → (...)."""
    repeats = left_out.shape[0]
    return np.sqrt((repeats - 1) / repeats * np.sum((left_out - left_out.mean(0)) ** 2, 0))


def squared_means(gram):
    """Unbiased |E d|² from deviations d_1 … d_R with inner products `gram` (..., R, R).

    U = Σ_{r≠r'} ⟨d_r, d_r'⟩ / (R(R−1)) = |mean d|² − (sample variance)/R, with one repeat left out in turn.
    It may be negative where the mean is below the noise.
    """
    repeats = gram.shape[-1]
    rows = gram.sum(-1)
    diagonal = np.einsum("...rr->...r", gram)
    pairs = rows.sum(-1) - diagonal.sum(-1)
    value = pairs / (repeats * (repeats - 1))
    without = pairs[..., None] - 2 * (rows - diagonal)
    left_out = np.moveaxis(without / ((repeats - 1) * (repeats - 2)), -1, 0)
    return Squares(value, left_out, jackknife_error(left_out))


def mean_squares(squares):
    """E|d|² from |d_r|² (..., R), with one repeat left out in turn."""
    repeats = squares.shape[-1]
    total = squares.sum(-1)
    left_out = np.moveaxis((total[..., None] - squares) / (repeats - 1), -1, 0)
    return Squares(total / repeats, left_out, jackknife_error(left_out))


class PowerLaw(NamedTuple):
    """value² ≈ (C size^p)²: exponent p and constant C; NaN where nothing positive is seen."""

    exponent: float
    constant: float


def fit_power_law(sizes, squares, errors):
    """Exponent p and constant C of squares ≈ C² sizes^{2p}, by weighted least squares on the squares.

    Fitting squares and not logarithms keeps points whose unbiased square came out negative: dropping them
    would select upward fluctuations. Where the errors are a fixed small fraction of the squares this is
    the log–log fit with equal weights.

    Args:
        sizes: (K,); squares: (K,), of either sign; errors: standard errors of the squares, (K,), > 0.
    """
    squares = np.asarray(squares, float)
    if not (squares > 0).any():
        return PowerLaw(math.nan, math.nan)
    x = np.log(np.asarray(sizes, float))
    center = x.mean()
    weights = 1.0 / np.asarray(errors, float) ** 2
    scale = np.abs(squares).max()
    y, weights = squares / scale, weights * scale**2

    def profile(p):
        shape = np.exp(2 * np.multiply.outer(p, x - center))  # (..., K)
        constant = np.maximum(0.0, shape @ (weights * y) / (shape**2 @ weights))
        return np.sum(weights * (y - constant[..., None] * shape) ** 2, -1), constant

    grid = np.linspace(-4.0, 2.0, 61)
    best = int(np.argmin(profile(grid)[0]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = scipy.optimize.minimize_scalar(
        lambda p: profile(p)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-7}
    )
    constant = float(profile(found.x)[1])
    if constant <= 0 or not grid[0] + 0.01 < found.x < grid[-1] - 0.01:
        return PowerLaw(math.nan, math.nan)
    return PowerLaw(float(found.x), math.sqrt(constant * scale) * math.exp(-found.x * center))


def student_interval(repeats, level=0.95):
    """Half-width, in standard errors, of the central interval of a Student t with repeats − 1 degrees."""
    return float(scipy.stats.t.ppf(0.5 + level / 2, max(repeats - 1, 1)))
