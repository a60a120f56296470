"""Gaussian expectations of functions that are straight lines between kinks, and of nothing else."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.base.pytree import pytree, static
from meanfield.numerics.gaussian.quadrature import REACH, Quadrature
from meanfield.numerics.gaussian.safe import across, quotient, root

FAR = 100.0  # standard deviations at which a kink is met by nobody
PANELS, RATIO = 4, 4.0  # of the integral over r: geometric, down to R/256
NODES = {"float64": (32, 16), "float32": (14, 8)}  # of a piece of the line, of a panel


@functools.cache
def _legendre(count):
    """Nodes and weights of Gauss and Legendre on [0, 1]."""
    x, weight = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, weight / 2


@functools.cache
def _geometric(count):
    """The same on [RATIO^−PANELS, 1], in panels of which each ends where the one before it begins."""
    x, weight = _legendre(count)
    ends = RATIO ** -np.arange(PANELS)[:, None]
    length = ends * (1 - 1 / RATIO)
    return (ends / RATIO + length * x).ravel(), (length * weight).ravel()


def broken_line(function, slope, kinks):
    """The `BrokenLine` of φ if it is straight between its kinks, else None.

    Straight: five points of every piece, tens of units long at the ends, to a few roundings.
    """
    if not kinks:
        return None
    edges = np.array([kinks[0] - 60.0, *kinks, kinks[-1] + 60.0])
    inside = np.array([0.01, 0.2137, 0.5, 0.7711, 0.99])
    z = edges[:-1, None] + np.diff(edges)[:, None] * inside  # (K + 1, 5)
    with double():
        values, slopes = (np.asarray(f(jnp.asarray(z))) for f in (function, slope))
    lines = values[:, :1] + slopes[:, :1] * (z - z[:, :1])
    scale = np.abs(values).max() + np.abs(slopes).max() * np.abs(z).max()
    rounding = 16 * np.finfo(float).eps
    if not np.isfinite(scale) or np.abs(values - lines).max() > rounding * scale:
        return None
    if np.abs(slopes - slopes[:, :1]).max() > rounding * np.abs(slopes).max():
        return None
    meet = values[:, :1] + slopes[:, :1] * (edges[1:, None] - z[:, :1])
    begin = values[:, :1] + slopes[:, :1] * (edges[:-1, None] - z[:, :1])
    if np.abs(meet[:-1] - begin[1:]).max() > rounding * scale:  # φ itself jumps
        return None
    jumps = tuple(np.diff(slopes[:, 0]).tolist())
    return BrokenLine(function, slope, tuple(map(float, kinks)), jumps)


@pytree
class BrokenLine:
    """φ'' = Σ_k J_k δ(z − s_k): hard tanh, shifted and clipped ReLUs, triangles.

    By Price's theorem ∂²E[φφ']/∂c² = Σ_kl J_k J_l p(s_k, s_l), the density of both. With p = s_k/√a,
    q = s_l/√b, ρ = (1 − r²)/(1 + r²), R its r, δ = 2R²/(1 + R²), and what is left at δ = 0, integrals over
    one normal number z,

        E[φ'φ'] = E[φ'(√a z)φ'(√b z)] − Σ_kl (J_kJ_l/2π) ∫_0^R g_kl(r) 2 dr/(1 + r²),
        E[φφ']  = E[φ(√a z)φ(√b z)] − √(ab) (δ E[φ'(√a z)φ'(√b z)]
                                             − Σ_kl (J_kJ_l/2π) ∫_0^R (δ − 2r²/(1 + r²)) g_kl 2 dr/(1 + r²)),
        g_kl(r) = exp(−(p² + q²)/4 − (p − q)²/8r² − (p + q)²r²/8).

    For δ > 1 the same with −v in place of v, so that R ≤ 1. The layer of g at r ~ |p − q| is analytic in
    ln r: panels that shrink by four keep their order; below the last one, at R/256, it is integrated in
    closed form. Pairs are entries of whole arrays.

    Accuracy: 1e-11, relative to the norms of φ and φ'. Cost: some 100 (2K + 1) + 100 K² exponentials a pair.
    Source: Price 1958; Drezner & Wesolowsky 1990 for the same integral by angles.
    """

    function: Callable = static()
    slope: Callable = static()
    kinks: tuple = static()
    jumps: tuple = static()

    def second(self, a):
        return Quadrature(self.function, self.slope, self.kinks).second(a)

    def side(self, a):
        """√a; √E φ²; the kinks s_k/√a, (K, n)."""
        deviation = root(a)
        points = jnp.stack([quotient(k, deviation, math.copysign(FAR, k) if k else 0.0) for k in self.kinks])
        return deviation, root(self.second(a)), jnp.clip(points, -FAR, FAR)

    def pair(self, left, right, delta):
        (scale_a, size_a, points_a), (scale_b, size_b, points_b) = left, right
        (scale_a, size_a), (scale_b, size_b) = across((scale_a, size_a), (scale_b, size_b))
        sign = jnp.where(delta > 1, -1, 1).astype(delta.dtype)
        m = jnp.minimum(delta, 2 - delta)
        p, q = [v[:, None] for v in points_a], [sign * v[None] for v in points_b]
        kinds = NODES[delta.dtype.name]
        start, steep = self._together(p, q, scale_a, scale_b, size_a, size_b, sign, kinds[0])
        fall, drop = self._apart(p, q, m, kinds[1])
        size = size_a * size_b
        defect = start + quotient(scale_a * scale_b, size, 0) * (sign * steep * m - drop)
        return jnp.where(size > 0, jnp.clip(defect, 0, 2), delta), steep - sign * fall

    def _together(self, p, q, scale_a, scale_b, size_a, size_b, sign, count):
        """At δ = 0 or 2: ½E(φ̂(u) − φ̂(v))² or 1 − E φ̂(u)φ̂(v), φ̂ of norm 1, and E[φ'(u)φ'(v)]."""
        breaks = [jnp.clip(v, -REACH, REACH) + jnp.zeros_like(sign) for v in (*p, *q)]
        for last in range(len(breaks) - 1, 0, -1):  # sorted, entry by entry
            for i in range(last):
                pair = breaks[i], breaks[i + 1]
                breaks[i], breaks[i + 1] = jnp.minimum(*pair), jnp.maximum(*pair)
        ends = [jnp.full_like(sign, -REACH), *breaks, jnp.full_like(sign, REACH)]
        x, weight = (jnp.asarray(v, sign.dtype) for v in _legendre(count))
        over_a, over_b = quotient(1, size_a, 0), quotient(1, size_b, 0)

        def node(i, carry):
            start, steep = carry
            for low, high in zip(ends, ends[1:], strict=False):
                z = low + (high - low) * x[i]
                mass = (high - low) * weight[i] * jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)
                u, v = scale_a * z, sign * scale_b * z
                f, g = self.function(u) * over_a, self.function(v) * over_b
                start = start + mass * jnp.where(sign < 0, 1 - f * g, (f - g) ** 2 / 2)
                steep = steep + mass * self.slope(u) * self.slope(v)
            return start, steep

        return jax.lax.fori_loop(0, count, node, (jnp.zeros_like(sign),) * 2)

    def _apart(self, p, q, m, count):
        """What δ takes from E[φ'φ'], and what it gives back of √(ab) δ E[φ'φ'] in E[φφ']."""
        nodes, weights = (jnp.asarray(v, m.dtype) for v in _geometric(count))
        square = m / (2 - m)  # R²
        radius = root(square)
        over = quotient(1, square, 0)
        pairs = [
            (jk * jl / (2 * math.pi), (pk * pk + ql * ql) / 4, (pk - ql) ** 2 / 8, (pk + ql) ** 2 / 8)
            for jk, pk in zip(self.jumps, p, strict=True)
            for jl, ql in zip(self.jumps, q, strict=True)
        ]

        def node(i, carry):
            fall, drop = carry
            part = nodes[i] ** 2
            r2 = square * part
            total = 0
            for jumps, base, gap, middle in pairs:
                total = total + jumps * jnp.exp(-base - gap * over / part - middle * r2)
            total = total * weights[i] * radius * 2 / (1 + r2)
            return fall + total, drop + total * (m - 2 * r2 / (1 + r2))

        fall, drop = jax.lax.fori_loop(0, len(nodes), node, (jnp.zeros_like(m),) * 2)
        least = radius * RATIO**-PANELS
        for jumps, base, gap, middle in pairs:
            # ∫_0^least r^{0, 2} e^{−gap/r²} dr, and g to the next order in r²
            inner = root(gap)
            ratio = quotient(inner, least, FAR)
            edge = jnp.exp(-ratio * ratio)
            zeroth = jnp.maximum(least * edge - math.sqrt(math.pi) * inner * jax.lax.erfc(ratio), 0)
            second = jnp.maximum(least**3 * edge - 2 * gap * zeroth, 0) / 3
            size, bend = 2 * jumps * jnp.exp(-base), 1 + middle
            fall = fall + size * (zeroth - bend * second)
            drop = drop + size * (m * zeroth - (2 + m * bend) * second)
        return fall, drop
