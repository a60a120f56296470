"""The edge of stability 2/λ_max: exact kernels, the warning, and what happens on either side."""

import math
import warnings

import numpy as np
import pytest
from assertions import assert_close
from cases import atoms, in_double, problem, zero_problem

import meanfield as mf
from meanfield.model.measure import Measure
from meanfield.studies.stability import warn_above_edge

TASK = problem(test_samples=0)


def edge_of_matrix(kernel):
    """2P/λ_max of a dense kernel (P, P)."""
    return 2 * len(kernel) / np.linalg.eigvalsh(kernel).max()


@pytest.mark.parametrize("richness", [1.0, 0.1])
def test_the_edge_of_an_identity_network_is_that_of_its_closed_form_kernel(richness):
    """K(x, x') = E(w·x)(w·x') + E a² x·x': from atoms, second moments of (a, w), exactly; at any richness."""
    law = atoms(30, weighted=True)
    moment = np.einsum("n,ni,nj->ij", law.weights, law.w, law.w)
    kernel = TASK.x @ moment @ TASK.x.T + law.weights @ law.a[:, 0] ** 2 * TASK.x @ TASK.x.T
    model = mf.TwoLayer(mf.activations.identity, initial=law, richness=richness)
    assert_close(mf.stability(model, TASK), edge_of_matrix(kernel), 200)


def test_gaussian_neurons_give_twice_the_gram_matrix_within_their_sampling_error():
    """E wwᵀ = I, E a² = 1: K = 2x·x'. Entries of a mean of 2048 products err by √(2/2048) = 3% at most in
    one standard deviation even for independent draws; Sobol points do better, five of them are safe."""
    edge = mf.stability(mf.TwoLayer(mf.activations.identity), TASK)
    assert abs(edge / edge_of_matrix(2 * TASK.x @ TASK.x.T) - 1) < 5 * math.sqrt(2 / 2048)


@pytest.mark.parametrize("samples", [5, 12])
def test_dense_and_iterative_eigenvalues_are_those_of_the_tangent_kernel(samples):
    """Above eight unknowns Lanczos to 1e-4, below a dense matrix; three outputs, with bias."""
    task = problem(samples=samples, outputs=3, test_samples=0)
    law = atoms(40, 2, 3, bias=True)
    model = mf.TwoLayer(mf.activations.gelu, bias=True, initial=law)
    measure = Measure(law._points(), law.weights)
    kernel = in_double(model.particles().tangent_kernel, measure, task.x, task.x).reshape(3 * samples, -1)
    expected = 2 * samples / np.linalg.eigvalsh(kernel).max()
    assert abs(mf.stability(model, task) / expected - 1) < 1e-4


def test_a_fixed_readout_leaves_its_part_of_the_kernel_out():
    law = atoms(30)
    free, fixed = (
        mf.TwoLayer(mf.activations.identity, initial=law, train_readout=train) for train in (True, False)
    )
    kernel = law.weights @ law.a[:, 0] ** 2 * TASK.x @ TASK.x.T
    assert_close(mf.stability(fixed, TASK), edge_of_matrix(kernel), 200)
    assert mf.stability(free, TASK) < mf.stability(fixed, TASK)


def test_the_curvature_of_the_loss_scales_the_edge():
    """ℓ'' = 1/4 at f = 0 for the logistic loss, 1 for the exponential one."""
    law = atoms(30)
    labels = np.sign(TASK.y)
    model = mf.TwoLayer(mf.activations.identity, initial=law)
    square = mf.stability(model, TASK)
    for loss, factor in ((mf.losses.logistic, 4), (mf.losses.exponential, 1), (mf.losses.Huber(2.0), 1)):
        assert_close(mf.stability(model, mf.Problem(TASK.x, labels, loss=loss)), factor * square, 200)


@pytest.mark.parametrize("samples", [1, 12])
def test_data_that_do_not_act_have_no_edge(samples):
    task = mf.Problem(np.zeros((samples, 2)), np.ones(samples))
    assert mf.stability(mf.TwoLayer(mf.activations.tanh), task) == math.inf
    mf.simulate(mf.TwoLayer(mf.activations.tanh).finite(8), zero_problem(), mf.GradientDescent(1e6, 3))


def largest_prediction(model, rate, momentum):
    training = mf.GradientDescent(rate, 300, momentum=momentum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.abs(mf.simulate(model.limit(30), TASK, training)["prediction"]).max())


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_lazy_training_converges_below_the_edge_and_grows_above(momentum):
    """γ → 0, f_0 = 0 by pairs ±a: the kernel is frozen. Along its top eigenvector descent multiplies f − y by
    1 − ηλ = −1.04, 2% above the edge: 10⁵ in 300 steps, until the kernel gives way; below it shrinks. With
    momentum z² − (1 + μ − ηλ)z + μ has its root −1 at ηλ = 2(1 + μ), where dz/d(ηλ) = −1/(1 − μ)."""
    half = atoms(15)
    law = mf.initial.Atoms(a=np.concatenate([half.a, -half.a]), w=np.concatenate([half.w, half.w]))
    model = mf.TwoLayer(mf.activations.tanh, initial=law, richness=1e-9)
    edge = (1 + momentum) * mf.stability(model, TASK)
    below, above = (largest_prediction(model, factor * edge, momentum) for factor in (0.98, 1.02))
    assert below < 3 * np.linalg.norm(TASK.y) and above > 1000 * below


def messages(rate, **options):
    model = mf.TwoLayer(mf.activations.tanh, initial=atoms(30))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mf.simulate(model.limit(30), TASK, mf.GradientDescent(rate, 2, **options))
    assert all(w.category is RuntimeWarning for w in caught)
    return [str(w.message) for w in caught]


def test_one_warning_above_the_edge_and_none_below():
    edge = mf.stability(mf.TwoLayer(mf.activations.tanh, initial=atoms(30)), TASK)
    assert not messages(0.99 * edge)
    (message,) = messages(1.01 * edge)
    assert f"{edge:.3g}" in message and "stability edge" in message
    assert not messages(1.01 * edge, momentum=0.5)
    assert len(messages(1.51 * edge, momentum=0.5)) == 1


def test_the_largest_rate_of_a_schedule_is_what_counts():
    model = mf.TwoLayer(mf.activations.tanh, initial=atoms(30))
    edge = mf.stability(model, TASK)

    def schedule(factor):
        return mf.GradientDescent(lambda step: factor * edge * (step == 1), 3)

    warn_above_edge(model.limit(30), TASK, schedule(0.99))
    with pytest.warns(RuntimeWarning, match="stability edge"):
        warn_above_edge(model.limit(30), TASK, schedule(1.01))


def test_a_stream_is_judged_by_its_fixed_draw():
    import jax

    stream = mf.Stream(lambda key, size: (jax.random.normal(key, (size, 2)), jax.numpy.ones(size)), 5)
    model = mf.TwoLayer(mf.activations.tanh, initial=atoms(30))
    assert mf.stability(model, stream) == mf.stability(model, mf.Problem(stream.x, stream.y))
