"""Conjugate gradients for a positive definite matrix that is read row block by row block."""

import dataclasses
import math

import numpy as np
import scipy.linalg

from meanfield.base.checks import integer, number
from meanfield.base.errors import ComputationError
from meanfield.base.text import Concise

ROWS = 2**24  # entries read at once, 128 MiB in float64


@dataclasses.dataclass(frozen=True, repr=False)
class ConjugateGradients(Concise):
    """(M + λI)^{-1} b at infinite time by preconditioned conjugate gradients, M read row block by row block.

    The preconditioner is LLᵀ + δI, L the Cholesky factor stopped after `rank` pivots, δ the mean of what the
    diagonal has left, or λ if that is larger. M may be a file-backed array.

    Args:
        tolerance: |residual| / |b| to reach, column by column.
        rank: pivots of the preconditioner.
        steps: iterations allowed.
    Cost: P² (k + P') operations an iteration, P · rank² once, (rank + 4 (k + P')) P numbers.
    Source: Hestenes & Stiefel (1952); pivoted Cholesky: Harbrecht, Peters & Schneider (2012).
    """

    tolerance: float = 1e-8
    rank: int = 64
    steps: int = 1000

    def __post_init__(self):
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance, above=0, below=1))
        object.__setattr__(self, "rank", integer("rank", self.rank, 0))
        object.__setattr__(self, "steps", integer("steps", self.steps, 1))

    def solve(self, matrix, shift, b):
        """(M + shift I)^{-1} b, (P, m)."""
        precondition = _preconditioner(matrix, shift, self.rank)
        x, r = np.zeros_like(b), b.copy()
        z = precondition(r)
        p, rz = z.copy(), np.sum(r * z, 0)
        goal = self.tolerance * np.linalg.norm(b, axis=0)
        for _ in range(self.steps):
            size = np.linalg.norm(r, axis=0)
            active = size > goal
            if not active.any():
                return x
            Ap = row_product(matrix, p) + shift * p
            step = np.where(active, rz / np.where(active, np.sum(p * Ap, 0), 1), 0)
            x += step * p
            r -= step * Ap
            z = precondition(r)
            rz, before = np.sum(r * z, 0), rz
            p = z + np.where(active, rz / np.where(active, before, 1), 0) * p
        worst = np.max(np.linalg.norm(r, axis=0) / np.maximum(np.linalg.norm(b, axis=0), 1e-300))
        raise ComputationError(
            f"Conjugate gradients did not converge in {self.steps} steps (relative residual {worst:.1e}). "
            "The kernel is likely too close to singular; a ridge, more `steps` or a larger `rank` helps."
        )


def _rows(matrix):
    """A matrix as float64 blocks of at most ROWS entries, each with its first row."""
    block = max(1, ROWS // matrix.shape[1])
    for first in range(0, matrix.shape[0], block):
        yield first, np.asarray(matrix[first : first + block], float)


def row_product(matrix, v):
    """matrix @ v, in float64."""
    return np.concatenate([rows @ v for _, rows in _rows(matrix)])


def _preconditioner(matrix, shift, rank):
    """v → (LLᵀ + δI)^{−1} v."""
    diagonal = np.concatenate([np.diagonal(rows, first) for first, rows in _rows(matrix)])
    start, L = diagonal.max(), np.zeros((len(diagonal), 0))
    for _ in range(min(rank, len(diagonal))):
        pivot = int(diagonal.argmax())
        if diagonal[pivot] <= 1e-14 * start:
            break
        column = (np.asarray(matrix[pivot], float) - L @ L[pivot]) / math.sqrt(diagonal[pivot])
        L = np.concatenate([L, column[:, None]], 1)
        diagonal = np.maximum(diagonal - column**2, 0)
        diagonal[pivot] = 0
    delta = max(shift, diagonal.mean(), 1e-14 * start)
    inner = scipy.linalg.cho_factor(delta * np.eye(L.shape[1]) + L.T @ L)
    return lambda v: (v - L @ scipy.linalg.cho_solve(inner, L.T @ v)) / delta
