"""What is looked at in networks without matrices and in limits: one W₀ for now and for initialisation."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from cases import Together, problem

import meanfield as mf
from meanfield.base.schema import Variable
from meanfield.observe.observable import Observable
from meanfield.studies import simulate

TASK = problem(samples=4, inputs=3, test_samples=3)
MODEL = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup)
# What compares now with initialisation, on inputs that training does not see.
NAMES = ("feature_movement_relative", "test_kernel_change")
LOOKS = Together((mf.observe.FeatureMovement(test=True), mf.observe.Kernel(test=True)), NAMES)
TOLERANCE = 1e-6
SYSTEMS = {
    "matrix-free": MODEL.finite(12, sampler=mf.MatrixFree(TOLERANCE), dtype="float64"),
    "limit": MODEL.limit(32, 2, tolerance=TOLERANCE),
}


@pytest.fixture(scope="module", autouse=True)
def no_advice():
    """Whether the learning rate is stable is not asked here; the kernels it takes cost more than training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "warn_above_edge", lambda *_: None)
        yield


@pytest.mark.parametrize("kind", ["matrix-free", pytest.param("limit", marks=pytest.mark.slow)])
def test_what_hardly_trains_hardly_moves(kind, key):
    """Over a time of 2e-7 everything moves by less than 1e-4 of itself, what is skipped included, where
    fields of two different W₀ would differ by as much as they are large. Training sees two samples at a
    time. The kernel of a limit in antithetic pairs moves by the square of that."""
    training = mf.GradientDescent(1e-7, 2, batch_size=2)
    run = mf.simulate(SYSTEMS[kind], TASK, training, observe=LOOKS, key=key)
    last = run.isel(together_step=-1)
    for name in NAMES:
        assert last[name].max() < 1e-4, name
    assert last["feature_movement_relative"].min() > 1e-12


@pytest.mark.slow
def test_movement_has_the_law_of_dense_networks(key):
    """Means over 60 networks each way, under mini-batches: Welch's t, false alarms 1e-6."""
    training, found = mf.GradientDescent(1.0, 2, batch_size=2), []
    dense = MODEL.finite(12, dtype="float64")
    for shift, system in enumerate((dense, SYSTEMS["matrix-free"])):
        run = mf.simulate(system, TASK, training, seeds=60, observe=LOOKS, key=key + shift)
        found.append(run["feature_movement_relative"].values[:, -1])
    dense, free = found
    assert scipy.stats.ttest_ind(dense, free, equal_var=False).pvalue > 1e-6
    assert scipy.stats.ttest_ind(1.6 * dense, free, equal_var=False).pvalue < 1e-6  # it can fail


@dataclasses.dataclass(frozen=True)
class Fields(Observable):
    """Preactivations h¹ of every neuron, in their order."""

    average: bool = False
    name = "fields"
    variables = {"fields": Variable(("neuron", "sample"), "preactivations of every neuron")}

    def compute(self, system, problem, measure, initial):
        return {"fields": system.preactivations(measure, problem.x, 1)}


SHALLOW = mf.MLP(1, mf.activations.tanh, mf.parametrizations.mup)


def test_neurons_of_a_limit_are_those_of_its_first_replicate(key):
    """However many replicates there are; beside them what has a mean. Before training E[h h'] = x·x'/d
    exactly, as draws have matched moments: a sum over 32 rounds by less than 32 eps of the largest."""
    looks, training = (Fields(), mf.observe.FeatureKernel()), mf.GradientDescent(0.5, 2)
    few, many = (
        mf.simulate(SHALLOW.limit(32, count), TASK, training, observe=looks, key=key) for count in (2, 3)
    )
    fields = few["fields"].values  # (look, M, P)
    assert fields.shape == (2, 32, 4)
    np.testing.assert_array_equal(fields, many["fields"])
    assert np.abs(fields[1] - fields[0]).max() > 1e-3
    assert (few["feature_kernel_error"] > 0).all()
    truth = TASK.x @ TASK.x.T / TASK.inputs
    allowed = 32 * np.finfo(float).eps * np.abs(fields[0]).max() ** 2
    np.testing.assert_allclose(fields[0].T @ fields[0] / 32, truth, rtol=0, atol=allowed)


def test_no_mean_is_taken_over_replicates_of_unequal_size():
    with pytest.raises(ValueError, match=r"fields, of shapes \(32, 4\) and \(16, 4\), has an axis over part"):
        mf.simulate(SHALLOW.limit(32, 2), TASK, mf.GradientDescent(0.5, 2), observe=Fields(average=True))


@pytest.mark.parametrize("kind", ["matrix-free", "limit"])
def test_looks_after_a_divergence_are_nan(kind):
    relu = mf.MLP(1, mf.activations.relu, mf.parametrizations.mup)
    system = relu.limit(32, 2) if kind == "limit" else relu.finite(8, sampler=mf.MatrixFree())
    looks = (mf.observe.FeatureKernel(at=(8, 9)), Fields())
    with pytest.warns(RuntimeWarning, match="diverged"):
        run = mf.simulate(system, TASK, mf.GradientDescent(1e20, 9), observe=looks)
    assert run["feature_kernel"].shape[-3:] == (2, 4, 4)
    assert run["feature_kernel"].isnull().all()
    assert run["fields"].isel(fields_step=0).notnull().all()
    assert run["fields"].isel(fields_step=-1).isnull().all()
