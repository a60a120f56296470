"""The dual of an activation: its Gaussian expectations, in the best form there is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.model import activation as activations
from meanfield.numerics.gaussian.broken_line import broken_line
from meanfield.numerics.gaussian.error_function import Erf, Gelu
from meanfield.numerics.gaussian.homogeneous import PiecewiseLinear, Quadratic, Threshold
from meanfield.numerics.gaussian.logistic import logistic
from meanfield.numerics.gaussian.mehler import MOST_TERMS, SERIES_TERMS, series
from meanfield.numerics.gaussian.periodic import Bump, Cosine, Sine
from meanfield.numerics.gaussian.quadrature import Quadrature

CLOSED = {
    activations.erf: Erf(),
    activations.gelu: Gelu(),
    activations.sin: Sine(),
    activations.cos: Cosine(),
    activations.gaussian: Bump(),
    activations.quadratic: Quadratic(),
}


def exact_dual(activation):
    """The dual in closed form, or by quadrature if φ has none that is known here."""
    if activation in CLOSED:
        return CLOSED[activation]
    if activation.homogeneity in (0, 1):  # two numbers say all of φ
        with double(), jax.ensure_compile_time_eval():
            above, minus_below = (float(v) for v in np.asarray(activation(jnp.asarray([1.0, -1.0]))))
        if activation.homogeneity == 1:
            return PiecewiseLinear(above=above, below=-minus_below)
        return Threshold(above=above, below=minus_below)
    kinks = tuple(sorted(float(point) for point, _ in activation.kinks))
    return Quadrature(activation.function, activation.derivative, kinks)


# shift, height and width of φ = shift + height tanh(z/width)
LOGISTIC = {activations.tanh: (0.0, 1.0, 1.0), activations.sigmoid: (0.5, 0.5, 2.0)}


@functools.lru_cache(maxsize=32)
def fast_dual(activation, low, high, dtype):
    """The dual for many pairs of variances in [low, high]: closed form, series, or quadrature."""
    exact = exact_dual(activation)
    if not isinstance(exact, Quadrature):
        return exact
    if exact.kinks:
        return broken_line(exact.function, exact.slope, exact.kinks) or exact
    found = series(activation.function, low, high, dtype, most=SERIES_TERMS)
    if found is None and activation in LOGISTIC:
        return logistic(activation.function, *LOGISTIC[activation], low, high, dtype)
    return found or series(activation.function, low, high, dtype, most=MOST_TERMS) or exact
