"""Multilayer perceptrons written as they are defined, gradients by automatic differentiation.

    W^l = n^{−a_l} w^l,    h¹ = σ_w W¹x/√d + σ_b n^{−a_1} b¹,
    h^{l+1} = σ_w W^{l+1} φ(h^l) + σ_b n^{−a_1} b^{l+1},    f = (σ_w W^{L+1} φ(h^L) + σ_b b^{L+1})/γ,

entries of w^l and of its learning rates in their own units, n^{−b_l} and ηγ² n^{−c_l}; hidden biases have the
exponents of the first layer, the output's has none. THEORY 3 and 3.2.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.studies.trajectory import network_keys


def drawn(system, problem, training, key, seed):
    """The arrays that network `seed` starts from, {name: array}."""
    with double():
        keys = network_keys(jax.random.key(key), [seed])[0]
        parameters = system.start(problem, training, keys).parameters
        return {name: np.asarray(value[0], float) for name, value in parameters.items()}


def raw_weights(model, width, arrays):
    """{w: [w¹ … w^{L+1}], b: [b¹ … b^L], c} from drawn arrays: order one, matrices N(0, 1/n)."""
    b, top, n = model.parametrization.layers(model.hidden_layers).b, model.hidden_layers, float(width)
    w = [n ** -b[0] * arrays["u"]]
    w += [n ** (0.5 - b[layer - 1]) * arrays[f"w{layer}"] for layer in range(2, top + 1)]
    w += [n ** -b[-1] * arrays["v"].T]
    if not model.bias:
        return {"w": w}
    biases = [n ** -b[0] * arrays[f"b{layer}"][:, 0] for layer in range(1, top + 1)]
    return {"w": w, "b": biases, "c": arrays["c"]}


def exponents(raw, values, output_bias=0.0):
    """One exponent for every array of `raw`, from those of the L + 1 weight matrices."""
    if "b" not in raw:
        return {"w": list(values)}
    return {"w": list(values), "b": [values[0]] * len(raw["b"]), "c": output_bias}


def constants(model, width):
    n, a = float(width), model.parametrization.layers(model.hidden_layers).a
    sigma = math.sqrt(model.weight_variance), math.sqrt(model.bias_variance)
    return [n**-value for value in a], *sigma, model.richness


def features(raw, numbers, x, activation):
    """x¹ … x^L, (P, n) each."""
    scales, sigma_w, sigma_b, _ = numbers
    shift = [sigma_b * scales[0] * b for b in raw["b"]] if "b" in raw else [0.0] * (len(scales) - 1)
    found, below = [], x / np.sqrt(x.shape[1])
    for scale, w, b in zip(scales, raw["w"][:-1], shift, strict=False):
        h = sigma_w * scale * jnp.einsum("pi,ji->pj", below, w)
        below = activation.function(h + jnp.broadcast_to(b, h.shape))
        found.append(below)
    return found


def output(raw, numbers, x, activation):
    """f(x), (P, k)."""
    scales, sigma_w, sigma_b, gamma = numbers
    top = features(raw, numbers, x, activation)[-1]
    f = sigma_w * scales[-1] * jnp.einsum("pi,ki->pk", top, raw["w"][-1])
    return (f + jnp.broadcast_to(sigma_b * raw["c"], f.shape) if "c" in raw else f) / gamma


evaluate = jax.jit(output, static_argnames="activation")


@functools.partial(jax.jit, static_argnames=("activation", "loss"))
def risk_gradient(raw, numbers, batch, f_0, activation, loss):
    x, y, weight = batch

    def risk(raw):
        return jnp.sum(weight * loss.value(output(raw, numbers, x, activation) - f_0, y))

    return jax.grad(risk)(raw)


def train(model, width, raw, problem, steps, move, batch=None):
    """{prediction, test_prediction} after 0 … `steps` steps, (steps + 1, samples, outputs); `move(raw,
    gradient, step)` gives the next weights and `batch(step)` what a step sees, by default everything."""
    numbers, phi, start = constants(model, width), model.activation, raw
    found = {"prediction": [], "test_prediction": []}

    def f_0(x):
        return evaluate(start, numbers, x, phi) if model.centred else np.zeros((len(x), problem.outputs))

    with double():
        for step in range(steps + 1):
            for name, x in (("prediction", problem.x), ("test_prediction", problem.x_test)):
                if x is not None:
                    found[name].append(np.asarray(evaluate(raw, numbers, x, phi) - f_0(x)))
            seen = problem.batch(step) if batch is None else batch(step)
            gradient = risk_gradient(raw, numbers, seen, f_0(seen[0]), phi, problem.loss)
            raw = move(raw, jax.tree.map(np.asarray, gradient), step)
    return {name: np.stack(values) for name, values in found.items() if values}


def descent(model, width, raw, learning_rate, *, momentum=0.0, weight_decay=0.0, c=None):
    """m ← μm + γ² n^{−c_l} ∂R/∂w^l + λw^l, w^l ← w^l − ηm; the output's bias has c = 0."""
    layers, n = model.parametrization.layers(model.hidden_layers), float(width)
    first, later = (exponents(raw, c or given) for given in (layers.first_c, layers.c))
    velocity = jax.tree.map(np.zeros_like, raw)

    def move(raw, gradient, step):
        nonlocal velocity
        gamma = model.richness
        rates = jax.tree.map(lambda c: gamma**2 * n**-c, first if step == 0 else later)
        eta = learning_rate(step) if callable(learning_rate) else learning_rate
        pull = jax.tree.map(lambda g, r, w: r * g + weight_decay * w, gradient, rates, raw)
        velocity = jax.tree.map(lambda m, g: momentum * m + g, velocity, pull)
        return jax.tree.map(lambda w, m: w - eta * m, raw, velocity)

    return move


def adaptive(model, width, raw, update):
    """w^l ← w^l − n^{−c_l} update(∂R/∂w^l, step, place), c_l the exponents of adaptive training."""
    c = exponents(raw, model.parametrization.adaptive_rates(model.hidden_layers))

    def move(raw, gradient, step):
        places = jax.tree.unflatten(jax.tree.structure(raw), range(len(jax.tree.leaves(raw))))
        return jax.tree.map(
            lambda w, g, c, place: w - float(width) ** -c * update(g, step, place), raw, gradient, c, places
        )

    return move


def rounding(model, width, problem, training):
    """Roundings that a trajectory may be off by. In a step every layer is summed over at most max(n, d)
    terms, forward and backward, and over P samples, with a dozen operations besides. Steps add theirs, and
    pass on what there is with a factor below 1 + η where η is short against the curvature."""
    sums = max(width, problem.inputs) + problem.samples + 12
    rate = training.learning_rate if isinstance(getattr(training, "learning_rate", None), float) else 1.0
    return 2 * (model.hidden_layers + 1) * sums * (training.steps + 1) * (1 + rate) ** training.steps
