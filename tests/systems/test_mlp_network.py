"""A multilayer perceptron of finite width against its definition: outputs, fields, kernels, draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from abc_network import constants, drawn, evaluate, exponents, features, output, raw_weights
from assertions import assert_close, assert_mean
from cases import problem

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.parametrization import Parametrization, integrable, mean_field, mup, ntk, standard
from meanfield.studies.trajectory import network_keys

WIDTH = 9
TASK = problem(inputs=3, outputs=2, test_samples=0)
TRAINING = mf.GradientDescent(0.1, 2)
NAMED = {"standard": standard, "standard, c = 1": standard.with_rates(1), "ntk": ntk, "mup": mup}
NAMED |= {"integrable": integrable, "mean field": mean_field, "uneven": None}


def named(name, layers):
    """A parametrization, one with an exponent of its own for every layer among them."""
    if name != "uneven":
        return NAMED[name]
    a, b, c = ([0.1 * (i + shift) for i in range(layers + 1)] for shift in (0, 2, -3))
    return Parametrization(a, b, c)


def full(layers, parametrization, activation=mf.activations.tanh):
    options = {"richness": 1.5, "weight_variance": 1.3, "bias_variance": 0.4}
    return mf.MLP(layers, activation, parametrization, **options)


CASES = [(name, layers) for name in NAMED for layers in (1, 2, 3) if name != "mean field" or layers == 1]


@jax.jit
def looked_at(system, parameters, x):
    """Everything a network can be asked, in one program for all exponents."""
    layers = range(1, system.program.hidden_layers + 1)
    kernels = [system.feature_kernel(parameters, x, layer) for layer in layers]
    return system.predict(parameters, None, x), kernels, system.tangent_kernel(parameters, x)


def outer(jacobians, rates):
    """Σ rate ∂f/∂w ∂f/∂w, (P, k, P, k), from jacobians (P, k, …)."""
    parts = zip(jax.tree.leaves(jacobians), jax.tree.leaves(rates), strict=True)
    flat = ((j.reshape(*j.shape[:2], -1), r) for j, r in parts)
    return sum(r * jnp.einsum("pkD,qcD->pkqc", j, j) for j, r in flat)


def tangent_kernel(raw, numbers, rates, x, activation):
    return outer(jax.jacobian(output)(raw, numbers, x, activation), rates)


by_definition = jax.jit(tangent_kernel, static_argnames="activation")


@pytest.mark.parametrize("name, layers", CASES)
def test_outputs_and_kernels_are_those_of_the_raw_weights(name, layers, key):
    """f; Φ^l = x^l·x^l/n; df/dt = −K ∂R/∂f with K = Σ_l γ² n^{−c_l} ∂f/∂w^l·∂f/∂w^l by automatic
    differentiation. Rounding: a sum over n terms for every layer, forward and backward, over n entries in K,
    and a dozen operations of φ, of scales and of powers of n."""
    model = full(layers, named(name, layers))
    system, n = model.finite(WIDTH, dtype="float64"), float(WIDTH)
    arrays = drawn(system, TASK, TRAINING, key, 4)
    with double():
        x, raw, numbers = jnp.asarray(TASK.x), raw_weights(model, WIDTH, arrays), constants(model, WIDTH)
        f, kernels, tangent = looked_at(system.core(), jax.tree.map(jnp.asarray, arrays), x)
        c = exponents(raw, model.parametrization.layers(layers).c)
        rates = jax.tree.map(lambda c: model.richness**2 * n**-c, c)
        truth = by_definition(raw, numbers, rates, x, model.activation)
        fields = features(raw, numbers, x, model.activation)
    operations = 2 * (layers + 1) * (WIDTH + 12) + WIDTH
    assert_close(f, evaluate_in_double(raw, numbers, x, model), operations)
    for kernel, field in zip(kernels, fields, strict=True):
        field = np.asarray(field)
        assert_close(kernel, np.einsum("pi,qi->pq", field, field) / n, operations)
    assert_close(tangent, truth, operations)
    assert tangent.shape == (5, 2, 5, 2)


def evaluate_in_double(raw, numbers, x, model):
    with double():
        return np.asarray(evaluate(raw, numbers, x, model.activation))


def test_the_learning_rates_of_single_layers_are_seen_in_the_kernel(key):
    """Negative control: n^{0.1} more for one layer is far above rounding, for every layer."""
    found = []
    for c in ((0, 0, 0), (0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)):
        system = full(2, ntk.with_rates(c)).finite(WIDTH, dtype="float64")
        arrays = drawn(system, TASK, TRAINING, key, 4)
        with double():
            found.append(np.asarray(looked_at(system.core(), arrays, jnp.asarray(TASK.x))[2]))
    for other in found[1:]:
        assert np.abs(other - found[0]).max() > 1e-4 * np.abs(found[0]).max()


def parameters_of(model, width, task, key, seeds):
    """Initial parameters of many networks, {name: (seeds, …)}, and the system."""
    system = model.finite(width, dtype="float64")
    keys = network_keys(jax.random.key(key), range(seeds))[0]
    return system, system.start(task, TRAINING, keys).parameters


def arc_cosine(x, weight_variance, bias_variance):
    """(Σ¹, Σ², E[φ'φ']) of ReLU, THEORY 3.1: E[φφ] = √(ab)(sin θ + (π − θ)cos θ)/2π, E[φ'φ'] = (π − θ)/2π."""
    first = weight_variance * x @ x.T / x.shape[1] + bias_variance
    size = np.sqrt(np.diag(first))
    theta = np.arccos(np.clip(first / np.outer(size, size), -1, 1))
    product = np.outer(size, size) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
    return first, weight_variance * product + bias_variance, (np.pi - theta) / (2 * np.pi)


@pytest.mark.parametrize("bias_variance", [0.0, 0.3])
def test_the_mean_tangent_kernel_of_one_hidden_layer_is_that_of_the_limit_at_every_width(bias_variance, key):
    """Θ = Σ² + Σ¹ σ_w² E[φ'φ'] exactly at n = 5: K is a mean over neurons. False alarms: one in 10⁶."""
    task = problem(samples=4, inputs=3, outputs=1, test_samples=0)
    model = mf.MLP(1, mf.activations.relu, ntk, weight_variance=1.7, bias_variance=bias_variance)
    with double():
        system, parameters = parameters_of(model, 5, task, key, 4000)
        x = jnp.asarray(task.x)
        samples = np.asarray(jax.jit(jax.vmap(lambda p: system.core().tangent_kernel(p, x)))(parameters))
    first, second, slope = arc_cosine(task.x, 1.7, bias_variance)
    truth = second + first * 1.7 * slope
    upper = np.triu_indices(4)
    assert_mean(samples[:, :, 0, :, 0][:, upper[0], upper[1]], truth[upper])
    with pytest.raises(AssertionError):
        assert_mean(samples[:, :, 0, :, 0][:, upper[0], upper[1]], 1.15 * truth[upper])


def test_sizes_of_relu_features_are_kept_on_average(key):
    """σ_w² = 2: E |h^l|²/n = q_0 = 2|x|²/d at every width and layer, so E |x^l|²/n = q_0/2; at σ_w² = 1.7 it
    is 0.85^l of that. False alarms: one in 10⁵, as the sizes are skewed."""
    task = problem(samples=1, inputs=3, outputs=1, test_samples=0)
    models = [mf.MLP(2, mf.activations.relu, mup, weight_variance=v) for v in (2.0, 1.7)]
    with double():
        _, parameters = parameters_of(models[0], 128, task, key, 200)
        x = jnp.asarray(task.x)

        @jax.jit
        def sizes(system):
            layers = (1, 2)
            return jax.vmap(lambda p: jnp.stack([system.feature_kernel(p, x, i)[0, 0] for i in layers]))(
                parameters
            )

        kept, lost = (np.asarray(sizes(m.finite(128, dtype="float64").core())) for m in models)
    truth = np.sum(task.x**2) / 3
    assert_mean(kept, truth)
    assert_mean(lost, truth * 0.85 ** np.arange(1, 3))
    with pytest.raises(AssertionError):
        assert_mean(lost, truth)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_have_their_shapes_and_dtype(dtype, key):
    arrays = {"u": (7, 3), "v": (7, 2), "w2": (7, 7), "w3": (7, 7)}
    biases = {"b1": (7, 1), "b2": (7, 1), "b3": (7, 1), "c": (2,)}
    for model, shapes in (
        (mf.MLP(3, mf.activations.tanh, mup), arrays),
        (full(3, mup), arrays | biases),
    ):
        system = model.finite(7, dtype=dtype)
        with double():
            state = system.init(TASK, TRAINING, jax.random.key(key))
            assert {name: value.shape for name, value in state.parameters.items()} == shapes
            assert {str(value.dtype) for value in state.parameters.values()} == {dtype}
            moved = jax.jit(system.core().step)(TASK.astype(dtype), TRAINING, state, None)
            assert {str(value.dtype) for value in moved.parameters.values()} == {dtype}


def test_the_bias_of_the_output_starts_where_the_output_does(key):
    """N(0, 1) where f_0 is of order one, 0 where it vanishes with the width."""
    for parametrization, vanishes in ((ntk, False), (standard, False), (mup, True), (integrable, True)):
        arrays = drawn(full(2, parametrization).finite(4), TASK, TRAINING, key, 0)
        assert (not arrays["c"].any()) == vanishes


@pytest.mark.parametrize("name", ["standard", "ntk", "mup"])
def test_the_output_before_training_has_the_size_of_its_exponents(name, key):
    """f_0 ∝ n^{½ − a − b} of the output layer, σ known: with linear φ and L = 1, E f_0² =
    n^{1 − 2(a + b)} |x|²/d exactly. False alarms: one in 10⁵, as f_0² is skewed."""
    task = problem(samples=1, inputs=3, outputs=1, test_samples=0)
    width, parametrization = 16, NAMED[name]
    a, b, _, _ = parametrization.layers(1)
    with double():
        model = mf.MLP(1, mf.activations.identity, parametrization)
        system, parameters = parameters_of(model, width, task, key, 4000)
        x = jnp.asarray(task.x)
        f = np.asarray(jax.jit(jax.vmap(lambda p: system.core().predict(p, None, x)))(parameters))[:, 0, 0]
    truth = width ** (1 - 2 * (a[-1] + b[-1])) * np.sum(task.x**2) / 3
    assert_mean(f[:, None] ** 2, truth)
    assert_mean(f[:, None], 0.0)


def test_seed_s_has_the_key_with_s_folded_in(key):
    """Network s of a run is the same whichever seeds run with it, and another for another key."""
    system = mf.MLP(2, mf.activations.relu, mup).finite(4, dtype="float64")
    data = mf.simulate(system, TASK, TRAINING, seeds=3, key=key)
    alone = mf.simulate(system, TASK, TRAINING, seeds=[2], key=key)
    assert_close(alone.prediction[0, 0], data.prediction[2, 0], 100, scale=1.0)
    with double():
        root = jax.random.split(jax.random.fold_in(jax.random.key(key), 2))[0]
        state = system.init(TASK, TRAINING, root)
    arrays = drawn(system, TASK, TRAINING, key, 2)
    for name, value in state.parameters.items():
        np.testing.assert_array_equal(value, arrays[name])
    other = drawn(system, TASK, TRAINING, key + 1, 2)
    assert all((other[name] != arrays[name]).all() for name in arrays)
    assert len({float(f) for f in data.prediction[:, 0, 0, 0]}) == 3


def test_a_narrow_network_is_the_first_part_of_a_wide_one(key):
    """All arrays of order one; matrices in units of 1/√n."""
    narrow, wide = (drawn(full(3, mup).finite(n, dtype="float64"), TASK, TRAINING, key, 1) for n in (6, 270))
    for name, value in narrow.items():
        if name.startswith("w"):
            assert_close(value * np.sqrt(6), wide[name][:6, :6] * np.sqrt(270), 8)
        else:
            np.testing.assert_array_equal(value, wide[name][: len(value)])


def test_memory_and_operations_count_the_matrices():
    """Doubling the width multiplies both by four where n × n matrices are all that counts."""
    one, two = (mf.MLP(4, mf.activations.tanh, mup).finite(n) for n in (2048, 4096))
    for count in ("memory_bytes", "operations"):
        ratio = getattr(two, count)(TASK, TRAINING) / getattr(one, count)(TASK, TRAINING)
        # What is linear in n is at most (d + k + 4 L P)/(3 n) of the rest.
        assert 4 * (1 - 100 / (3 * 2048)) < ratio < 4
    exact = 3 * 2048**2 + 2048 * 5
    assert one.operations(TASK, TRAINING) == 6 * exact * TASK.samples
    assert one.memory_bytes(TASK, TRAINING) >= 4 * 2 * exact
