"""The dense reading of a program: every matrix is there, n × n."""

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST


class DenseReading:
    """`ops` over matrices {name: W (n, n)}; `gradients` collects what `update` was given, {name: (n, n)}.

    Cost: 2 n² P operations a product, n² numbers a matrix.
    """

    def __init__(self, matrices):
        self.matrices = matrices
        self.gradients = {}

    def matmul(self, name, x):
        return jnp.einsum("ij,jp->ip", self.matrices[name], x, precision=HIGHEST)

    def transpose_matmul(self, name, g):
        # With the matrix as right factor: as the left one it would be transposed first, five times as slow.
        return jnp.einsum("jp,ji->pi", g, self.matrices[name], precision=HIGHEST).T

    def moment(self, x, y):
        return jnp.einsum("ip,iq->pq", x, y, precision=HIGHEST) / x.shape[0]

    def update(self, name, left, right):
        moved = jnp.einsum("ip,jp->ij", left, right / right.shape[0], precision=HIGHEST)
        self.gradients[name] = self.gradients[name] + moved if name in self.gradients else moved
