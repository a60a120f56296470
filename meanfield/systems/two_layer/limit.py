"""The mean-field limit of a two-layer network: independent replicates of M weighted particles each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.devices import spread_out
from meanfield.base.pytree import pytree, static
from meanfield.model.initial import Initial
from meanfield.model.langevin import Langevin
from meanfield.model.sampler import Sampler
from meanfield.systems.two_layer.network import VARIABLES
from meanfield.systems.two_layer.particles import Particles, plan_rows, with_chunk
from meanfield.systems.two_layer.preactivations import coordinates
from meanfield.systems.two_layer.system import TwoLayerSystem


@pytree
class TwoLayerLimit(TwoLayerSystem):
    """∂_t ρ = ∇·(ρ∇Ψ(·; ρ)) by particles: `count` replicates of `rows` weighted particles.

    The result is the mean over replicates and its error their spread over √count (a Student t with
    count − 1 degrees of freedom); for a deterministic sampler, the finer rule and its distance to the
    coarser.
    One replicate has bias O(1/M), far below its M^{−1/2} spread.
    """

    particles: Particles
    initial: Initial = static()
    sampler: Sampler = static()
    bias: bool = static()
    count: int = static()
    rows: int | None = static()
    together: int = static(default=1)

    is_limit = True
    dtype = "float64"
    variables = {**VARIABLES, **{f"{name}_error": v.own_error() for name, v in VARIABLES.items()}}

    @property
    def random(self):
        """Whether the replicates are independent draws."""
        return self.sampler.random and self.initial.sampled

    def check(self, problem, training):
        self.initial.check(problem.inputs, problem.outputs, self.bias)
        if self.initial.sampled:
            self.sampler.check(self.initial.dimension(problem.inputs, problem.outputs, self.bias))
        if isinstance(training, Langevin) and not self.random:
            raise ValueError(
                "Argument `sampler` must be IID() or Sobol() for noisy training, whose particles are random "
                f"at every step, but is {self.sampler!r} with {type(self.initial).__name__} neurons."
            )

    @property
    def error_from(self):
        """What the limit's error is the size of."""
        return "independent replicates" if self.random else "a coarser rule"

    def with_particles(self, rows):
        return dataclasses.replace(self, rows=rows)

    def settled(self, problem):
        """With the particle number that stored neurons or a rule with given nodes determine."""
        if not self.initial.sampled:
            return self.with_particles(self.initial.weights.size)
        dimension = self.initial.dimension(problem.inputs, problem.outputs, self.bias)
        return self.with_particles(self.sampler.settled(self.rows, dimension))

    def plan(self, problem, training, seeds, memory, looks=False):
        samples = max(problem.samples, 0 if problem.x_test is None else problem.x_test.shape[0])
        chunk, together = plan_rows(self.rows, self.count, samples, 8, memory)
        particles = coordinates(with_chunk(self.particles, chunk), problem, training, self.bias, looks)
        return dataclasses.replace(self, particles=particles, together=together), 1

    def init(self, problem, training, key):
        """Particles are drawn on the host: not to be traced."""
        key = jax.random.fold_in(key, 0x6C696D)  # apart from the networks, whose seeds count from 0
        points, weights = self.initial.replicates(
            self.sampler, key, self.rows, problem.inputs, problem.outputs, self.bias, self.count
        )
        if self.particles.chunk is not None:
            missing = -weights.shape[1] % self.particles.chunk
            pad = lambda v: np.pad(v, [(0, 0), (0, missing)] + [(0, 0)] * (v.ndim - 2))  # noqa: E731
            points, weights = jax.tree.map(pad, points), pad(weights)
        points = jax.tree.map(lambda leaf: jnp.asarray(leaf, self.dtype), points)
        state = jax.vmap(lambda p, m: self.particles.start(training, p, m))(points, jnp.asarray(weights))
        return spread_out(state, weights.shape[1])

    def start(self, problem, training, key):
        return self.init(problem, training, key)

    def core(self):
        """What compiled steps depend on: not how particles were drawn."""
        return dataclasses.replace(self, initial=None, sampler=None)

    def each(self, function, *trees):
        return jax.lax.map(lambda args: function(*args), trees, batch_size=self.together)

    def step(self, problem, training, state, key):
        keys = jax.random.split(key, state.weights.shape[0])
        return self.each(lambda s, k: self.particles.step(problem, training, s, k), state, keys)

    def observe(self, problem, state):
        return self.each(lambda s: self.particles.outputs(problem, s), state)

    def measure(self, state):
        """All replicates as one measure; of a deterministic sampler the finer rule."""
        measures = jax.vmap(self.particles.measure)(state)
        if not self.random:
            return jax.tree.map(lambda leaf: leaf[0], measures)
        count = state.weights.shape[0]
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), measures)
        return dataclasses.replace(merged, weights=merged.weights / count)

    def look(self, function, state, initial):
        """`function(measure, initial measure)` of every replicate."""
        return self.each(
            lambda s, i: function(self.particles.measure(s), self.particles.measure(i)), state, initial
        )

    def summarise(self, arrays):
        """Replicates, second axis of every recorded array, to means and standard errors."""
        result = {}
        for name, values in arrays.items():
            if self.random:
                result[name] = values.mean(1)
                with np.errstate(over="ignore"):  # just before training diverges
                    result[f"{name}_error"] = values.std(1, ddof=1) / np.sqrt(values.shape[1])
            else:
                result[name] = values[:, 0]
                result[f"{name}_error"] = np.abs(values[:, 0] - values[:, 1])
        return result

    def memory_bytes(self, problem, training):
        per_neuron = self.particles.numbers(problem, self.bias)
        chunk = self.particles.chunk or self.rows
        return 8 * (4 * self.count * self.rows * per_neuron + 4 * self.together * chunk * problem.samples)

    def operations(self, problem, training):
        return self.count * self.rows * self.particles.operations(problem, training)
