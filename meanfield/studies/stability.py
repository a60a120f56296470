"""The learning rate above which gradient descent leaves the kernel regime's stable range."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

from meanfield.base.checks import instance
from meanfield.base.precision import double
from meanfield.model.problem import Problem, Samples
from meanfield.model.system import Model
from meanfield.model.training import Schedule

PARTICLES = 2048


@jax.jit
def _curvature_times(particles, problem, points, weights, v):
    """√L K √L v / P at initialisation, L = ∂²ℓ/∂f² at f_0 = 0, K the kernel of the limit."""
    samples, outputs = problem.y.shape
    f = jnp.zeros((samples, outputs))
    curvature = problem.loss.curvature(f, problem.y)  # (P, k, k)
    values, vectors = jnp.linalg.eigh(curvature)
    root = jnp.einsum("pij,pj,pkj->pik", vectors, jnp.sqrt(jnp.maximum(values, 0)), vectors)
    chi = jnp.einsum("pij,pj->pi", root, v.reshape(samples, outputs)) / samples
    # γ in the pull and 1/γ in the readout cancel: the kernel is the same at every richness.
    direction = particles.pull(points, *particles.features(points, problem.x), problem.x, chi)
    if not particles.train_readout:
        direction["a"] = jnp.zeros_like(direction["a"])
    change = jax.jvp(lambda p: particles.predict(p, weights, problem.x), (points,), (direction,))[1]
    return jnp.einsum("pij,pj->pi", root, change).ravel()


def curvature_at_start(system, problem):
    """λ_max of √L K √L / P, the curvature that a step of training at initialisation meets."""
    with double():
        points, weights = system.initial.replicates(
            _sampler(system, problem),
            jax.random.key(0),
            PARTICLES,
            problem.inputs,
            problem.outputs,
            system.bias,
            2,
        )
        points, weights = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), (points, weights))

        def product(v):
            return np.asarray(
                _curvature_times(system.particles, problem, points, weights, jnp.asarray(v.ravel()))
            )

        size = problem.y.size
        if size <= 8:
            return float(np.linalg.eigvalsh(np.stack([product(e) for e in np.eye(size)])).max())
        operator = scipy.sparse.linalg.LinearOperator((size, size), product, dtype=float)
        start = np.random.default_rng(0).standard_normal(size)
        if not product(start).any():
            return 0.0  # ARPACK takes no operator that is zero
        top = scipy.sparse.linalg.eigsh(operator, 1, v0=start, tol=1e-4, return_eigenvectors=False)
        return float(top[0])


def _sampler(system, problem):
    from meanfield.model.sampler import IID, Sobol

    return Sobol() if problem.inputs + problem.outputs < 1000 else IID()


def stability(model, problem):
    """Largest stable learning rate at initialisation, 2/λ_max.

    λ_max is the top eigenvalue of L^½ K L^½ / P with the limit kernel K(x_p, x_q) = E_{ρ_0}[∇ψ(x_p)·∇ψ(x_q)]
    and L = ∂²ℓ/∂f² at f = 0: the square loss has L = 1, the logistic loss L = 1/4. Descent with a larger
    rate grows along the top eigenvector at first; whether it diverges depends on the loss.

    Args:
        model: a `TwoLayer`.
        problem: a `Problem` or a `Stream` (whose fixed draw of one batch is used).
    Returns:
        float, a learning rate in the units of the limit; infinite where the data do not act.
    Accuracy: K from 2048 Sobol points, about a percent; the eigenvalue to 1e-4.
    Source: linear stability of descent, THEORY 7; kernel, THEORY 1.
    """
    instance("model", model, Model, "a model such as meanfield.TwoLayer(...)")
    instance("problem", problem, Samples, "a Problem or a Stream")
    system = model.limit(PARTICLES)
    system.initial.check(problem.inputs, problem.outputs, system.bias)
    return edge_of(curvature_at_start(system, problem))


def edge_of(curvature):
    """2/λ_max; infinite where the data do not act."""
    return 2.0 / curvature if curvature > 0 else math.inf


def warn_above_edge(system, problem, training):
    """One warning where the learning rate is above the stable range."""
    if not isinstance(problem, Problem):
        return
    rate = training.learning_rate
    if isinstance(rate, Schedule):
        rate = float(np.max(np.diff(training.times())))
    edge = (1 + getattr(training, "momentum", 0.0)) * edge_of(curvature_at_start(system, problem))
    if rate > edge:
        warnings.warn(
            f"The learning rate {rate:g} is above the stability edge {edge:.3g} of gradient descent at "
            "initialisation (2/λ_max of the limit kernel): training may oscillate or diverge, and finite "
            "widths approach the limit later.",
            RuntimeWarning,
            stacklevel=3,
        )
