"""A multilayer perceptron under gradient descent, as a tensor program with learning rates of its own."""

import jax
import jax.numpy as jnp

from meanfield.base.pytree import pytree, static
from meanfield.model.parametrization import mup
from meanfield.programs.arrays import Matrix, Scalar, Vector
from meanfield.systems.mlp.program import Program, Rates, Scales, descent_rates, scales
from meanfield.systems.mlp.tangent import gradient_kernel, layer_kernels, tangent_kernel

TOLERANCE = 1e-9


@pytree
class DescentProgram:
    """`Program` in units in which every field is multiplied by 1: W' = s W.

    W' starts with the deviation s and moves at the rate r s², which both have limits as n → ∞ where the
    fields have: under the maximal update parametrization they are constants, elsewhere some vanish.
    """

    program: Program  # scales of 1
    first: Rates | None  # rates of the first step, where it has its own
    later: Rates
    deviations: tuple = static()  # of layers 1 … L + 1, of hidden biases, of the output's bias
    forgetful: bool = static(default=False)  # whether hidden matrices lose W₀ after the first step

    @property
    def hidden_layers(self):
        return self.program.hidden_layers

    def arrays(self, problem):
        *hidden, top, bias, output_bias = self.deviations
        found = {"u": Vector(problem.inputs, hidden[0]), "v": Vector(problem.outputs, top, odd=True)}
        for layer in range(2, self.hidden_layers + 1):
            found[f"w{layer}"] = Matrix(hidden[layer - 1])
        if self.program.bias:
            found |= {f"b{layer}": Vector(1, bias) for layer in range(1, self.hidden_layers + 1)}
            found["c"] = Scalar((problem.outputs,), output_bias)
        return found

    def rates(self, step):
        gamma = self.program.richness
        if self.first is None:
            return jax.tree.map(lambda r: gamma * r, self.later)
        return jax.tree.map(lambda f, r: gamma * jnp.where(step == 0, f, r), self.first, self.later)

    def forward(self, ops, p, x):
        return self.program.forward(ops, p, x)

    def gradient(self, ops, p, x, passed, chi, step):
        if self.forgetful:
            for name in self.program.matrices():
                ops.forget(name, step == 0)
        return self.program.gradient(ops, p, x, passed, chi, self.rates(step))

    def gradient_kernel(self, ops, p, x, layer):
        return gradient_kernel(self.program, ops, p, x, layer)

    def layer_kernels(self, ops, p, x):
        return layer_kernels(self.program, ops, p, x)

    def tangent_kernel(self, ops, p, x):
        return tangent_kernel(self.program, self.rates(1), ops, p, x)


def descent_program(model, width):
    """The program of a model at one width, or at infinity (None).

    Under IP-LLR, the integrable parametrization with a large first step, all layers start from nothing as
    n → ∞ and the first step makes of them what it makes under the maximal update parametrization: the limit
    is that one's, without the initial hidden matrices after the first step (Hajjar, Chizat & Giraud 2021).

    Raises:
        ValueError: if deviations or rates grow without bound.
    """
    parametrization, layers = model.parametrization, model.hidden_layers
    forgetful = width is None and is_large_first_step(parametrization, layers)
    if forgetful:
        if model.activation.homogeneity != 1 or model.bias:
            raise ValueError(
                "Argument `activation` must be positively homogeneous, without biases, for the limit of the "
                f"integrable parametrization with a large first step, but is {model.activation!r}."
            )
        parametrization = mup

    def numbers(width):
        s = scales(parametrization, layers, width, model.weight_variance, model.bias_variance)
        first, later = descent_rates(parametrization, layers, width)
        square = lambda r: Rates(  # noqa: E731
            tuple(rate * scale**2 for rate, scale in zip(r.weights, s.weights, strict=True)),
            r.bias * s.bias**2,
            r.output_bias * s.output_bias**2,
        )
        a, b, _, _ = parametrization.layers(layers)
        output_bias = s.output_bias if abs(a[-1] + b[-1] - 0.5) < TOLERANCE else 0.0
        deviations = (*s.weights, s.bias, output_bias)
        return deviations, None if first is None else square(first), square(later)

    if width is not None:
        deviations, first, later = numbers(width)
    else:
        try:
            deviations, first, later = jax.tree.map(_limit, numbers(1), numbers(16))
        except OverflowError:
            raise ValueError(
                "Argument `parametrization` must have learning rates whose steps have a limit as n grows, "
                f"but is {parametrization!r}."
            ) from None
    ones = Scales((1.0,) * (layers + 1), 1.0, 1.0)
    program = Program(model.activation, layers, model.bias, model.richness, ones)
    return DescentProgram(program, first, later, deviations, forgetful)


def is_large_first_step(parametrization, layers):
    """Whether this is IP-LLR: c_1 = c_{L+1} = −(L+1)/2 and c_l = −(L+2)/2 in the first step, then integrable.
    Only a + b and 2a + c matter."""
    if parametrization.first_c is None or layers < 2:
        return False
    a, b, c, first = parametrization.layers(layers)
    edge, hidden = -(layers + 1) / 2, -(layers + 2) / 2
    wanted_c = (-1.0, *(-2.0,) * (layers - 1), -1.0)
    wanted_first = (edge, *(hidden,) * (layers - 1), edge)
    shift = [a[i] - (0.0 if i == 0 else 1.0) for i in range(layers + 1)]
    off = [abs(a[i] + b[i] - (0.0 if i == 0 else 1.0)) for i in range(layers + 1)]
    for values, wanted in ((c, wanted_c), (first, wanted_first)):
        off += [abs(v + 2 * s - w) for v, s, w in zip(values, shift, wanted, strict=True)]
    return max(off) < TOLERANCE


def _limit(one, sixteen):
    """The limit of C n^p from its values at n = 1 and 16."""
    if one == 0 or abs(sixteen / one - 1) < TOLERANCE:
        return one
    if sixteen > one:
        raise OverflowError("grows without bound")
    return 0.0
