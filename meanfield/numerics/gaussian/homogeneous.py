"""Gaussian expectations of positively homogeneous functions: the variances separate from the correlation."""

import math

import jax.numpy as jnp

from meanfield.base.pytree import pytree, static
from meanfield.numerics.gaussian.angle import angle, folded_angle
from meanfield.numerics.gaussian.safe import across, root


@pytree
class PiecewiseLinear:
    """φ(z) = above · z for z > 0, below · z for z < 0: ReLU (1, 0), |z| (1, −1). Source: Cho & Saul 2009.

    φ is a multiple of z and one of |z|. Of |z| is E[φφ'] = (2/π) √(ab) (sin θ + (π/2 − θ) cos θ), even in
    the correlation: it depends on m = min(δ, 2 − δ) only, 1 − E/√(ab) = m − (2/π)(sin θ − θ cos θ).
    """

    above: float = static()
    below: float = static()

    def second(self, a):
        return (self.above**2 + self.below**2) / 2 * a

    def side(self, a):
        return ()

    def pair(self, left, right, delta):
        straight, kinked = (self.above + self.below) ** 2 / 4, (self.above - self.below) ** 2 / 4
        if kinked == 0:
            return delta, jnp.full_like(delta, straight)
        m = jnp.minimum(delta, 2 - delta)
        theta, integral = folded_angle(delta)
        even = m - 2 / math.pi * integral
        cosine = 1 - 2 / math.pi * theta  # E[φ'φ'] of |z|
        return (straight * delta + kinked * even) / (straight + kinked), straight + kinked * cosine


@pytree
class Threshold:
    """φ(z) = above for z > 0, below for z < 0: step (1, 0), sign (1, −1). No E[φ'φ']: φ' is a point mass.

    E[φφ'] = ((above + below)/2)² + ((above − below)/2)² (1 − 2θ/π).
    """

    above: float = static()
    below: float = static()

    def second(self, a):
        return jnp.full_like(a, (self.above**2 + self.below**2) / 2)

    def side(self, a):
        return ()

    def pair(self, left, right, delta):
        share = (self.above - self.below) ** 2 / (2 * (self.above**2 + self.below**2))
        return share * 2 / math.pi * angle(delta), None


@pytree
class Quadratic:
    """φ(z) = z²: E[φφ'] = ab + 2c², E[φ'φ'] = 4c."""

    def second(self, a):
        return 3 * a * a

    def side(self, a):
        return root(a)

    def pair(self, left, right, delta):
        left, right = across(left, right)
        return 2 / 3 * delta * (2 - delta), 4 * left * right * (1 - delta)
