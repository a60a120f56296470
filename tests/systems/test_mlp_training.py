"""Training of multilayer perceptrons against the definition: raw weights n^{−a} w, automatic differentiation,
learning rates ηγ² n^{−c}, and against what is known of it at L = 1."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from abc_network import adaptive, descent, drawn, raw_weights, rounding, train
from assertions import EPS32, assert_close, assert_mean, assert_one_sentence, assert_order
from cases import problem

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.parametrization import Parametrization, integrable, mean_field, mup, ntk, standard
from meanfield.studies import simulate as module
from meanfield.studies.trajectory import traces

WIDTH, STEPS, ETA = 7, 6, 0.2
NAMED = {"standard": standard, "standard, c = 1": standard.with_rates(1), "ntk": ntk, "mup": mup}
NAMED |= {"integrable": integrable, "mean field": mean_field}
TASK = problem(inputs=3, outputs=2, test_samples=5)
PLAIN = mf.GradientDescent(ETA, STEPS)
MOVING = mf.GradientDescent(ETA, STEPS, momentum=0.5, weight_decay=0.3)
QUANTITIES = ("prediction", "test_prediction")


@pytest.fixture(autouse=True)
def no_advice(monkeypatch):
    """Whether the learning rate is stable is not asked here; the kernels it takes cost more than training."""
    monkeypatch.setattr(module, "warn_above_edge", lambda *_: None)


def perceptron(layers, parametrization, activation=mf.activations.tanh, **options):
    return mf.MLP(layers, activation, parametrization, **options)


def full(layers, parametrization):
    """Everything at once: biases, richness, variances."""
    options = {"richness": 1.5, "weight_variance": 1.3, "bias_variance": 0.4}
    return perceptron(layers, parametrization, **options)


def both(model, task, training, key, move, *, width=WIDTH, seeds=(0, 3), dtype="float64", batch=None):
    """(library, reference) of the seeds, {quantity: (seed, step, sample, output)}."""
    system = model.finite(width, dtype=dtype)
    data = mf.simulate(system, task, training, seeds=list(seeds), key=key)
    names = [n for n in QUANTITIES if n in data]
    found = []
    for seed in seeds:
        raw = raw_weights(model, width, drawn(system, task, training, key, seed))
        found.append(train(model, width, raw, task, training.steps, move(model, width, raw), batch))
    return {n: data[n].values for n in names}, {n: np.stack([f[n] for f in found]) for n in names}


def assert_same(model, task, training, key, move, **options):
    ours, truth = both(model, task, training, key, move, **options)
    for name in truth:
        operations = rounding(model, WIDTH, task, training)
        assert_close(ours[name], truth[name], operations, scale=max(1.0, np.abs(truth[name]).max()))
        # A training that does not move would agree with anything: the rates are seen.
        assert np.abs(truth[name][:, -1] - truth[name][:, 0]).max() > 1e3 * np.finfo(float).eps * operations


def descending(training, c=None):
    options = {"momentum": training.momentum, "weight_decay": training.weight_decay, "c": c}
    return lambda model, width, raw: descent(model, width, raw, training.learning_rate, **options)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", NAMED)
def test_descent_is_that_of_the_raw_weights(name, layers, key):
    """Momentum, decay, biases, richness, variances, two outputs, a test set."""
    if name != "mean field" or layers == 1:
        assert_same(full(layers, NAMED[name]), TASK, MOVING, key, descending(MOVING))


@pytest.mark.parametrize("case", range(4))
def test_it_is_for_any_exponents(case, key):
    """One exponent for each of three layers, up to 0.4 from those of a named parametrization."""
    rng = np.random.default_rng([key, case])
    base = (ntk, mup, integrable, standard)[case].layers(2)
    a, b, c = (tuple(np.asarray(v) + rng.uniform(-0.4, 0.4, 3)) for v in base[:3])
    assert_same(full(2, Parametrization(a, b, c)), TASK, MOVING, key, descending(MOVING))


@pytest.mark.parametrize("layer", range(3))
def test_one_wrong_exponent_is_noticed(layer, key):
    """A learning rate off by n^{0.1} in one layer only."""
    model = full(2, ntk)
    c = [value + 0.1 * (i == layer) for i, value in enumerate(ntk.layers(2).c)]
    with pytest.raises(AssertionError, match="roundings"):
        assert_same(model, TASK, MOVING, key, descending(MOVING, c))


def test_it_is_centred(key):
    """The output is f − f_0, in training and in predictions."""
    assert_same(dataclasses.replace(full(2, ntk), centred=True), TASK, MOVING, key, descending(MOVING))


def test_it_is_with_a_first_step_of_its_own(key):
    """The learning rates of the first step are others."""
    model = full(3, integrable.with_large_first_step(3))
    assert_same(model, TASK, MOVING, key, descending(MOVING))
    with pytest.raises(AssertionError, match="roundings"):
        assert_same(model, TASK, MOVING, key, descending(MOVING, integrable.layers(3).c))


def falling(step):
    return 0.3 / (1.0 + step)


def test_it_is_with_a_schedule_and_mini_batches_and_softmax(key):
    task = mf.Problem(TASK.x, np.array([0, 1, 1, 0, 1]), loss=mf.losses.softmax, x_test=TASK.x_test)
    training = mf.GradientDescent(falling, STEPS, batch_size=2, batch_key=5)
    move = lambda model, width, raw: descent(model, width, raw, falling)  # noqa: E731
    assert_same(full(2, mup), task, training, key, move, batch=lambda step: task.batch(step, 2, 5))


def draw(key, size):
    x = jax.random.normal(key, (size, 3))
    return x, jnp.sign(x[:, :2] * x[:, 1:])


def test_it_is_on_a_stream_with_the_logistic_loss(key):
    options = {"x_test": TASK.x_test, "y_test": np.sign(TASK.y_test)}
    stream = mf.Stream(draw, 5, mf.losses.logistic, **options)
    assert_same(full(2, mup), stream, PLAIN, key, descending(PLAIN))


def test_losses_are_those_of_the_predictions(key):
    data = mf.simulate(full(2, mup).finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=2, key=key)
    for f, y, loss in (
        (data.prediction, TASK.y, data.loss),
        (data.test_prediction, TASK.y_test, data.test_loss),
    ):
        assert_close(loss, 0.5 * np.square(f.values - y).sum(-1).mean(-1), 2 * y.size)


@pytest.mark.parametrize("name", ["ntk", "mup"])
def test_float32_is_the_same_network_to_its_rounding(name, key):
    """Draws are rounded, then every operation."""
    model = full(2, NAMED[name])
    ours, truth = both(model, TASK, MOVING, key, descending(MOVING), dtype="float32")
    double_ = mf.simulate(model.finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=[0, 3], key=key)
    for quantity in QUANTITIES:
        assert ours[quantity].dtype == np.float32
        scale = max(1.0, np.abs(truth[quantity]).max())
        allowed = rounding(model, WIDTH, TASK, MOVING)
        # The reference starts from the rounded draws, the float64 network from those before rounding.
        assert_close(ours[quantity], truth[quantity], allowed, scale=scale, eps=EPS32)
        assert_close(ours[quantity], double_[quantity].values, allowed, scale=scale, eps=EPS32)
        assert np.abs(ours[quantity] - double_[quantity].values).max() > 0


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", ["standard, c = 1", "ntk", "mup", "integrable"])
def test_a_shift_of_the_exponents_is_the_same_training(name, layers, key):
    """(a + θ, b − θ, c − 2θ), decay included: λ pulls the weights themselves, in whatever units."""
    theta = float(np.random.default_rng([key, layers]).uniform(-1, 1))
    parametrization = NAMED[name]
    one, other = (
        mf.simulate(full(layers, p).finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=2, key=key)
        for p in (parametrization, parametrization.shift(theta))
    )
    for quantity in QUANTITIES:
        first, second = one[quantity].values, other[quantity].values
        allowed = rounding(full(layers, parametrization), WIDTH, TASK, MOVING)
        assert_close(second, first, allowed, scale=max(1.0, np.abs(first).max()))
    moved = dataclasses.replace(parametrization.shift(theta), c=parametrization.c)  # c as it was
    wrong = mf.simulate(full(layers, moved).finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=2, key=key)
    assert np.abs(wrong.prediction - one.prediction).max() > 1e-4


def test_parametrizations_of_one_shape_share_a_compiled_program(key):
    """Exponents and richness reach the compiled step as numbers."""
    mf.simulate(full(2, ntk).finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=2, key=key)
    before = traces.copy()
    for model in (full(2, mup), dataclasses.replace(full(2, integrable), richness=0.3)):
        mf.simulate(model.finite(WIDTH, dtype="float64"), TASK, MOVING, seeds=2, key=key)
    assert traces == before


# Optax


def test_sgd_of_optax_is_descent(key):
    options = {"seeds": 2, "key": key}
    model = full(2, ntk)
    system = model.finite(WIDTH, dtype="float64")
    ours = mf.simulate(system, TASK, mf.Optax(optax.sgd(ETA, momentum=0.5), STEPS), **options)
    plain = mf.simulate(system, TASK, mf.GradientDescent(ETA, STEPS, momentum=0.5), **options)
    for quantity in QUANTITIES:
        one, other = plain[quantity].values, ours[quantity].values
        assert_close(other, one, rounding(model, WIDTH, TASK, MOVING), scale=max(1.0, np.abs(one).max()))


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, rate):
        self.rate, self.m, self.v = rate, {}, {}

    def __call__(self, g, step, place):
        self.m[place] = 0.9 * self.m.get(place, 0.0) + 0.1 * g
        self.v[place] = 0.999 * self.v.get(place, 0.0) + 0.001 * g * g
        m = self.m[place] / (1 - 0.9 ** (step + 1))
        v = self.v[place] / (1 - 0.999 ** (step + 1))
        return self.rate * m / (np.sqrt(v) + 1e-8)


ADAPTIVE = {
    "adam": (mf.Optax(optax.adam(0.05), STEPS), lambda: Adam(0.05)),
    "sign": (mf.Optax(optax.sign_sgd(0.05), STEPS), lambda: lambda g, step, place: 0.05 * np.sign(g)),
}


@pytest.mark.parametrize("name", ["standard, c = 1", "ntk", "mup", "integrable"])
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adam_and_sign_descent_are_those_of_the_raw_weights(kind, name, key):
    """Learning rates n^{−c_l} of the weights w^l, c_l = `adaptive_rates`; Adam divides by its own rounded
    square root, which adds as many roundings again: relative errors of g pass on unchanged. Where entries of
    g nearly vanish against their summands, by up to the 10³ allowed for, they are larger."""
    training, update = ADAPTIVE[kind]
    model = full(2, NAMED[name])
    ours, truth = both(
        model, TASK, training, key, lambda model, width, raw: adaptive(model, width, raw, update())
    )
    for quantity in QUANTITIES:
        operations = 1e3 * rounding(model, WIDTH, TASK, training)
        assert_close(ours[quantity], truth[quantity], operations, scale=np.abs(truth[quantity]).max())
        assert np.abs(truth[quantity][:, -1] - truth[quantity][:, 0]).max() > 1e-3


def test_a_shift_of_the_exponents_is_the_same_sign_descent(key):
    """Here c − θ goes with a + θ, b − θ, and that is what `adaptive_rates` of the shifted exponents are."""
    training, _ = ADAPTIVE["sign"]
    one, other = (
        mf.simulate(full(2, p).finite(WIDTH, dtype="float64"), TASK, training, seeds=2, key=key)
        for p in (mup, mup.shift(0.7))
    )
    allowed = rounding(full(2, mup), WIDTH, TASK, training)
    assert_close(other.prediction, one.prediction, allowed, scale=max(1.0, np.abs(one.prediction).max()))


# Flow


def test_descent_becomes_the_gradient_flow_at_first_order(key):
    """Distance ∝ η at a fixed time, and the integrator's own error stays out of the way."""
    system = full(2, mup).finite(WIDTH, dtype="float64")
    flow = mf.simulate(system, TASK, mf.GradientFlow(2.0, save=2, tolerance=1e-9), key=key)
    counts, errors = np.array([16, 32, 64, 128]), []
    for steps in counts:
        training = mf.GradientDescent(2.0 / steps, int(steps))
        end = mf.simulate(system, TASK, training, key=key, record=[0, int(steps)]).prediction[0, -1]
        errors.append(float(np.abs(end - flow.prediction[0, -1].values).max()))
    # What the flow does to the summed local errors 1e-9 in two units of time is well below a factor of 100.
    assert_order(2.0 / counts, np.array(errors), 1.0, floor=1e-9)


def test_the_flow_has_the_learning_rates_of_all_layers(key):
    """At small times f moves by −K χ t, K the kernel of descent with these learning rates."""
    model = full(2, standard.with_rates(1))
    system, time = model.finite(WIDTH, dtype="float64"), 1e-4
    flow = mf.simulate(system, TASK, mf.GradientFlow(time, save=2, tolerance=1e-10), key=key)
    step = mf.simulate(system, TASK, mf.GradientDescent(time, 1), key=key)
    moved, truth = (np.asarray(d.prediction[0, 1] - d.prediction[0, 0]) for d in (flow, step))
    # The second order in t is t · λ_max/2 of the first, λ_max well below 100.
    assert np.abs(moved - truth).max() <= 100 * time / 2 * np.abs(truth).max()
    assert np.abs(truth).max() > 0


# One hidden layer is the two-layer network on x/√d


@pytest.mark.parametrize("parametrization", [mup, mean_field], ids=["mup", "mean_field"])
def test_one_hidden_layer_with_the_neurons_of_a_two_layer_network(parametrization, key):
    """The same arrays handed over, inputs divided by √d; decay γ²λ there is λ here."""
    gamma, decay = 1.7, 0.1
    model = perceptron(1, parametrization, richness=gamma)
    system = model.finite(WIDTH, dtype="float64")
    training = mf.GradientDescent(ETA, STEPS, momentum=0.5, weight_decay=decay)
    arrays = drawn(system, TASK, training, key, 0)
    ours = mf.simulate(system, TASK, training, key=key)
    two = mf.TwoLayer(
        model.activation, richness=gamma, initial=mf.initial.Atoms(a=arrays["v"], w=arrays["u"])
    )
    root = np.sqrt(TASK.inputs)
    scaled = mf.Problem(TASK.x / root, TASK.y, x_test=TASK.x_test / root, y_test=TASK.y_test)
    there = mf.GradientDescent(ETA, STEPS, momentum=0.5, weight_decay=decay / gamma**2)
    truth = mf.simulate(two.limit(), scaled, there)
    for quantity in QUANTITIES:
        allowed = rounding(model, WIDTH, TASK, training)
        assert_close(ours[quantity][0], truth[quantity], allowed, scale=np.abs(truth[quantity]).max())


def test_wide_networks_of_one_hidden_layer_have_the_mean_of_the_two_layer_limit(key):
    """16 networks of n = 4096 against particles. The spread is σ/√n, the bias B/n; allowed is B up to σ, a
    sixteenth of a standard error, and five of the limit's own errors. False alarms: one in 10⁶."""
    width, gamma = 4096, 1.7
    task = problem(samples=3, inputs=2, test_samples=0)
    training = mf.GradientDescent(0.2, 4)
    model = perceptron(1, mup, richness=gamma)
    found = mf.simulate(model.finite(width), task, training, seeds=16, key=key)
    scaled = mf.Problem(task.x / np.sqrt(2), task.y)
    limit = mf.simulate(mf.TwoLayer(model.activation, richness=gamma).limit(4096, 4), scaled, training)
    samples, truth = found.prediction.values[:, -1], limit.prediction.values[-1]
    bias = samples.std(0) / np.sqrt(width) + 5 * limit.prediction_error.values[-1]
    assert_mean(samples, truth, bias=bias)
    with pytest.raises(AssertionError):
        assert_mean(samples, 1.5 * truth, bias=bias)


# What does not fit


def test_networks_that_diverge_are_marked_and_the_others_go_on():
    """Linear networks so narrow that the rate is above the edge of some and not of others: of about half, so
    that all or none of 32 are in one of 10⁷ cases."""
    model = perceptron(2, standard, mf.activations.identity)
    training = mf.GradientDescent(0.45, 60)
    with pytest.warns(RuntimeWarning, match="diverged"):
        data = mf.simulate(model.finite(8, dtype="float64"), TASK, training, seeds=32)
    bad = data.first_bad_step.values
    assert 0 < (bad >= 0).sum() < 32
    for seed, first in enumerate(bad):
        finite = np.isfinite(data.prediction.values[seed]).all((1, 2))
        expected = np.ones(61, bool) if first < 0 else np.arange(61) < first
        np.testing.assert_array_equal(finite, expected)
        np.testing.assert_array_equal(np.isfinite(data.loss.values[seed]), expected)


def test_wide_networks_in_the_standard_parametrization_diverge(key):
    """c = 0: the kernel grows like n, so a rate fit for c = 1 is a hundred times too large at n = 300."""
    training = mf.GradientDescent(0.5, 8)
    wild, tame = (perceptron(2, p, mf.activations.identity) for p in (standard, standard.with_rates(1)))
    with pytest.warns(RuntimeWarning, match="diverged for 3 of 3 networks"):
        data = mf.simulate(wild.finite(300), TASK, training, seeds=3, key=key)
    assert (data.first_bad_step > 0).all()
    data = mf.simulate(tame.finite(300), TASK, training, seeds=3, key=key)
    assert (data.first_bad_step == -1).all() and (data.loss[:, -1] < data.loss[:, 0]).all()


REFUSED = {
    "noise": (mf.Langevin(0.1, 5, 0.1), mup, "`training`", "Langevin"),
    "normalised": (mf.NormalizedDescent(0.1, 5), mup, "`training`", "NormalizedDescent"),
    "clipping": (
        mf.Optax(optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)), 5),
        *(mup, "`transform`", "gradient"),
    ),
    "a flow with a first step": (
        mf.GradientFlow(1.0),
        *(integrable.with_large_first_step(2), "`training`", "first step", "GradientFlow"),
    ),
    "Adam with a first step": (
        mf.Optax(optax.adam(0.1), 5),
        *(integrable.with_large_first_step(2), "`training`", "first step", "Optax"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_mlp_is_not_trained_by_meets_one_sentence(name):
    training, parametrization, *words = REFUSED[name]
    with pytest.raises(ValueError) as caught:
        mf.simulate(perceptron(2, parametrization).finite(4), TASK, training)
    assert_one_sentence(str(caught.value), *words)


def test_the_loss_after_training_has_a_gradient_in_richness_and_rate(key):
    """Automatic differentiation through steps against central differences, error O(h²)."""
    system = full(2, mup).finite(4, dtype="float64")

    with double():
        start = system.init(TASK, mf.GradientDescent(0.1, 2), jax.random.key(key))

    def loss(values):
        eta, gamma = values
        leaves, structure = jax.tree_util.tree_flatten_with_path(mf.GradientDescent(0.1, 2))
        named = {"learning_rate": eta}
        training = structure.unflatten([named.get(path[-1].name, leaf) for path, leaf in leaves])
        moved = system.core()
        program = dataclasses.replace(moved.program, richness=gamma)
        moved = dataclasses.replace(moved, program=program)
        state = start
        for _ in range(2):
            state = moved.step(TASK, training, state, None)
        return moved.observe(TASK, state)["loss"]

    with double():
        at, h = jnp.array([0.1, 1.3]), 1e-5
        run = jax.jit(jax.value_and_grad(loss))
        slope = np.asarray(run(at)[1])
        difference = np.array([float(run(at + h * e)[0] - run(at - h * e)[0]) for e in np.eye(2)]) / (2 * h)
    # Third derivatives are at most a hundred times the largest slope: h² · 100/6; rounding is eps/h.
    scale = np.abs(slope).max()
    assert np.abs(slope - difference).max() <= (h**2 * 100 / 6 + 100 * np.finfo(float).eps / h) * max(
        1, scale
    )
    assert (slope != 0).all()
