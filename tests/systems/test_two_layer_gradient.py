"""The one formula everything else follows from: ∇Ψ against automatic differentiation of the risk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import assert_close
from cases import atoms, problem

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model import activation as activations
from meanfield.model.measure import Measure

NAMES = [n for n, v in vars(activations).items() if isinstance(v, mf.Activation)]
NEURONS = 48
DECAY = 0.3


def particles_and_points(model, outputs=1):
    """Equations of motion and weighted neurons, (particles, points, weights)."""
    law = atoms(NEURONS, 2, outputs, model.bias, weighted=True)
    points = {n: jnp.asarray(v) for n, v in law._points().items()}
    return model.particles(), points, jnp.asarray(law.weights)


def objective(model, task, points, weights):
    """R + (λ/2) Σ m|θ|², one particle and one sample at a time, f = (1/γ) Σ m_i a_i φ(w_i·x + b_i)."""

    def neuron(point, x):
        return point["a"] * model.activation.function(jnp.dot(point["w"], x) + point.get("b", 0.0))

    def f(x):
        values = jax.vmap(lambda point: neuron(point, x))(points)  # (n, k)
        return jnp.sum(weights[:, None] * values, 0) / model.richness

    predictions = jax.vmap(f)(jnp.asarray(task.x))
    penalty = sum((weights @ jnp.square(v.reshape(len(v), -1))).sum() for v in points.values())
    return task.loss.value(predictions, jnp.asarray(task.y)).mean() + DECAY / 2 * penalty


def compare(model, task, chunk=None):
    """∇Ψ(θ_i) = (γ²/m_i) ∂/∂θ_i of the objective; n times the gradient where γ = 1 and m_i = 1/n."""
    with double():
        particles, points, weights = particles_and_points(model, task.outputs)
        particles = dataclasses.replace(particles, chunk=chunk)
        batch = task.batch(0)
        gradient, f = jax.jit(lambda p, m: particles.gradient(p, m, task, batch, DECAY))(points, weights)
        expected = jax.jit(jax.grad(lambda p: objective(model, task, p, weights)))(points)
        for name, value in expected.items():
            scaled = model.richness**2 * value / weights.reshape(-1, *[1] * (value.ndim - 1))
            # Sums over n neurons, P samples, d inputs, a dozen operations in φ; 1/m_i scales their rounding.
            operations = (NEURONS + task.samples + 2 + 12) / float(weights.min())
            assert_close(gradient[name], scaled, operations)
        assert f.shape == (task.samples, task.outputs)
    return jax.tree.map(np.asarray, gradient), np.asarray(f)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_risk_for_every_activation(name):
    compare(mf.TwoLayer(getattr(activations, name)), problem(test_samples=0))


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_it_is_with_a_bias_and_three_outputs_and_any_richness(name):
    model = mf.TwoLayer(getattr(activations, name), bias=True, richness=0.3)
    compare(model, problem(outputs=3, test_samples=0))


@pytest.mark.parametrize("loss", ["logistic", "exponential", "softmax", "huber"])
def test_it_is_for_every_loss(loss):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 5) if loss == "softmax" else rng.choice([-1.0, 1.0], (5, 3))
    task = mf.Problem(rng.standard_normal((5, 2)), y, loss=getattr(mf.losses, loss))
    compare(mf.TwoLayer(mf.activations.tanh, bias=True), task)


@pytest.mark.parametrize("outputs, bias", [(1, False), (3, True)])
def test_chunks_do_not_change_it_beyond_rounding(outputs, bias):
    model = mf.TwoLayer(mf.activations.tanh, bias=bias)
    task = problem(outputs=outputs, test_samples=0)
    whole, f = compare(model, task)
    parts, g = compare(model, task, chunk=16)
    # The chunks change the order of a sum of n terms, which χ then passes on to every gradient.
    assert_close(g, f, NEURONS)
    for name in whole:
        assert_close(parts[name], whole[name], 2 * NEURONS)


def test_without_training_the_readout_only_the_rest_moves():
    """One step leaves a as it was and moves w as if a could move."""
    task = problem(test_samples=0)
    training = mf.GradientDescent(0.1, 1, weight_decay=DECAY)
    after = []
    with double():
        for train_readout in (True, False):
            particles, points, weights = particles_and_points(
                mf.TwoLayer(mf.activations.tanh, train_readout=train_readout)
            )
            state = particles.start(training, points, weights)
            assert set(state.parameters) == ({"a", "w"} if train_readout else {"w"})
            after.append(particles.measure(jax.jit(particles.step)(task, training, state, None)).points)
        np.testing.assert_array_equal(after[1]["a"], points["a"])
        assert (after[0]["a"] != points["a"]).all()
        assert_close(after[1]["w"], after[0]["w"], 2)


@pytest.mark.parametrize(
    "outputs, bias, train_readout", [(1, False, True), (3, True, True), (3, True, False)]
)
def test_the_tangent_kernel_is_the_mean_of_products_of_gradients(outputs, bias, train_readout):
    """K(x, x') = Σ m_i ∇ψ(θ_i; x)·∇ψ(θ_i; x'), ψ's gradients by automatic differentiation."""
    model = mf.TwoLayer(mf.activations.gelu, bias=bias, richness=0.3, train_readout=train_readout)
    task = problem(outputs=outputs)
    with double():
        particles, points, weights = particles_and_points(model, outputs)

        def psi(point, x):
            return point["a"] * model.activation.function(jnp.dot(point["w"], x) + point.get("b", 0.0))

        @jax.jit
        def by_definition(first, second):
            def gradients(x):  # (n, P, k, D)
                found = jax.vmap(lambda p: jax.vmap(lambda x: jax.jacobian(psi)(p, x))(x))(points)
                names = [n for n in found if train_readout or n != "a"]
                return jnp.concatenate([found[n].reshape(NEURONS, len(x), outputs, -1) for n in names], -1)

            def phi(x):  # (n, P)
                return model.activation.function(
                    points["w"] @ x.T + points.get("b", jnp.zeros(NEURONS))[:, None]
                )

            kernel = jnp.einsum("n,npkD,nqcD->pkqc", weights, gradients(first), gradients(second))
            return kernel, jnp.einsum("n,np,nq->pq", weights, phi(first), phi(second))

        truth, features_truth = by_definition(jnp.asarray(task.x), jnp.asarray(task.x_test))
        found, features = jax.jit(
            lambda m, x, z: (particles.tangent_kernel(m, x, z), particles.feature_kernel(m, x, z))
        )(Measure(points, weights), task.x, task.x_test)
        assert_close(found, truth, NEURONS + 20)
        assert_close(features, features_truth, NEURONS + 20)
        assert found.shape == (5, outputs, 3, outputs) and features.shape == (5, 3)
