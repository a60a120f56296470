"""A multilayer perceptron of finite width, every matrix drawn."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST
from meanfield.base.pytree import pytree, static
from meanfield.model.gradient_descent import GradientDescent
from meanfield.model.gradient_flow import GradientFlow
from meanfield.model.optax_training import Optax
from meanfield.model.system import System, output_variables
from meanfield.programs.dense import DenseReading as Dense
from meanfield.programs.draws import gaussian_matrices, gaussian_vectors
from meanfield.systems.mlp.kernels import initial_kernel
from meanfield.systems.mlp.program import Program, Rates
from meanfield.systems.mlp.tangent import gradient_kernel, layer_kernels, tangent_kernel

SOURCE = "THEORY 3; Yang & Hu 2021"
VARIABLES = output_variables(SOURCE)
ALONE = 512  # width from which networks run one at a time: products of single matrices are faster there


class State(NamedTuple):
    """Parameters, the training's memory, the parameters at step 0 where the output is centred, and whether
    the predictions and the loss that the last step saw were finite."""

    parameters: dict
    memory: Any
    start: Any
    finite: jax.Array


@pytree
class Adaptive:
    """Training whose updates do not grow with the gradient (Adam, sign descent): it sees the weights w^l
    and ∂R/∂w^l themselves, and layer l moves by n^{−c_l} of its update, c_l the exponents that give every
    layer the movement it has under descent."""

    sizes: dict  # {name: w in units of the drawn arrays}
    rates: Rates
    steps: dict  # {name: n^{−c_l}}


def adaptive(parametrization, program, width):
    hidden_layers = program.hidden_layers
    b = parametrization.layers(hidden_layers).b
    c = parametrization.adaptive_rates(hidden_layers)
    place = {"u": 0, "v": hidden_layers, **{f"b{layer}": 0 for layer in range(1, hidden_layers + 1)}}
    sizes = {name: float(width) ** -b[i] for name, i in place.items()}
    steps = {name: float(width) ** -c[i] for name, i in place.items()}
    for layer in range(2, hidden_layers + 1):
        sizes[f"w{layer}"] = float(width) ** (0.5 - b[layer - 1])
        steps[f"w{layer}"] = float(width) ** -c[layer - 1]
    unit = lambda name, n: 1.0 / (n * program.richness * sizes[name])  # noqa: E731
    weights = (unit("u", width), *(unit(name, 1) for name in program.matrices()), unit("v", width))
    rates = Rates(weights, unit("b1", width), 1.0 / program.richness)
    return Adaptive({**sizes, "c": 1.0}, rates, {**steps, "c": 1.0})


@pytree
class MLPNetwork(System):
    """The network of width n in every hidden layer."""

    program: Program
    rates: tuple  # of the first step, None where it has no rates of its own, and of all others
    model: Any = static()
    width: int = static()
    centred: bool = static()
    dtype: str = static()
    adaptive: Adaptive | None = None

    variables = VARIABLES

    def check(self, problem, training):
        if not isinstance(training, GradientDescent | GradientFlow | Optax):
            raise ValueError(
                "Argument `training` must be GradientDescent, GradientFlow or Optax for an MLP, but is "
                f"{type(training).__name__}."
            )
        if isinstance(training, Optax) and training.degree() is None:
            raise ValueError(
                "Argument `transform` must give updates that grow in proportion to the gradient (SGD) or not "
                "at all (Adam, sign) for an MLP, whose learning rates in the width depend on which, but it "
                "does neither."
            )
        flow = isinstance(training, GradientFlow)
        if self.rates[0] is not None and (flow or isinstance(training, Optax) and training.degree() == 0):
            raise ValueError(
                "Argument `training` must be descent for a parametrization whose first step has learning "
                f"rates of its own, but is {training!r}."
            )

    def plan(self, problem, training, seeds, memory, looks=False):
        system = self
        if isinstance(training, Optax) and training.degree() == 0:
            system = dataclasses.replace(
                self, adaptive=adaptive(self.model.parametrization, self.program, self.width)
            )
        together = 1 if self.width >= ALONE else max(1, int(memory / self.memory_bytes(problem, training)))
        return system, min(seeds, together)

    def shapes(self, problem):
        """{name: shape} of all parameters."""
        vectors = self.program.vectors(problem.inputs, problem.outputs)
        shapes = {name: (self.width, columns) for name, columns in vectors.items()}
        shapes |= {name: (self.width, self.width) for name in self.program.matrices()}
        return {**shapes, "c": (problem.outputs,)} if self.program.bias else shapes

    def start(self, problem, training, keys):
        """Drawn on the host: entries of order one for arrays with a row a neuron, N(0, 1/n) for matrices."""
        drawn = {}
        for label, (name, shape) in enumerate(sorted(self.shapes(problem).items())):
            if name == "c":
                drawn[name] = self._output_bias(keys, label, *shape)
            elif name in self.program.matrices():
                drawn[name] = gaussian_matrices(keys, label, self.width, self.dtype)
            else:
                drawn[name] = gaussian_vectors(keys, label, *shape, self.dtype)
        drawn = jax.tree.map(jnp.asarray, drawn)
        return jax.vmap(lambda p: self._state(training, p))(drawn)

    def _output_bias(self, keys, label, outputs):
        """N(0, 1) where the initial output is of order one, 0 where it vanishes with the width."""
        a, b, _, _ = self.model.parametrization.layers(self.program.hidden_layers)
        drawn = gaussian_vectors(keys, label, 1, outputs, self.dtype)[:, 0]
        return drawn if abs(a[-1] + b[-1] - 0.5) < 1e-9 else np.zeros_like(drawn)

    def _state(self, training, parameters):
        held = jax.tree.map(jnp.copy, parameters) if self.centred else None
        return State(parameters, training.init(self._seen(parameters)), held, jnp.array(True))

    def init(self, problem, training, key):
        return jax.tree.map(lambda leaf: leaf[0], self.start(problem, training, key[None]))

    @property
    def rows(self):
        return self.width

    @property
    def layers(self):
        return self.program.hidden_layers

    def core(self):
        """What compiled steps depend on: numbers of the model stand in the program."""
        return dataclasses.replace(self, model=None)

    def initial_kernel(self, problem):
        return initial_kernel(self.model, self.width, problem)

    def _seen(self, parameters):
        """Parameters as the training sees them."""
        if self.adaptive is None:
            return parameters
        return {name: self.adaptive.sizes[name] * p for name, p in parameters.items()}

    def forward(self, parameters, x):
        return self.program.forward(Dense(parameters), parameters, x)

    def predict(self, parameters, start, x):
        """f(x), or f(x) − f_0(x) where the output is centred, (P, k)."""
        output = self.forward(parameters, x).output
        return output - self.forward(start, x).output if self.centred else output

    def step(self, problem, training, state, key):
        count = training.count(state.memory)
        x, y, weight = problem.batch(count, training.batch_size, training.batch_key)
        rates = self._rates(count)

        def gradient(parameters):
            if self.adaptive is not None:
                parameters = state.parameters
            ops = Dense(parameters)
            passed = self.program.forward(ops, parameters, x)
            f = passed.output
            if self.centred:
                f = f - self.forward(state.start, x).output
            chi = problem.residual(f, y, weight)
            moved = self.program.gradient(ops, parameters, x, passed, chi, rates)
            moved |= ops.gradients
            decay = training.weight_decay
            return {name: (moved[name] + decay * p).astype(p.dtype) for name, p in parameters.items()}, f

        def norm(displacement):
            # One column of a matrix, or one neuron's share of an array, counts once.
            total = 0.0
            for name, leaf in displacement.items():
                total += jnp.sum(leaf**2) / (1 if name == "c" else self.width)
            return jnp.sqrt(total)

        seen = self._seen(state.parameters)
        parameters, memory, f = training.advance(gradient, state.memory, seen, key, norm)
        if self.adaptive is not None:
            parameters = self._moved(state.parameters, seen, parameters)
        if f is None:
            leaves = jax.tree.leaves(state.parameters)
            finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        else:
            finite = jnp.isfinite(f).all() & jnp.isfinite(problem.risk(f, y))
        return State(parameters, memory, state.start, finite)

    def _rates(self, count):
        if self.adaptive is not None:
            return self.adaptive.rates
        gamma = self.program.richness
        first, later = self.rates
        if first is None:
            return jax.tree.map(lambda r: gamma * r, later)
        return jax.tree.map(lambda f, r: gamma * jnp.where(count == 0, f, r), first, later)

    def _moved(self, parameters, before, after):
        a = self.adaptive
        return {
            name: (p + a.steps[name] / a.sizes[name] * (after[name] - before[name])).astype(p.dtype)
            for name, p in parameters.items()
        }

    def observe(self, problem, state):
        f = self.predict(state.parameters, state.start, problem.x)
        seen = {"prediction": f, "loss": problem.risk(f, problem.y)}
        if problem.x_test is not None:
            f = self.predict(state.parameters, state.start, problem.x_test)
            seen["test_prediction"] = f
            if problem.y_test is not None:
                seen["test_loss"] = problem.risk(f, problem.y_test)
        return seen

    def look(self, function, state, initial):
        """`function(parameters, initial parameters)` of this network."""
        return function(state.parameters, initial.parameters)

    def features(self, parameters, x, layer):
        """x^l, (n, P)."""
        return self.forward(parameters, x).features[layer - 1]

    def feature_kernel(self, parameters, x, layer):
        """Φ^l(x, x') = E[x^l(x) x^l(x')], (P, P)."""
        features = self.features(parameters, x, layer)
        return jnp.einsum("np,nq->pq", features, features, precision=HIGHEST) / self.width

    def preactivations(self, parameters, x, layer):
        """h^l, (n, P)."""
        return self.forward(parameters, x).preactivations[layer - 1]

    def gradient_kernel(self, parameters, x, layer):
        """G^l(x, x') = E[g^l(x) g^l(x')], g^l = nγ ∂f/∂h^l, (P, k, P, k)."""
        return gradient_kernel(self.program, Dense(parameters), parameters, x, layer)

    def layer_kernels(self, parameters, x):
        """(Φ^l (L, P, P), G^l (L, P, k, P, k)) of all hidden layers."""
        return layer_kernels(self.program, Dense(parameters), parameters, x)

    def tangent_kernel(self, parameters, x):
        """K with d f/dt = −K ∂R/∂f under gradient flow, (P, k, P, k)."""
        return tangent_kernel(self.program, self._rates(1), Dense(parameters), parameters, x)

    def summarise(self, arrays):
        return arrays

    def memory_bytes(self, problem, training):
        """Bytes one network needs: parameters, gradients, the training's memory, the fields."""
        itemsize = 4 if self.dtype == "float32" else 8
        numbers = sum(math.prod(shape) for shape in self.shapes(problem).values())
        copies = 4 + int(self.centred) + 2 * isinstance(training, Optax)
        samples = max(problem.samples, 0 if problem.x_test is None else problem.x_test.shape[0])
        return itemsize * (copies * numbers + 4 * self.program.hidden_layers * self.width * samples)

    def operations(self, problem, training):
        """Multiplications and additions in one step."""
        samples = training.batch_size or problem.samples
        numbers = sum(math.prod(shape) for shape in self.shapes(problem).values())
        return 6.0 * numbers * samples
