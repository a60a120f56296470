"""Σ and Θ of THEORY 3.1 in the units of a parametrization, at one width or at infinity."""

import math

import numpy as np

from meanfield.kernels.kernel import Kernel
from meanfield.kernels.perceptron import mlp
from meanfield.kernels.units import kernel_units

TOLERANCE = 1e-9  # exponents closer than this are equal


def units_of(model, width):
    """(size of f_0, speeds of layers 1 … L + 1) in units of the NTK parametrization; None where one of them
    grows without bound or hidden fields are not of order one. `width` None: as n → ∞."""
    a, b, _, _ = model.parametrization.layers(model.hidden_layers)
    gains = [a[i] + b[i] - 0.5 * (i > 0) for i in range(model.hidden_layers)]
    if max(map(abs, gains)) > TOLERANCE:
        return None
    options = {"hidden_layers": model.hidden_layers, "richness": model.richness}
    if width is not None:
        return kernel_units(model.parametrization, width=width, **options)
    units = kernel_units(model.parametrization, width=2, **options)
    values = [units.output * model.richness, *units.layers]  # 2 to the power of the exponents
    if max(values) > 1 + TOLERANCE:
        return None
    output, *layers = (1.0 if math.isclose(value, 1.0, rel_tol=TOLERANCE) else 0.0 for value in values)
    return units._replace(output=output / model.richness, layers=tuple(layers))


def kernels_in_units(model, width, x1, x2=None):
    """The covariance of f_0 and the tangent kernel of the training, or None as for `units_of`."""
    units = units_of(model, width)
    if units is None:
        return None
    below = units.layers[0]  # hidden biases have the exponents of the input layer, the output's bias speed 1
    found = mlp(
        x1,
        x2,
        hidden_layers=model.hidden_layers,
        activation=model.activation,
        weight_variance=model.weight_variance,
        bias_variance=model.bias_variance,
        rates=units.layers,
        bias_rates=(*(below,) * model.hidden_layers, 1.0),
    )
    return Kernel(units.output**2 * np.asarray(found.nngp), np.asarray(found.ntk))


def initial_kernel(model, width, problem):
    """χ → K χ on the training set, or None."""
    kernels = kernels_in_units(model, width, problem.x)
    return None if kernels is None else (lambda chi: kernels.ntk @ chi)
