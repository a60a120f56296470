"""Gaussian expectations of sine, cosine and the Gaussian bump."""

import jax.numpy as jnp

from meanfield.base.pytree import pytree
from meanfield.numerics.gaussian.safe import across, quotient, root


def _apart(left, right, delta):
    """g = √(ab); e^{−w}, e^{−gδ}, e^{−g(2−δ)} with w = (√a − √b)²/2: e^{−(a+b)/2 ± c} without overflow;
    a quarter of (1 − e^{−2(2g+w)})(1 − e^{−2w}) and of (e^{−b} − e^{−a})²."""
    (root_a, fade_a), (root_b, fade_b) = left, right
    g, w = root_a * root_b, (root_a - root_b) ** 2 / 2
    product = jnp.expm1(-2 * (2 * g + w)) * jnp.expm1(-2 * w) / 4
    spread = (fade_b - fade_a) ** 2 / 4
    return g, jnp.exp(-w), jnp.exp(-g * delta), jnp.exp(-g * (2 - delta)), product, spread


@pytree
class Sine:
    """φ = sin: E[φφ'] = e^{−(a+b)/2} sinh c, E[φ'φ'] = e^{−(a+b)/2} cosh c.

    sinh a sinh b − sinh²g = sinh(2g + w) sinh w − sinh²((a − b)/2), g = √(ab), w = (√a − √b)²/2.
    """

    def second(self, a):
        return -jnp.expm1(-2 * a) / 2

    def side(self, a):
        return (root(a), jnp.expm1(-a)), root(self.second(a))

    def pair(self, left, right, delta):
        (left, size_a), (right, size_b) = across(left, right)
        g, near, minus, plus, product, spread = _apart(left, right, delta)
        size = size_a * size_b
        radial = quotient(product - spread, size - near * jnp.expm1(-2 * g) / 2, 0)
        drop = -near * jnp.expm1(-g * delta) * (1 + plus) / 2
        return quotient(radial + drop, size, delta), near * (minus + plus) / 2


@pytree
class Cosine:
    """φ = cos: E[φφ'] = e^{−(a+b)/2} cosh c, E[φ'φ'] = e^{−(a+b)/2} sinh c.

    cosh a cosh b − cosh²g = sinh(2g + w) sinh w + sinh²((a − b)/2), g = √(ab), w = (√a − √b)²/2.
    """

    def second(self, a):
        return (1 + jnp.exp(-2 * a)) / 2

    def side(self, a):
        return (root(a), jnp.expm1(-a)), jnp.sqrt(self.second(a))

    def pair(self, left, right, delta):
        (left, size_a), (right, size_b) = across(left, right)
        g, near, minus, _, product, spread = _apart(left, right, delta)
        size = size_a * size_b
        radial = (product + spread) / (size + near * (1 + jnp.exp(-2 * g)) / 2)
        drop = near * jnp.expm1(-g * delta) * jnp.expm1(-g * (2 - delta)) / 2
        slope = -near * minus * jnp.expm1(-2 * g * (1 - delta)) / 2
        return (radial + drop) / size, slope


@pytree
class Bump:
    """φ(z) = e^{−z²/2}: E[φφ'] = D^{−½}, E[φ'φ'] = c D^{−3/2}, D = (1 + a)(1 + b) − c².

    D − √((1+2a)(1+2b)) is (a − b)²/(1 + a + b + √((1+2a)(1+2b))) + ab δ(2 − δ), a sum of positive terms.
    """

    def second(self, a):
        return 1 / jnp.sqrt(1 + 2 * a)

    def side(self, a):
        return a, root(a), jnp.sqrt(1 + 2 * a)

    def pair(self, left, right, delta):
        (a, root_a, least_a), (b, root_b, least_b) = across(left, right)
        g, least = root_a * root_b, least_a * least_b
        fall = g * g * delta * (2 - delta)
        D = 1 + a + b + fall
        gap = (a - b) ** 2 / (1 + a + b + least) + fall
        outer = jnp.sqrt(D)
        return gap / (outer * (outer + jnp.sqrt(least))), g * (1 - delta) / (D * outer)
