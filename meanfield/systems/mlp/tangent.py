"""The tangent kernel of a multilayer perceptron, in any reading of its program."""

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST


def tangent_kernel(program, rates, ops, p, x):
    """K with d f/dt = −K ∂R/∂f under gradient flow, the NTK with the learning rates of all layers:
    Σ_l r_l s_l² E[g_c^l(p) g_e^l(q)] E[x^{l−1}(p) x^{l−1}(q)]/γ and so on, (P, k, P, k)."""
    s, gamma = program.scales, program.richness
    passed = program.forward(ops, p, x)
    samples, outputs = x.shape[0], p["v"].shape[1]

    def fields(output):
        chi = jnp.broadcast_to(jnp.eye(outputs, dtype=x.dtype)[output], (samples, outputs))
        return program.backward(ops, p, passed, chi)

    backward = [fields(output) for output in range(outputs)]
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
