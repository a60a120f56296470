"""Losses: the formulas of THEORY 0, their derivatives, the labels they take."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from assertions import EPS, assert_one_sentence

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model.loss import Huber, Loss, exponential, huber, logistic, softmax, square

LOSSES = {
    "square": square,
    "logistic": logistic,
    "exponential": exponential,
    "softmax": softmax,
    "huber": huber,
    "Huber(0.3)": Huber(0.3),
}
EVERY = pytest.mark.parametrize("name", LOSSES)


def truth(name, f, y):
    """ℓ in NumPy, from THEORY 0."""
    if name == "square":
        return 0.5 * ((f - y) ** 2).sum(-1)
    if name == "logistic":
        return np.log1p(np.exp(-y * f)).sum(-1)
    if name == "exponential":
        return np.exp(-y * f).sum(-1)
    if name == "softmax":
        return scipy.special.logsumexp(f, -1) - (y * f).sum(-1)
    delta = 1.0 if name == "huber" else 0.3
    r = np.abs(f - y)
    return np.where(r <= delta, r * r / 2, delta * (r - delta / 2)).sum(-1)


def example(name, samples=7, outputs=3):
    rng = np.random.default_rng(3)
    f = 2 * rng.standard_normal((samples, outputs))
    if name in ("logistic", "exponential"):
        return f, rng.choice([-1.0, 1.0], (samples, outputs))
    y = rng.standard_normal((samples, outputs))
    return f, scipy.special.softmax(y, 1) if name == "softmax" else y


def test_every_loss_of_the_module_is_tested():
    made = {name for name, value in vars(mf.losses).items() if isinstance(value, Loss)}
    assert made == set(LOSSES) - {"Huber(0.3)"}


@EVERY
def test_the_value_is_the_formula_of_the_theory(name):
    f, y = example(name)
    with double():
        value = np.asarray(LOSSES[name].value(jnp.asarray(f), jnp.asarray(y)))
    assert value.shape == (7,)
    # A few roundings for each of three outputs, of terms no larger than e^{|f|}.
    np.testing.assert_allclose(value, truth(name, f, y), rtol=0, atol=30 * EPS * np.exp(np.abs(f).max()))


@EVERY
def test_the_derivative_is_the_gradient_of_the_value(name):
    f, y = example(name)
    with double():
        gradient = jax.grad(lambda f: LOSSES[name].value(f, y).sum())
        both = jax.jit(lambda f: (LOSSES[name].derivative(f, y), gradient(f)))
        derivative, gradient = (np.asarray(v) for v in both(f))
    np.testing.assert_allclose(derivative, gradient, rtol=0, atol=30 * EPS * np.exp(np.abs(f).max()))


@EVERY
def test_the_curvature_is_the_hessian_of_the_value_and_not_negative(name):
    f, y = example(name)
    with double():
        both = jax.jit(
            lambda f, y: (LOSSES[name].curvature(f, y), jax.vmap(jax.hessian(LOSSES[name].value))(f, y))
        )
        curvature, hessian = (np.asarray(v) for v in both(f, y))
    bound = 60 * EPS * np.exp(np.abs(f).max())
    assert curvature.shape == (7, 3, 3)
    np.testing.assert_allclose(curvature, hessian, rtol=0, atol=bound)
    assert np.linalg.eigvalsh(curvature).min() >= -bound


@EVERY
def test_large_predictions_stay_finite_where_the_loss_is(name):
    _, y = example(name)
    with double():
        both = jax.jit(lambda f: (LOSSES[name].value(f, y), LOSSES[name].derivative(f, y)))
        for f in (500.0, -500.0):
            assert all(np.isfinite(v).all() for v in both(np.full(y.shape, f)))


@EVERY
def test_losses_are_equal_to_their_copies_only(name):
    loss = LOSSES[name]
    loaded = pickle.loads(pickle.dumps(loss))
    assert loaded == loss and hash(loaded) == hash(loss) and describe(loaded) == describe(loss)
    assert sum(loss == other for other in LOSSES.values()) == 1
    assert repr(loss) == {"huber": "losses.Huber(delta=1)", "Huber(0.3)": "losses.Huber(delta=0.3)"}.get(
        name, f"losses.{name}"
    )


@EVERY
def test_residuals_of_a_problem_are_the_gradient_of_its_risk(name):
    """χ_p = ∂R/∂f(x_p)."""
    f, y = example(name)
    problem = mf.Problem(np.arange(14.0).reshape(7, 2), y, loss=LOSSES[name])
    with double():
        value_and_grad = jax.value_and_grad(lambda f: problem.risk(f, problem.y))
        chi, (risk, gradient) = jax.jit(lambda f: (problem.residual(f), value_and_grad(f)))(f)
        chi, risk, gradient = np.asarray(chi), float(risk), np.asarray(gradient)
    bound = 30 * EPS * np.exp(np.abs(f).max())
    np.testing.assert_allclose(chi, gradient, rtol=0, atol=bound)
    assert abs(risk - truth(name, f, y).mean()) <= bound


X = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize("loss", [logistic, exponential], ids=repr)
def test_labels_0_and_1_are_refused_with_the_conversion(loss):
    with pytest.raises(ValueError) as caught:
        mf.Problem(X, [0, 1, 1, 0], loss=loss)
    assert_one_sentence(str(caught.value), "Argument `y`", "labels -1 and 1", "pass 2 * y - 1")
    mf.Problem(X, 2 * np.array([0, 1, 1, 0]) - 1, loss=loss)


@pytest.mark.parametrize("loss", [logistic, exponential], ids=repr)
@pytest.mark.parametrize("labels", [[1, 2, 1, 2], [0.5, -0.5, 1, 1], [-1, 0, 1, 1]], ids=str)
def test_other_labels_are_refused_with_what_came(loss, labels):
    with pytest.raises(ValueError) as caught:
        mf.Problem(X, labels, loss=loss)
    assert_one_sentence(str(caught.value), "Argument `y`", "labels -1 and 1", f"{min(labels):g}")


def test_integer_labels_become_one_hot_rows():
    problem = mf.Problem(X, [0, 2, 1, 2], loss=softmax)
    np.testing.assert_array_equal(problem.y, np.eye(3)[[0, 2, 1, 2]])
    assert problem.outputs == 3
    assert mf.Problem(X, [0, 0, 0, 0], loss=softmax).outputs == 2


def test_test_labels_use_the_classes_of_the_training_set():
    problem = mf.Problem(X, [0, 2, 1, 2], loss=softmax, x_test=X[:2], y_test=[1, 0])
    np.testing.assert_array_equal(problem.y_test, np.eye(3)[[1, 0]])
    with pytest.raises(ValueError) as caught:
        mf.Problem(X, [0, 2, 1, 2], loss=softmax, x_test=X[:2], y_test=[1, 3])
    assert_one_sentence(str(caught.value), "Argument `y_test`", "below 3", "has 3")


def test_rows_of_probabilities_are_taken_as_they_are():
    rows = np.full((4, 2), 0.5)
    np.testing.assert_array_equal(mf.Problem(X, rows, loss=softmax).y, rows)


@pytest.mark.parametrize(
    "labels, words",
    [
        ([0, 1, -1, 2], "-1"),
        ([0, 1, 1.5, 2], "1.5"),
        (np.full((4, 2), 0.6), "sum 1.2"),
        (np.array([[1.5, -0.5]] * 4), "-0.5"),
        (np.ones((4, 1)), "sum 1"),
    ],
    ids=["negative", "not whole", "sum", "negative probability", "one column"],
)
def test_other_labels_for_softmax_are_refused(labels, words):
    with pytest.raises(ValueError) as caught:
        mf.Problem(X, labels, loss=softmax)
    rule = "integers 0, 1, ..., k - 1 or rows of probabilities"
    assert_one_sentence(str(caught.value), "Argument `y`", rule, words)
