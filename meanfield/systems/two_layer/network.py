"""A two-layer network of finite width: n neurons, each of weight 1/n."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.devices import spread_out, whole
from meanfield.base.pytree import pytree, static
from meanfield.model.initial import Initial
from meanfield.model.system import output_variables
from meanfield.systems.two_layer.particles import Particles, plan_rows, with_chunk
from meanfield.systems.two_layer.preactivations import coordinates
from meanfield.systems.two_layer.system import TwoLayerSystem

SOURCE = "THEORY 1; Mei, Montanari & Nguyen 2018; Chizat & Bach 2018"
VARIABLES = output_variables(SOURCE)

SHARED = 256  # neurons of the program that all narrower widths share
WASTE = 1e10  # operations that carrying padding along may cost one network of eight: less than compiling does


def capacity(width, operations):
    """Neurons that are carried along for a width, so that nearby widths share one compiled program: the
    next power of two up to 1024, beyond that the width itself; at least 256 where a training takes so few
    `operations` per neuron that padding costs less than compiling."""
    if width > 1024:
        return width
    fitting = max(16, 1 << (width - 1).bit_length())
    return max(fitting, SHARED) if 8 * (SHARED - width) * operations < WASTE else fitting


@pytree
class TwoLayerNetwork(TwoLayerSystem):
    """f(x) = (1/(γn)) Σ_i a_i φ(w_i·x + b_i), neurons drawn iid from ρ_0."""

    particles: Particles
    initial: Initial = static()
    bias: bool = static()
    dtype: str = static()
    rows: int = static()
    width: int = 0

    variables = VARIABLES

    def check(self, problem, training):
        self.initial.check(problem.inputs, problem.outputs, self.bias)

    def plan(self, problem, training, seeds, memory, looks=False):
        samples = max(problem.samples, 0 if problem.x_test is None else problem.x_test.shape[0])
        itemsize = 4 if self.dtype == "float32" else 8
        operations = self.particles.operations(problem, training) * training.steps
        rows = whole(capacity(self.width, operations))
        chunk, together = plan_rows(rows, seeds, samples, itemsize, memory)
        rows = rows if chunk is None else -(-rows // chunk) * chunk
        particles = coordinates(with_chunk(self.particles, chunk), problem, training, self.bias, looks)
        return dataclasses.replace(self, particles=particles, rows=rows), together

    def init(self, problem, training, key):
        points = self.initial.sample(key, self.rows, problem.inputs, problem.outputs, self.bias)
        present = jnp.arange(self.rows) < self.width

        def place(leaf):
            # Padding starts at zero: weight 0 times a padded neuron that overflows would be NaN.
            row = present.reshape(-1, *[1] * (leaf.ndim - 1))
            return jnp.where(row, leaf, 0.0).astype(self.dtype)

        points = jax.tree.map(place, points)
        weights = jnp.where(present, 1.0 / self.width, 0.0).astype(self.dtype)
        return self.particles.start(training, points, weights)

    def start(self, problem, training, keys):
        points = self.initial.sample_many(
            keys, self.rows, problem.inputs, problem.outputs, self.bias, self.dtype
        )
        for value in points.values():
            value[:, self.width :] = 0  # padding: weight 0 times a neuron that overflows would be NaN
        weights = np.where(np.arange(self.rows) < self.width, 1.0 / self.width, 0.0).astype(self.dtype)
        weights = np.broadcast_to(weights, (len(keys), self.rows))
        state = jax.vmap(lambda p, m: self.particles.start(training, p, m))(
            jax.tree.map(jnp.asarray, points), jnp.asarray(weights)
        )
        return spread_out(state, self.rows)

    def core(self):
        """What compiled steps depend on: not the law that neurons were drawn from."""
        return dataclasses.replace(self, initial=None)

    def step(self, problem, training, state, key):
        return self.particles.step(problem, training, state, key)

    def observe(self, problem, state):
        return self.particles.outputs(problem, state)

    def measure(self, state):
        return self.particles.measure(state)

    def look(self, function, state, initial):
        """`function(measure, initial measure)` of this network."""
        return function(self.measure(state), self.measure(initial))

    def summarise(self, arrays):
        return arrays

    def memory_bytes(self, problem, training):
        """Bytes one network needs: parameters, gradients, the training's memory, one chunk of features."""
        itemsize = 4 if self.dtype == "float32" else 8
        per_neuron = self.particles.numbers(problem, self.bias)
        chunk = self.particles.chunk or self.rows
        return itemsize * (4 * self.rows * per_neuron + 4 * chunk * problem.samples)

    def operations(self, problem, training):
        """Multiplications and additions in one step."""
        return self.rows * self.particles.operations(problem, training)
