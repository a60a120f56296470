"""The experiment on the kernel regime, at a size of seconds, and its closed forms."""

import numpy as np
import pytest
from meanfield.experiments import lazy_to_mean_field as experiment
from round_trip import check_protocol, check_resumption

import meanfield as mf

OPTIONS = {
    "richness": (0.001, 0.002, 0.004, 0.5, 2.0), "width": 16, "seeds": 3, "particles": 64, "replicates": 2,
    "stored": 16, "samples": 5, "test_samples": 6, "dimension": 3, "steps": 40, "relative_rate": 0.3,
    "fitted": 0.004, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(key):
    return experiment.compute(**OPTIONS, key=key)


def test_the_kernel_of_erf_is_the_arcsine_law():
    """Williams 1997, E erf(u) erf(v) = (2/π) arcsin(2c/3) for unit variances and covariance c; with
    E erf'(u) erf'(v) = (4/π)/√(9 − 4c²). The Mehler series falls as (2/3)^k: 60 terms leave 1e-11."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    c = x @ x.T
    truth = 2 / np.pi * np.arcsin(2 * c / 3) + c * 4 / np.pi / np.sqrt(9 - 4 * c**2)
    np.testing.assert_allclose(experiment.gaussian_kernel(mf.activations.erf, x, x), truth, atol=1e-9)


def test_the_kernel_of_gelu_is_that_of_a_fine_rule():
    """Two independent routes: Mehler series against the limit's own kernel by quadrature in (a, w), d = 2,
    whose error is bounded by its distance to the coarser rule."""
    angle = np.array([0.0, 0.7, 2.0, 3.0])
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    system = mf.TwoLayer(mf.activations.gelu).limit(sampler=mf.Quadrature(24))
    run = mf.simulate(
        system, mf.Problem(x, np.ones(4)), mf.GradientDescent(0.1, 1), observe=mf.observe.Kernel(at=(0,))
    )
    found = run["kernel"].values.reshape(4, 4)
    bound = run["kernel_error"].values.reshape(4, 4)
    truth = experiment.gaussian_kernel(mf.activations.gelu, x, x)
    assert (np.abs(found - truth) <= bound + 1e-12).all() and bound.max() < 1e-4


def test_predictions_of_the_kernel_regime_solve_its_recursion(key):
    """f ← f − (η/P) K (f − y) from 0, step by step."""
    rng = np.random.default_rng(key)
    root = rng.normal(size=(2, 4, 6))
    kernel, y = root @ root.swapaxes(1, 2), rng.normal(size=4)
    rate = 1.0 / np.linalg.eigvalsh(kernel).max() * 4
    found = experiment.kernel_predictions(kernel, y, rate, np.arange(8))
    f = np.zeros((2, 4))
    for t in range(8):
        np.testing.assert_allclose(found[:, t], f, atol=1e-13)
        f = f - rate / 4 * np.einsum("rpq,rq->rp", kernel, f - y)


def test_stored_neurons_have_the_moments_they_should():
    for positive, negative, third in ((1.0, -1.0, 0.0), (2.0, -0.5, 1.5)):
        law = experiment.stored_neurons(5, 2, positive, negative, 0)
        for power, truth in ((0, 1), (1, 0), (2, 1), (3, third)):
            np.testing.assert_allclose(law.weights @ law.a[:, 0] ** power, truth, atol=1e-14)


def test_exponents_are_the_predicted_ones(data):
    """Nothing is random given the neurons: y = C γ^p (1 + c γ^q), and leaving out the largest of γ, 2γ, 4γ
    moves the fitted slope by the fraction it is off, at least a fifth of it for q = 1 and 2."""
    found = data["slopes"].dataset
    value, error, theory = (found[name].values for name in ("exponent", "exponent_error", "predicted"))
    known = np.isfinite(value)
    assert known.sum() == 11  # the Gaussian limit has no distance of its own
    assert (np.abs(value - theory) < 5 * error + 1e-5)[known].all()
    assert (error < 0.1)[known].all()
    assert (np.abs(value - (3 - theory))[known] > 0.8).all()  # so that 1 and 2 are told apart


def test_a_lazy_run_is_the_kernel_regime_and_a_rich_one_is_not(data):
    """At γ = 0.001 the distance is C γ² or C γ with C of order one; at γ = 2 it is of order one itself."""
    for name, most in (("networks", 1e-4), ("symmetric", 1e-4), ("skewed", 1e-2)):
        distance = data[name]["distance"].transpose("richness", ...).values
        assert distance[0].max() < most
        assert distance[-1].min() > 1e-2


def test_equal_training_loss_is_read_off_the_curve():
    """Loss e^{−t}, test loss 2 e^{−t/2}: at loss L the test loss is 2 √L, exactly, in logarithms."""
    import xarray as xr

    t = np.linspace(0, 5, 11)
    curves = xr.Dataset(
        {
            "loss": (("richness", "step"), np.exp(-t)[None]),
            "test_loss": (("richness", "step"), 2 * np.exp(-t / 2)[None]),
        }
    )
    np.testing.assert_allclose(experiment.at_equal_loss(curves, 0.03), [2 * np.sqrt(0.03)], rtol=1e-12)


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(tmp_path, monkeypatch):
    check_resumption(experiment, OPTIONS | {"richness": (0.001, 0.5)}, tmp_path, monkeypatch)
    assert experiment.studies(**OPTIONS) == {}
