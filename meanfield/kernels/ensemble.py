"""The kernel regime: mean and covariance of an ensemble of infinitely wide networks, at any time."""

import collections
import dataclasses
import functools
import math
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, boolean, fail, instance, integer, number, require
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.base.schema import Variable, dataset, provenance
from meanfield.base.text import Concise
from meanfield.kernels.batches import batches, is_batched, summed_residuals
from meanfield.model import loss as losses
from meanfield.model.gradient_descent import GradientDescent
from meanfield.model.gradient_flow import GradientFlow
from meanfield.model.training import Schedule
from meanfield.numerics.conjugate_gradients import ConjugateGradients, row_product
from meanfield.numerics.runge_kutta import dormand_prince

SOURCE = "Jacot, Gabriel & Hongler 2018; Lee et al. 2019; THEORY 3.1"
FEW_DIGITS = 1e-4  # relative error of answers at infinite time from which on a warning is due


@dataclasses.dataclass(frozen=True, repr=False)
class Bayes(Concise):
    """The posterior of the Gaussian process N(0, Σ) given y = f(x) + N(0, noise), in place of training.

    Args:
        noise: variance of the targets' noise, ≥ 0.
    """

    noise: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "noise", number("noise", self.noise, least=0))


def predict(
    kernel,
    y,
    training=None,
    *,
    test=None,
    test_test=None,
    y_test=None,
    times=None,
    loss=losses.square,
    ridge=0.0,
    centred=False,
    covariance=False,
    solver=None,
    draws=256,
    key=0,
):
    """Mean and covariance of the predictions of infinitely wide networks in the kernel regime.

    The output obeys df(x)/dt = −Σ_p Θ(x, x_p) χ_p from f_0 ~ N(0, Σ), independent for each output,
    t = η · step. For the square loss, X the training set, the law at time t is Gaussian:

        Ψ_x = Θ_xX Θ_XX^{−1} (I − e^{−tΘ_XX/P}),    mean Ψ_x y,
        covariance Σ(x,x') + Ψ_x Σ_XX Ψ_x'ᵀ − Ψ_x Σ_Xx' − Σ_xX Ψ_x'ᵀ.

    Gradient descent has (I − ηΘ_XX/P)^step for the exponential, with momentum and schedules the polynomial
    that they make of it, with mini-batches the product of I − ηΘ_XX/B on the rows of one batch after the
    other, for the order of the data that `batch_key` fixes and all networks share. A ridge λ adds
    (λ/2)|θ − θ_0|² to the risk: Θ_XX + PλI takes the place of Θ_XX in the inverse and in the exponential.
    `Bayes(noise)` gives Σ_xX (Σ_XX + noise)^{−1} y and Σ(x,x') − Σ_xX (Σ_XX + noise)^{−1} Σ_Xx'. For any
    other loss χ_p = (1/P) ∂ℓ/∂f makes the law of f_t non-Gaussian: the equation is solved for `draws` draws
    of f_0 and mean and covariance are their averages.

    Args:
        kernel: Σ and Θ on the training set: the object of `meanfield.kernels.mlp(x, …)`, any other with
            arrays `nngp` and `ntk` (P, P), or `Kernel(nngp, ntk)`. A plain array (P, P) will do where only
            one of them takes part: Θ for a centred network, Σ for `Bayes`.
        y: targets, (P,) or (P, k).
        training: None or `GradientFlow` for the flow, `GradientDescent`, or `Bayes`. No weight decay (it
            pulls to 0, not to the start: use `ridge`).
        test: the same kernels between test and training inputs, (P', P), `mlp(x_test, x, …)`.
        test_test: Σ on the test inputs, (P', P'), as an object with `nngp` or as an array; its diagonal (P',)
            is enough for the spread. Without it there is a test mean only.
        y_test: targets of the test set, (P',) or (P', k), for its loss.
        times: increasing training times t = η · step, infinity included; by default those of `training`, or
            infinity without one. For descent they must be whole steps.
        loss: ℓ, one of `meanfield.losses`.
        ridge: λ ≥ 0.
        centred: whether f − f_0 is what is trained and predicted: deterministic, mean Ψ_x y, spread 0.
        covariance: whether to give covariances, and not only standard deviations.
        solver: None for an eigendecomposition, `ConjugateGradients(…)` for many samples, at infinite time.
        draws, key: number of draws of f_0 and the integer that fixes them, for losses that are not square.
    Returns:
        xarray.Dataset: `prediction`, `prediction_spread` (step, sample, output), with a test set
        `test_prediction`, `test_prediction_spread` (step, test_sample, output); on request `covariance`
        (step, sample, sample_2), `test_covariance` (step, test_sample, test_sample_2), the same for each of
        the independent outputs, or (step, sample, output, sample_2, output_2) where the loss couples them;
        `loss`, `test_loss` (step): the mean risk over the ensemble; for losses that are not square
        `prediction_error` and `loss_error`, one standard error of the mean. `step` counts
        steps of descent and saved times of a flow, −1 stands for infinity; `time` lies along it. Attributes
        `condition_number` (of Θ_XX + PλI) and `stability_edge` (2P/λ_max: larger learning rates grow).
    Raises:
        ValueError, TypeError: one sentence naming the argument; RuntimeError: conjugate gradients failed.
    Warns:
        RuntimeWarning: if kernels are so near singular that answers at infinite time have less than four
            digits; modes at rounding level stay untrained then. Finite times are not affected. If the
            learning rate is above the stability edge.
    Accuracy: square loss: rounding, times the condition number at infinite time; other losses: the
        tolerance of the flow, and `prediction_error`.
    Cost: P³ once, P²(P + P') for each time (mean only: P(P + P')k), 4 matrices P²; with mini-batches of B
        samples B P² more for each step; other losses P² k draws for each step.
    Source: Jacot, Gabriel & Hongler (2018); Lee et al. (2019, eq. 13 to 16); THEORY 3.1.
    """
    bayes, centred = isinstance(training, Bayes), boolean("centred", centred)
    ridge, covariance = number("ridge", ridge, least=0), boolean("covariance", covariance)
    square = isinstance(instance("loss", loss, losses.Loss, "one of meanfield.losses"), losses.Square)
    if bayes and (centred or ridge or times is not None or not square):
        fail("training", "a flow or a descent where `ridge`, `times`, `loss` or `centred` is given", training)
    course = _course(training, times)
    if solver is not None:
        instance("solver", solver, ConjugateGradients, "None or ConjugateGradients(...)")
        good = (
            square and not isinstance(course.training, GradientDescent) and bool(np.isinf(course.times).all())
        )
        require(good, "solver", "None but for the square loss and a flow at times [inf] or Bayes", solver)
    train = _block("kernel", kernel, bayes, centred, solver)
    samples = train.ntk.shape[0]
    require(train.ntk.shape == (samples, samples), "kernel", "square", train.ntk)
    y = array("y", y, (1, 2), "an array of shape (samples,) or (samples, outputs)")
    require(len(y) == samples, "y", f"one row for each of the {samples} samples of `kernel`", y)
    y = loss.targets("y", y, samples)
    across = None if test is None else _block("test", test, bayes, centred, None)
    if across is not None:
        require(across.ntk.shape[1] == samples, "test", f"of shape (test samples, {samples})", across.ntk)
    within = None if test_test is None or centred else _within(test_test, across)

    if y_test is not None:
        require(across is not None, "test", "given where `y_test` is", None)
        y_test = loss.targets(
            "y_test", array("y_test", y_test, (1, 2), "an array of targets"), len(across.ntk)
        )
        shape = (len(across.ntk), y.shape[1])
        require(y_test.shape == shape, "y_test", f"of shape {shape}", y_test)
    targets = {"": y, "test_": y_test}
    numbers = {}
    size = getattr(course.training, "batch_size", None)
    require(size is None or size <= samples, "batch_size", f"at most the {samples} samples of `kernel`", size)
    batched = is_batched(course.training, samples)
    if batched:
        good = bool(np.isfinite(course.times).all())
        require(good, "times", "finite for a training with mini-batches", course.times.tolist())
    if square and batched:
        arrays, numbers = _batched(train, across, within, y, course, ridge, covariance)
    elif square and solver is None:
        arrays, numbers = _square(train, across, within, y, course, samples * ridge, covariance)
    elif square:
        arrays = _iterated(train, across, within, y, course, samples * ridge, covariance, solver)
    else:
        require(bool(np.isfinite(course.times).all()), "times", f"finite for {loss!r}", course.times.tolist())
        draws, key = integer("draws", draws, 2), integer("key", key, 0, 2**63 - 1)
        if across is not None and not centred and (within is None or within.ndim == 1):
            fail("test_test", "the matrix Σ on the test inputs for a loss that is not square", test_test)
        with double():
            start = np.zeros((1, samples + (0 if across is None else len(across.ntk)), y.shape[1]))
            if not centred:
                start = _draw(train, across, within, (draws, y.shape[1]), key)
            arrays = _sampled(train.ntk, across, start, targets, course, loss, ridge, covariance)
    if square:
        arrays |= _mean_squares(arrays, targets)
    variables = VARIABLES if square else VARIABLES | COUPLED
    settings = {
        "training": describe(course.training),
        "loss": describe(loss),
        "ridge": ridge,
        "centred": centred,
    }
    coords = {"step": course.steps, "time": ("step", course.times)}
    return dataset(arrays, variables, coords, provenance(settings, **numbers))


def _both_sets(**variables):
    """The variables on the training set, and again on the test set."""
    test = {
        f"test_{name}": dataclasses.replace(
            v,
            dims=tuple(d.replace("sample", "test_sample") for d in v.dims),
            long_name=f"{v.long_name}, test set",
        )
        for name, v in variables.items()
    }
    return variables | test


OUTPUTS = ("step", "sample", "output")
VARIABLES = _both_sets(
    prediction=Variable(OUTPUTS, "mean prediction E f_t", source=SOURCE),
    prediction_spread=Variable(OUTPUTS, "standard deviation of f_t", source=SOURCE),
    prediction_error=Variable(OUTPUTS, "one standard error of the mean prediction", source=SOURCE),
    covariance=Variable(("step", "sample", "sample_2"), "covariance of f_t, each output", source=SOURCE),
    loss=Variable(("step",), "mean risk over the ensemble", source="THEORY 0"),
    loss_error=Variable(("step",), "one standard error of the mean risk", source="THEORY 0"),
)
COUPLED = _both_sets(
    covariance=Variable((*OUTPUTS, "sample_2", "output_2"), "covariance of f_t", source=SOURCE)
)


class Course(NamedTuple):
    """When to predict: training times (T,), steps (T,), −1 at infinity; by what training."""

    training: object
    times: np.ndarray
    steps: np.ndarray

    def stability(self, curvature):
        """(largest learning rate, the one above which a mode of that curvature λ_max/P grows)."""
        if not isinstance(self.training, GradientDescent):
            return 0.0, math.inf
        rate = float(np.diff(self.training.times()).max())
        return rate, 2 * (1 + self.training.momentum) / curvature if curvature > 0 else math.inf

    def factors(self, s, kept):
        """w, (T, P): the summed residuals C_t = w y of modes C' = (y − s C)/P, so w = (1 − decay)/s.

        s (P,) are the eigenvalues of Θ + P·ridge; those not kept have no part at infinite time.
        """
        training = self.training
        descent = isinstance(training, GradientDescent)
        if descent and (training.has_momentum or isinstance(training.learning_rate, Schedule)):
            w = self._recursion(s)
        else:
            w = np.stack([self._closed(s, m, t) for t, m in zip(self.times, self.steps, strict=True)])
        w[np.isinf(self.times)] = kept / np.where(kept, s, 1)
        return w

    def _closed(self, s, step, time):
        """(1 − e^{−ts/P})/s or (1 − (1 − ηs/P)^step)/s, without cancellation for slow modes."""
        if math.isinf(time):
            return np.zeros_like(s)
        still, divisor = s * time < 1e-290, np.where(s > 0, s, 1)
        if isinstance(self.training, GradientDescent):
            decay = self.training.learning_rate * s / len(s)
            slow = decay < 0.5
            gone = -np.expm1(step * np.log1p(-np.where(slow, decay, 0)))
            gone = np.where(slow, gone, 1 - np.where(slow, 0, 1 - decay) ** float(step))
        else:
            gone = -np.expm1(-time * s / len(s))
        return np.where(still, time / len(s), gone / divisor)

    def _recursion(self, s):
        """Momentum and schedules: v ← μv + (1 − s w)/P, w ← w + ηv."""
        training, last = self.training, int(self.steps.max())
        constant = not isinstance(training.learning_rate, Schedule)
        rates = np.full(last, training.learning_rate) if constant else np.diff(training.times())
        w, v = np.zeros_like(s), np.zeros_like(s)
        found = np.zeros((len(self.steps), len(s)))
        for step in range(last):
            v = training.momentum * v + (1 - s * w) / len(s)
            w = w + rates[step] * v
            found[self.steps == step + 1] = w
        return found


def _course(training, times):
    """Times and steps to predict at, from what was asked for and the training."""
    if times is not None:
        times = array(
            "times", np.where(np.isposinf(np.asarray(times, float)), -1, times), (1,), "a list of times"
        )
        times = np.where(times == -1, np.inf, times)
        good = bool((times >= 0).all() and (times[1:] > times[:-1]).all())
        require(good, "times", "increasing training times of at least 0", times.tolist())
    infinity = np.array([np.inf])
    if isinstance(training, Bayes):
        return Course(training, infinity, np.array([-1]))
    if training is None:
        times = infinity if times is None else times
        training = GradientFlow(max([1.0, *times[np.isfinite(times)]]))
    instance("training", training, GradientFlow | GradientDescent, "GradientFlow, GradientDescent or Bayes")
    if training.weight_decay:
        fail("training", "without weight decay, which pulls to 0 and not to the start: use `ridge`", training)
    if times is None:
        return Course(training, training.times(), np.arange(training.steps + 1))
    end = np.isinf(times)
    steps = np.arange(len(times))
    if isinstance(training, GradientDescent):
        scheduled = isinstance(training.learning_rate, Schedule)
        if scheduled:
            possible = training.times()
            steps = np.abs(possible[:, None] - np.where(end, 0, times)).argmin(0)
            reached = possible[steps]
        else:
            steps = np.round(np.where(end, 0, times) / training.learning_rate).astype(int)
            reached = steps * training.learning_rate
        good = np.allclose(reached[~end], times[~end], rtol=1e-9, atol=0) and not (scheduled and end.any())
        require(good, "times", f"times after whole steps of {training!r}", times.tolist())
    return Course(training, times, np.where(end, -1, steps))


class Block(NamedTuple):
    """Kernels as float64 arrays, Σ only where it takes part, and the rounding of Θ relative to its size."""

    nngp: np.ndarray | None
    ntk: np.ndarray
    eps: float


def _block(name, value, bayes, centred, solver):
    """The kernels of an argument; left in their file if they are to be read block by block."""
    rule = "a matrix (samples, samples)" if name == "kernel" else "a matrix (test samples, samples)"
    if hasattr(value, "nngp") and hasattr(value, "ntk"):
        nngp, ntk = None if centred else value.nngp, value.nngp if bayes else value.ntk
        require(ntk is not None, name, "a kernel with `ntk`, whose φ has a derivative", value)
    elif bayes or centred:
        nngp, ntk = None if centred else value, value
    else:
        kind = f"an array of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
        raise TypeError(
            f"Argument `{name}` must have arrays `nngp` and `ntk` (one array is enough for centred networks "
            f"and for Bayes), but is {kind}."
        )
    dtype, same = np.dtype(getattr(ntk, "dtype", float)), ntk is nngp
    if solver is None:
        ntk = array(name, ntk, (2,), rule)
        nngp = ntk if same else None if nngp is None else array(name, nngp, (2,), rule)
    require(len(ntk.shape) == 2, name, rule, ntk)
    require(nngp is None or nngp.shape == ntk.shape, name, "kernels `nngp` and `ntk` of one shape", nngp)
    return Block(nngp, ntk, float(np.finfo(dtype if dtype.kind == "f" else float).eps))


def _within(value, across):
    """Σ on the test inputs: the matrix or its diagonal."""
    require(across is not None, "test", "given where `test_test` is", None)
    rule = "Σ on the test inputs, (test samples, test samples) or its diagonal"
    value, size = array("test_test", getattr(value, "nngp", value), (1, 2), rule), len(across.ntk)
    require(value.shape in ((size, size), (size,)), "test_test", rule, value)
    return value


def _modes(train, course, shift, test):
    """Eigenvalues and eigenvectors of Θ, which are kept at infinite time, and what is told of them."""
    eigenvalues, U = np.linalg.eigh(train.ntk)
    samples, top, least = len(U), float(eigenvalues[-1]), float(eigenvalues[0])
    rounding = samples * train.eps * max(top, 0.0)
    if least < -100 * rounding or top < 0:
        raise ValueError(
            f"Argument `kernel` must be positive semidefinite, but has eigenvalues {least:.3g} to {top:.3g}."
        )
    eigenvalues = np.maximum(eigenvalues, 0)
    kept = eigenvalues + shift > rounding
    condition = (top + shift) / max(least + shift, 1e-300)
    rate, edge = course.stability((top + shift) / samples)
    unending = bool(np.isinf(course.times).any())
    if rate > edge and unending:
        fail(
            "times", f"finite for a learning rate above the stability edge {edge:.3g}", course.times.tolist()
        )
    if rate > edge:
        warnings.warn(
            f"The learning rate {rate:g} is above the stability edge {edge:.3g} of the kernel, 2P/λ_max "
            "without momentum: predictions grow without bound.",
            RuntimeWarning,
            stacklevel=4,
        )
    error = condition * train.eps
    if unending and (not kept.all() or (test and error > FEW_DIGITS)):
        what = f"its inverse has a relative error of {error:.0e}, and so have predictions at test inputs"
        if not kept.all():
            what = (
                f"{samples - int(kept.sum())} of its {samples} modes are at rounding level and stay untrained"
            )
        warnings.warn(
            f"The kernel has condition number {condition:.1e}: at infinite time {what}. A ridge or a finite "
            "time avoids it.",
            RuntimeWarning,
            stacklevel=4,
        )
    edge = 2 * samples / (top + shift) if top + shift > 0 else math.inf
    return eigenvalues, U, kept, {"condition_number": condition, "stability_edge": edge}


def _square(train, across, within, y, course, shift, covariance):
    """Mean and covariance for the square loss, by the eigenvectors of Θ."""
    bayes, gaussian = isinstance(course.training, Bayes), train.nngp is not None
    shift = course.training.noise if bayes else shift
    eigenvalues, U, kept, numbers = _modes(train, course, shift, across is not None)
    Z, found = U.T @ y, collections.defaultdict(list)

    def add_law(name, left, right, prior=0.0):
        """Covariance prior + left rightᵀ of every output, or its diagonal."""
        diagonal = np.einsum("pj,pj->p", left, right) + (np.diag(prior) if np.ndim(prior) == 2 else prior)
        spread = np.sqrt(np.maximum(diagonal, 0))
        found[f"{name}prediction_spread"].append(np.repeat(spread[:, None], y.shape[1], 1))
        if covariance and np.ndim(prior) != 1:
            product = left @ right.T
            found[f"{name}covariance"].append(prior + (product + product.T) / 2)

    K = U.T @ train.nngp @ U if gaussian else None
    B = None if across is None else across.ntk @ U
    S = across.nngp @ U if gaussian and within is not None else None
    for w in course.factors(eigenvalues + shift, kept):
        found["prediction"].append(U @ ((eigenvalues * w)[:, None] * Z))
        left = U * (1 - eigenvalues * w)  # what is left of f_0 − y, mode by mode
        if gaussian:
            add_law("", left, U * eigenvalues if bayes else left @ K)
        if across is not None:
            found["test_prediction"].append((B * w) @ Z)
        if S is not None:
            Psi = B * w
            add_law("test_", Psi, -S if bayes else Psi @ K - 2 * S, within)
    if not gaussian:
        for name in tuple(found):
            found[f"{name}_spread"] = [np.zeros_like(v) for v in found[name]]
    return {name: np.stack(values) for name, values in found.items()}, numbers


def _batched(train, across, within, y, course, ridge, covariance):
    """The same for mini-batches: Ψ_x = Θ_xX M, C = M (f_0 − y), M from step to step."""
    gaussian = train.nngp is not None
    found = collections.defaultdict(list)

    def add_law(name, prior, Psi, cross):
        """Covariance prior + ΨΣΨᵀ − Ψ crossᵀ − cross Ψᵀ of every output, or its diagonal."""
        left = Psi @ train.nngp - 2 * cross
        diagonal = np.einsum("pj,pj->p", Psi, left) + (np.diag(prior) if prior.ndim == 2 else prior)
        spread = np.sqrt(np.maximum(diagonal, 0))
        found[f"{name}prediction_spread"].append(np.repeat(spread[:, None], y.shape[1], 1))
        if covariance and prior.ndim == 2:
            product = left @ Psi.T
            found[f"{name}covariance"].append(prior + (product + product.T) / 2)

    start = np.eye(len(y)) if gaussian else y
    for M in summed_residuals(train.ntk, start, course.training, course.steps, ridge):
        mean = M @ y if gaussian else M
        found["prediction"].append(train.ntk @ mean)
        if gaussian:
            add_law("", train.nngp, train.ntk @ M, train.nngp)
        if across is not None:
            found["test_prediction"].append(across.ntk @ mean)
        if within is not None:
            add_law("test_", within, across.ntk @ M, across.nngp)
    if not gaussian:
        for name in tuple(found):
            found[f"{name}_spread"] = [np.zeros_like(v) for v in found[name]]
    numbers = _modes(train, course, len(y) * ridge, False)[-1]
    return {name: np.stack(values) for name, values in found.items()}, numbers


def _iterated(train, across, within, y, course, shift, covariance, solver):
    """The same at infinite time by conjugate gradients, Θ read block by block."""
    bayes, gaussian = isinstance(course.training, Bayes), train.nngp is not None
    shift = course.training.noise if bayes else shift
    solved = solver.solve(train.ntk, shift, y if within is None else np.concatenate([y, across.ntk.T], 1))
    v, W = solved[:, : y.shape[1]], solved[:, y.shape[1] :]  # W = Ψᵀ
    found = {"prediction": y - shift * v}
    if shift == 0 or not gaussian:
        found["prediction_spread"] = np.zeros_like(y)
    if across is not None:
        found["test_prediction"] = across.ntk @ v
        if not gaussian:
            found["test_prediction_spread"] = np.zeros_like(found["test_prediction"])
    if within is not None:
        right = -across.nngp.T if bayes else row_product(train.nngp, W) - 2 * across.nngp.T
        diagonal = (np.diag(within) if within.ndim == 2 else within) + np.einsum("pi,pi->i", W, right)
        found["test_prediction_spread"] = np.repeat(np.sqrt(np.maximum(diagonal, 0))[:, None], y.shape[1], 1)
        if covariance and within.ndim == 2:
            product = W.T @ right
            found["test_covariance"] = within + (product + product.T) / 2
    return {name: value[None] for name, value in found.items()}


def _draw(train, across, within, shape, key):
    """f_0 ~ N(0, Σ) on training and test inputs together, (draws, P + P', k)."""
    joint = train.nngp
    if across is not None:
        joint = np.block([[joint, across.nngp.T], [across.nngp, within]])
    eigenvalues, U = np.linalg.eigh(joint)
    z = np.asarray(jax.random.normal(jax.random.key(key), (*shape, len(joint))))
    return np.swapaxes(z * np.sqrt(np.maximum(eigenvalues, 0)) @ U.T, 1, 2)


def _mean_squares(arrays, targets):
    """E ½|f − y|², averaged over samples: that of the mean and half the variance, where both are known."""
    found = {}
    for name, y in targets.items():
        if y is not None and f"{name}prediction" in arrays and f"{name}prediction_spread" in arrays:
            squares = (arrays[f"{name}prediction"] - y) ** 2 + arrays[f"{name}prediction_spread"] ** 2
            found[f"{name}loss"] = 0.5 * squares.sum(-1).mean(-1)
    return found


def _sampled(theta, across, start, targets, course, loss, ridge, covariance):
    """Averages over draws of f_0: f = f_0 − ΘC with C' = χ(f) − ridge C; at test inputs f_0 − Θ_xX C.

    C, the sum of the residuals so far, is the same for both sets: one equation on the training set.
    """
    y = targets[""]
    samples, flow = len(y), isinstance(course.training, GradientFlow)
    problem = jnp.asarray(theta), jnp.asarray(start[:, :samples]), jnp.asarray(y), ridge
    order = batches(course.training, samples) if is_batched(course.training, samples) else None
    C = jnp.zeros_like(problem[1])
    memory = jnp.zeros(()) if flow else (jnp.zeros((), jnp.int32), C)
    found, before = collections.defaultdict(list), 0
    for now in course.times if flow else course.steps:
        if flow and now > before:
            tolerance = course.training.tolerance / course.times[-1]
            C, memory = _flow(C, memory, problem, loss, now - before, tolerance)
        elif now > before:
            C, memory = _descend(C, memory, problem, course.training, loss, now - before, order)
        before = now
        kernels = {"": theta} if across is None else {"": theta, "test_": across.ntk}
        for name, kernel in kernels.items():
            f_0 = start[:, samples:] if name else start[:, :samples]
            f = f_0 - kernel @ np.asarray(C)
            for variable, value in (*_averages(f, covariance), *_mean_risk(f, targets[name], loss)):
                found[name + variable].append(value)
    return {name: np.stack(values) for name, values in found.items()}


def _averages(f, covariance):
    """Mean, spread, error of the mean, covariance of f (draws, P, k); a single draw is the law itself."""
    draws = len(f)
    spread = f.std(0, ddof=1) if draws > 1 else np.zeros(f.shape[1:])
    yield "prediction", f.mean(0)
    yield "prediction_spread", spread
    if draws > 1:
        yield "prediction_error", spread / math.sqrt(draws)
        if covariance:
            flat = (f - f.mean(0)).reshape(draws, -1)
            yield "covariance", (flat.T @ flat / (draws - 1)).reshape(2 * f.shape[1:])


def _mean_risk(f, y, loss):
    """E R over draws and its error, from f (draws, P, k)."""
    if y is not None:
        risks = np.asarray(jax.vmap(lambda f: jnp.mean(loss.value(f, jnp.asarray(y))))(jnp.asarray(f)))
        yield "loss", risks.mean()
        if len(f) > 1:
            yield "loss_error", risks.std(ddof=1) / math.sqrt(len(f))


def _velocity(C, problem, loss, rows=None):
    """χ − ridge C; with a batch χ is zero but on its rows."""
    theta, f_0, y, ridge = problem
    derivative = jax.vmap(loss.derivative, (0, None))
    if rows is None:
        return derivative(f_0 - theta @ C, y) / len(y) - ridge * C
    chi = derivative(f_0[:, rows] - theta[rows] @ C, y[rows]) / len(rows)
    return (-ridge * C).at[:, rows].add(chi)


@functools.partial(jax.jit, static_argnames="loss")
def _flow(C, h, problem, loss, time, tolerance):
    def norm(C):  # the change of f that C makes, root mean square over samples, worst draw
        return jnp.sqrt(jnp.max(jnp.mean((problem[0] @ C) ** 2, (1, 2))))

    return dormand_prince(lambda C: _velocity(C, problem, loss), C, time, h, tolerance, norm)


@functools.partial(jax.jit, static_argnames="loss")
def _descend(C, memory, problem, training, loss, steps, order=None):
    def step(_, carry):
        C, (count, v) = carry
        rows = None if order is None else order[count]
        v = training.momentum * v + _velocity(C, problem, loss, rows)
        return C + training.rate(count) * v, (count + 1, v)

    return jax.lax.fori_loop(0, steps, step, (C, memory))
