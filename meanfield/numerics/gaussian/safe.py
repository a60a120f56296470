"""Square roots and quotients whose values and derivatives stay finite at zero; one axis across another."""

import jax
import jax.numpy as jnp


def root(x):
    """√x, with derivative 0 at x = 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def quotient(x, y, otherwise):
    """x/y, y ≥ 0, or `otherwise` where y is so small that x/y³ may overflow: 1e-77, 3e-10 in float32."""
    safe = y > float(jnp.finfo(y.dtype).tiny) ** 0.25
    return jnp.where(safe, x / jnp.where(safe, y, 1), otherwise)


def across(left, right):
    """Two trees of vectors, (n,) and (m,), as columns (n, 1) and rows (1, m)."""
    return jax.tree.map(lambda v: v[:, None], left), jax.tree.map(lambda v: v[None], right)
