"""AngularDistribution: where neurons in the plane point."""

import numpy as np
import pytest
from numpy_network import PROBLEM, ROUNDING, TRAINING, X, assert_mean_and_error

import meanfield as mf


def test_its_mass_is_that_of_the_neurons_direction_by_direction():
    """Summed over angles and multiplied by their width: E a^± |w| output by output, after training too."""
    system = mf.TwoLayer(mf.activations.relu).finite(20, dtype="float64")
    looks = (mf.observe.AngularDistribution(12), mf.observe.Neurons(20))
    data = mf.simulate(system, PROBLEM, TRAINING, seeds=2, observe=looks)
    assert data.angular_distribution.dims == (
        "seed", "angular_distribution_step", "sign", "output", "angular_distribution_angle"
    )  # fmt: skip
    centres = -np.pi + (np.arange(12) + 0.5) * np.pi / 6
    np.testing.assert_allclose(data.angular_distribution_angle, centres, atol=1e-15)
    np.testing.assert_array_equal(data.sign, [1, -1])
    a, w = data.neurons_a.values, data.neurons_w.values
    radius, angle = np.hypot(w[..., 0], w[..., 1]), np.arctan2(w[..., 1], w[..., 0])
    for seed, look in np.ndindex(2, 2):
        for row, sign in enumerate((1, -1)):
            for output in (0, 1):
                mass = np.maximum(sign * a[seed, look, :, output], 0) * radius[seed, look] / 20
                expected = np.histogram(angle[seed, look], 12, (-np.pi, np.pi), weights=mass)[0] * 6 / np.pi
                found = data.angular_distribution[seed, look, row, output]
                np.testing.assert_allclose(found, expected, **ROUNDING)
    total = data.angular_distribution.sum(("sign", "angular_distribution_angle")) * np.pi / 6
    np.testing.assert_allclose(total, (np.abs(a) * radius[..., None]).mean(2), **ROUNDING)


def test_a_standard_normal_points_everywhere_alike(key):
    """E a^+ = 1/√(2π), E|w| = √(π/2), independent of the angle: density (1/2)/(2π) for either sign."""
    limit = mf.TwoLayer(mf.activations.relu).limit(1000, 32, sampler=mf.IID())
    looks = mf.observe.AngularDistribution(8, (0,))
    data = mf.simulate(limit, mf.Problem(X, X[:, 0]), TRAINING, key=key, observe=looks)
    density, error = data.angular_distribution[0], data.angular_distribution_error[0]
    assert_mean_and_error(density.values, error.values, 1 / (4 * np.pi), 32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_direction_falls_outside_the_circle(dtype):
    """Angle π, which float32 rounds up, vectors of length 0, and both signs of zero."""
    w = np.array([[-1.0, 0.0], [-1.0, -0.0], [1.0, 0.0], [0.0, 0.0], [0.0, -2.0]])
    initial = mf.initial.Atoms(np.array([1.0, 1.0, -1.0, 5.0, -3.0]), w)
    system = mf.TwoLayer(mf.activations.relu, initial=initial).finite(64, dtype=dtype)
    looks = (mf.observe.AngularDistribution(4, (0,)), mf.observe.Neurons(64, (0,)))
    data = mf.simulate(system, mf.Problem(X, X[:, 0]), TRAINING, observe=looks)
    total = float(data.angular_distribution.sum() * np.pi / 2)
    mass = (np.abs(data.neurons_a[0, 0, :, 0].values) * np.hypot(*data.neurons_w[0, 0].values.T)).mean()
    assert abs(total - mass) <= 100 * np.finfo(dtype).eps * mass


def test_inputs_outside_the_plane_are_refused_before_computing():
    problem = mf.Problem(np.ones((4, 3)), np.ones(4))
    for system in (mf.TwoLayer(mf.activations.relu).finite(8), mf.TwoLayer(mf.activations.relu).limit()):
        with pytest.raises(ValueError, match="exist for 3 inputs: AngularDistribution needs 2"):
            mf.simulate(system, problem, TRAINING, observe=mf.observe.AngularDistribution())
