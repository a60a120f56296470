"""Kernels as sums over neurons, a chunk of them at a time where the system works in chunks."""

import jax
import jax.numpy as jnp

from meanfield.base.checks import fail
from meanfield.model.measure import Measure
from meanfield.observe.neuron import check_neurons, present


def kernel_sum(kernel, particles, measure, x):
    """`kernel(measure, x, x)`, linear in the weights, with at most `particles.chunk` neurons in memory."""
    measure = present(measure)
    if particles.chunk is None or measure.particles <= particles.chunk:
        return kernel(measure, x, x)

    def part(points_and_weights):
        return kernel(Measure(*points_and_weights), x, x)

    parts = particles.chunks((measure.points, measure.weights))
    one = jax.eval_shape(part, jax.tree.map(lambda leaf: leaf[0], parts))
    start = jnp.zeros(one.shape, one.dtype)
    return jax.lax.scan(lambda total, p: (total + part(p), None), start, parts)[0]


def inputs(problem, test):
    """The inputs at which a kernel is taken."""
    return problem.x_test if test else problem.x


def sample_dims(test):
    """The dimensions of its two inputs."""
    return ("test_sample", "test_sample_2") if test else ("sample", "sample_2")


def check_kernel(observable, problem, system):
    check_neurons(observable, system)
    if observable.test and problem.x_test is None:
        fail("test", "False for a problem without a test set", True)
