"""What holds for every program that descends a risk, on small networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, assert_close, assert_mean

import meanfield as mf
from meanfield.base.precision import double
from meanfield.programs.arrays import Matrix, Vector
from meanfield.programs.dense import DenseReading

N = 5


def task(inputs, outputs=1, samples=3):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, inputs))
    return mf.Problem(x, rng.standard_normal((samples, outputs)))


def assert_gradient_is_that_of_the_risk(program, problem, operations):
    """Vectors move along γ²n ∂R/∂θ, matrices with entries N(0, 1/n) along γ² ∂R/∂W, by autodiff."""
    rng = np.random.default_rng(1)
    arrays = program.arrays(problem)
    shapes = {name: (N, N if isinstance(kind, Matrix) else kind.columns) for name, kind in arrays.items()}
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}

    def risk(p):
        return problem.risk(program.forward(DenseReading(p), p, problem.x).output, problem.y)

    with double():
        p = jax.tree.map(jnp.asarray, p)
        ops = DenseReading(p)
        passed = program.forward(ops, p, jnp.asarray(problem.x))
        chi = problem.residual(passed.output)
        found = {**program.gradient(ops, p, jnp.asarray(problem.x), passed, chi, 0), **ops.gradients}
        truth = jax.grad(risk)(p)
    assert set(found) == set(p)
    for name, kind in arrays.items():
        scale = program.richness**2 * (N if isinstance(kind, Vector) else 1)
        assert_close(found[name], scale * np.asarray(truth[name]), operations)


GAMMA = 1e-4


def assert_lazy_kernel(program, problem, theta):
    """f_1 = −ηΘχ_0 for an affine program at richness GAMMA, to 100 γ² of its size; the limit of an affine
    program has no sampling error, only rounding, 10⁴ eps, over γ."""
    rate = 0.3
    limit = mf.simulate(program.limit(200, 2, tolerance=0.0), problem, mf.GradientDescent(rate, 1))
    assert float(np.abs(limit.prediction_error).max()) < 1e4 * EPS / GAMMA
    found = (limit.prediction[0] - limit.prediction[1]).values / rate
    truth = theta @ (0 - problem.y) / len(problem.y)  # χ_0 of the square loss
    np.testing.assert_allclose(found, truth, rtol=0, atol=100 * GAMMA**2 * np.abs(truth).max())


def assert_mean_of_limit(program, problem):
    """Without matrices, n = 512, 24 seeds; a bias of 3 of the largest prediction over n is allowed for. The
    control: the limit a step later."""
    training = mf.GradientDescent(1.0, 4)
    limit = mf.simulate(program.limit(1024, 8), problem, training)
    networks = mf.simulate(program.finite(512, sampler=mf.MatrixFree(1e-3)), problem, training, seeds=24)
    bias = 5 * float(limit.prediction_error.max()) + 3 * float(np.abs(limit.prediction).max()) / 512
    found, truth = networks.prediction.values, limit.prediction.values
    assert_mean(found[:, [1, 3]], truth[[1, 3]], bias=bias)
    with pytest.raises(AssertionError):
        assert_mean(found[:, [1, 3]], truth[[2, 4]], bias=bias)
