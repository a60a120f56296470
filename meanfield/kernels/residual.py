"""Kernels of a residual network of dense blocks at infinite width."""

import numpy as np

from meanfield.base.checks import integer, number
from meanfield.kernels.compute import Layers, compute
from meanfield.kernels.settings import is_traced, variances


def resmlp(
    x1,
    x2=None,
    *,
    blocks,
    activation,
    weight_variance=1.0,
    bias_variance=0.0,
    branch_scale=1.0,
    dtype=np.float64,
    layers=False,
    path=None,
):
    """Σ and Θ of h⁰ = D⁰x, h^l = h^{l−1} + s D^l φ(h^{l−1}), l = 1 … B, f = D^{B+1} φ(h^B).

    D h = σ_w w h/√n + σ_b b (√d for the inputs), entries of w and b N(0, 1), fresh in every D:

        Σ⁰ = Θ⁰ = σ_w² x·x'/d + σ_b²,
        Σ^l = Σ^{l−1} + s² T^l,   T^l = σ_w² E[φ(u)φ(u')] + σ_b²,   (u, u') ~ N(0, Σ^{l−1}),
        Θ^l = Θ^{l−1} + s² (T^l + Θ^{l−1} σ_w² E[φ'(u)φ'(u')]),

    and of the output T^{B+1} and T^{B+1} + Θ^B σ_w² E[φ'φ'].

    Args:
        x1: inputs, (P, d).
        x2: other inputs, (Q, d); x1 itself if not given, which costs half.
        blocks: B ≥ 1.
        activation: φ, an `Activation`.
        weight_variance, bias_variance: σ_w² ≥ 0 and σ_b² ≥ 0, or B + 2 values, from the input to the output.
        branch_scale: s.
        dtype, layers, path: as in `mlp`; the layers are Σ⁰ … Σ^B and the output.
    Returns:
        a `Kernel`, as `mlp`, with its accuracy and cost.
    Raises:
        TypeError, ValueError: one sentence that names the argument.
    Source: Huang, Wang, Tao & Zhao 2020; Yang 2020; THEORY 3.1.
    """
    blocks = integer("blocks", blocks, 1)
    weight = variances("weight_variance", weight_variance, blocks + 2)
    bias = variances("bias_variance", bias_variance, blocks + 2)
    scale = branch_scale if is_traced(branch_scale) else number("branch_scale", branch_scale)
    keep = np.append(np.ones(blocks), 0.0)
    return compute(x1, x2, activation, Layers(weight, bias, keep, scale), dtype, layers, path)
