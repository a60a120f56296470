"""The learning rate above which gradient descent leaves the kernel regime's stable range."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

from meanfield.base.checks import fail, instance
from meanfield.base.precision import double
from meanfield.model.problem import Problem, Samples
from meanfield.model.system import Model
from meanfield.model.training import Schedule


def curvature_at_start(model, problem):
    """λ_max of √L K √L / P, the curvature that a step of training at initialisation meets, with
    L = ∂²ℓ/∂f² at f_0 = 0 and K the kernel of a model or a system; None where there is no such kernel."""
    with double():
        kernel = model.initial_kernel(problem)
        if kernel is None:
            return None
        samples, outputs = problem.y.shape
        curvature = problem.loss.curvature(jnp.zeros((samples, outputs)), problem.y)  # (P, k, k)
        values, vectors = np.linalg.eigh(np.asarray(curvature))
        root = np.einsum("pij,pj,pkj->pik", vectors, np.sqrt(np.maximum(values, 0)), vectors)

        def product(v):
            chi = np.einsum("pij,pj->pi", root, v.reshape(samples, outputs)) / samples
            return np.einsum("pij,pj->pi", root, np.asarray(kernel(chi))).ravel()

        size = problem.y.size
        if size <= 8:
            return float(np.linalg.eigvalsh(np.stack([product(e) for e in np.eye(size)])).max())
        operator = scipy.sparse.linalg.LinearOperator((size, size), product, dtype=float)
        start = np.random.default_rng(0).standard_normal(size)
        if not product(start).any():
            return 0.0  # ARPACK takes no operator that is zero
        top = scipy.sparse.linalg.eigsh(operator, 1, v0=start, tol=1e-4, return_eigenvectors=False)
        return float(top[0])


def stability(model, problem):
    """Largest stable learning rate at initialisation, 2/λ_max.

    λ_max is the top eigenvalue of L^½ K L^½ / P with the limit kernel K, for TwoLayer
    E_{ρ_0}[∇ψ(x_p)·∇ψ(x_q)], and L = ∂²ℓ/∂f² at f = 0: the square loss has L = 1, the logistic loss 1/4.
    Descent with a larger rate grows along the top eigenvector at first; whether it diverges depends on the
    loss.

    Args:
        model: a `TwoLayer`, or an `MLP` whose hidden fields are of order one at the start.
        problem: a `Problem` or a `Stream` (whose fixed draw of one batch is used).
    Returns:
        float, a learning rate in the units of the limit; infinite where the data do not act.
    Accuracy: K of a TwoLayer from 2048 Sobol points, about a percent; the eigenvalue to 1e-4.
    Source: linear stability of descent, THEORY 7; kernel, THEORY 1 and 3.1.
    """
    instance("model", model, Model, "a model such as meanfield.TwoLayer(...)")
    instance("problem", problem, Samples, "a Problem or a Stream")
    curvature = curvature_at_start(model, problem)
    if curvature is None:
        fail("model", "one whose kernel at initialisation has a limit", model)
    return edge_of(curvature)


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
    curvature = curvature_at_start(system, problem)
    if curvature is None:
        return
    edge = (1 + getattr(training, "momentum", 0.0)) * edge_of(curvature)
    if rate > edge:
        warnings.warn(
            f"The learning rate {rate:g} is above the stability edge {edge:.3g} of gradient descent at "
            "initialisation (2/λ_max of the limit kernel): training may oscillate or diverge, and finite "
            "widths approach the limit later.",
            RuntimeWarning,
            stacklevel=3,
        )
