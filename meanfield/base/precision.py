"""The float64 context. It is entered once, at a public door; no global setting is changed."""

import jax
import numpy as np

HIGHEST = jax.lax.Precision.HIGHEST


def double():
    """Context in which JAX computes in float64. What leaves it must be numpy: see `to_numpy`."""
    return jax.enable_x64(True)


def to_numpy(tree):
    """The same tree with numpy arrays for JAX arrays, dtypes kept."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, tree)
