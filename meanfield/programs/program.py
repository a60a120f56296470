"""Tensor programs: the training of a network written once.  THEORY 3.4."""

import dataclasses

from meanfield.base.checks import fail, instance, integer, number
from meanfield.model.activation import Activation
from meanfield.model.system import Law, Model
from meanfield.programs.gaussians import Antithetic, Independent
from meanfield.programs.held import held, released
from meanfield.programs.limit import ProgramLimit
from meanfield.programs.matrix_free import MatrixFreeNetwork
from meanfield.programs.network import DenseNetwork
from meanfield.programs.samplers import Dense, MatrixFree


class Program(Model):
    """The interface of programs: frozen dataclasses with

    - `arrays(problem)`: {name: Matrix(), Vector(columns), Scalar(shape)}, what the network is made of;
    - `forward(ops, p, x)`: anything with an `output` (P, k) on inputs x (P, d), from p = {name: array} of
      vectors (n, columns) and scalars, and `ops`:

          ops.matmul(W, x)               W x
          ops.transpose_matmul(W, g)     Wᵀ g
          ops.moment(x, y)               xᵀy / n, averages over neurons
          ops.update(W, left, right)     left rightᵀ / n added to what W moves against

      with matrices W named by strings, fields (n, P), and JAX code that acts on every neuron by itself for
      everything else: no other sum over neurons, no reordering of them;
    - `gradient(ops, p, x, passed, chi, step)`: {name: array}, what vectors and scalars move against, given
      what `forward` returned and χ = ∂R/∂f (P, k); matrices through `ops.update`.

    Weights follow the training: θ ← θ − η (gradient + weight decay), momentum and schedules included. A
    program is a model: `simulate`, `study` and every figure take its `finite(width)` and its `limit()`.

    Source: Yang 2019, 2020 (Tensor Programs I–III), Yang & Hu 2021; THEORY 3.4.
    """

    def arrays(self, problem):
        raise NotImplementedError

    def forward(self, ops, p, x):
        raise NotImplementedError

    def gradient(self, ops, p, x, passed, chi, step):
        return {}

    def laws(self):
        source = "Dyer & Gur-Ari 2020; Bordelon & Pehlevan 2023; THEORY 9"
        return (Law("fluctuation", "width", -0.5, source), Law("bias", "width", -1.0, source))

    def finite(self, width, *, sampler=Dense(), dtype="float32"):  # noqa: B008
        """The network of width n: `Dense()`, every matrix drawn, or `MatrixFree(tolerance)`."""
        return finite_network(held(self), width, sampler, dtype)

    def limit(
        self,
        particles=None,
        replicates=8,
        *,
        sampler=Antithetic(),  # noqa: B008
        tolerance=1e-3,
        responses="parts",
    ):
        """The infinite-width limit: see `MLP.limit`.

        With `responses` "path" the text of a program is differentiated, φ' included. Kinks of activations
        that it has as fields are refused; of other functions in it nothing is known: they must have none.
        """
        return limit_of(held(self), particles, replicates, sampler, tolerance, responses)


def check_finite(width, sampler, dtype):
    """(width, sampler, dtype as a word), each checked."""
    width = integer("width", width, 1)
    instance("sampler", sampler, (Dense, MatrixFree), "meanfield.Dense() or meanfield.MatrixFree()")
    dtype = getattr(dtype, "__name__", None) or str(dtype)
    if dtype not in ("float32", "float64"):
        fail("dtype", "float32 or float64", dtype)
    return width, sampler, dtype


def is_matrix_free(width, sampler):
    return isinstance(sampler, MatrixFree) and width > sampler.above


def finite_network(program, width, sampler, dtype):
    """The system of a held program at one width."""
    width, sampler, dtype = check_finite(width, sampler, dtype)
    if is_matrix_free(width, sampler):
        return MatrixFreeNetwork(program, width, sampler.tolerance, dtype)
    return DenseNetwork(program, width, dtype)


def check_limit(particles, replicates, sampler, tolerance, responses):
    """(particles or None, replicates, sampler, tolerance, responses), each checked."""
    if particles is not None:
        particles = integer("particles", particles, 2)
    replicates = integer("replicates", replicates, 2)
    rule = "meanfield.programs.Antithetic() or meanfield.programs.Independent()"
    instance("sampler", sampler, (Antithetic, Independent), rule)
    if not isinstance(responses, str) or responses not in ("parts", "path"):
        fail("responses", '"parts" or "path"', responses)
    return particles, replicates, sampler, number("tolerance", tolerance, least=0, below=1), responses


def check_smooth(activation, responses):
    """φ'' must have no point masses where particles are differentiated."""
    if responses == "path" and any(jump for _, jump in activation.kinks):
        raise ValueError(
            f'Argument `responses` must be "parts" for {activation!r}, which has a kink that derivatives of '
            f"particles do not see, but is {responses!r}."
        )


def limit_of(program, particles, replicates, sampler, tolerance, responses):
    """The limit of a held program."""
    checked = check_limit(particles, replicates, sampler, tolerance, responses)
    particles, replicates, sampler, tolerance, responses = checked
    own = released(program)
    for field in dataclasses.fields(own) if dataclasses.is_dataclass(own) else ():
        value = getattr(own, field.name)
        if isinstance(value, Activation):
            check_smooth(value, responses)
    rows = None if particles is None else sampler.rows(particles)
    return ProgramLimit(program, rows, replicates, sampler, tolerance, responses)
