"""Tensor programs: the training of a network written once, in terms of

    ops.matmul(W, x)               W x
    ops.transpose_matmul(W, g)     Wᵀ g
    ops.moment(x, y)               xᵀy / n, averages over neurons
    ops.update(W, left, right)     left rightᵀ / n added to what W moves along

with Gaussian matrices W named by strings, fields x (n, P) with one row a neuron, and coordinatewise JAX code
for everything else. THEORY 3.4.
"""

from meanfield.programs.arrays import Matrix, Scalar, Vector
from meanfield.programs.gaussians import Antithetic, Independent
from meanfield.programs.program import Program
from meanfield.programs.recurrent import Recurrent
from meanfield.programs.residual import ResidualMLP
from meanfield.programs.samplers import Dense, MatrixFree

__all__ = [
    "Antithetic",
    "Dense",
    "Independent",
    "Matrix",
    "MatrixFree",
    "Program",
    "Recurrent",
    "ResidualMLP",
    "Scalar",
    "Vector",
]
