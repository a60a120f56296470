"""A network of finite width whose program is read densely: every matrix is there."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from meanfield.base.precision import double
from meanfield.base.pytree import pytree, static
from meanfield.model.system import System, output_variables
from meanfield.programs.arrays import matrices, scalars, vectors
from meanfield.programs.checked import check_program
from meanfield.programs.dense import DenseReading
from meanfield.programs.draws import gaussian_matrices, gaussian_vectors
from meanfield.programs.held import released


class State(NamedTuple):
    """{name: array} of everything, the training's memory, whether the last step saw finite numbers."""

    parameters: dict
    memory: Any
    finite: jax.Array


@pytree
class DenseNetwork(System):
    """n neurons a layer, n² numbers a matrix, under any training."""

    held: Any
    width: int = static()
    dtype: str = static()

    variables = output_variables("Yang 2019; THEORY 3.4")

    @property
    def rows(self):
        return self.width

    @property
    def program(self):
        return released(self.held)

    def check(self, problem, training):
        with double():
            check_program(self.program, problem, training)

    def plan(self, problem, training, seeds, memory, looks=False):
        return self, min(seeds, max(1, int(memory / self.memory_bytes(problem, training))))

    def start(self, problem, training, keys):
        """Drawn on the host, a narrow network as the first part of a wide one."""
        arrays, drawn = self.program.arrays(problem), {}
        matrix, vector, scalar = matrices(arrays), vectors(arrays), scalars(arrays)
        for label, name in enumerate(sorted(arrays)):
            if name in matrix:
                found = gaussian_matrices(keys, label, self.width, self.dtype)
            elif name in vector:
                found = gaussian_vectors(keys, label, self.width, vector[name].columns, self.dtype)
            else:
                size = int(jnp.prod(jnp.array(scalar[name].shape, int))) if scalar[name].shape else 1
                found = gaussian_vectors(keys, label, 1, size, self.dtype)
                found = found.reshape(len(keys), *scalar[name].shape)
            drawn[name] = jnp.asarray(arrays[name].deviation * found, self.dtype)
        return jax.vmap(lambda p: State(p, training.init(p), jnp.array(True)))(drawn)

    def core(self):
        return self

    def step(self, problem, training, state, key):
        x, y, weight = problem.batch(training.count(state.memory), training.batch_size, training.batch_key)
        count, decay = training.count(state.memory), training.weight_decay

        def gradient(p):
            ops = DenseReading(p)
            passed = self.program.forward(ops, p, x)
            f = passed.output.astype(self.dtype)  # a program may have made wider numbers on its way
            chi = problem.residual(f, y, weight)
            moved = {**self.program.gradient(ops, p, x, passed, chi, count), **ops.gradients}
            nothing = 0.0
            moved = {name: (moved.get(name, nothing) + decay * w).astype(w.dtype) for name, w in p.items()}
            return moved, f

        def norm(displacement):
            return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(displacement)) / self.width)

        parameters, memory, f = training.advance(gradient, state.memory, state.parameters, key, norm)
        if f is None:
            leaves = jax.tree.leaves(parameters)
            finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        else:
            finite = jnp.isfinite(f).all() & jnp.isfinite(problem.risk(f, y))
        return State(parameters, memory, finite)

    def predict(self, parameters, x):
        return self.program.forward(DenseReading(parameters), parameters, x).output.astype(self.dtype)

    def observe(self, problem, state):
        f = self.predict(state.parameters, problem.x)
        seen = {"prediction": f, "loss": problem.risk(f, problem.y)}
        if problem.x_test is not None:
            f = self.predict(state.parameters, problem.x_test)
            seen["test_prediction"] = f
            if problem.y_test is not None:
                seen["test_loss"] = problem.risk(f, problem.y_test)
        return seen

    def look(self, function, state, initial):
        return function(state.parameters, initial.parameters)

    def features(self, parameters, x, layer):
        return self.program.forward(DenseReading(parameters), parameters, x).features[layer - 1]

    def feature_kernel(self, parameters, x, layer):
        """Φ^l(x, x') = E[x^l(x) x^l(x')], (P, P)."""
        features = self.features(parameters, x, layer)
        return DenseReading(parameters).moment(features, features)

    @property
    def layers(self):
        return self.program.hidden_layers

    def memory_bytes(self, problem, training):
        itemsize, arrays = (4 if self.dtype == "float32" else 8), self.program.arrays(problem)
        numbers = self.width**2 * len(matrices(arrays))
        numbers += self.width * sum(v.columns for v in vectors(arrays).values())
        samples = max(problem.samples, 0 if problem.x_test is None else problem.x_test.shape[0])
        return itemsize * (4 * numbers + 8 * self.width * samples * (1 + len(matrices(arrays))))

    def operations(self, problem, training):
        arrays = self.program.arrays(problem)
        numbers = self.width**2 * len(matrices(arrays))
        numbers += self.width * sum(v.columns for v in vectors(arrays).values())
        return 6.0 * numbers * (training.batch_size or problem.samples)
