"""Activations: values against SciPy, derivatives against autodiff, homogeneity, kinks, equality."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from assertions import EPS, EPS32
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model import activation as activations
from meanfield.model.activation import Activation, leaky_relu

# φ and φ' in NumPy and SciPy.
TRUTHS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: np.cosh(np.minimum(np.abs(z), 300)) ** -2.0),
    "erf": (scipy.special.erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z)),
    "gelu": (
        lambda z: z * scipy.special.ndtr(z),
        lambda z: scipy.special.ndtr(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
    "sigmoid": (scipy.special.expit, lambda z: scipy.special.expit(z) * scipy.special.expit(-z)),
    "softplus": (lambda z: np.logaddexp(z, 0), scipy.special.expit),
    "silu": (
        lambda z: z * scipy.special.expit(z),
        lambda z: scipy.special.expit(z) * (1 + z * scipy.special.expit(-z)),
    ),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "absolute": (np.abs, lambda z: np.where(z > 0, 1.0, -1.0)),
    "identity": (lambda z: z, np.ones_like),
    "quadratic": (lambda z: z * z, lambda z: 2 * z),
    "gaussian": (lambda z: np.exp(-z * z / 2), lambda z: -z * np.exp(-z * z / 2)),
    "sign": (np.sign, np.zeros_like),
    "step": (lambda z: np.heaviside(z, 0.5), np.zeros_like),
    "leaky_relu(0.1)": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1, 0.1)),
    "leaky_relu(-0.5)": (lambda z: np.where(z > 0, z, -0.5 * z), lambda z: np.where(z > 0, 1, -0.5)),
}
NAMED = {name: getattr(activations, name) for name in TRUTHS if "(" not in name}
ALL = {**NAMED, "leaky_relu(0.1)": leaky_relu(0.1), "leaky_relu(-0.5)": leaky_relu(-0.5)}
GRID = np.concatenate([np.linspace(-9, 9, 401), np.linspace(-0.3, 0.3, 101) + 1e-3, [-40.0, 40.0]])
EVERY = pytest.mark.parametrize("name", ALL)


def allowed(values, z, eps):
    """A dozen roundings of the value and of the argument: an error eps·|z| of z moves φ by eps·|zφ'|."""
    return 12 * eps * (1 + np.abs(values)) * (1 + np.abs(z))


def test_every_activation_of_the_module_has_its_truth():
    made = {name for name, value in vars(activations).items() if isinstance(value, Activation)}
    assert made == set(NAMED)


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_derivative_are_the_functions_they_name(name, dtype):
    phi, truth = ALL[name], TRUTHS[name]
    with double():
        z = jnp.asarray(GRID, dtype)
        results = jax.jit(lambda z: (phi(z), *phi.value_and_derivative(z), phi.derivative(z)))(z)
        results = [np.asarray(result) for result in results]
    grid = np.asarray(z, float)
    eps = EPS if dtype == "float64" else EPS32
    for result, expected in zip(results, (truth[0], truth[0], truth[1], truth[1]), strict=True):
        assert result.dtype == dtype and result.shape == grid.shape
        assert (np.abs(result - expected(grid)) <= allowed(expected(grid), grid, eps)).all()


@EVERY
def test_the_pair_is_the_derivative_that_autodiff_finds(name):
    """Everywhere but at kinks, where autodiff of max and of the absolute value takes the middle."""
    phi = ALL[name]
    with double():
        z = jnp.asarray(GRID[~np.isin(GRID, [point for point, _ in phi.kinks])])
        found, given = jax.jit(lambda z: (jax.vmap(jax.grad(phi.function))(z), phi.derivative(z)))(z)
    grid, found, given = (np.asarray(v) for v in (z, found, given))
    assert (np.abs(found - given) <= allowed(given, grid, EPS)).all()


@EVERY
def test_at_a_kink_the_derivative_is_that_from_below(name):
    for point, jump in ALL[name].kinks:
        with double():
            at, below = (float(ALL[name].derivative(jnp.asarray(p))) for p in (point, point - 2.0**-40))
        assert at == below and jump != 0


@EVERY
def test_a_homogeneous_activation_scales_exactly_and_no_other_does(name):
    """φ(2z) = 2^p φ(z), with a power of two that nothing rounds."""
    phi = ALL[name]
    with double():
        z = jnp.asarray(GRID)
        low, high = np.asarray(phi(z)), np.asarray(phi(2 * z))
    if phi.homogeneity is None:
        degrees = np.log2(np.abs(high[(low != 0) & (high != 0)] / low[(low != 0) & (high != 0)]))
        assert np.ptp(degrees) > 0.1
    else:
        np.testing.assert_array_equal(high, 2**phi.homogeneity * low)


@EVERY
def test_kinks_are_where_the_derivative_jumps(name):
    """φ'(z + h) − φ'(z − h) at neighbouring floats is the jump; at every other place it vanishes with h."""
    phi = ALL[name]
    kinks = dict(phi.kinks)
    h = 2.0**-40
    with double():
        points = jnp.asarray(sorted({*kinks, *np.linspace(-3, 3, 25)}))
        jumps = np.asarray(phi.derivative(points + h) - phi.derivative(points - h))
    for point, jump in zip(np.asarray(points), jumps, strict=True):
        assert abs(jump - kinks.get(float(point), 0.0)) <= 2 * h * 3 + 12 * EPS * 10


@EVERY
def test_equal_activations_are_equal_and_hash_alike(name):
    again = leaky_relu(ALL[name].function.slope) if "(" in name else getattr(activations, name)
    loaded = pickle.loads(pickle.dumps(ALL[name]))
    for other in (again, loaded):
        assert other == ALL[name] and hash(other) == hash(ALL[name])
        assert describe(other) == describe(ALL[name])


def test_different_activations_differ_in_equality_and_description():
    everything = [*ALL.values(), leaky_relu(0.2)]
    assert len(set(everything)) == len(everything)
    assert len({str(describe(phi)) for phi in everything}) == len(everything)


def test_equal_activations_share_one_compiled_program():
    count = []

    def apply(phi, z):
        count.append(1)
        return phi(z)

    apply = jax.jit(apply, static_argnums=0)
    for phi in (leaky_relu(0.1), leaky_relu(0.1), leaky_relu(0.2)):
        apply(phi, jnp.ones(2))
    assert len(count) == 2


def test_the_description_does_not_depend_on_the_callers_precision():
    """It names files of a store."""
    phi = Activation(lambda z: z / (1 + jnp.abs(z)))
    with double():
        inside = describe(phi)
    with jax.enable_x64(False):
        outside = describe(phi)
    assert inside == outside
    assert describe(Activation(lambda u: u / (1 + jnp.abs(u)))) == outside
    assert describe(Activation(lambda z: z / (2 + jnp.abs(z)))) != outside


@given(slope=st.floats(-2, 2), z=st.floats(-1e3, 1e3))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_leaky_relu_interpolates_between_relu_absolute_and_identity(slope, z):
    with double():
        value = float(leaky_relu(slope)(jnp.asarray(z)))
    assert value == (z if z > 0 else slope * z)


@pytest.mark.parametrize("slope, other", [(0.0, "relu"), (-1.0, "absolute"), (1.0, "identity")])
def test_special_slopes_are_other_activations(slope, other):
    with double():
        for ours, theirs in zip(
            leaky_relu(slope).value_and_derivative(jnp.asarray(GRID)),
            ALL[other].value_and_derivative(jnp.asarray(GRID)),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_everything_that_changes_values_or_derivatives_changes_the_description():
    def scaled(by):
        constants = np.linspace(0, by, 2000)
        return jax.jit(lambda z: z * jnp.asarray(constants).sum())

    plain = Activation(scaled(1.0), "scaled")
    assert describe(plain) == describe(Activation(scaled(1.0), "scaled"))
    others = [Activation(scaled(1 + 1e-12), "scaled"), Activation(scaled(1.0), "other")]
    others.append(Activation(scaled(1.0), "scaled", pair=lambda z: (z * 1000.0, z)))
    assert all(describe(other) != describe(plain) for other in others)


def test_a_user_defined_activation_gets_its_derivative_by_autodiff():
    phi = Activation(lambda z: z / (1 + jnp.abs(z)), "softsign")
    with double():
        value, slope = phi.value_and_derivative(jnp.asarray(GRID))
    np.testing.assert_allclose(value, GRID / (1 + np.abs(GRID)), rtol=3 * EPS)
    np.testing.assert_allclose(slope, (1 + np.abs(GRID)) ** -2.0, rtol=12 * EPS)
    assert repr(phi) == "activations.softsign"
    assert repr(leaky_relu(0.1)) == "Activation('leaky_relu(0.1)')"
