"""Two-layer networks and their limit held to exact solutions, at finite width and in the limit."""

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from assertions import EPS, assert_close, assert_mean, assert_order
from cases import Neurons, atoms, neurons_of, problem, zero_problem
from reference import NumpyTwoLayer
from truths import (
    IdentityFlow,
    IdentityTwoLayer,
    KernelDescent,
    NoisyStationaryState,
    OrnsteinUhlenbeck,
    QuadraticTwoLayer,
)

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.measure import Measure

STEPS = 12


# φ = identity: the second moment closes.


def rows_of(task, step, training):
    """Which samples a step sees."""
    if training.batch_size is None:
        return slice(None)
    with double():
        x = np.asarray(task.batch(step, training.batch_size, training.batch_key)[0])
    return [int(np.flatnonzero((task.x == row).all(1))[0]) for row in x]


def schedule(step):
    return 0.2 / (1 + step)


CLOSURES = {
    "plain": ({}, {"learning_rate": 0.1}, 1),
    "bias, three outputs, decay, richness": (
        {"bias": True, "richness": 0.4},
        {"learning_rate": 0.1, "weight_decay": 0.5},
        3,
    ),
    "momentum": ({"richness": 2.0}, {"learning_rate": 0.02, "momentum": 0.8, "weight_decay": 0.1}, 1),
    "mini-batches and schedule": ({}, {"learning_rate": schedule, "batch_size": 2, "batch_key": 3}, 1),
    "fixed readout": (
        {"train_readout": False, "richness": 0.7},
        {"learning_rate": 0.1, "weight_decay": 0.3},
        2,
    ),
}


def follow_closure(truth, task, training):
    """Predictions on training and test set after 0 ... T steps."""
    seen = []
    for step in range(training.steps + 1):
        seen.append((truth.prediction(task.x), truth.prediction(task.x_test)))
        rate = training.learning_rate
        rate = float(rate(step)) if callable(rate) else rate
        truth.descend(rate, training.momentum, rows_of(task, step, training))
    return [np.stack(part) for part in zip(*seen, strict=True)]


@pytest.mark.parametrize(
    "kind, name",
    [("limit", name) for name in CLOSURES]
    + [("network", "bias, three outputs, decay, richness"), ("network", "fixed readout")],
)
def test_the_second_moment_of_an_identity_network_is_exact(kind, name):
    """A network from its own neurons, the limit from weighted atoms: S ← (I − ηQ) S (I − ηQ)ᵀ."""
    options, settings, outputs = CLOSURES[name]
    task = problem(samples=6, outputs=outputs)
    training = mf.GradientDescent(steps=STEPS, **settings)
    bias = options.get("bias", False)
    law = atoms(24, 2, outputs, bias, weighted=True)
    if kind == "network":
        model = mf.TwoLayer(mf.activations.identity, **options)
        start = Neurons(bias=bias, at=(0, STEPS))
        data = mf.simulate(model.finite(24, dtype="float64"), task, training, observe=start)
        (points, weights), (after, _) = neurons_of(data)
        data = data.isel(seed=0)
    else:
        model = mf.TwoLayer(mf.activations.identity, initial=law, **options)
        data = mf.simulate(model.limit(24), task, training)
        points, weights = law._points(), law.weights
    truth = IdentityTwoLayer(
        IdentityTwoLayer.moment_of(points, weights),
        *(task.x, task.y),
        bias=bias,
        richness=model.richness,
        weight_decay=training.weight_decay,
        train_readout=model.train_readout,
    )
    on_training, on_test = follow_closure(truth, task, training)
    # Sums over 24 neurons, 6 samples, 3 inputs and both factors of S at every one of T steps.
    operations = 2 * (24 + 6 + 3 + 10) * (STEPS + 1)
    assert_close(data["prediction"], on_training, operations)
    assert_close(data["test_prediction"], on_test, operations)
    risk = 0.5 * ((on_training - task.y) ** 2).sum(2).mean(1)
    assert_close(data["loss"], risk, 2 * operations, scale=max(risk.max(), np.square(on_training).max()))
    if kind == "limit":
        assert (data["prediction_error"] == 0).all()


def test_training_time_is_the_sum_of_learning_rates():
    training = mf.GradientDescent(schedule, STEPS)
    rates = [0.2 / (1 + step) for step in range(STEPS)]
    assert_close(training.times(), np.concatenate([[0], np.cumsum(rates)]), STEPS)
    assert_close(mf.GradientDescent(0.1, STEPS).times(), 0.1 * np.arange(STEPS + 1), 2)


# φ = identity: the infinite-width flow in d numbers.


@pytest.mark.parametrize("richness", [1.0, 0.5])
def test_the_flow_in_d_numbers_is_that_of_the_moment(richness):
    """dS/dt = −(QS + SQ) by diffrax, another integrator and (1+d)² numbers: the derivation holds."""
    task = problem()
    flow = IdentityFlow(task.x, task.y, richness=richness)
    times = np.linspace(0, 2, 5)

    def velocity(_, S, __):
        f = task.x @ S[0, 1:] / richness
        g = task.x.T @ (f - task.y[:, 0]) / 5
        Q = jnp.zeros_like(S).at[0, 1:].set(richness * g).at[1:, 0].set(richness * g)
        return -(Q @ S + S @ Q)

    with double(), jax.numpy_rank_promotion("allow"):
        found = diffrax.diffeqsolve(
            *(diffrax.ODETerm(velocity), diffrax.Dopri8(), 0.0, 2.0, 0.01, jnp.eye(3)),
            stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-12),
            saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
        )
        moments = np.asarray(found.ys)
    u, _ = flow.solve(times)
    # 1e-12 per step, some hundred steps, an amplification of e^{2·0.6}.
    for row, S in zip(u, moments, strict=True):
        assert_close(flow.moment(row), S, 1e-9 / EPS)


TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9)


def flow_data(system, tolerance, task):
    return mf.simulate(system, task, mf.GradientFlow(2.0, save=5, tolerance=tolerance))


@pytest.mark.parametrize("richness", [1.0, 0.5])
def test_gradient_flow_honours_its_tolerance_on_the_exact_flow(richness):
    """Two Gauss–Hermite nodes per coordinate have the second moments of N(0, I): the limit is exact.

    Local errors, in L²(ρ), sum to at most the tolerance; the flow lets them grow by exp ∫γ|g| at most, and
    |δf(x)| ≤ √K(x, x)/γ |δ|.
    """
    task = problem()
    flow = IdentityFlow(task.x, task.y, richness=richness)
    u, growth = flow.solve(np.linspace(0, 2, 5))
    truth = np.stack([flow.prediction(row, task.x_test) for row in u])
    slope = np.stack([flow.prediction_slope(row, task.x_test) for row in u])
    system = mf.TwoLayer(mf.activations.identity, richness=richness).limit(8, sampler=mf.Quadrature())
    errors = []
    for tolerance in TOLERANCES:
        data = flow_data(system, tolerance, task)
        error = np.abs(data["test_prediction"].values[..., 0] - truth)
        assert (error <= tolerance * np.exp(growth)[:, None] * slope + 100 * EPS).all()
        errors.append(error.max())
        assert_close(data["time"], np.linspace(0, 2, 5), 2)
    assert errors[-1] < errors[-2] < errors[-3]


@pytest.mark.parametrize("sampler", [mf.Sobol(), mf.IID()], ids=repr)
def test_drawn_particles_follow_the_exact_flow_within_their_standard_error(sampler):
    """Student's t with seven degrees of freedom for each of 3 samples at 4 times, false alarms 1e-6."""
    task = problem()
    flow = IdentityFlow(task.x, task.y)
    truth = flow.solve(np.linspace(0, 2, 5))[0][1:] @ task.x_test.T
    data = flow_data(mf.TwoLayer(mf.activations.identity).limit(2048, sampler=sampler), 1e-7, task)
    mean, error = (data[n].values[1:, :, 0] for n in ("test_prediction", "test_prediction_error"))
    # One replicate is biased by O(1/M), 1/2048 of numbers of order one.
    assert_within(mean, error, truth, degrees=7, bias=1 / 2048)
    with pytest.raises(AssertionError):
        assert_within(mean, error, 1.5 * truth, degrees=7, bias=1 / 2048)


def assert_within(mean, error, truth, degrees, bias=0.0, alpha=1e-6):
    """|mean − truth| ≤ bias + t · standard error, false alarms ≤ alpha over all entries."""
    allowed = scipy.stats.t.isf(alpha / (2 * mean.size), degrees)
    worst = np.max((np.abs(mean - truth) - bias) / error)
    assert worst <= allowed, f"off by {worst:.1f} standard errors, {allowed:.1f} allowed"


# φ = z², a = 1.


@pytest.mark.parametrize("richness, decay", [(1.0, 0.0), (0.5, 0.4)])
def test_the_second_moment_of_a_quadratic_network_with_unit_readout_is_exact(richness, decay):
    task = problem()
    law = atoms(24, weighted=True, a=np.ones(24))
    model = mf.TwoLayer(mf.activations.quadratic, initial=law, train_readout=False, richness=richness)
    data = mf.simulate(model.limit(24), task, mf.GradientDescent(0.03, STEPS, weight_decay=decay))
    moment = np.einsum("n,ni,nj->ij", law.weights, law.w, law.w)
    truth = QuadraticTwoLayer(moment, task.x, task.y, richness=richness, weight_decay=decay)
    for step in range(STEPS + 1):
        for name, x in (("prediction", task.x), ("test_prediction", task.x_test)):
            assert_close(data[name].values[step], truth.prediction(x), 2 * (24 + 5 + 2 + 10) * (step + 1))
        truth.descend(0.03)


# No data: Ornstein–Uhlenbeck.


@pytest.mark.parametrize("richness", [1.0, 1.5])
def test_noise_and_decay_alone_give_the_euler_law_of_ornstein_and_uhlenbeck(richness, key):
    """Second moments of (a, w) after 1, 5 and 20 steps: 8 networks of 4096 neurons, three coordinates.

    Every neuron starts at one atom: mean and covariance are known exactly. A covariance is known to
    √(2/32768) = 0.8%; dropping the step's own correction ηc/2 = 5% or 11% would be six errors or more away.
    """
    law = mf.initial.Atoms(a=[2.0], w=[[-1.0, 0.5]])
    model = mf.TwoLayer(mf.activations.tanh, initial=law, richness=richness)
    truth = OrnsteinUhlenbeck(temperature=0.5, weight_decay=1.0, richness=richness)
    looks = (1, 5, 20)
    data = mf.simulate(
        *(model.finite(4096), zero_problem(), mf.Langevin(0.1, 20, 0.5, 1.0)),
        seeds=8,
        key=key,
        observe=Neurons(at=looks),
        record=[0, 20],
    )
    theta = np.concatenate([data["a"].values, data["w"].values], -1).astype(float)  # (seed, look, n, 3)
    mean, variance, step = np.array([2.0, -1.0, 0.5]), 0.0, 0
    for position, look in enumerate(looks):
        while step < look:
            mean, variance = truth.descend(0.1, mean, variance)
            step += 1
        centred = theta[:, position].reshape(-1, 3) - mean
        assert_mean(centred, 0.0)
        assert_mean(centred[:, :, None] * centred[:, None], variance * np.eye(3))
    # Negative control: the law of the continuous process at the same time.
    _, other = truth.moments(2.0, mean, 0.0)
    with pytest.raises(AssertionError):
        assert_mean(centred**2, other)
    # Different networks have different noise.
    products = (theta[0, -1] - mean) * (theta[1, -1] - mean)
    assert_mean(products, 0.0)
    assert (data["prediction"] == 0).all()


def test_the_noise_of_a_limit_has_the_same_law(key):
    """8 replicates of 2048 particles after 20 steps, against the Euler law started from N(0, I)."""
    model = mf.TwoLayer(mf.activations.tanh)
    training = mf.Langevin(0.1, 20, 0.5, 1.0)
    data = mf.simulate(model.limit(2048), zero_problem(), training, key=key, observe=Neurons(at=(0, 20)))
    truth = OrnsteinUhlenbeck(0.5, 1.0)
    variance = 1.0
    for _ in range(20):
        _, variance = truth.descend(0.1, 0.0, variance)
    assert abs(variance - truth.stationary(0.1)) < abs(1 - truth.stationary(0.1)) * math.exp(-3.5)
    # The observable of a limit is the mean over replicates of each particle: variance 1/8 of one draw.
    theta = np.concatenate([data["a"].values[1], data["w"].values[1]], -1)
    assert_mean(8 * theta[:, :, None] * theta[:, None], variance * np.eye(3))


# Homogeneous φ: balance.


def balance(points, degree):
    """D_i = p|a|² − |w|² − b²."""
    result = degree * np.square(points["a"]).sum(1) - np.square(points["w"]).sum(1)
    return result - np.square(points["b"]) if "b" in points else result


def test_one_gradient_step_changes_the_balance_of_every_relu_neuron_exactly():
    """D ← (1 − ηγ²λ)²D + η²(|∂_a|² − |∂_w|² − (∂_b)²), ∂ the data part of ∇Ψ.

    a·∂_a = w·∂_w + b ∂_b for φ homogeneous of degree one, so the terms of first order in η cancel.
    """
    task = problem(outputs=2)
    model = mf.TwoLayer(mf.activations.relu, bias=True, richness=0.7, initial=mf.initial.Gaussian(bias=1.0))
    training = mf.GradientDescent(0.1, 6, weight_decay=0.2)
    system = model.finite(24, dtype="float64")
    data = mf.simulate(system, task, training, observe=Neurons(bias=True, at=7))
    looks = neurons_of(data)
    keep = (1 - 0.1 * 0.7**2 * 0.2) ** 2
    assert len(looks) == 7
    for (points, weights), (after, _) in zip(looks, looks[1:], strict=False):
        gradient = NumpyTwoLayer(points, weights, "relu", richness=0.7).data_gradient(task.x, task.y)
        truth = keep * balance(points, 1) + 0.01 * balance(gradient, 1)
        # Cancelling squares of order |θ|², each θ with the rounding of a sum over neurons and samples.
        scale = np.square(points["a"]).sum(1).max() + np.square(points["w"]).sum(1).max()
        assert_close(balance(after, 1), truth, 24 + 5 + 20, scale=scale)


@pytest.mark.parametrize("name, degree", [("relu", 1), ("quadratic", 2)])
def test_the_flow_conserves_the_balance_of_every_homogeneous_neuron(name, degree):
    """Drift within 2 √E(p²|a|² + |w|² + b²) · tolerance; with weight decay D falls as e^{−2λt}.

    A local error δ changes D by 2(p a·δa − w·δw − b δb); the flow itself changes nothing, so drifts add up.
    What a step errs at a kink, δw = εx and δb = ε with w·x + b = 0, changes D in second order only.
    """
    task = problem(scale=0.5)
    model = mf.TwoLayer(getattr(mf.activations, name), bias=True, initial=mf.initial.Gaussian(0.7, 0.7, 0.7))
    observe = Neurons(bias=True, at=3)
    drifts = []
    for tolerance, decay in ((1e-4, 0.0), (1e-6, 0.0), (1e-6, 0.3), (1e-8, 0.0)):
        training = mf.GradientFlow(1.0, save=3, tolerance=tolerance, weight_decay=decay)
        looks = neurons_of(mf.simulate(model.finite(24, dtype="float64"), task, training, observe=observe))
        start, end = balance(looks[0][0], degree), balance(looks[-1][0], degree)
        drifts.append(np.abs(end - math.exp(-2 * decay) * start).mean())
        scales = {"a": degree, "w": 1, "b": 1}
        size = max(math.sqrt(sum(np.square(scales[n] * p[n]).sum() for n in p) / 24) for p, _ in looks)
        assert drifts[-1] <= 2 * size * tolerance + 100 * EPS * size**2
    assert drifts[3] < drifts[0]


# Energy.


def free_energy(look, loss, decay):
    points, weights = look
    return loss + decay / 2 * sum(weights @ np.square(v.reshape(len(v), -1)).sum(1) for v in points.values())


def dissipation(look, task, richness, decay):
    """(1/γ²) E|∇Ψ|²."""
    points, weights = look
    network = NumpyTwoLayer(points, weights, "tanh", richness=richness)
    gradient = network.data_gradient(task.x, task.y)
    full = [gradient[n] + richness**2 * decay * points[n] for n in points]
    return sum(weights @ np.square(g.reshape(len(g), -1)).sum(1) for g in full) / richness**2


def test_the_energy_of_the_flow_falls_at_the_rate_of_the_theory_at_any_width():
    """dF/dt = −(1/γ²) E|∇Ψ|² for 7 neurons: central differences converge to it with order two.

    θ' = −∇Ψ = −γ² ∇(δF/δρ) with F = R + (λ/2)E|θ|².
    """
    task, richness, decay = problem(), 0.8, 0.3
    model = mf.TwoLayer(mf.activations.tanh, richness=richness)
    centre, offsets, spacing, tolerance = 20, np.array([8, 4, 2, 1]), 0.025, 1e-11
    looks = tuple(sorted({centre, *(centre - offsets), *(centre + offsets)}))
    data = mf.simulate(
        model.finite(7, dtype="float64"),
        task,
        mf.GradientFlow(1.0, save=41, tolerance=tolerance, weight_decay=decay),
        observe=Neurons(at=looks),
    )
    neurons = dict(zip(looks, neurons_of(data), strict=True))
    loss = data["loss"].values[0]
    energy = {step: free_energy(look, loss[step], decay) for step, look in neurons.items()}
    rate = -dissipation(neurons[centre], task, richness, decay)
    errors = [
        abs((energy[int(centre + m)] - energy[int(centre - m)]) / (2 * m * spacing) - rate) for m in offsets
    ]
    assert_order(offsets * spacing, errors, 2, floor=tolerance / spacing)
    assert np.all(np.diff([energy[s] for s in looks]) < 0)


def test_descent_follows_the_energy_with_its_first_correction():
    """Steps of size η stay O(η²) from the flow of F + (η/4) E|∇Ψ|², O(η) from the flow of F itself."""
    task = problem()
    system = mf.TwoLayer(mf.activations.tanh).finite(7, dtype="float64")
    time, counts = 1.0, np.array([8, 16, 32, 64])
    first = mf.simulate(system, task, mf.GradientDescent(time, 1), observe=Neurons(at=(0, 1)))
    (points, _), _ = neurons_of(first)
    start = np.concatenate([points["a"].ravel(), points["w"].ravel()])
    n = 7

    def predict(theta, x):
        return jnp.tanh(theta[n:].reshape(n, 2) @ x.T).T @ theta[:n] / n

    def risk(theta):
        return 0.5 * jnp.mean((predict(theta, task.x) - task.y[:, 0]) ** 2)

    def corrected(theta, eta):
        # E|∇Ψ|² = n |∂R/∂θ|², as ∇Ψ is n times the gradient.
        return risk(theta) + eta / 4 * n * jnp.sum(jax.grad(risk)(theta) ** 2)

    velocity = jax.jit(lambda theta, eta: -n * jax.grad(corrected)(theta, eta))
    with double():

        def flow(eta):
            solved = scipy.integrate.solve_ivp(
                lambda _, theta: np.asarray(velocity(theta, eta)),
                *((0, time), start),
                method="DOP853",
                rtol=1e-11,
                atol=1e-12,
            )
            return np.asarray(predict(solved.y[:, -1], task.x_test))

        plain = flow(0.0)
        modified = [flow(time / count) for count in counts]
    descents = []
    for count in map(int, counts):
        data = mf.simulate(system, task, mf.GradientDescent(time / count, count), record=[count])
        descents.append(data["test_prediction"].values[0, 0, :, 0])
    far = [np.abs(d - plain).max() for d in descents]
    near = [np.abs(d - m).max() for d, m in zip(descents, modified, strict=True)]
    assert_order(time / counts, far, 1, floor=1e-11)
    assert_order(time / counts, near, 2, floor=1e-11)


# Noise and data: the stationary state.

LINE = mf.Problem([[-1.0], [0.5], [1.5]], [-1.0, 0.5, 1.0], x_test=[[1.0], [-2.0]])


def test_the_stationary_state_solves_its_equations_and_maximises_the_dual():
    """Self-check of the truth: F(ρ*) term by term equals the dual at χ, which is its maximum."""
    truth = NoisyStationaryState(LINE.x, LINE.y, np.tanh, 0.2, 1.0)
    np.testing.assert_allclose(truth.updated(truth.chi), truth.chi, rtol=0, atol=1e-12)
    best = truth.dual(truth.chi)
    assert abs(truth.free_energy() - best) < 1e-12
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert truth.dual(truth.chi + 0.01 * rng.standard_normal(3)) < best
    finer = NoisyStationaryState(LINE.x, LINE.y, np.tanh, 0.2, 1.0, nodes=2401)
    np.testing.assert_allclose(finer.chi, truth.chi, rtol=0, atol=1e-13)


def test_long_noisy_training_reaches_the_stationary_state(key):
    """f at time 8 from steps η = 0.1 and 0.05, extrapolated: 2f(η/2) − f(η) has an error O(η²).

    Where Ψ has curvature c the Euler step multiplies variances by 1/(1 − ηc/2), and the extrapolated one by
    1 − (ηc)²/8 to leading order; c < 1.4 here (λ = 1 and the data): 0.25%. What is left of the start is
    e^{−λt} times less. 16 replicates: Student's t with 15 degrees of freedom.
    """
    truth = NoisyStationaryState(LINE.x, LINE.y, np.tanh, 0.2, 1.0)
    system = mf.TwoLayer(mf.activations.tanh).limit(4096, replicates=16)
    runs = [
        mf.simulate(system, LINE, mf.Langevin(8 / steps, steps, 0.2, 1.0), key=key, record=[steps])
        for steps in (80, 160)
    ]
    values = [run["test_prediction"].values[0, :, 0] for run in runs]
    errors = [run["test_prediction_error"].values[0, :, 0] for run in runs]
    mean = 2 * values[1] - values[0]
    error = np.sqrt(4 * errors[1] ** 2 + errors[0] ** 2)
    expected = truth.prediction(LINE.x_test)
    bias = 0.0025 * np.abs(expected).max() + math.exp(-8) * np.abs(expected).max() + 1 / 4096
    assert_within(mean, error, expected, degrees=15, bias=bias)
    for temperature in (0.1, 0.4):  # a wrong factor of two in the noise is seen
        other = NoisyStationaryState(LINE.x, LINE.y, np.tanh, temperature, 1.0).prediction(LINE.x_test)
        with pytest.raises(AssertionError):
            assert_within(mean, error, other, degrees=15, bias=bias)


# Richness: the lazy limit.


def test_lazy_training_approaches_the_frozen_kernel_quadratically():
    """ρ_0 symmetric in a: the error against f ← f − ηKχ is O(γ²); K from the same Gauss–Hermite rule."""
    task = mf.Problem([[-1.0], [0.3], [0.8], [2.0]], [1.0, -1.0, 0.5, 0.7])
    gammas = 2.0 ** -np.arange(2, 7)
    training = mf.GradientDescent(0.3, 20)
    sampler = mf.Quadrature(nodes=10)
    with double():
        points, weights = mf.initial.Gaussian().replicates(sampler, None, 100, 1, 1, False, 2)
        measure = Measure({n: jnp.asarray(v[0]) for n, v in points.items()}, jnp.asarray(weights[0]))
        particles = mf.TwoLayer(mf.activations.tanh).particles()
        kernel = np.asarray(particles.tangent_kernel(measure, task.x, task.x))[:, 0, :, 0]
    truth = KernelDescent(kernel, task.y)
    for _ in range(20):
        truth.descend(0.3)
    errors = []
    for gamma in gammas:
        system = mf.TwoLayer(mf.activations.tanh, richness=float(gamma)).limit(100, sampler=sampler)
        f = mf.simulate(system, task, training, record=[0, 20])["prediction"].values
        assert np.abs(f[0]).max() < 100 * EPS / gamma
        errors.append(np.abs(f[1] - truth.f).max())
    assert_order(gammas, errors, 2, floor=100 * 20 * EPS / gammas[-1])
    assert errors[0] > 1e-3  # rich training is not lazy: the comparison means something


def test_a_lazy_network_of_finite_width_moves_by_its_own_kernel():
    """γ → 0 at n = 16 neurons in pairs: f ← f − ηK_nχ with the tangent kernel of its own neurons."""
    task = problem()
    model = mf.TwoLayer(mf.activations.gelu, richness=1e-5, initial=mf.initial.Gaussian(paired=True))
    training = mf.GradientDescent(0.1, STEPS)
    data = mf.simulate(model.finite(16, dtype="float64"), task, training, observe=Neurons(at=(0, STEPS)))
    (points, weights), (after, _) = neurons_of(data)
    with double():
        measure = Measure({n: jnp.asarray(v) for n, v in points.items()}, jnp.asarray(weights))
        kernel = np.asarray(model.particles().tangent_kernel(measure, task.x, task.x))[:, 0, :, 0]
    truth = KernelDescent(kernel, task.y)
    for step in range(STEPS + 1):
        # In pairs ±a the correction is O(γ²) = 1e-10 of numbers of order one; rounding is eps/γ = 2e-11 · n.
        assert np.abs(data["prediction"].values[0, step] - truth.f).max() < 100 * 1e-10 + 16 * 20 * EPS / 1e-5
        truth.descend(0.1)
    assert max(np.abs(after[n] - points[n]).max() for n in points) < 20 * 1e-5
