"""Training of a multilayer perceptron as a tensor program.  THEORY 3 and 3.2.

    h¹ = s_1 u x/√d + s_b b¹,      x^l = φ(h^l),      h^{l+1} = s_{l+1} W^{l+1} x^l + s_b b^{l+1},
    f  = (s_f E[v x^L] + σ_b c)/γ,      E the average over neurons,

u (n, d), v (n, k), b^l (n,) with entries N(0, 1), W^l with entries N(0, 1/n). The scales s carry the
exponents of the parametrization; under the maximal update parametrization they do not depend on n, and the
same text can be read at n = ∞. With χ_p = (1/P) ∂ℓ/∂f(x_p) the backward fields are g^l = nγ ∂R/∂h^l,

    g^L = s_f (v χᵀ) φ'(h^L),      g^l = s_{l+1} φ'(h^l) W^{l+1}ᵀ g^{l+1},

and parameters move along r_1 s_1 g¹xᵀ/√d,  r_l s_l g^l x^{l−1}ᵀ/n,  r_f s_f x^L χ,  r_1 s_b g^l 1,  γσ_b χᵀ1.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST
from meanfield.base.pytree import pytree, static
from meanfield.model.activation import Activation


class Scales(NamedTuple):
    """Of layers 1 … L + 1: what the fields are multiplied by; of hidden biases, of the output's bias."""

    weights: tuple
    bias: float
    output_bias: float


class Rates(NamedTuple):
    """Of layers 1 … L + 1, of hidden biases, of the output's bias: what gradients are multiplied by."""

    weights: tuple
    bias: float
    output_bias: float


class Pass(NamedTuple):
    """A forward pass: features x^l, slopes φ'(h^l) and preactivations h^l of all hidden layers, (n, P) each;
    output (P, k)."""

    features: tuple
    slopes: tuple
    preactivations: tuple
    output: object


def scales(parametrization, hidden_layers, width, weight_variance, bias_variance):
    """What W^l = n^{−a_l} w^l, w^l ~ N(0, n^{−2b_l}) make of fields, for weights drawn with unit entries."""
    a, b, _, _ = parametrization.layers(hidden_layers)
    sigma = math.sqrt(weight_variance)
    gain = [sigma * float(width) ** -(a[i] + b[i]) for i in range(hidden_layers + 1)]
    weights = (gain[0], *(g * math.sqrt(width) for g in gain[1:-1]), gain[-1] * width)
    bias = math.sqrt(bias_variance) * float(width) ** -(a[0] + b[0])
    return Scales(weights, bias, math.sqrt(bias_variance))


def descent_rates(parametrization, hidden_layers, width):
    """(rates of the first step or None, rates of all others) under descent with the learning rates
    ηγ² n^{−c_l}; a factor γ is left out."""
    _, b, c, first_c = parametrization.layers(hidden_layers)

    def rates(c):
        unit = [float(width) ** (2 * b[i] - c[i] - 1) for i in range(hidden_layers + 1)]
        return Rates(tuple(unit), unit[0], 1.0)

    return None if parametrization.first_c is None else rates(first_c), rates(c)


@pytree
class Program:
    """The forward pass and the gradient, in terms of `ops`."""

    activation: Activation = static()
    hidden_layers: int = static()
    bias: bool = static()
    richness: float
    scales: Scales

    def matrices(self):
        """Names of the n × n matrices, from the second layer up."""
        return tuple(f"w{layer}" for layer in range(2, self.hidden_layers + 1))

    def vectors(self, inputs, outputs):
        """{name: number of columns} of the arrays with a row for every neuron."""
        biases = {f"b{layer}": 1 for layer in range(1, self.hidden_layers + 1)} if self.bias else {}
        return {"u": inputs, "v": outputs, **biases}

    def forward(self, ops, p, x):
        """The fields on inputs x (P, d) with parameters p."""
        s = self.scales
        h = s.weights[0] / math.sqrt(x.shape[1]) * jnp.einsum("nd,pd->np", p["u"], x, precision=HIGHEST)
        features, slopes, fields = [], [], []
        for layer in range(1, self.hidden_layers + 1):
            if layer > 1:
                h = s.weights[layer - 1] * ops.matmul(f"w{layer}", features[-1])
            if self.bias:
                h = h + s.bias * p[f"b{layer}"]
            phi, slope = self.activation.value_and_derivative(h)
            features.append(phi)
            slopes.append(slope)
            fields.append(h)
        f = s.weights[-1] * ops.moment(features[-1], p["v"])  # (P, k)
        if self.bias:
            f = f + s.output_bias * p["c"][None]
        return Pass(tuple(features), tuple(slopes), tuple(fields), f / self.richness)

    def backward(self, ops, p, passed, chi):
        """g¹ … g^L on the samples of a forward pass, with residuals χ (P, k)."""
        s, top = self.scales, self.hidden_layers
        pulled = s.weights[-1] * jnp.einsum("nk,pk->np", p["v"], chi, precision=HIGHEST)
        fields = [pulled * passed.slopes[-1]]
        for layer in range(top, 1, -1):
            pulled = s.weights[layer - 1] * ops.transpose_matmul(f"w{layer}", fields[0])
            fields.insert(0, pulled * passed.slopes[layer - 2])
        return fields

    def gradient(self, ops, p, x, passed, chi, rates):
        """What parameters move against: {name: array}; that of the matrices goes to `ops.update`."""
        s, fields = self.scales, self.backward(ops, p, passed, chi)
        for layer in range(2, self.hidden_layers + 1):
            scale = rates.weights[layer - 1] * s.weights[layer - 1]
            ops.update(f"w{layer}", scale * fields[layer - 1], passed.features[layer - 2])
        scale = rates.weights[0] * s.weights[0] / math.sqrt(x.shape[1])
        moved = {"u": scale * jnp.einsum("np,pd->nd", fields[0], x, precision=HIGHEST)}
        scale = rates.weights[-1] * s.weights[-1]
        moved["v"] = scale * jnp.einsum("np,pk->nk", passed.features[-1], chi, precision=HIGHEST)
        if self.bias:
            for layer, g in enumerate(fields, 1):
                moved[f"b{layer}"] = rates.bias * s.bias * g.sum(1, keepdims=True)
            moved["c"] = rates.output_bias * s.output_bias * chi.sum(0)
        return moved
