"""Normalised descent: its step, its curve, and gradients too small to be squared."""

import jax
import numpy as np
import pytest
from assertions import assert_close, assert_one_sentence, assert_order

import meanfield as mf


def one_sample(loss=mf.losses.logistic):
    return mf.Problem(np.array([[0.6, 0.8]]), np.array([1.0]), loss=loss)


def run(model, problem, training, observe=()):
    """The limit of stored neurons, recorded at all steps: no draw, no error."""
    return mf.simulate(model.limit(), problem, training, observe=observe)


def cloud(count=7, inputs=2, seed=0):
    rng = np.random.default_rng(seed)
    return mf.initial.Atoms(rng.normal(size=(count, 1)), rng.normal(size=(count, inputs)))


def square_of(theta):
    return sum((v**2).sum() for v in theta.values())


def test_an_aligned_neuron_grows_by_the_exact_recursion():
    """θ = r (1, x)/√2, |x| = 1, φ = ReLU: −∇Ψ ∝ (φ(w·x), a x) ∝ θ, so that a step is θ ← θ + η θ/|θ|² and
    |θ|² ← |θ|² + 2η + η²/|θ|², f = |θ|²/2, for every loss that asks for more."""
    eta, steps = 0.3, 40
    for loss in (mf.losses.logistic, mf.losses.exponential):
        problem = one_sample(loss)
        start = mf.initial.Atoms(np.array([1.0]), problem.x)
        model = mf.TwoLayer(mf.activations.relu, initial=start)
        found = run(model, problem, mf.NormalizedDescent(eta, steps))["prediction"].values.ravel()
        square, truth = 2.0, []
        for _ in range(steps + 1):
            truth.append(square / 2)
            square = square + 2 * eta + eta**2 / square
        assert_close(found, truth, 20 * steps)


def test_a_step_has_length_eta_over_the_norm(key):
    """‖Δθ‖ ‖θ‖ = η in L²(ρ), with unequal weights, at any size of the gradient."""
    rng = np.random.default_rng(key)
    weights = rng.dirichlet(np.ones(7))
    atoms = mf.initial.Atoms(rng.normal(size=(7, 2)), rng.normal(size=(7, 3)), weights=weights)
    problem = mf.Problem(rng.normal(size=(4, 3)), rng.normal(size=(4, 2)))
    look = mf.observe.Neurons(7, at=6)
    data = run(
        mf.TwoLayer(mf.activations.tanh, initial=atoms), problem, mf.NormalizedDescent(0.25, 5), (look,)
    )
    theta = np.concatenate([data["neurons_a"].values, data["neurons_w"].values], -1)
    m = data["neurons_weight"].values[0]
    moved = np.sqrt(np.square(np.diff(theta, axis=0)).sum(-1) @ m)
    size = np.sqrt(np.square(theta[:-1]).sum(-1) @ m)
    assert_close(moved * size, np.full(5, 0.25), 200)


def test_gradients_far_below_the_root_of_the_smallest_number_still_count():
    """yf = 500: the residual is e^{−500}, its square underflows; the recursion above does not notice."""
    problem = one_sample(mf.losses.exponential)
    model = mf.TwoLayer(
        mf.activations.relu, initial=mf.initial.Atoms(np.sqrt([500.0]), np.sqrt(500.0) * problem.x)
    )
    found = run(model, problem, mf.NormalizedDescent(0.5, 1))["prediction"].values.ravel()
    assert_close(found, [500.0, 500.0 + 0.5 + 0.25 / 2000], 1000)


def test_where_every_residual_has_underflowed_nothing_moves():
    problem = one_sample(mf.losses.exponential)
    model = mf.TwoLayer(
        mf.activations.relu, initial=mf.initial.Atoms(np.sqrt([800.0]), np.sqrt(800.0) * problem.x)
    )
    data = run(model, problem, mf.NormalizedDescent(0.5, 3))
    assert int(data["first_bad_step"]) == -1
    f = data["prediction"].values
    np.testing.assert_array_equal(f, np.broadcast_to(f[:1], f.shape))


def test_the_curve_is_that_of_the_flow_to_first_order():
    """a² − |w|² is constant along the flow of ReLU neurons (THEORY 1.2), in whatever time it is run: its
    drift over a given η · step is O(η)."""

    def drift(theta):
        return (theta["a"] ** 2).sum() - (theta["w"] ** 2).sum()

    rng = np.random.default_rng(1)
    problem = mf.Problem(rng.normal(size=(5, 2)), np.sign(rng.normal(size=5)), loss=mf.losses.logistic)
    model = mf.TwoLayer(mf.activations.relu, initial=cloud())
    rates, errors = 0.1 / 2.0 ** np.arange(5), []
    for eta in rates:
        look = mf.observe.TestFunction(drift, "drift")
        values = run(model, problem, mf.NormalizedDescent(eta, round(2 / eta)), (look,))["drift"].values
        errors.append(abs(values[-1] - values[0]))
    assert_order(rates, np.array(errors), 1.0, floor=1e-13)


def test_half_the_mean_square_grows_by_eta_at_most():
    """Cauchy–Schwarz: ½‖θ‖² grows by at most η + η²/2‖θ‖²; time is η · step."""
    rng = np.random.default_rng(2)
    problem = mf.Problem(rng.normal(size=(5, 2)), np.sign(rng.normal(size=5)), loss=mf.losses.logistic)
    look = mf.observe.TestFunction(square_of, "square", at=51)
    data = run(
        mf.TwoLayer(mf.activations.relu, initial=cloud()), problem, mf.NormalizedDescent(0.2, 50), (look,)
    )
    half = data["square"].values / 2
    assert (np.diff(half) <= 0.2 + 0.02 / half[:-1] * (1 + 1e-12)).all()
    np.testing.assert_allclose(data["time"], 0.2 * np.arange(51), rtol=1e-14)


def test_equal_settings_are_one_program_and_rates_are_leaves():
    training = mf.NormalizedDescent(0.5, 10)
    leaves, structure = jax.tree.flatten(training)
    assert leaves == [0.5, 10] and jax.tree.unflatten(structure, leaves) == training
    assert repr(training) == "NormalizedDescent(learning_rate=0.5, steps=10)"


def test_wrong_arguments_get_one_sentence():
    for options in (
        {"learning_rate": 0.0, "steps": 3},
        {"learning_rate": np.inf, "steps": 3},
        {"learning_rate": 1.0, "steps": 0},
    ):
        with pytest.raises(ValueError) as raised:
            mf.NormalizedDescent(**options)
        assert_one_sentence(str(raised.value), "`steps`" if options["steps"] == 0 else "`learning_rate`")
    training = mf.NormalizedDescent(0.5, 10)
    with pytest.raises(TypeError, match="advance"):
        training.update({}, training.init({}), {}, None)
