"""Empirical kernels of any network against full Jacobians, and against kernels written out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import assert_close, assert_mean

from meanfield.base.precision import double
from meanfield.kernels import jacobians as module
from meanfield.kernels.ensemble import predict
from meanfield.kernels.jacobians import empirical, spectrum

INPUTS, HIDDEN, OUTPUTS = 3, 6, 2


def mlp(p, x):
    h = jax.nn.relu(x @ p["w"] / math.sqrt(INPUTS) + p["b"][None])
    return jnp.tanh(h @ (p["v"] * 0.5)) @ p["u"]


def transposed(p, x):
    h = jnp.sin(jnp.einsum("pi,oi->po", x, jnp.reshape(p["w"], (HIDDEN, INPUTS))))
    return jnp.einsum("oi,pi->po", -p["u"].T / 3, jnp.tanh(h @ p["v"]))


def compiled(p, x):
    return jax.jit(mlp)(jax.tree.map(lambda leaf: 2 * leaf, p), x)


def tied(p, x):
    return jnp.tanh(jnp.tanh(x @ p["w"] @ p["v"]) @ p["v"]) @ p["u"] + p["b"][None, :OUTPUTS]


def penalised(p, x):
    """u is used in a layer and elsewhere; the scale of w is a parameter."""
    return jnp.tanh(x @ (jnp.sum(p["b"] ** 2) * p["w"])) @ p["u"] + jnp.sum(p["u"] ** 2)


def looped(p, x):
    h = x @ p["w"]
    h, _ = jax.lax.scan(lambda h, _: (h + 0.3 * jnp.tanh(h @ p["v"]), None), h, None, length=3)
    return h @ p["u"]


def convolved(p, x):
    signal = jnp.pad(x @ p["w"], ((0, 0), (1, 1)))[:, None]
    h = jax.lax.conv_general_dilated(signal, p["b"][None, None, :3], (1,), "VALID")
    return jnp.tanh(h[:, 0]) @ p["u"]


def patches(p, x):
    """The same matrix on two vectors of one sample: no single outer product."""
    h = jnp.tanh(jnp.stack([x, 2 * x[:, ::-1]], 1) @ p["w"])
    return h.sum(1) @ p["u"]


def bilinear(p, x):
    """Two parameters meet in one product."""
    return jnp.tanh(x @ (p["w"] @ p["v"])) @ p["u"]


def switched(p, x):
    h = jax.lax.cond(p["b"][0] > 0, lambda w: x @ w, lambda w: x @ (2 * w), p["w"])
    return jax.nn.gelu(h) @ p["u"]


def single_output(p, x):
    return mlp(p, x)[:, 0]


# Which parameters each one uses once, in a product with one vector.
NETWORKS = {
    mlp: "uvw",
    transposed: "uv",
    compiled: "uvw",
    tied: "uw",
    penalised: "w",
    looped: "uw",
    convolved: "uw",
    patches: "u",
    bilinear: "u",
    switched: "u",
    single_output: "uvw",
}


def parameters(seed=0, dtype=float):
    rng = np.random.default_rng(seed)
    shapes = {"w": (INPUTS, HIDDEN), "b": (HIDDEN,), "v": (HIDDEN, HIDDEN), "u": (HIDDEN, OUTPUTS)}
    return {name: (0.7 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}


def samples(count, seed=1):
    return np.random.default_rng(seed).standard_normal((count, INPUTS))


def by_jacobians(apply, p, x):
    """f f'/k and J J' with every Jacobian written out, (P, P) and (P, k, P, k)."""
    with double():
        f = np.asarray(apply(p, jnp.asarray(x))).reshape(len(x), -1)
        J = jax.tree.leaves(jax.jit(jax.jacrev(apply))(p, jnp.asarray(x)))
    J = np.concatenate([np.reshape(j, (*f.shape, -1)) for j in J], -1)
    return f @ f.T / f.shape[1], np.einsum("icn,jdn->icjd", J, J)


@pytest.mark.parametrize("apply", NETWORKS, ids=lambda f: f.__name__)
def test_kernels_are_products_of_jacobians(apply):
    """Whatever the route: full, averaged over outputs, symmetric, in blocks. Rounding: sums of fewer than
    10² parameters behind networks of depth 5, 10³ roundings."""
    p, x = parameters(), samples(8)
    nngp, ntk = by_jacobians(apply, p, x)
    mean = np.einsum("icjc->ij", ntk) / ntk.shape[1]
    found = empirical(apply, p, x[:4], x[4:], outputs=True)
    assert_close(found.ntk, ntk[:4, :, 4:], 1000)
    assert_close(found.nngp, nngp[:4, 4:], 1000)
    found = empirical(apply, p, x[:4])
    assert_close(found.ntk, mean[:4, :4], 1000)
    assert_close(found.nngp, nngp[:4, :4], 1000)
    least = bytes_for(apply, p, x, 3)
    blocked = empirical(apply, p, x, outputs=True, memory=least)
    assert_close(blocked.ntk, ntk, 1000)
    np.testing.assert_array_equal(blocked.ntk, blocked.ntk.transpose(2, 3, 0, 1))
    assert_close(empirical(apply, p, x, x[:4], memory=least).ntk, mean[:, :4], 1000)


def network_of(apply, p, x):
    leaves, tree = jax.tree.flatten(p)
    with double():
        leaves = tuple(map(jnp.asarray, leaves))
        return module._Network(apply, tree, module._output_size(apply, tree, leaves, x)), leaves


def bytes_for(apply, p, x, count):
    """The least memory that allows blocks of `count` samples, in multiples of 2 KiB."""
    with double():
        network, leaves = network_of(apply, p, x)
        return next(m for m in range(2048, 10**6, 2048) if block_size(network, leaves, x, m) >= count)


def block_size(network, leaves, x, memory):
    try:
        return module._block_size(network, leaves, x, len(x), True, memory)
    except ValueError:
        return 0


@pytest.mark.parametrize("apply", NETWORKS, ids=lambda f: f.__name__)
def test_dense_layers_are_found_and_nothing_else(apply):
    p = parameters()
    with double():
        network, leaves = network_of(apply, p, samples(1))
        found = [sorted(p)[index] for index, _, _ in network.dense(leaves, jnp.asarray(samples(1)[0]))]
    assert "".join(sorted(found)) == NETWORKS[apply]


def two_layer_kernel(a, w, x):
    """f = a·tanh(W x)/√n by hand: (1/n)[Σ_i φφ' + x·x' Σ_i a_i² φ'φ'']."""
    h = np.tanh(x @ w.T)
    g = a * (1 - h * h)
    return (h @ h.T + (x @ x.T) * (g @ g.T)) / len(a)


def test_a_two_layer_network_has_the_kernel_of_its_formula(key):
    rng = np.random.default_rng(key)
    a, w, x = rng.standard_normal(50), rng.standard_normal((50, 4)), rng.standard_normal((6, 4))

    def apply(p, x):
        return jnp.tanh(x @ p[1].T) @ p[0] / math.sqrt(50)

    found = empirical(apply, (a, w), x)
    assert_close(found.ntk, two_layer_kernel(a, w, x), 500)
    f = np.tanh(x @ w.T) @ a / math.sqrt(50)
    assert_close(found.nngp, np.outer(f, f), 500)


def test_one_hidden_layer_has_the_infinite_width_kernel_on_average(key):
    """L = 1: E Θ̂ = Θ at every width (THEORY 3.1), here ReLU with n = 16, θ the angle between inputs,
    Σ² = |x||x'|(sin θ + (π − θ) cos θ)/2πd, Θ = Σ² + (x·x'/d)(π − θ)/2π. False alarms 10⁻⁶; control: half."""
    x = samples(3, 5)
    norms = np.linalg.norm(x, axis=1)
    theta = np.arccos(np.clip(x @ x.T / np.outer(norms, norms), -1, 1))
    sigma = np.outer(norms, norms) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi * INPUTS)
    ntk = sigma + (x @ x.T / INPUTS) * (np.pi - theta) / (2 * np.pi)
    rng = np.random.default_rng([key, 7])

    def apply(p, x):
        return jax.nn.relu(x @ p[0] / math.sqrt(INPUTS)) @ p[1] / 4

    draws = [
        empirical(apply, (rng.standard_normal((INPUTS, 16)), rng.standard_normal((16, 1))), x)
        for _ in range(300)
    ]
    kernels = np.stack([d.ntk for d in draws])
    assert_mean(kernels, ntk)
    with pytest.raises(AssertionError):
        assert_mean(kernels, ntk / 2)


def test_the_kernel_predicts_the_first_step_of_training():
    """f(θ − ε∇R) − f = −εΘ̂χ + O(ε²): the difference quotient at two ε, extrapolated, and `predict`."""
    p, x, y = parameters(), samples(5), samples(5, 9)[:, :1]

    def apply(p, x):
        return mlp(p, x)[:, :1]

    with double():
        params, inputs, targets = jax.tree.map(jnp.asarray, (p, x, y))
        f_0 = apply(params, inputs)

        def risk(p):
            return 0.5 * jnp.mean(jnp.sum((apply(p, inputs) - f_0 - targets) ** 2, 1))

        slope = jax.jit(jax.grad(risk))(params)
        quotients = []
        for step in (2e-4, 1e-4):
            moved = jax.tree.map(lambda w, g: w - step * g, params, slope)  # noqa: B023
            quotients.append(np.asarray(apply(moved, inputs) - f_0) / step)
    kernel = empirical(apply, p, x)
    change = 2 * quotients[1] - quotients[0]
    expected = kernel.ntk @ y / 5
    # Extrapolated: the error is a third derivative times 2·10⁻⁸, plus rounding 10⁻¹⁶/10⁻⁴.
    np.testing.assert_allclose(change, expected, atol=1e-5 * abs(expected).max())
    law = predict(kernel, y, times=[0.0, 1e-6], centred=True)
    np.testing.assert_allclose(law.prediction[1] / 1e-6, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_float32_networks_stay_in_float32():
    p = parameters(dtype=np.float32)
    found = empirical(mlp, p, samples(4))
    assert found.ntk.dtype == found.nngp.dtype == np.float32 and isinstance(found.ntk, np.ndarray)
    exact = empirical(mlp, jax.tree.map(np.float64, p), samples(4))
    assert_close(found.ntk, exact.ntk, 1000, eps=2.0**-23)


def test_parameters_that_are_not_real_do_not_move():
    p = {**parameters(), "count": np.arange(3)}

    def apply(p, x):
        return mlp(p, x) * p["count"][2]

    assert_close(empirical(apply, p, samples(3)).ntk, 4 * empirical(mlp, parameters(), samples(3)).ntk, 100)


def deep(p, x):
    for w in p[:-1]:
        x = jax.nn.relu(x @ w / math.sqrt(w.shape[0]))
    return x @ p[-1] / math.sqrt(p[-1].shape[0])


@pytest.mark.parametrize("memory", [2**22, 2**24])
@pytest.mark.parametrize("outputs", [False, True])
def test_compiled_passes_allocate_less_than_the_memory_stated(memory, outputs):
    """What the compiler plans to allocate, where the full Jacobian (P k = 320 rows) takes ten times that."""
    rng = np.random.default_rng(0)
    sizes = (100, 256, 256, 256, 5)
    p = [rng.standard_normal((m, n)).astype(np.float32) for m, n in zip(sizes, sizes[1:], strict=False)]
    x = rng.standard_normal((64, 100)).astype(np.float32)
    assert 320 * sum(w.size for w in p) * 4 > 10 * memory
    with double():
        network, leaves = network_of(deep, p, x)
        size = module._block_size(network, leaves, x, 64, outputs, memory)
        block = jnp.asarray(x[:size])
        passes = module._factors.lower(network, leaves, block).compile().memory_analysis()
        factors = module._factors(network, leaves, block)
        tiles = module._contract.lower(factors, factors, outputs).compile().memory_analysis()
    # Both blocks are held while the second one is computed; then both while a tile is.
    held = passes.output_size_in_bytes
    assert held + passes.output_size_in_bytes + passes.temp_size_in_bytes <= memory
    assert 2 * held + tiles.output_size_in_bytes + tiles.temp_size_in_bytes <= memory
    assert size > 1  # and it is not that nothing fits


def test_too_little_memory_is_said():
    with pytest.raises(ValueError, match="`memory` must be at least [0-9]+ bytes for one sample, but is 10"):
        empirical(mlp, parameters(), samples(3), memory=10)


def test_equal_networks_share_one_compiled_pass():
    p, x = parameters(), samples(3)
    empirical(mlp, p, x)
    before = module._factors._cache_size()
    empirical(mlp, parameters(seed=5), samples(3, 8))
    assert module._factors._cache_size() == before


def test_the_spectrum_is_that_of_the_matrix():
    """A rank-2 kernel with eigenvalues |u|² and |v|² for orthogonal u, v; then (P, k, P, k)."""
    u, v = np.array([2.0, 0, 1, 0]), np.array([0, 3.0, 0, 0])
    np.testing.assert_allclose(spectrum(np.outer(u, u) + np.outer(v, v)), [9, 5, 0, 0], atol=1e-14)
    found = empirical(mlp, parameters(), samples(5), outputs=True)
    eigenvalues = spectrum(found.ntk)
    assert eigenvalues.shape == (5 * OUTPUTS,) and (np.diff(eigenvalues) <= 0).all()
    assert eigenvalues.sum() == pytest.approx(np.einsum("icic->", found.ntk), rel=1e-13)
    with pytest.raises(ValueError, match="`kernel` must be square"):
        spectrum(np.ones((2, 3)))


BAD = {
    "apply is no function": ((3, parameters(), samples(2)), "`apply` must be a function of"),
    "apply fails": (
        (lambda p, x: x @ jnp.ones((7, 2)), parameters(), samples(2)),
        "`apply` must be JAX code",
    ),
    "apply gives a scalar": (
        (lambda p, x: jnp.sum(x), parameters(), samples(2)),
        "`apply` must be a function that",
    ),
    "no real parameters": ((mlp, {"n": np.arange(3)}, samples(2)), "`params` must be a tree"),
    "no samples": ((mlp, parameters(), np.zeros((0, 3))), "`x1` must be an array of samples"),
    "other inputs": ((mlp, parameters(), samples(2), np.ones((2, 4))), "`x2` must be samples of shape (3,)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    arguments, words = BAD[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        empirical(*arguments)
    assert words in str(caught.value), str(caught.value)


def test_flags_and_keywords_are_checked():
    call = functools.partial(empirical, mlp, parameters(), samples(2))
    with pytest.raises(TypeError, match="`outputs` must be True or False"):
        call(outputs="all")
    with pytest.raises(TypeError, match="`memory` must be an integer"):
        call(memory=1e9)
    with pytest.raises(TypeError, match="unexpected keyword"):
        call(batch=3)
