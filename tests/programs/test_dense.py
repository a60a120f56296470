"""The dense reading of a program: products, averages and updates are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS32, assert_close

from meanfield.base.precision import double
from meanfield.programs.dense import DenseReading as Dense

N, P, Q = 11, 3, 4


def arrays(*shapes, dtype="float64"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype, eps", [("float64", np.finfo(float).eps), ("float32", EPS32)])
def test_the_four_operations(dtype, eps):
    """Against numpy in float64; sums over n or P terms."""
    W, x, y, g = arrays((N, N), (N, P), (N, Q), (N, P), dtype=dtype)
    with double():
        ops = Dense({"w": jnp.asarray(W)})
        found = ops.matmul("w", x), ops.transpose_matmul("w", g), ops.moment(x, y)
        ops.update("w", g, x)
        ops.update("w", 2 * g, y[:, :P])
    W, x, y, g = (a.astype(float) for a in (W, x, y, g))
    for value, truth in zip(found, (W @ x, W.T @ g, x.T @ y / N), strict=True):
        assert value.dtype == dtype
        assert_close(value, truth, N, eps=eps)
    assert ops.gradients["w"].dtype == dtype and list(ops.gradients) == ["w"]
    assert_close(ops.gradients["w"], (g @ x.T + 2 * g @ y[:, :P].T) / N, 2 * P + 2, eps=eps)


def test_a_product_and_its_transpose_are_adjoint():
    """g·(Wx) = (Wᵀg)·x, which a transposed or misread matrix does not fulfil."""
    W, x, g = arrays((N, N), (N, 1), (N, 1))
    with double():
        ops = Dense({"w": jnp.asarray(W)})
        left = float(jnp.sum(g * ops.matmul("w", x)))
        right = float(jnp.sum(ops.transpose_matmul("w", g) * x))
        assert_close(left, right, 2 * N * N, scale=np.abs(W).sum())
        assert abs(left - float(jnp.sum(g * ops.transpose_matmul("w", x)))) > 1e-3


def test_matrices_keep_apart():
    W, V, x = arrays((N, N), (N, N), (N, P))
    with double():
        ops = Dense({"w": jnp.asarray(W), "v": jnp.asarray(V)})
        ops.update("v", x, x)
        assert_close(ops.matmul("v", x), V @ x, N)
    assert list(ops.gradients) == ["v"]


def test_the_operations_go_through_jit_vmap_and_grad():
    """Two networks at once, each as if alone; d/dW of Σ (Wx)² is 2 (Wx) xᵀ."""
    W, x = arrays((2, N, N), (2, N, P))

    def size(W, x):
        return jnp.sum(Dense({"w": W}).matmul("w", x) ** 2)

    with double():
        slope = jax.jit(jax.vmap(jax.grad(size)))(W, x)
    for i in range(2):
        assert_close(slope[i], 2 * W[i] @ x[i] @ x[i].T, N + P + 2)
