"""What a two-layer network and its limit answer alike."""

import jax
import jax.numpy as jnp

from meanfield.model.measure import Measure
from meanfield.model.system import System
from meanfield.observe.neuron import present
from meanfield.systems.two_layer.kernel import initial_kernel


class TwoLayerSystem(System):
    """Kernels as sums over neurons, a chunk of them at a time where the particles come in chunks."""

    layers = 1

    def initial_kernel(self, problem):
        return initial_kernel(self, problem)

    def tangent_kernel(self, measure, x):
        return self._summed(self.particles.tangent_kernel, measure, x)

    def feature_kernel(self, measure, x, layer):
        return self._summed(self.particles.feature_kernel, measure, x)

    def _summed(self, kernel, measure, x):
        """`kernel(measure, x, x)`, linear in the weights, with at most one chunk of neurons in memory."""
        measure, chunk = present(measure), self.particles.chunk
        if chunk is None or measure.particles <= chunk:
            return kernel(measure, x, x)

        def part(points_and_weights):
            return kernel(Measure(*points_and_weights), x, x)

        parts = self.particles.chunks((measure.points, measure.weights))
        one = jax.eval_shape(part, jax.tree.map(lambda leaf: leaf[0], parts))
        start = jnp.zeros(one.shape, one.dtype)
        return jax.lax.scan(lambda total, p: (total + part(p), None), start, parts)[0]
