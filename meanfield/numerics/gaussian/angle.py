"""The angle between two unit vectors and its integral, from one minus their cosine."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import Polynomial, chebyshev


def _economised(coefficients, degree):
    """The polynomial on [−1, 1] without its powers above `degree`, each less its Chebyshev polynomial.

    Lanczos 1938. Stable, unlike the way back from a Chebyshev interpolant: every correction is small.
    """
    coefficients = np.array(coefficients)
    for k in range(len(coefficients) - 1, degree, -1):
        monic = chebyshev.cheb2poly([0] * k + [1]) / 2 ** (k - 1)
        coefficients[: k + 1] -= coefficients[k] * monic
    return tuple(coefficients[: degree + 1].tolist())


def _expansions():
    """Polynomials in t = 2m − 1 of A and B, θ = √(2m) A(m), ∫θ = √2 m^{3/2} B(m), 0 ≤ m ≤ 1, by dtype.

    A(m) = Σ_k C(2k, k)/(4^k (2k + 1)) (m/2)^k, of which B integrates m^{1/2} A term by term. All terms are
    positive, about t = 0 as well, where the coefficients fall like 3^{−k}: 64 and 40 of them leave 2^{−64}
    and 3^{−40}. What a power above `degree` adds after economising is at most 6^{−degree}, relative:
    less than a rounding at 18 (float64) and 8 (float32).
    """
    k = np.arange(64)
    series = np.array([math.comb(2 * j, j) / (8**j * (2 * j + 1)) for j in k.tolist()])
    about = [Polynomial(c)(Polynomial([0.5, 0.5])).coef[:40] for c in (series, series / (k + 1.5))]
    return {"float64": [_economised(c, 18) for c in about], "float32": [_economised(c, 8) for c in about]}


EXPANSIONS = _expansions()


def _expansion(which, m):
    coefficients = EXPANSIONS[m.dtype.name][which]
    t = 2 * m - 1
    value = jnp.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * t + coefficient
    return value


def angle_of_chord(chord, square=1):
    """2 arcsin(s/2), s = chord · √square, 0 ≤ s ≤ 2: the angle between two unit vectors at distance s.

    Accuracy: a few roundings, relative. Polynomials and one square root, so that it vectorises.
    """
    m = chord * chord * square / 2
    far, rest = m > 1, jnp.maximum(2 - m, 0)
    short = jnp.sqrt(jnp.where(far, jnp.where(rest > 0, 2 * rest, 1), square))
    short = jnp.where(far, jnp.where(rest > 0, short, 0), chord * short)
    theta = short * _expansion(0, jnp.where(far, rest, m))
    return jnp.where(far, math.pi - theta, theta)


@jax.custom_jvp
def angle(delta):
    """θ = arccos(1 − δ), 0 ≤ δ ≤ 2, without the loss of digits of arccos near 1.

    Accuracy: a few roundings, relative, also as δ → 0. Its derivative 1/√(δ(2 − δ)) is infinite at both
    ends, where 0 is given: the mean over directions of the cone that θ is there. Source: THEORY 3.1.
    """
    m = jnp.minimum(delta, 2 - delta)
    theta = jnp.sqrt(2 * m) * _expansion(0, m)
    return jnp.where(delta > 1, math.pi - theta, theta)


@angle.defjvp
def _angle_jvp(primals, tangents):
    (delta,), (moved,) = primals, tangents
    square = delta * (2 - delta)
    inside = square > 0
    return angle(delta), jnp.where(inside, moved / jnp.sqrt(jnp.where(inside, square, 1)), 0)


@jax.custom_jvp
def folded_angle(delta):
    """θ = arccos(1 − δ), as `angle`, and ∫_0^m arccos(1 − s) ds, m = min(δ, 2 − δ).

    The integral is sin ϑ − ϑ cos ϑ for ϑ = min(θ, π − θ), ϑ³/3 for small ϑ. One square root for both, which
    is a good part of them. Accuracy: a few roundings, relative. Source: THEORY 3.1.
    """
    m = jnp.minimum(delta, 2 - delta)
    short = jnp.sqrt(2 * m)
    theta = short * _expansion(0, m)
    return jnp.where(delta > 1, math.pi - theta, theta), m * short * _expansion(1, m)


@folded_angle.defjvp
def _folded_angle_jvp(primals, tangents):
    (delta,), (moved,) = primals, tangents
    theta, turn = jax.jvp(angle, primals, tangents)
    near = jnp.where(delta > 1, theta - math.pi, theta)
    near = jnp.where(delta == 1, 0, near)  # as the derivative of m there, where both branches meet
    return folded_angle(delta), (turn, near * moved)
