"""What is looked at in networks without matrices and in limits: one W₀ for now and for initialisation."""

import pytest
import scipy.stats
from cases import Together, problem

import meanfield as mf
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
