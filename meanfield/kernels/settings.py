"""Arguments that the kernels share."""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, fail, require

DTYPES = ("float64", "float32")


def is_traced(value):
    """Whether a value is known only to a JAX transformation."""
    if not isinstance(value, jax.Array):
        return isinstance(value, tuple | list) and any(is_traced(v) for v in value)
    try:
        np.asarray(value)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return True
    return False


def variances(name, value, count):
    """A number ≥ 0 or one for each of `count` layers, as (count,)."""
    rule = f"a number of at least 0 or a sequence of {count}, one per layer"
    if is_traced(value):
        value = jnp.asarray(value)
        require(value.ndim == 0 or value.shape == (count,), name, rule, value)
        return jnp.broadcast_to(value, (count,))
    given, value = value, array(name, value, (0, 1), rule)
    require(value.ndim == 0 or len(value) == count, name, rule, given)
    require((value >= 0).all(), name, rule, given)
    return np.broadcast_to(value, (count,))


def kernel_dtype(dtype):
    try:
        name = np.dtype(dtype).name
    except TypeError:
        fail("dtype", "float64 or float32", dtype, TypeError)
    require(name in DTYPES, "dtype", "float64 or float32", dtype)
    return name


def inputs(x1, x2):
    """Checked inputs, traced ones by their shape."""
    checked = []
    for name, x in (("x1", x1), ("x2", x2)):
        if x is None and name == "x2":
            checked.append(None)
        elif is_traced(x):
            require(x.ndim == 2 and x.size > 0, name, "an array (samples, inputs)", x)
            checked.append(x)
        else:
            checked.append(array(name, x, (2,), "an array (samples, inputs)"))
    x1, x2 = checked
    if x2 is not None and x1.shape[1] != x2.shape[1]:
        fail("x2", f"an array with the {x1.shape[1]} inputs of x1", x2)
    return x1, x2
