"""The kernel regime against matrix exponentials, finite linear models, posteriors and Monte Carlo."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from assertions import assert_close, assert_mean, assert_one_sentence, assert_order

import meanfield as mf
from meanfield.base.precision import double
from meanfield.kernels.ensemble import Bayes, predict
from meanfield.kernels.kernel import Kernel
from meanfield.kernels.units import kernel_units
from meanfield.model import loss as losses
from meanfield.model.parametrization import integrable, mean_field, mup, ntk, standard
from meanfield.numerics.conjugate_gradients import ConjugateGradients

SAMPLES, TESTS, OUTPUTS = 6, 4, 2


class LinearModel:
    """f(x) = j(x)·θ, θ_0 ~ N(0, C): Θ = J Jᵀ and Σ = J C Jᵀ exactly, and every training can be run as it is.

    C = diag(1, 0, 0.25, …) makes Σ ≠ Θ, as with networks. One θ for each output.
    """

    def __init__(self, seed=0, parameters=12, samples=SAMPLES, outputs=OUTPUTS):
        rng = np.random.default_rng(seed)
        self.J = rng.standard_normal((samples + TESTS, parameters)) / math.sqrt(parameters)
        self.C = np.resize([1.0, 0.0, 0.25, 2.0], parameters)
        self.y = rng.standard_normal((samples, outputs))
        self.samples = samples

    def kernels(self, rows, columns):
        A, B = self.J[rows], self.J[columns]
        return Kernel(A * self.C @ B.T, A @ B.T)

    @property
    def given(self):
        """What `predict` is called with."""
        train, test = slice(self.samples), slice(self.samples, None)
        return {
            "kernel": self.kernels(train, train),
            "y": self.y,
            "test": self.kernels(test, train),
            "test_test": self.kernels(test, test),
        }

    def descend(self, theta, rates, momentum=0.0, ridge=0.0, loss=None, order=None):
        """Outputs (steps + 1, P + P', k) of descent on the parameters themselves, from θ_0 (N, k).

        With `order` (steps, B) every step sees those samples only.
        """
        J, start, v, found = self.J[: self.samples], theta, 0 * theta, [self.J @ theta]
        for step, rate in enumerate(rates):
            rows = slice(None) if order is None else order[step]
            f, y = J[rows] @ theta, self.y[rows]
            chi = (f - y if loss is None else loss(f, y)) / len(y)
            v = momentum * v + J[rows].T @ chi + ridge * (theta - start)
            theta = theta - rate * v
            found.append(self.J @ theta)
        return np.stack(found)

    def map(self, run):
        """The affine map θ_0 → outputs of a linear training, (matrix, offset), from its unit vectors."""
        zero = np.zeros((len(self.C), self.y.shape[1]))
        offset = run(zero)
        columns = []
        for i in range(len(self.C)):
            unit = zero.copy()
            unit[i] = 1
            columns.append((run(unit) - offset)[..., 0])
        return np.stack(columns, -1), offset  # (T, P + P', N), (T, P + P', k)

    def law(self, run):
        """Mean (T, P + P', k) and covariance (T, P + P', P + P') over θ_0 ~ N(0, C), by that map."""
        matrix, offset = self.map(run)
        return offset, np.einsum("tpi,i,tqi->tpq", matrix, self.C, matrix)


def compare(found, mean, covariance, operations, scale=None):
    P = found.sizes["sample"]
    assert_close(found.prediction, mean[:, :P], operations, scale=scale)
    assert_close(found.test_prediction, mean[:, P:], operations, scale=scale)
    assert_close(found.covariance, covariance[:, :P, :P], operations, scale=scale)
    assert_close(found.test_covariance, covariance[:, P:, P:], operations, scale=scale)
    for name, part in (("prediction_spread", slice(P)), ("test_prediction_spread", slice(P, None))):
        variance = np.einsum("tpp->tp", covariance)[:, part]
        for output in range(found.sizes["output"]):
            assert_close(found[name][..., output] ** 2, variance, operations, scale=scale)


TRAININGS = {
    "plain": (mf.GradientDescent(0.7, 40), {}),
    "momentum": (mf.GradientDescent(0.3, 40, momentum=0.8), {}),
    "ridge": (mf.GradientDescent(0.5, 40), {"ridge": 0.2}),
    "ridge and momentum": (mf.GradientDescent(0.3, 40, momentum=0.5), {"ridge": 0.1}),
    "schedule": (mf.GradientDescent(lambda step: 0.8 / (1 + step), 30), {}),
    "batches": (mf.GradientDescent(0.5, 40, batch_size=2, batch_key=3), {}),
    "batches and all else": (
        mf.GradientDescent(lambda step: 0.3 / (1 + 0.1 * step), 40, momentum=0.6, batch_size=4),
        {"ridge": 0.1},
    ),
}


def rows_of_steps(training):
    """The samples that networks see at every step, from the problem that they train on."""
    numbers = np.arange(SAMPLES, dtype=float)[:, None]
    problem = mf.Problem(numbers, numbers)
    seen = [problem.batch(t, training.batch_size, training.batch_key)[0] for t in range(training.steps)]
    return np.asarray(seen, int)[..., 0]


@pytest.mark.parametrize("name", TRAININGS)
def test_descent_is_that_of_a_linear_model_step_by_step(name):
    """Mean and covariance over θ_0 at every step, against the steps themselves.

    Rounding: 40 steps of sums of N = 12 terms and two matrix products of size P, no growth: 40·12·4 roundings
    of the largest entry, here of order one.
    """
    training, options = TRAININGS[name]
    model = LinearModel()
    rates = np.diff(training.times())
    ridge = options.get("ridge", 0.0)
    order = None if training.batch_size is None else rows_of_steps(training)
    mean, covariance = model.law(
        lambda theta: model.descend(theta, rates, training.momentum, ridge, order=order)
    )
    found = predict(**model.given, training=training, covariance=True, **options)
    np.testing.assert_array_equal(found.step, np.arange(training.steps + 1))
    np.testing.assert_allclose(found.time, training.times(), rtol=1e-14)
    compare(found, mean, covariance, 40 * 12 * 4, scale=2.0)


def test_more_samples_than_parameters_is_singular_and_exact_at_finite_times():
    """Θ has rank 3 of 6: modes that never move. No cancellation, no division by zero, no warning."""
    model = LinearModel(parameters=3)
    training = mf.GradientDescent(0.5, 25)
    mean, covariance = model.law(lambda theta: model.descend(theta, np.diff(training.times())))
    compare(
        predict(**model.given, training=training, covariance=True), mean, covariance, 25 * 12 * 4, scale=4.0
    )


def exact_flow(model, times, ridge=0.0):
    """Mean and covariance of θ' = −Jᵀ(Jθ − y)/P − λ(θ − θ_0) by a matrix exponential of parameters.

    For ω = θ − θ_0: ω' = −Mω + Jᵀ(y − Jθ_0)/P, M = JᵀJ/P + λ, so ω = V(t) Jᵀ(y − Jθ_0)/P with
    V(t) = ∫_0^t e^{−Ms} ds, the corner of exp([[−M, I], [0, 0]] t).
    """
    J, P, N = model.J[: model.samples], model.samples, len(model.C)
    M = J.T @ J / P + ridge * np.eye(N)
    means, covariances = [], []
    for t in times:
        block = np.block([[-M, np.eye(N)], [np.zeros((N, 2 * N))]])
        V = scipy.linalg.expm(t * block)[:N, N:]
        means.append(model.J @ V @ J.T @ model.y / P)
        A = model.J @ (np.eye(N) - V @ J.T @ J / P)
        covariances.append(A * model.C @ A.T)
    return np.stack(means), np.stack(covariances)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_flow_is_a_matrix_exponential(ridge):
    """expm of a 24 × 24 block is good to about 10³ roundings at these norms."""
    model, times = LinearModel(), [0.0, 0.1, 1.0, 7.0, 30.0]
    found = predict(**model.given, times=times, covariance=True, ridge=ridge)
    compare(found, *exact_flow(model, times, ridge), 5000, scale=2.0)
    np.testing.assert_array_equal(found.step, range(5))
    by_training = predict(**model.given, training=mf.GradientFlow(30.0, save=4), ridge=ridge)
    np.testing.assert_array_equal(by_training.time, [0, 10, 20, 30])
    np.testing.assert_array_equal(by_training.prediction[3], found.prediction[4])


def test_small_steps_of_descent_are_the_flow_at_first_order():
    model, errors, rates = LinearModel(), [], [0.2, 0.1, 0.05, 0.025]
    flow = predict(**model.given, times=[2.0])
    for rate in rates:
        steps = predict(**model.given, training=mf.GradientDescent(rate, round(2 / rate)), times=[2.0])
        errors.append(abs(steps.test_prediction.values - flow.test_prediction.values).max())
        assert steps.step.item() == round(2 / rate)
    assert_order(rates, errors, 1, within=0.1, floor=1e-13)


def test_infinite_time_is_kernel_regression_with_and_without_ridge():
    """Θ_xX (Θ + PλI)^{−1} y by a linear solve; finite times approach it; condition number times rounding."""
    model = LinearModel(parameters=40)
    k, across = model.given["kernel"], model.given["test"]
    for ridge in (0.0, 0.05):
        inverse = np.linalg.inv(k.ntk + SAMPLES * ridge * np.eye(SAMPLES))
        found = predict(**model.given, ridge=ridge, covariance=True)
        condition = np.linalg.cond(k.ntk + SAMPLES * ridge * np.eye(SAMPLES))
        assert found.attrs["condition_number"] == pytest.approx(condition, rel=1e-10)
        assert found.attrs["stability_edge"] == pytest.approx(
            2 * SAMPLES / (np.linalg.eigvalsh(k.ntk)[-1] + SAMPLES * ridge)
        )
        Psi = across.ntk @ inverse
        assert_close(found.test_prediction[0], Psi @ model.y, 100 * condition)
        S = model.given["test_test"].nngp
        cross = Psi @ across.nngp.T
        covariance = S - cross - cross.T + Psi @ k.nngp @ Psi.T
        assert_close(found.test_covariance[0], covariance, 100 * condition)
        assert found.time.item() == math.inf and found.step.item() == -1
        for training in (None, mf.GradientDescent(0.9, 5), mf.GradientDescent(0.9, 5, momentum=0.5)):
            late = predict(
                **model.given, training=training, ridge=ridge, times=[0.9 * 2, 0.9 * 50000, np.inf]
            )
            np.testing.assert_allclose(late.test_prediction[1], late.test_prediction[2], atol=1e-11)
            np.testing.assert_allclose(late.test_prediction[2], found.test_prediction[0], atol=1e-12)


def test_training_the_readout_only_ends_in_the_posterior():
    """Θ = Σ, t → ∞: the posterior without noise, in mean and covariance; and the posterior by hand."""
    model = LinearModel(parameters=40)
    only = {k: Kernel(v.nngp, v.nngp) if k != "y" else v for k, v in model.given.items()}
    ends = predict(**only, covariance=True)
    posterior = predict(**model.given, training=Bayes(), covariance=True)
    for name in ends.data_vars:
        np.testing.assert_allclose(ends[name], posterior[name], atol=1e-7 if "spread" in name else 1e-12)
    for noise in (0.0, 0.3):
        k, across = model.given["kernel"].nngp, model.given["test"].nngp
        inverse = np.linalg.inv(k + noise * np.eye(SAMPLES))
        found = predict(**model.given, training=Bayes(noise), covariance=True)
        operations = 100 * np.linalg.cond(k + noise * np.eye(SAMPLES))
        S = model.given["test_test"].nngp
        assert_close(found.test_prediction[0], across @ inverse @ model.y, operations)
        assert_close(found.test_covariance[0], S - across @ inverse @ across.T, operations)
        assert_close(found.prediction[0], k @ inverse @ model.y, operations)
        assert_close(found.covariance[0], k - k @ inverse @ k, operations, scale=abs(k).max())
        np.testing.assert_allclose(
            found.prediction_spread[0, :, 0] ** 2, np.diag(found.covariance[0]), atol=1e-14
        )


def test_plain_arrays_do_where_one_kernel_takes_part():
    model = LinearModel()
    k, across = model.given["kernel"], model.given["test"]
    posterior = predict(
        k.nngp, model.y, Bayes(0.1), test=across.nngp, test_test=model.given["test_test"].nngp
    )
    whole = predict(**model.given, training=Bayes(0.1))
    np.testing.assert_array_equal(posterior.test_prediction_spread, whole.test_prediction_spread)
    centred = predict(k.ntk, model.y, test=across.ntk, centred=True, times=[1.0])
    whole = predict(**model.given, centred=True, times=[1.0])
    np.testing.assert_array_equal(centred.test_prediction, whole.test_prediction)
    diagonal = predict(**{**model.given, "test_test": np.diag(model.given["test_test"].nngp)}, times=[1.0])
    np.testing.assert_allclose(
        diagonal.test_prediction_spread,
        predict(**model.given, times=[1.0]).test_prediction_spread,
        rtol=1e-13,
    )


def test_a_centred_network_has_the_same_mean_and_no_spread():
    model = LinearModel()
    centred, free = (predict(**model.given, times=[2.0, 5.0], centred=c) for c in (True, False))
    for name in ("prediction", "test_prediction"):
        np.testing.assert_array_equal(centred[name], free[name])
        assert not centred[f"{name}_spread"].values.any()
        assert (free[f"{name}_spread"] > 0).all()


def test_the_law_is_that_of_an_ensemble_by_monte_carlo(key):
    """2000 linear models from θ_0 ~ N(0, C): means by t-intervals, false alarms 10⁻⁶; then twice the ntk as
    negative control."""
    model, training = LinearModel(), mf.GradientDescent(0.5, 6)
    rng = np.random.default_rng([key, 1])
    outputs, rates = [], np.diff(training.times())
    for _ in range(2000):
        theta = rng.standard_normal((len(model.C), OUTPUTS)) * np.sqrt(model.C)[:, None]
        outputs.append(model.descend(theta, rates)[-1])
    outputs = np.stack(outputs)
    for factor in (1, 2):
        given = {k: Kernel(v.nngp, factor * v.ntk) if k != "y" else v for k, v in model.given.items()}
        last = predict(**given, training=training).isel(step=-1)
        mean = np.concatenate([last.prediction, last.test_prediction])
        spread = np.concatenate([last.prediction_spread, last.test_prediction_spread])
        if factor == 1:
            assert_mean(outputs, mean)
            assert_mean((outputs - mean) ** 2, spread**2)
        else:
            with pytest.raises(AssertionError):
                assert_mean(outputs, mean)


@pytest.mark.parametrize(
    ("loss", "size"),
    [(losses.logistic, None), (losses.softmax, None), (losses.huber, None), (losses.logistic, 4)],
    ids=repr,
)
def test_other_losses_follow_descent_draw_by_draw(loss, size, key):
    """The same draws of f_0 through descent in numpy: f_{s+1} = f_s − ηΘχ, on training and test inputs; χ is
    zero off the batch."""
    model = LinearModel()
    y = np.sign(model.y) if loss is losses.logistic else model.y
    y = np.argmax(model.y, 1) if loss is losses.softmax else y
    targets = loss.targets("y", y, SAMPLES)
    given = {**model.given, "y": y}
    training = mf.GradientDescent(0.4, 12, momentum=0.5, batch_size=size)
    found = predict(**given, training=training, loss=loss, draws=16, key=key, covariance=True, ridge=0.1)

    k, across = model.given["kernel"], model.given["test"]
    joint = np.block([[k.nngp, across.nngp.T], [across.nngp, model.given["test_test"].nngp]])
    theta = np.concatenate([k.ntk, across.ntk])
    values, U = np.linalg.eigh(joint)
    with double():
        z = np.asarray(jax.random.normal(jax.random.key(key), (16, OUTPUTS, len(joint))))
    f_0 = np.einsum("pj,j,skj->spk", U, np.sqrt(np.maximum(values, 0)), z)
    assert (
        abs(np.einsum("spk,sqk->pq", f_0, f_0) / 32 - joint).max() < 2
    )  # they are draws of that size at all
    f, v, records = f_0, 0 * f_0, [f_0]
    order = np.tile(np.arange(SAMPLES), (12, 1)) if size is None else rows_of_steps(training)
    for rows in order:
        with double():
            chi = np.stack([np.asarray(loss.derivative(jnp.asarray(a[:SAMPLES]), targets)) for a in f])
        chi *= np.isin(np.arange(SAMPLES), rows)[:, None] / len(rows)
        # ∇ of the ridge pulls f − f_0 back
        v = 0.5 * v + np.einsum("pq,sqk->spk", theta, chi) + 0.1 * (f - f_0)
        f = f - 0.4 * v
        records.append(f)
    records = np.stack(records)  # (T, draws, P + P', k)
    mean = records.mean(1)
    assert_close(found.prediction, mean[:, :SAMPLES], 5000, scale=3.0)
    assert_close(found.test_prediction, mean[:, SAMPLES:], 5000, scale=3.0)
    spread = records.std(1, ddof=1)
    assert_close(found.test_prediction_spread, spread[:, SAMPLES:], 5000, scale=3.0)
    assert_close(found.test_prediction_error, spread[:, SAMPLES:] / 4, 5000, scale=3.0)
    centred = records - mean[:, None]
    covariance = np.einsum("tspk,tsql->tpkql", centred, centred) / 15
    assert_close(found.covariance, covariance[:, :SAMPLES, :, :SAMPLES], 5000, scale=10.0)
    assert_close(found.test_covariance, covariance[:, SAMPLES:, :, SAMPLES:], 5000, scale=10.0)
    assert found.covariance.dims == ("step", "sample", "output", "sample_2", "output_2")


def test_other_losses_under_the_flow_are_the_limit_of_small_steps():
    """First order in η against the integrated equation; huber far from its kink is the square loss."""
    model = LinearModel()
    given = {**model.given, "y": np.sign(model.y)}
    options = {"loss": losses.logistic, "draws": 4}
    flow = predict(**given, training=mf.GradientFlow(2.0, save=3, tolerance=1e-10), **options)
    errors, rates = [], [0.2, 0.1, 0.05, 0.025]
    for rate in rates:
        steps = predict(**given, training=mf.GradientDescent(rate, round(2 / rate)), times=[2.0], **options)
        errors.append(abs(steps.test_prediction.values[0] - flow.test_prediction.values[-1]).max())
    assert_order(rates, errors, 1, within=0.1, floor=1e-10)
    wide = predict(
        **model.given,
        training=mf.GradientFlow(2.0, save=3, tolerance=1e-10),
        loss=losses.Huber(100.0),
        centred=True,
    )
    square = predict(**model.given, times=[0.0, 1.0, 2.0], centred=True)
    # On training inputs errors of the flow only decay: they stay below the tolerance.
    np.testing.assert_allclose(wide.prediction, square.prediction, atol=1e-9)
    assert "prediction_error" not in wide and not wide.prediction_spread.values.any()


def test_near_singular_kernels_are_warned_about_at_infinite_time_only():
    """Two inputs 10⁻⁷ apart: condition 10¹⁴. A finite time needs no inverse and is exact."""
    model = LinearModel(parameters=40)
    model.J[1] = model.J[0] + 1e-7 * model.J[2]
    with pytest.warns(RuntimeWarning, match=r"condition number \d\.\de\+1\d.*ridge or a finite time"):
        found = predict(**model.given)
    assert np.isfinite(found.test_prediction).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times = [1.0, 5.0]
        compare(
            predict(**model.given, times=times, covariance=True), *exact_flow(model, times), 20000, scale=2.0
        )
        predict(**model.given, ridge=1e-6)
        predict(**LinearModel(parameters=40).given)
    single = {
        k: Kernel(np.float32(v.nngp), np.float32(v.ntk)) if k != "y" else v for k, v in model.given.items()
    }
    with pytest.warns(RuntimeWarning, match="condition number"):
        predict(**single)


def test_modes_without_signal_stay_as_they_were_at_infinite_time():
    """Θ of rank 3: f ends at y on the range of Θ and keeps f_0 off it, and the kernel is called singular."""
    model = LinearModel(parameters=3)
    J = model.J[:SAMPLES]
    onto = J @ np.linalg.pinv(J)
    with pytest.warns(RuntimeWarning, match="3 of its 6 modes are at rounding level"):
        found = predict(**model.given, covariance=True)
    np.testing.assert_allclose(found.prediction[0], onto @ model.y, atol=1e-12)
    np.testing.assert_allclose(
        found.test_prediction[0], model.J[SAMPLES:] @ np.linalg.pinv(J) @ model.y, atol=1e-11
    )


def test_an_unstable_learning_rate_is_named():
    model = LinearModel()
    edge = predict(**model.given, times=[0.0]).attrs["stability_edge"]
    stable = predict(**model.given, training=mf.GradientDescent(0.99 * edge, 2000), times=[0, np.inf])
    assert np.isfinite(stable.prediction).all()
    with pytest.warns(RuntimeWarning, match="above the stability edge"):
        grown = predict(**model.given, training=mf.GradientDescent(1.1 * edge, 100))
    assert abs(grown.prediction[-1]).max() > 1e3
    with pytest.raises(ValueError, match="stability edge") as caught:
        predict(**model.given, training=mf.GradientDescent(1.1 * edge, 100), times=[0, np.inf])
    assert_one_sentence(str(caught.value).replace(".", "", 1), "`times`")
    predict(**model.given, training=mf.GradientDescent(1.1 * edge, 100, momentum=0.5))  # 2(1 + μ)P/λ_max


@pytest.mark.parametrize("rank", [0, 5, 200])
@pytest.mark.parametrize("training", [None, Bayes(0.01)], ids=["flow", "bayes"])
def test_conjugate_gradients_agree_with_eigenvectors(rank, training, monkeypatch):
    """tolerance τ on the residual is τ · condition on the solution; kernels read in blocks of 7 rows."""
    monkeypatch.setattr("meanfield.numerics.conjugate_gradients.ROWS", 7 * 60)
    model = LinearModel(parameters=90, samples=60)
    dense = predict(**model.given, training=training, covariance=True)
    solver = ConjugateGradients(tolerance=1e-13, rank=rank)
    found = predict(**model.given, training=training, covariance=True, solver=solver)
    allowed = 1e-13 * dense.attrs["condition_number"] * 60
    assert allowed < 1e-8
    for name in ("prediction", "test_prediction", "test_covariance"):
        np.testing.assert_allclose(found[name], dense[name], atol=allowed)
    np.testing.assert_allclose(found.test_prediction_spread**2, dense.test_prediction_spread**2, atol=allowed)
    assert ("prediction_spread" in found) == (training is None)


def test_the_preconditioner_saves_steps_on_a_decaying_spectrum():
    """60 inputs on a line, a smooth kernel: few steps with 20 pivots, not within 12 without."""
    x = np.linspace(0, 1, 60)
    kernel = np.exp(-20 * (x[:, None] - x) ** 2) + 1e-6 * np.eye(60)
    y = np.sin(5 * x)
    found = predict(kernel, y, centred=True, solver=ConjugateGradients(steps=12, rank=20))
    np.testing.assert_allclose(found.prediction[0, :, 0], y, atol=1e-12)
    with pytest.raises(RuntimeError, match="did not converge in 12 steps"):
        predict(kernel, y, centred=True, solver=ConjugateGradients(steps=12, rank=0))


def numpy_gradient_kernels(parametrization, L, width, seed):
    """f_0 and the parts of the tangent kernel of each layer, rates n^{−c_l} included; same draws for all."""
    a, b, c, _ = parametrization.layers(L)
    rng = np.random.default_rng(seed)
    sizes = [5, *[width] * L, 1]
    draws = [rng.standard_normal((m, n)) for n, m in zip(sizes, sizes[1:], strict=False)]
    n = float(width)
    scales = [n**-s / (math.sqrt(5) if i == 0 else 1) for i, s in enumerate(a)]
    x = np.random.default_rng(9).standard_normal((4, 5))
    xs, slopes = [x], []
    W = [s * n**-e * w for s, e, w in zip(scales, b, draws, strict=True)]
    for matrix in W[:-1]:
        h = xs[-1] @ matrix.T
        xs.append(np.tanh(h))
        slopes.append(1 - np.tanh(h) ** 2)
    g, parts = np.ones((4, 1)), []
    for i in reversed(range(L + 1)):
        parts.append(scales[i] ** 2 * n ** -c[i] * (g @ g.T) * (xs[i] @ xs[i].T))
        if i:
            g = (g @ W[i]) * slopes[i - 1]
    return xs[-1] @ W[-1].T, parts[::-1]


@pytest.mark.parametrize(
    "parametrization, L",
    [(ntk, 2), (mup, 3), (mean_field, 1), (standard, 2), (standard.with_rates(1), 2), (mup.shift(0.7), 2)],
    ids=str,
)
def test_kernel_units_relate_every_parametrization_to_the_ntk_exactly(parametrization, L):
    """At finite width, with the same draws: f_0 by κ, the kernel of every layer by κ_l, to rounding."""
    f_0, parts = numpy_gradient_kernels(ntk, L, 20, 0)
    found_0, found = numpy_gradient_kernels(parametrization, L, 20, 0)
    units = kernel_units(parametrization, hidden_layers=L, width=20)
    np.testing.assert_allclose(found_0, units.output * f_0, rtol=1e-12)
    for mine, kappa, theirs in zip(found, units.layers, parts, strict=True):
        np.testing.assert_allclose(mine, kappa * theirs, rtol=1e-12)
    assert kernel_units(parametrization, hidden_layers=L, width=20, richness=4.0).output == units.output / 4


def test_learning_rates_and_times_are_converted():
    mup_units, ntk_units = (kernel_units(p, hidden_layers=2, width=100) for p in (mup, ntk))
    assert mup_units.layers == pytest.approx((1, 1, 1)) and mup_units.output == pytest.approx(0.1)
    assert mup_units.learning_rate(0.3, ntk_units) == pytest.approx(0.3)
    fast = kernel_units(ntk.with_rates(-0.5), hidden_layers=2, width=100)
    assert fast.time(0.2, 5) == pytest.approx(10.0)
    assert fast.learning_rate(0.2, mup_units) == pytest.approx(2.0)
    model = LinearModel()
    k = fast.kernels(model.given["kernel"])
    direct = predict(k, model.y, mf.GradientDescent(0.02, 5))
    ordinary = predict(model.given["kernel"], model.y, mf.GradientDescent(0.2, 5))
    np.testing.assert_allclose(direct.prediction, ordinary.prediction, atol=1e-14)
    with pytest.raises(ValueError, match="0.01, 1, 1 times"):
        _ = kernel_units(standard.with_rates(1), hidden_layers=2, width=100).speed
    with pytest.raises(ValueError, match="`parametrization` must be one with a \\+ b"):
        kernel_units(integrable, hidden_layers=2, width=100)


BAD = {
    "y of another length": ({"y": np.ones(3)}, "`y` must be one row for each of the 6"),
    "a plain array": ({"kernel": np.eye(6)}, "`kernel` must have arrays `nngp` and `ntk`"),
    "not square": ({"kernel": Kernel(np.ones((6, 5)), np.ones((6, 5)))}, "`kernel` must be square"),
    "not semidefinite": (
        {"kernel": Kernel(np.eye(6), -np.eye(6))},
        "`kernel` must be positive semidefinite",
    ),
    "nan": ({"kernel": Kernel(np.eye(6), np.full((6, 6), np.nan))}, "`kernel` must be finite"),
    "test of another shape": ({"test": Kernel(np.eye(4), np.eye(4))}, "`test` must be of shape"),
    "test_test without test": ({"test": None}, "`test` must be given"),
    "test_test of another shape": ({"test_test": np.eye(3)}, "`test_test` must be Σ on the test inputs"),
    "times that decrease": ({"times": [2.0, 1.0]}, "`times` must be increasing"),
    "negative times": ({"times": [-1.0, 1.0]}, "`times` must be increasing"),
    "nan times": ({"times": [np.nan]}, "`times` must be finite"),
    "times between steps": (
        {"times": [0.25], "training": mf.GradientDescent(0.1, 3)},
        "`times` must be times after whole steps",
    ),
    "weight decay": ({"training": mf.GradientDescent(0.1, 3, weight_decay=0.1)}, "without weight decay"),
    "a batch of more than all": (
        {"training": mf.GradientDescent(0.1, 3, batch_size=7)},
        "`batch_size` must be at most the 6 samples",
    ),
    "batches without end": (
        {"training": mf.GradientDescent(0.1, 3, batch_size=2), "times": [np.inf]},
        "`times` must be finite for a training with mini-batches",
    ),
    "langevin": ({"training": mf.Langevin(0.1, 3, 0.1)}, "`training` must be GradientFlow"),
    "ridge of a posterior": ({"training": Bayes(), "ridge": 0.1}, "`training` must be a flow or a descent"),
    "negative ridge": ({"ridge": -1.0}, "`ridge` must be a finite number of at least 0"),
    "infinity, other loss": ({"loss": losses.huber}, "`times` must be finite"),
    "solver at finite times": ({"solver": ConjugateGradients(), "times": [1.0]}, "`solver` must be None but"),
    "a string as solver": ({"solver": "cg"}, "`solver` must be None or"),
    "loss": ({"loss": "square"}, "`loss` must be one of"),
    "no prior for draws": (
        {"loss": losses.huber, "times": [1.0], "test_test": None},
        "`test_test` must be the matrix",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    options, words = BAD[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        predict(**{**LinearModel().given, **options})
    assert words in str(caught.value), str(caught.value)


def test_results_are_labelled_numpy_and_can_be_stored(tmp_path):
    found = predict(**LinearModel().given, times=[0.0, 1.0, np.inf], covariance=True)
    assert found.prediction.dims == ("step", "sample", "output")
    assert found.test_covariance.dims == ("step", "test_sample", "test_sample_2")
    assert all(v.dtype == np.float64 for v in found.data_vars.values())
    np.testing.assert_array_equal(found.step, [0, 1, -1])
    assert all({"long_name", "units", "source"} <= set(v.attrs) for v in found.data_vars.values())
    found.to_netcdf(tmp_path / "law.nc", engine="h5netcdf")


def test_unknown_keywords_are_type_errors():
    with pytest.raises(TypeError, match="unexpected keyword"):
        predict(**LinearModel().given, time=[1.0])
