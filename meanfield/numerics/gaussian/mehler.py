"""Gaussian expectations as a power series in the correlation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST, double
from meanfield.base.pytree import pytree, static
from meanfield.numerics.gaussian.safe import quotient, root

REACH = 12.5  # √N(z) beyond: 1e-17; what is left of N(z) h_k(z) is a bounded Hermite function
SERIES_TERMS = 1024  # beyond, anything else that is known is faster
MOST_TERMS = 4096
MOST_NODES = 2048
FAR = 0.9  # correlations below lose a digit at most in 1 − E/√…
BLOCK = 8  # terms summed in registers between two passes over the pairs


def hermite_table(nodes, terms):
    """z (M,) equally spaced and h N(z) h_k(z) (M, K), h_k = He_k/√k!: f @ table are the coefficients of f(z).

    √N h_k is bounded, and so is its three-term recurrence: no overflow at any order.
    """
    z, step = np.linspace(-REACH, REACH, nodes, retstep=True)
    half = np.exp(-z * z / 4) / (2 * np.pi) ** 0.25
    columns = [half, z * half]
    for k in range(1, terms - 1):
        columns.append((z * columns[k] - np.sqrt(k) * columns[k - 1]) / np.sqrt(k + 1))
    return z, step * half[:, None] * np.stack(columns[:terms], 1)


@pytree
class Mehler:
    """E[φ(u)φ(v)] = Σ_k c_k(a) c_k(b) ρ^k, c_k(a) = E[φ(√a z) h_k(z)], for smooth φ.

    By Horner's rule; with its partial sums s_k, Σ_k w_k (1 − ρ^k) = δ Σ_{k ≥ 1} s_k, no difference is taken.
    At δ = 0 what two variances differ by is ½|ĉ(a) − ĉ(b)|², ĉ the coefficients over their norm, here in a
    basis that holds the curve ĉ. For φ odd or even the series is one in ρ². Made by `series`.
    Cost: four operations per pair and term. Source: Mehler 1866; Daniely, Frostig & Singer 2016.
    """

    function: Callable = static()
    first: int = static()
    step: int = static()
    slope_at_zero: float = static()
    z: jax.Array  # (M,)
    table: jax.Array  # (M, K), the powers first, first + step, …
    basis: jax.Array  # (K, r)

    def coefficients(self, a):
        """c_k(a), (K, n), of variances (n,)."""
        values = self.function(root(a)[None] * self.z[:, None])  # (M, n)
        return jnp.matmul(self.table.T, values, precision=HIGHEST)

    def second(self, a):
        return (self.coefficients(a) ** 2).sum(0)

    def side(self, a):
        """a; ĉ (K, n); ĉ in the basis (r, n); |c|/√a, c_1/√a and E φ'², or what stands for them at a = 0."""
        c = self.coefficients(a)
        size = jnp.linalg.norm(c, axis=0)
        unit = c / jnp.where(size > 0, size, 1)[None]
        one = c[1 - self.first] if (self.first, self.step) != (0, 2) else jnp.zeros_like(a)
        linear = quotient(one, root(a), self.slope_at_zero)
        power = (self.first + self.step * jnp.arange(len(c)))[:, None]
        steep = quotient((power * c * c).sum(0), a, self.slope_at_zero**2)
        return a, unit, self.basis.T @ unit, quotient(size, root(a), 0), linear, steep

    def pair(self, left, right, delta):
        a, unit_a, curve_a, size_a, linear_a, steep = left
        b, unit_b, curve_b, size_b, linear_b, _ = right
        # Each input with itself is known; without it a tile may need few terms.
        known = (delta == 0) & (a[:, None] == b[None])
        rho = jnp.where(known, 0, 1 - delta)
        x, gap = (rho, delta) if self.step == 1 else (rho * rho, delta * (2 - delta))
        outer = rho if self.first == 1 else 1

        def far():
            """1 − E/√… is not small; terms that no correlation of the tile makes a rounding are left."""
            value, derivative = _horner(unit_a, unit_b, x, _blocks_needed(unit_a, unit_b, x))
            return 1 - outer * value, value, derivative

        def near():
            blocks = unit_a.shape[0] // BLOCK
            value, derivative, partial = _horner(unit_a, unit_b, x, blocks, partial=True)
            drop = gap * partial + (delta * value if self.first == 1 else 0)
            for f, g in zip(curve_a, curve_b, strict=True):
                drop = drop + (f[:, None] - g[None]) ** 2 / 2
            return drop, value, derivative

        defect, value, derivative = jax.lax.cond(jnp.abs(rho).max() < FAR, far, near)
        if self.step == 2:
            derivative = value + 2 * x * derivative if self.first == 1 else 2 * rho * derivative
        size = size_a[:, None] * size_b[None]
        slope = jnp.where(size > 0, derivative * size, linear_a[:, None] * linear_b[None])
        return jnp.where(known, 0, defect), jnp.where(known, steep[:, None], slope)


def _blocks_needed(left, right, x):
    """Blocks of terms until Σ_j j w_j x^{j−1} has no more than a rounding to come for the largest |x|."""
    index = jnp.arange(left.shape[0])
    powers = jnp.abs(x).max() ** jnp.maximum(index - 1, 0)
    bound = (index + 1) * jnp.abs(left).max(1) * jnp.abs(right).max(1) * powers
    tail = jnp.cumsum(bound[::-1])[::-1]
    return -(-jnp.sum(tail > jnp.finfo(x.dtype).eps * tail[0]) // BLOCK)


def _horner(left, right, x, count, partial=False):
    """Σ_j w_j x^j and Σ_j j w_j x^{j−1} of `count` blocks of terms, w_j (n, m) = left_j right_j.

    If asked for, Σ_{j ≥ 1} s_j of the partial sums s_j = w_j + x s_{j+1} as well.
    """

    def block(i, carry):
        value, derivative, *total = carry
        start = (count - 1 - i) * BLOCK
        l, r = (jax.lax.dynamic_slice_in_dim(c, start, BLOCK) for c in (left, right))  # noqa: E741
        for k in reversed(range(BLOCK)):
            total = [t + value for t in total]
            derivative = derivative * x + value
            value = value * x + l[k][:, None] * r[k][None]
        return value, derivative, *total

    return jax.lax.fori_loop(0, count, block, (jnp.zeros_like(x),) * (3 if partial else 2))


def series(function, low, high, dtype, tolerance=None, most=SERIES_TERMS):
    """The `Mehler` series of φ for variances in [low, high], or None if it needs more than `most` terms.

    Cut where Σ_{k ≥ K} k c_k² ≤ tolerance · Σ k c_k² at 65 variances of the interval: the relative error of
    E[φφ'] and E[φ'φ'] at correlation 1, where it is largest. By default four roundings of `dtype`.
    """
    tolerance = 4 * float(jnp.finfo(dtype).eps) if tolerance is None else tolerance
    variances = np.linspace(np.sqrt(low), np.sqrt(high), 65) ** 2  # of which ĉ is a smooth curve

    def coefficients(nodes, terms):
        z, table = hermite_table(nodes, terms)
        with double():
            values = np.asarray(function(jnp.asarray(np.sqrt(variances)[:, None] * z)), float)
        return z, table, values @ table  # (65, K)

    nodes = MOST_NODES
    z, table, c = coefficients(nodes, most)
    power = np.arange(most) * c**2
    tail = np.cumsum(power[:, ::-1], 1)[:, ::-1]
    small = (tail <= tolerance * tail[:, :1]).all(0)
    if not small[-2 * BLOCK]:  # the count is rounded up to a block of every other power
        return None
    terms = int(np.argmax(small))
    size = np.linalg.norm(c, axis=1, keepdims=True)
    odd, even = (np.abs(c[:, i:terms:2]).max(initial=0) <= 1e-14 * size.max() for i in (0, 1))
    first, step = (1, 2) if odd else (0, 2) if even else (0, 1)
    count = -(-max(terms - first, 1) // (step * BLOCK)) * BLOCK
    chosen = first + step * np.arange(count)
    while nodes > 64:  # the coarsest rule that gives the same coefficients
        coarse = coefficients(nodes // 2, chosen[-1] + 1)[2]
        if np.abs(coarse[:, chosen] - c[:, chosen]).max() > 4e-15 * size.max():
            break
        nodes //= 2
    z, table, c = coefficients(nodes, chosen[-1] + 1)
    unit = c[:, chosen] / np.maximum(np.linalg.norm(c[:, chosen], axis=1, keepdims=True), 1e-300)
    unit = unit[unit.any(1)]  # a variance of zero has no direction
    _, singular, directions = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    rank = int((singular > 1e-9).sum())
    with double():
        slope = float(jax.jvp(function, (jnp.zeros(()),), (jnp.ones(()),))[1])
    arrays = (np.asarray(v, dtype) for v in (z, table[:, chosen], directions[:rank].T))
    return Mehler(function, first, step, slope, *arrays)
