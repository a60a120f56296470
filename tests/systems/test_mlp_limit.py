"""The feature-learning limit of multilayer perceptrons, against what is known of it without sampling."""

import dataclasses
import functools

import numpy as np
import pytest
from affine_limit import AffineLimit
from assertions import assert_close
from revealed_runs import trained_runs

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.activation import Activation
from meanfield.model.parametrization import Parametrization, mup

RNG = np.random.default_rng(0)
AFFINE = Activation(lambda z: 0.3 + 0.9 * z, name="affine")


def batches_of(problem, training):
    """The samples that every step sees, told from their inputs."""
    if training.batch_size is None:
        return None
    found = []
    with double():
        for step in range(training.steps + 1):
            x = np.asarray(problem.batch(step, training.batch_size, training.batch_key)[0])
            found.append(np.array([int(np.flatnonzero((problem.x == row).all(1))[0]) for row in x]))
    return found


# -- affine activations: no sampling error at all ----------------------------------------------------------

AFFINE_TASK = mf.Problem(RNG.standard_normal((3, 4)), RNG.standard_normal((3, 2)))
AFFINE_MODEL = mf.MLP(3, AFFINE, mup, richness=1.4, weight_variance=1.2, bias_variance=0.5)
AFFINE_TRAINING = mf.GradientDescent(0.3, 4, 0.4, 0.2, batch_size=2)
CONSTANTS = {"richness": 1.4, "weight_variance": 1.2, "bias_variance": 0.5, "momentum": 0.4, "decay": 0.2}
# Layer 3 stays where it was: its rate vanishes with the width.
ONE_STAYS = Parametrization((-0.5, 0, 0, 0.5), (0.5, 0.5, 0.5, 0.5), (0, 0, 0.5, 0))


@functools.cache
def affine_runs(parametrization, particles=256):
    system = dataclasses.replace(AFFINE_MODEL, parametrization=parametrization).limit(particles, tolerance=0)
    return trained_runs(system, AFFINE_TASK, AFFINE_TRAINING, count=2)[0]


def affine_truth(**changes):
    batches = batches_of(AFFINE_TASK, AFFINE_TRAINING)
    settings = {"batches": batches, **CONSTANTS, **changes}
    truth = AffineLimit((0.3, 0.9), 3, AFFINE_TASK.x, AFFINE_TASK.y, 0.3, 4, **settings).predictions()
    return np.stack([f[rows] for f, rows in zip(truth, batches, strict=True)])


def assert_affine(found, truth):
    """Rounding: sums over 256 particles and at most 64 directions, in two layers, forward and backward, at
    every step."""
    for f in found:
        assert_close(f, truth, 4 * (256 + 64) * 5)


@pytest.mark.parametrize("parametrization, rates", [(mup, None), (ONE_STAYS, [1, 1, 0, 1])])
def test_an_affine_network_is_solved_to_rounding(parametrization, rates):
    """Three hidden layers, two outputs, biases, richness, variances, momentum, decay, mini-batches."""
    assert_affine(affine_runs(parametrization), affine_truth(rates=rates))


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.4 + 1e-9}, {"decay": 0.2 + 1e-9}, {"bias_variance": 0.5 + 1e-9}, {"rates": [1, 1, 0, 1]}],
)
def test_a_small_change_of_the_settings_is_seen(change):
    with pytest.raises(AssertionError, match="roundings"):
        assert_affine(affine_runs(mup), affine_truth(**change))
