"""A second model with a response: all that is asked of it, and no edit anywhere else.  THEORY 1.1."""

import dataclasses

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import assert_close

import meanfield as mf
from meanfield.base.precision import double
from meanfield.base.pytree import pytree
from meanfield.model.system import Law, Model
from meanfield.studies.response import control_cell

ETA, STEPS, KEY = 0.3, 6, 5
RECORD = np.array([0, 2, STEPS])


@pytree(eq=False)
class Setting:
    """f(x) = ∫ a dρ · x_1, trained by full batches: all a move alike."""

    problem: object
    training: object

    def start(self, points):
        return points, self.training.init(points), {}

    def move(self, parameters, memory, fixed, chi):
        pull = jnp.sum(chi[:, 0] * self.problem.x[:, 0])
        gradient = jax.tree.map(lambda a: jnp.full_like(a, pull), parameters)
        return self.training.update(gradient, memory, parameters, None)

    def predict(self, parameters, fixed, weights):
        return jnp.sum(weights * parameters["a"]) * self.problem.x[:, :1]

    look = predict


@dataclasses.dataclass(frozen=True)
class Averages:
    """Standard normal a."""

    particles: int
    replicates: int
    random, sampled, paired = True, True, False

    def check(self, problem, training):
        pass

    def draw(self, problem, key):
        shape = self.replicates, self.particles
        return {"a": np.asarray(jax.random.normal(key, shape))}, np.full(shape, 1 / self.particles)

    def setting(self, problem, training, points):
        return Setting(problem.astype("float64"), training)

    def networks(self, network, problem, keys):
        for key in keys:  # one at a time
            a = jax.random.normal(key, (1, network))
            yield {"a": a}, jnp.full((1, network), 1 / network), 1


@dataclasses.dataclass(frozen=True, repr=False)
class Average(Model):
    responds = True

    def responding(self, particles, replicates, sampler):
        return Averages(particles, replicates)

    def laws(self):
        return (Law("fluctuation", "width", -0.5, "here"),)


def shrinking(problem):
    """(1 − η Σ_p x_p1²/P)^t x_p1: what a deviation 1 of the mean of a at step 0 is at step t, (S, P)."""
    x = problem.x[:, 0]
    return (1 - ETA * np.mean(x**2)) ** RECORD[:, None] * x


@pytest.mark.parametrize("matrix", [True, False])
def test_spread_and_bias_of_a_linear_model_are_exact(matrix, monkeypatch):
    """√n (f_n − f) has the standard deviation of one a times `shrinking`; f is linear in ρ: no bias. By K
    random directions the variance is Σ_k g_k²/K times that, g standard normal: alike at all steps."""
    if not matrix:
        monkeypatch.setattr("meanfield.studies.response.MATRIX", 0)
    problem = cases.problem(samples=3, test_samples=0)
    response = {"particles": 32, "replicates": 2, "draws": 200, "bias_draws": 8}
    found = mf.fluctuation(
        Average(), problem, mf.GradientDescent(ETA, STEPS), record=RECORD, key=KEY, **response
    )
    with double():
        a = Averages(32, 2).draw(problem, jax.random.fold_in(jax.random.key(KEY), 0x726573))[0]["a"]
    truth = np.sqrt(a.var(1).mean()) * np.abs(shrinking(problem))
    std = found["prediction_std"].values[..., 0]
    if not matrix:
        share = std[0, 0] / truth[0, 0]
        assert abs(share - 1) < 4.9 / np.sqrt(2 * 200)  # false alarms 1e-6
        truth = share * truth
    assert_close(std, truth, 1e3)
    np.testing.assert_allclose(found["prediction_bias"].values, 0, atol=1e-12)


def test_the_control_of_a_linear_model_is_all_that_a_network_is_off():
    """Mean of a over the network minus that over the limit's particles, times `shrinking`."""
    problem = cases.problem(samples=3, test_samples=0)
    response = mf.Response(32, 4, 2)
    prepared = response.prepare(Average(), problem, mf.GradientDescent(ETA, STEPS), KEY, 1e8)
    found = control_cell(prepared, 7, [0, 4], KEY, RECORD)["prediction_control"].values[..., 0]
    with double():
        keys = [jax.random.split(jax.random.fold_in(jax.random.key(KEY), seed))[0] for seed in (0, 4)]
        means = np.array([float(jax.random.normal(key, (1, 7)).mean()) for key in keys])
    off = means - prepared.points["a"][0].mean()
    assert_close(found, off[:, None, None] * shrinking(problem), 1e3)


def test_a_model_without_a_response_is_refused():
    problem, training = cases.problem(), mf.GradientDescent(ETA, STEPS)
    model = mf.MLP(1, mf.activations.tanh, mf.parametrizations.ntk)
    with pytest.raises(TypeError, match="Argument `model` must be one whose limit has a response"):
        mf.fluctuation(model, problem, training)
