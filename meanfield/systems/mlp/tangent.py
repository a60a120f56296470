"""The gradient and tangent kernels of a multilayer perceptron, in any reading of its program."""

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST


def unit_fields(program, ops, p, passed, x):
    """nγ ∂f_c/∂h^l for every output c, [[g¹ … g^L], …]: the backward fields with a unit residual on c."""
    samples, outputs = x.shape[0], p["v"].shape[1]

    def fields(output):
        chi = jnp.broadcast_to(jnp.eye(outputs, dtype=x.dtype)[output], (samples, outputs))
        return program.backward(ops, p, passed, chi)

    return [fields(output) for output in range(outputs)]


def gradient_kernel(program, ops, p, x, layer):
    """G^l = E[g_c^l(p) g_e^l(q)], (P, k, P, k)."""
    return layer_kernels(program, ops, p, x)[1][layer - 1]


def layer_kernels(program, ops, p, x):
    """(Φ^l (L, P, P), G^l (L, P, k, P, k)) of all hidden layers, from one pass forward and one back for every
    output."""
    passed = program.forward(ops, p, x)
    fields = unit_fields(program, ops, p, passed, x)

    def gradient(layer):
        return jnp.stack([jnp.stack([ops.moment(g[layer], h[layer]) for h in fields], -1) for g in fields], 1)

    features = jnp.stack([ops.moment(values, values) for values in passed.features])
    return features, jnp.stack([gradient(layer) for layer in range(program.hidden_layers)])


def tangent_kernel(program, rates, ops, p, x):
    """K with d f/dt = −K ∂R/∂f under gradient flow, the NTK with the learning rates of all layers:
    Σ_l r_l s_l² E[g_c^l(p) g_e^l(q)] E[x^{l−1}(p) x^{l−1}(q)]/γ and so on, (P, k, P, k)."""
    s, gamma = program.scales, program.richness
    passed = program.forward(ops, p, x)
    outputs = p["v"].shape[1]
    backward = unit_fields(program, ops, p, passed, x)
    inner = jnp.einsum("pd,qd->pq", x, x, precision=HIGHEST) / x.shape[1]
    below = [s.weights[0] ** 2 * rates.weights[0] * inner]
    for layer in range(2, program.hidden_layers + 1):
        scale = s.weights[layer - 1] ** 2 * rates.weights[layer - 1]
        features = passed.features[layer - 2]
        below.append(scale * ops.moment(features, features))
    if program.bias:
        below = [kernel + s.bias**2 * rates.bias for kernel in below]
    rows = []
    for c in range(outputs):
        row = [
            sum(ops.moment(g, h) * k for g, h, k in zip(backward[c], backward[e], below, strict=True))
            for e in range(outputs)
        ]
        rows.append(jnp.stack(row, -1))
    kernel = jnp.stack(rows, 1) / gamma  # (P, k, P, k)
    own = s.weights[-1] ** 2 * rates.weights[-1] / gamma
    own = own * ops.moment(passed.features[-1], passed.features[-1])
    if program.bias:
        own = own + s.output_bias**2 * rates.output_bias / gamma
    return kernel + own[:, None, :, None] * jnp.eye(outputs, dtype=x.dtype)[None, :, None, :]
