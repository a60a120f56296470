"""The predicted bias with as many directions as particles is the exact sum over them."""

import numpy as np
import pytest
from assertions import assert_close
from cases import problem

import meanfield as mf

MODEL = mf.TwoLayer(mf.activations.tanh)
TRAINING = mf.GradientDescent(0.2, 5)


@pytest.mark.slow
def test_a_quadrature_rule_and_its_points_as_atoms_have_the_same_bias():
    """Both are sums over the same 27 weighted neurons; random directions would differ at the first digit."""
    task = problem(samples=3, test_samples=2)
    rule = mf.Quadrature(3)
    points, weights = rule.rule(3, 3)
    atoms = mf.initial.Atoms(points[:, :1], points[:, 1:], weights=weights / weights.sum())
    options = {"particles": 27, "bias_draws": 27, "record": [1, 5]}
    found = mf.fluctuation(MODEL, task, TRAINING, sampler=rule, **options)
    truth = mf.fluctuation(mf.TwoLayer(mf.activations.tanh, initial=atoms), task, TRAINING, **options)
    for name in ("prediction_bias", "test_prediction_bias", "prediction_std"):
        assert_close(found[name].values, truth[name].values, 1e4)


def test_neurons_in_pairs_keep_random_directions():
    """A direction of its own for each particle would break the pairs."""
    task = problem(samples=3, test_samples=0)
    model = mf.TwoLayer(mf.activations.tanh, initial=mf.initial.Gaussian(paired=True))
    few = mf.fluctuation(model, task, TRAINING, particles=16, bias_draws=16, replicates=2, record=[0, 5])
    # At step 0 f_n = 0 for every draw of pairs: a direction that keeps them has no response there.
    np.testing.assert_allclose(few["prediction_bias"].values[0], 0, atol=1e-12)
    np.testing.assert_allclose(few["prediction_std"].values[0], 0, atol=1e-12)
