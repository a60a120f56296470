"""Gaussian expectations of the error function and of GELU."""

import math

import jax.numpy as jnp

from meanfield.base.pytree import pytree
from meanfield.numerics.gaussian.angle import angle, angle_of_chord
from meanfield.numerics.gaussian.safe import across, quotient, root


def arc_drop(sine, cosine, drop):
    """σ − arcsin(sin σ − drop) and 1 over the cosine of that arcsine, 0 ≤ σ < π/2, 0 ≤ drop ≤ 2 sin σ.

    The chord between the two points of the circle is drop · √(1 + q²), with q the ratio of their differences
    in cosine and in sine, which needs no difference of the cosines. One division and two square roots.
    """
    total = 2 * sine - drop
    other = jnp.sqrt(cosine * cosine + drop * total)
    both = 1 / (other * (cosine + other))
    q = total * other * both
    return angle_of_chord(drop, 1 + q * q), (cosine + other) * both


@pytree
class Erf:
    """φ = erf: E[φφ'] = (2/π) arcsin(2c/√((1+2a)(1+2b))), E[φ'φ'] = (4/π)/√((1+2a)(1+2b) − 4c²).

    With sin ϑ_a = 2a/(1 + 2a), half sum σ and half difference d of ϑ_a and ϑ_b, x = √(sin ϑ_a sin ϑ_b) and
    y = x(1 − δ), √(ϑ_aϑ_b) − arcsin y = (σ − arcsin y) − d²/(σ + √(ϑ_aϑ_b)), and sin σ − y is
    sin²d/(sin σ + x) + xδ because sin²σ − x² = sin²d. Source: Williams 1997.
    """

    def second(self, a):
        return 2 / math.pi * jnp.arcsin(2 * a / (1 + 2 * a))

    def side(self, a):
        """sin, cos of ϑ/2; sin, cos of π/4 − ϑ/2; √sin ϑ; ϑ; √ϑ and 1 over it; 1/√(1 + 2a)."""
        sine = 2 * a / (1 + 2 * a)
        theta = jnp.arcsin(sine)
        rest = angle(1 / (1 + 2 * a)) / 2
        circle = jnp.sin(theta / 2), jnp.cos(theta / 2), jnp.sin(rest), jnp.cos(rest)
        size = root(theta)
        return *circle, root(sine), theta, size, quotient(1, size, 0), 1 / jnp.sqrt(1 + 2 * a)

    def pair(self, left, right, delta):
        left, right = across(left, right)
        sin_a, cos_a, low_a, high_a, root_a, theta_a, size_a, over_a, scale_a = left
        sin_b, cos_b, low_b, high_b, root_b, theta_b, size_b, over_b, scale_b = right
        sine = sin_a * cos_b + cos_a * sin_b
        cosine = low_a * high_b + high_a * low_b
        difference = sin_a * cos_b - cos_a * sin_b
        x, r = root_a * root_b, size_a * size_b
        drop = quotient(difference * difference, sine + x, 0) + x * delta
        arc, over_cosine = arc_drop(sine, cosine, drop)
        apart = quotient((theta_a - theta_b) ** 2 / 2, theta_a + theta_b + 2 * r, 0)
        over = over_a * over_b
        defect = jnp.where(over > 0, (arc - apart) * over, delta)
        return defect, 4 / math.pi * scale_a * scale_b * over_cosine


@pytree
class Gelu:
    """φ(z) = zΦ(z). With Δ = (1+a)(1+b) − c², N = 1/(2π√Δ), I = ¼ + arcsin(c/√((1+a)(1+b)))/2π:

    E[φφ'] = cI + N(ab − κc²), κ = (ab − 1)/((1+a)(1+b)), E[φ'φ'] = I + cN(1/(1+a) + 1/(1+b) + 1/Δ).
    Everything that falls with δ is written as a multiple of δ. The rest, √(E[φ²]E[φ'²]) − E at δ = 0 for
    a ≠ b, is a difference: exact to rounding of the whole. Source: THEORY 3.1.
    """

    def second(self, a):
        inner = 0.25 + jnp.arctan2(a, jnp.sqrt(1 + 2 * a)) / (2 * math.pi)
        return a * inner + a * a / ((1 + a) * math.pi * jnp.sqrt(1 + 2 * a))

    def side(self, a):
        return a, root(a), 1 / jnp.sqrt(1 + a), root(self.second(a))

    def pair(self, left, right, delta):
        (a, root_a, scale_a, size_a), (b, root_b, scale_b, size_b) = across(left, right)
        g, ab, scale, size = root_a * root_b, a * b, scale_a * scale_b, size_a * size_b
        c, fall = g * (1 - delta), ab * delta * (2 - delta)  # fall = ab − c²
        inverses = scale_a * scale_a + scale_b * scale_b
        kappa, rest = (ab - 1) * scale * scale, ab * inverses  # κ = 1 − inverses, ab − κc² = rest + κ fall
        sine, least = g * scale, jnp.sqrt(1 + a + b)
        cosine, most = least * scale, jnp.sqrt(1 + a + b + fall)  # most = √Δ
        arc, _ = arc_drop(sine, cosine, sine * delta)
        top = jnp.arctan2(sine, cosine)
        inner = 0.25 + top / (2 * math.pi)  # I at δ = 0
        slope = inner - arc / (2 * math.pi) + c / (2 * math.pi * most) * (inverses + 1 / (most * most))
        bend = (rest + kappa * fall) / (least * most * (least + most)) - kappa / least
        drop = g * delta * inner + (c * arc + fall * bend) / (2 * math.pi)
        at_one = g * inner + rest / (2 * math.pi * least)
        radial = jnp.where(a == b, 0, jnp.maximum(size - at_one, 0))
        return quotient(radial + drop, size, delta), slope
