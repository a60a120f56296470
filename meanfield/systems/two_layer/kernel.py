"""The tangent kernel of the limit at initialisation, K(x, x') = E_{ρ_0}[∇ψ(x)·∇ψ(x')]."""

import functools

import jax
import jax.numpy as jnp

from meanfield.model.sampler import IID, Sobol

PARTICLES = 2048


def initial_kernel(system, problem):
    """χ → K χ on the training set, (P, k) both, from 2048 Sobol points."""
    system.initial.check(problem.inputs, problem.outputs, system.bias)
    points, weights = system.initial.replicates(
        Sobol() if problem.inputs + problem.outputs < 1000 else IID(),
        jax.random.key(0), PARTICLES, problem.inputs, problem.outputs, system.bias, 2,
    )  # fmt: skip
    points, weights = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), (points, weights))
    return functools.partial(_kernel_times, system.particles, problem.x, points, weights)


@jax.jit
def _kernel_times(particles, x, points, weights, chi):
    # γ in the pull and 1/γ in the readout cancel: the kernel is the same at every richness.
    direction = particles.pull(points, *particles.features(points, x), x, chi)
    if not particles.train_readout:
        direction["a"] = jnp.zeros_like(direction["a"])
    return jax.jvp(lambda p: particles.predict(p, weights, x), (points,), (direction,))[1]
