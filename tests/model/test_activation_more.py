"""Sign, step and Hermite polynomials."""

import math
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, assert_close, assert_one_sentence
from cases import in_double

from meanfield.model import activation as activations

GRID = np.concatenate([np.linspace(-5, 5, 41), [-40.0, 1e-300, -1e-300]])


def evaluated(function, z):
    return in_double(lambda z: function(jnp.asarray(z)), z)


@pytest.mark.parametrize("name, low", [("sign", -1.0), ("step", 0.0)])
def test_thresholds_jump_at_zero_and_have_no_slope(name, low):
    phi = getattr(activations, name)
    value, slope = evaluated(phi.value_and_derivative, GRID)
    np.testing.assert_array_equal(value[GRID != 0], np.where(GRID > 0, 1.0, low)[GRID != 0])
    np.testing.assert_array_equal(value[GRID == 0], (1 + low) / 2)
    np.testing.assert_array_equal(slope, 0)
    assert phi.homogeneity == 0 and pickle.loads(pickle.dumps(phi)) == phi


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 7, 20])
def test_hermite_is_the_polynomial_of_numpy(degree):
    """Three operations a degree, each of a few roundings of the largest term met; |He_k| as its own scale."""
    value, slope = evaluated(activations.hermite(degree).value_and_derivative, GRID[:41])
    unit = np.zeros(degree + 1)
    unit[degree] = 1 / math.sqrt(math.factorial(degree))
    z = GRID[:41]
    for found, series in ((value, unit), (slope, np.polynomial.hermite_e.hermeder(unit))):
        assert_close(found, np.polynomial.hermite_e.hermeval(z, series), 8 * (degree + 1))


def test_hermite_polynomials_are_orthonormal():
    """Gauss–Hermite of 24 nodes is exact up to degree 47; 24 products of size |w h_j h_k| ≤ 1 each."""
    z, weight = np.polynomial.hermite_e.hermegauss(24)
    values = [evaluated(activations.hermite(k), z) for k in range(12)]
    gram = np.einsum("n,jn,kn->jk", weight / weight.sum(), values, values)
    assert np.abs(gram - np.eye(12)).max() <= 24 * 12 * EPS


def test_hermite_degrees_are_equal_settings_and_checked():
    assert activations.hermite(3) == activations.hermite(3) != activations.hermite(4)
    assert hash(activations.hermite(3)) == hash(activations.hermite(3))
    assert activations.hermite(3).name == "hermite(3)"
    for bad, kind in ((-1, ValueError), (2.5, TypeError)):
        with pytest.raises(kind) as error:
            activations.hermite(bad)
        assert_one_sentence(str(error.value), "degree")
