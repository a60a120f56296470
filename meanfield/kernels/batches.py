"""Mini-batches in the kernel regime: which samples a step sees, and what they add up to.

The outputs are f_0 − Θ C, C the summed residuals. A step adds η χ to the rows of its batch, so that for the
square loss C is linear in f_0 − y and the law stays Gaussian; the order of the data is not part of it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import double
from meanfield.model.problem import Problem
from meanfield.model.training import Schedule


def is_batched(training, samples):
    """Whether steps see less than the training set."""
    size = getattr(training, "batch_size", None)
    return size is not None and size < samples


def batches(training, samples):
    """Rows of the training set that every step sees, (T, B), as `Problem.batch` has them."""
    numbers = np.arange(samples, dtype=float)[:, None]
    problem = Problem(numbers, numbers)

    def rows(step):
        return problem.batch(step, training.batch_size, training.batch_key)[0][:, 0]

    with double():
        return np.asarray(jax.jit(jax.vmap(rows))(jnp.arange(training.steps))).astype(int)


def summed_residuals(theta, residuals, training, steps, ridge=0.0):
    """M_t R at the given steps, in turn, for R = `residuals` (P, m), where C_t = M_t (f_0 − y).

        v ← μv + (R − ΘM)_batch / B − λM,    M ← M + ηv.

    Args:
        theta: Θ, (P, P).
        residuals: R; the identity gives M itself.
        training: `GradientDescent` with a batch size.
        steps: increasing, (n,).
        ridge: λ.
    Cost: B P m for each step.
    """
    samples, last = len(theta), int(max(steps))
    order = batches(training, samples)
    scheduled = isinstance(training.learning_rate, Schedule)
    rates = np.diff(training.times()) if scheduled else np.full(training.steps, training.learning_rate)
    M, v = np.zeros_like(residuals), np.zeros_like(residuals)
    wanted = {int(step) for step in steps}
    if 0 in wanted:
        yield M.copy()
    for step in range(last):
        rows = order[step]
        chi = (residuals[rows] - theta[rows] @ M) / len(rows)
        v = training.momentum * v - ridge * M
        v[rows] += chi
        M = M + rates[step] * v
        if step + 1 in wanted:
            yield M.copy()
