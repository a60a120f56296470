"""Fluctuation and bias of finite widths, from the response of the limit.  THEORY 1.1."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, instance, integer
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.base.schema import Variable, dataset, provenance
from meanfield.model.gradient_descent import GradientDescent
from meanfield.model.optax_training import Optax
from meanfield.model.problem import Problem
from meanfield.model.sampler import Sampler, Sobol
from meanfield.model.system import Model
from meanfield.studies import linear_response as linear
from meanfield.studies.simulate import check_memory, check_record, check_run
from meanfield.studies.trajectory import network_keys

MATRIX = 768  # largest T·P·k for which the response is kept as a matrix
COVARIANCE = 1536  # largest number of (step, sample, output) for which the whole covariance is given
SOURCE = "THEORY 1.1"
IN = ("step", "sample", "output")
IN_2 = ("step_2", "sample_2", "output_2")
TEST = ("step", "test_sample", "output")


@dataclasses.dataclass(frozen=True)
class Response:
    """How the response of the limit to its initial measure is computed.

    Args:
        particles: of each replicate of the limit that responds.
        draws: random directions in all, where T·P·k is above 768; their share of the error of a standard
            deviation is 1/√(2 draws). Below that the response is a matrix and the covariance needs no draws.
        replicates: independent limits, at least 2, whose spread is the error.
        sampler: `IID()`, `Sobol()` or `Quadrature()`.
        bias_draws: random directions for the 1/n bias, each about six runs of the limit; as many as there
            are particles: every direction once instead, without randomness.
    """

    particles: int = 2048
    draws: int = 256
    replicates: int = 4
    sampler: Sampler = Sobol()
    bias_draws: int = 64

    def __post_init__(self):
        integer("particles", self.particles, 2)
        integer("draws", self.draws, 4)
        integer("replicates", self.replicates, 2)
        integer("bias_draws", self.bias_draws, 0)
        instance("sampler", self.sampler, Sampler, "IID(), Sobol() or Quadrature()")

    def check(self, model, problem, training):
        """Full batches without noise, on a fixed training set."""
        if not model.responds:
            fail("model", "one whose limit has a response, such as TwoLayer", model, TypeError)
        instance("problem", problem, Problem, "a Problem with a fixed training set")
        if not isinstance(training, GradientDescent | Optax):
            fail(
                "training", "GradientDescent or Optax, for which the response is derived", training, TypeError
            )
        if training.batch_size not in (None, problem.samples):
            fail(
                "batch_size",
                "None where the response is computed: it is derived for full batches",
                training.batch_size,
            )
        self.of(model).check(problem, training)

    def of(self, model):
        """The limit that responds."""
        return model.responding(self.particles, self.replicates, self.sampler)

    def prepare(self, model, problem, training, key, memory):
        """Everything that responses of one study share."""
        return Prepared(self, model, problem, training, key, memory)


class Prepared:
    """Replicates of the limit, run once, with their response."""

    def __init__(self, response, model, problem, training, key, memory):
        self.response, self.model, self.problem, self.training = response, model, problem, training
        self.memory = memory
        self.steps = int(training.steps)
        self.limit = response.of(model)
        self.fields = {}
        self.operators = {}
        with double():
            self.key = jax.random.fold_in(jax.random.key(key), 0x726573)
            self.points, self.weights = self.limit.draw(problem, self.key)
            first = {name: value[0] for name, value in self.points.items()}
            self.setting = self.limit.setting(problem, training, first)
        self.matrix = self.steps * problem.y.size <= MATRIX

    @property
    def replicates(self):
        """Independent ones; a deterministic sampler has one result, its coarser rule serves the error."""
        return self.weights.shape[0]

    def field(self, replicate, counts):
        """The limit of one replicate; inside the float64 context."""
        if replicate not in self.fields:
            points = {name: jnp.asarray(value[replicate]) for name, value in self.points.items()}
            weights = jnp.asarray(self.weights[replicate])
            self.fields = {replicate: linear.limit_field(self.setting, points, weights, counts, self.steps)}
            self.operators = {}
        return self.fields[replicate]

    def together(self, field):
        """Directions at a time."""
        entries = field.weights.shape[0] * max(self.problem.samples, 1)
        return max(1, int(min(self.memory / (8 * 12 * entries), 4e6 / entries)))

    def respond(self, field, counts, change=None, forcing=None, order=1):
        """R in all directions, in batches of one shape."""
        whole = change if forcing is None else forcing
        size = min(self.together(field), whole.shape[0])
        parts = []
        for start in range(0, whole.shape[0], size):
            part = whole[start : start + size]
            missing = size - part.shape[0]
            if missing:
                part = jnp.concatenate([part, jnp.zeros((missing, *part.shape[1:]))])
            options = (
                {"change": part, "forcing": None} if forcing is None else {"change": None, "forcing": part}
            )
            seen = linear.deviations(
                self.setting, field, counts, options["change"], options["forcing"], order
            )
            parts.append(tuple(np.asarray(s)[: size - missing] for s in seen))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def operator(self, replicate, counts):
        """R as a matrix, (S (P + P') k, T P k)."""
        if replicate not in self.operators:
            field = self.field(replicate, counts)
            columns = self.respond(field, counts, forcing=linear.unit_forcings(field))[0]
            self.operators[replicate] = jnp.asarray(columns.reshape(columns.shape[0], -1).T)
        return self.operators[replicate]

    def answer(self, field, replicate, counts, forcing, out):
        """(I + R) e for many networks: e on the training set at all steps and on what is looked at."""
        if self.matrix:
            flat = forcing[:, :-1].reshape(forcing.shape[0], -1)
            return np.asarray(out) + np.asarray(flat @ self.operator(replicate, counts).T).reshape(out.shape)
        return np.asarray(out) + self.respond(field, counts, forcing=forcing)[0]


def _spread(prepared, replicate, counts):
    """(variance (S, P + P', k), covariance over training outputs or None) of one replicate."""
    field = prepared.field(replicate, counts)
    paired = prepared.limit.paired
    exact = not prepared.limit.sampled and field.weights.shape[0] <= prepared.response.draws
    if exact:
        changes = linear.every_direction(field.weights)
        deviations, scale = prepared.respond(field, counts, change=changes)[0], 1.0
    elif prepared.matrix and not paired:
        operator = prepared.operator(replicate, counts)
        rows = max(1, min(field.weights.shape[0], int(2e7 / max(operator.shape[0], operator.shape[1]))))
        deviations = []
        for start in range(0, field.weights.shape[0], rows):
            part = {name: value[start : start + rows] for name, value in field.points.items()}
            d = linear.particle_deviations(prepared.setting, field, operator, part, counts)
            root = np.sqrt(np.asarray(field.weights[start : start + rows]))
            deviations.append(np.asarray(d) * root[:, None, None, None])
        deviations, scale = np.concatenate(deviations), 1.0
    else:
        share = max(2, -(-prepared.response.draws // prepared.replicates))
        key = jax.random.fold_in(jax.random.fold_in(prepared.key, 1), replicate)
        changes = linear.multipliers(key, field.weights, share, paired)
        deviations, scale = prepared.respond(field, counts, change=changes)[0], 1.0 / share
    variance = scale * np.einsum("kspc,kspc->spc", deviations, deviations)
    samples = prepared.problem.samples
    inside = deviations[:, :, :samples].reshape(deviations.shape[0], -1)
    covariance = scale * inside.T @ inside if inside.shape[1] <= COVARIANCE else None
    return variance, covariance


def _bias(prepared, replicate, counts):
    """n (E f_n − f) in the limit, (S, P + P', k), of one replicate."""
    field = prepared.field(replicate, counts)
    atoms = not prepared.limit.sampled
    few = field.weights.shape[0] <= max(prepared.response.bias_draws, 64 if atoms else 0)
    exact = few and not prepared.limit.paired
    if exact:
        changes, scale = linear.every_direction(field.weights), 0.5
    else:
        share = max(2, -(-prepared.response.bias_draws // prepared.replicates))
        key = jax.random.fold_in(jax.random.fold_in(prepared.key, 2), replicate)
        changes = linear.multipliers(key, field.weights, share, prepared.limit.paired)
        scale = 0.5 / share
    return scale * prepared.respond(field, counts, change=changes, order=2)[1].sum(0)


def _mean_and_error(values, random):
    """Over replicates: mean and its standard error, or the finer rule and its distance to the coarser."""
    values = np.stack(values)
    if random:
        return values.mean(0), values.std(0, ddof=1) / np.sqrt(values.shape[0])
    return values[0], np.abs(values[0] - values[1])


def fluctuation_group(prepared, record):
    """`prediction_std`, `prediction_bias` and their errors at the recorded steps."""
    problem = prepared.problem
    random = prepared.limit.random
    with double():
        counts = linear.segments(record)
        variances, covariances, biases = [], [], []
        for replicate in range(prepared.replicates):
            variance, covariance = _spread(prepared, replicate, counts)
            variances.append(variance)
            covariances.append(covariance)
            if prepared.response.bias_draws:
                biases.append(_bias(prepared, replicate, counts))
        variance, variance_error = _mean_and_error(variances, random)
        std = np.sqrt(np.maximum(variance, 0))
        std_error = variance_error / np.maximum(2 * std, 1e-300)
        std_error = np.where(std > 0, std_error, 0.0)
        arrays = {"prediction_std": (std, std_error)}
        if biases:
            arrays["prediction_bias"] = _mean_and_error(biases, random)
    names = {
        "prediction_std": "limit of the standard deviation of √n (f_n − f)",
        "prediction_bias": "limit of n (E f_n − f)",
    }
    data, variables = {}, {}
    for name, (value, error) in arrays.items():
        parts = {name: (slice(None, problem.samples), IN)}
        if problem.x_test is not None:
            parts[f"test_{name}"] = (slice(problem.samples, None), TEST)
        for full, (rows, dims) in parts.items():
            data[full], data[f"{full}_error"] = value[:, rows], error[:, rows]
            variables[full] = Variable(dims, names[name], source=SOURCE)
            variables[f"{full}_error"] = Variable(
                dims, f"one standard error of the {names[name]}", source=SOURCE
            )
    coords = {"step": ("step", record), "time": ("step", prepared.training.times()[record])}
    if covariances[0] is not None:
        shape = (len(record), problem.samples, problem.outputs)
        covariance, error = _mean_and_error(covariances, random)
        for name, value in (("prediction_covariance", covariance), ("prediction_covariance_error", error)):
            data[name] = value.reshape(*shape, *shape)
            variables[name] = Variable(IN + IN_2, "limit of the covariance of √n (f_n − f)", source=SOURCE)
        coords["step_2"] = ("step_2", record)
    settings = {
        "model": describe(prepared.model),
        "problem": describe(problem),
        "training": describe(prepared.training),
    }
    method = "matrix" if prepared.matrix else "directions"
    attrs = provenance(settings, response=repr(prepared.response), method=method)
    return dataset(data, variables, coords, attrs)


def control_cell(prepared, system, numbers, key, record):
    """First-order deviation (1/n) Σ_i D_{θ_i} f of the networks with the given seeds, recorded steps."""
    problem = prepared.problem
    with double():
        counts = linear.segments(record)
        field = prepared.field(0, counts)
        keys = network_keys(jax.random.key(key), numbers)[0]
        parts = []
        for points, weights, count in prepared.limit.networks(system, problem, keys):
            forcing, out = linear.networks_forcing(prepared.setting, field, points, weights, counts)
            parts.append(prepared.answer(field, 0, counts, forcing, out)[:count])
        deviation = np.concatenate(parts)
        inside = deviation[:, :, : problem.samples]
        data = {
            "prediction_control": inside,
            "loss_control": _loss_control(problem, field, inside, problem.y, 0),
        }
        if problem.x_test is not None:
            outside = deviation[:, :, problem.samples :]
            data["test_prediction_control"] = outside
            if problem.y_test is not None:
                data["test_loss_control"] = _loss_control(
                    problem, field, outside, problem.y_test, problem.samples
                )
    label = "first-order deviation of the network from the limit"
    dims = {"prediction_control": IN, "test_prediction_control": TEST}
    variables = {name: Variable(("seed", *dims.get(name, ("step",))), label, source=SOURCE) for name in data}
    coords = {"seed": ("seed", np.asarray(numbers)), "step": ("step", record)}
    return dataset(data, variables, coords, {})


def reference(prepared, record):
    """What the limit that answers is itself, replicate 0: predictions and losses at the recorded steps.

    Its particles sample ρ_0, so that it is off the limit by some δ, and the mean of the controls by −δ up to
    second order: network − control is to be held against this, not against a better limit.
    """
    problem = prepared.problem
    with double():
        out = prepared.field(0, linear.segments(record)).out
        data = {"prediction": (out[:, : problem.samples], problem.y)}
        if problem.x_test is not None:
            data["test_prediction"] = (out[:, problem.samples :], problem.y_test)
        arrays = {name: np.asarray(f) for name, (f, _) in data.items()}
        for name, (f, y) in data.items():
            if y is not None:
                risks = jax.vmap(problem.risk, (0, None))(f, jnp.asarray(y))
                arrays[name.replace("prediction", "loss")] = np.asarray(risks)
    dims = {"prediction": IN, "test_prediction": TEST}
    label = "replicate 0 of the limit that the controls are computed with"
    variables = {name: Variable(dims.get(name, ("step",)), label, source=SOURCE) for name in arrays}
    return dataset(arrays, variables, {"step": ("step", record)}, {})


def _loss_control(problem, field, deviation, y, first):
    """Σ_p χ_p · δf_p, the first-order deviation of the loss, (seed, step)."""
    f = field.out[:, first : first + y.shape[0]]
    chi = jax.vmap(lambda f: problem.residual(f, jnp.asarray(y)))(f)  # (S, P, k)
    return np.einsum("nspk,spk->ns", deviation, np.asarray(chi))


def fluctuation(
    model, problem, training, *, particles=2048, replicates=4, draws=256, bias_draws=64, sampler=Sobol(),  # noqa: B008
    key=0, record=None, memory=None,
):  # fmt: skip
    """Asymptotic fluctuation and bias of finite widths.

    As n → ∞, √n (f_n − f) is Gaussian with covariance C = Cov_{θ~ρ_0}[D_θ f] over (step, sample), and
    n (E f_n − f) → ½ E_{θ~ρ_0}[D_θ² f]; D_θ is the derivative of the limit along (1−ε)ρ_0 + εδ_θ, computed
    by linearising the limit's particles, without finite differences.

    Args:
        model: one whose limit has a response, such as `TwoLayer`.
        problem, training: a `Problem`; `GradientDescent` or `Optax`, full batches.
        particles, replicates, draws, bias_draws, sampler: as in `Response`.
        key, record, memory: as in `simulate`.
    Returns:
        xarray.Dataset: `prediction_std (step, sample, output)`, `prediction_bias`, with a test set
        `test_prediction_std`, `test_prediction_bias`, each with `_error`, one standard error; where it has
        at most 1536² entries `prediction_covariance (step, sample, output, step_2, sample_2, output_2)`.
    Raises:
        TypeError, ValueError: one sentence on the argument at fault.
    Accuracy: exact for stored neurons (`initial.Atoms`) of at most `draws` (64 for the bias); otherwise the
        errors given. Kinks of φ are spread over a width that falls as M^{−1/5}, an error of O(M^{−2/5}).
        Holds for η well below the stability edge (THEORY 1.1).
    Cost: T P k + 1 runs of the limit where T·P·k ≤ 768, else 2 (draws + 3 bias_draws).
    Source: THEORY 1.1; Rotskoff & Vanden-Eijnden 2018; Sirignano & Spiliopoulos 2020.
    """
    instance("model", model, Model, "a model such as meanfield.TwoLayer(...)")
    check_run(problem, training, ())
    response = Response(particles, draws, replicates, sampler, bias_draws)
    response.check(model, problem, training)
    key = integer("key", key, 0, 2**63 - 1)
    record = check_record(record, training.steps)
    prepared = response.prepare(model, problem, training, key, check_memory(memory))
    return fluctuation_group(prepared, record)
