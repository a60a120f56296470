"""Kernels of a multilayer perceptron at infinite width."""

import numpy as np

from meanfield.base.checks import integer
from meanfield.kernels.compute import Layers, compute
from meanfield.kernels.settings import variances


def mlp(
    x1,
    x2=None,
    *,
    hidden_layers,
    activation,
    weight_variance=1.0,
    bias_variance=0.0,
    dtype=np.float64,
    layers=False,
    path=None,
    rates=1.0,
    bias_rates=None,
):
    """Σ and Θ of h¹ = σ_w w x/√d + σ_b b, h^{l+1} = σ_w w φ(h^l)/√n + σ_b b, entries of w and b N(0, 1).

        Σ¹(x, x') = σ_w² x·x'/d + σ_b²,   Σ^{l+1} = σ_w² E[φ(u)φ(u')] + σ_b²,   (u, u') ~ N(0, Σ^l),
        Θ¹ = Σ¹,                          Θ^{l+1} = Σ^{l+1} + Θ^l σ_w² E[φ'(u)φ'(u')].

    With L hidden layers, `nngp` is Σ^{L+1} and `ntk` is Θ^{L+1}. With learning rates r_l of the weights and
    r_l' of the biases, in place of Σ^{l+1} in Θ^{l+1} stands r_{l+1} (Σ^{l+1} − σ_b²) + r_{l+1}' σ_b².

    Args:
        x1: inputs, (P, d).
        x2: other inputs, (Q, d); x1 itself if not given, which costs half.
        hidden_layers: L ≥ 1.
        activation: φ, an `Activation`.
        weight_variance, bias_variance: σ_w² ≥ 0 and σ_b² ≥ 0, or L + 1 values, from the input to the output.
        dtype: of the kernels, float64 or float32, and of their computation.
        layers: whether to keep every layer's kernels too, Σ¹ … Σ^{L+1}.
        path: a netCDF file for the kernels, written tile by tile. The same call goes on with a file that a
            killed run left. Needed where the kernels do not fit in memory.
        rates: r, a number of at least 0 or L + 1 values, from the input to the output; 0 freezes a layer.
        bias_rates: r', the same as `rates` if not given.
    Returns:
        a `Kernel` with numpy arrays `nngp` and `ntk`, (P, Q), mapped from the file if there is one.
        Given tracers (inputs, variances) it computes in their type and can be differentiated; a cone of
        E[φ'φ'] (ReLU at equal inputs) has derivative 0 there.
    Raises:
        TypeError, ValueError: one sentence that names the argument.
    Accuracy: float64 to about 1e-14 a layer relative to √(Σ(x,x)Σ(x',x')) for φ in closed form and smooth φ;
        float32 to 1e-6. Inputs that nearly coincide are told apart at any depth.
    Cost: O(P Q (d + L)) time; two kernels, the inputs once more and a few tiles of memory. A smooth φ without
        a closed form is a series (tanh: 16 to 100 terms at unit variance, four thousand at most); where it is
        long, tanh and sigmoid are mixtures of error functions, to 1e-10 at every variance, some 8 µs per pair
        and layer, and lines that break away from 0 (hard tanh) take 3 µs. What is neither, a curve with kinks
        away from 0 or a steeper smooth φ, takes half a millisecond per pair and layer, or more.
    Source: Lee et al. 2018; Jacot, Gabriel & Hongler 2018; THEORY 3.1.
    """
    depth = integer("hidden_layers", hidden_layers, 1)
    weight = variances("weight_variance", weight_variance, depth + 1)
    bias = variances("bias_variance", bias_variance, depth + 1)
    rate = variances("rates", rates, depth + 1)
    bias_rate = rate if bias_rates is None else variances("bias_rates", bias_rates, depth + 1)
    plan = Layers(weight, bias, np.zeros(depth), np.ones(depth), rate, bias_rate)
    return compute(x1, x2, activation, plan, dtype, layers, path)
