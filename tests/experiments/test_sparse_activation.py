"""The experiment on sparse activation, at a size of seconds, and the bias-generalised kernel."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from assertions import assert_mean
from meanfield.experiments import sparse_activation as experiment
from round_trip import check_protocol, computed

OPTIONS = {
    "thresholds": (0.0, 1.0), "widths": (64, 256), "networks": 64, "samples": 5, "trained_width": 512,
    "trained_networks": 24, "steps": 4, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS)


def by_conditioning(rho, b):
    """(P(u > B, u' > B), E (u − B)₊(u' − B)₊): given u = z the other is N(ρz, 1 − ρ²), whose tail and first
    moment above B are known; over z by adaptive quadrature."""
    own = np.sqrt(1 - rho**2)

    def above(z):
        t = (rho * z - b) / own
        return scipy.special.ndtr(t), own * (t * scipy.special.ndtr(t) + scipy.stats.norm.pdf(t))

    weigh = (
        (lambda z: scipy.stats.norm.pdf(z) * above(z)[0]),
        (lambda z: scipy.stats.norm.pdf(z) * (z - b) * above(z)[1]),
    )
    return [scipy.integrate.quad(f, b, b + 12, epsabs=1e-13, epsrel=1e-12)[0] for f in weigh]


@pytest.mark.parametrize("b", [0.0, 1.0])
def test_the_kernel_is_that_of_a_constant_trained_bias(b):
    """Quadrature over one number against the kernels of the library; random biases of variance 1e-12 leave
    1e-11."""
    x, _ = experiment.inputs(5, 0)
    inner = x @ x.T / x.shape[1]
    found = experiment.infinite(x, b)
    for p in range(5):
        for q in range(p):
            both, product = by_conditioning(inner[p, q], b)
            assert abs(found.nngp[p, q] - product) < 1e-10
            assert abs(found.ntk[p, q] - (1 + inner[p, q]) * both) < 1e-10
    np.testing.assert_allclose(np.diag(found.ntk), 2 * scipy.special.ndtr(-b), rtol=1e-10)


def test_the_kernel_of_networks_has_the_limit_as_its_mean_at_any_width(key):
    """300 networks of width 64, every entry, false alarms 1e-6; another threshold is found out."""
    x, _ = experiment.inputs(5, key)
    found = experiment.at_the_start(x, 1.0, 64, 300, key)
    assert_mean(found["kernel"].values, experiment.infinite(x, 1.0).ntk)
    assert_mean(found["active"].values[:, None], scipy.special.ndtr(-1.0))
    with pytest.raises(AssertionError):
        assert_mean(found["kernel"].values, experiment.infinite(x, 0.0).ntk)


def test_distances_are_of_the_predicted_size(data):
    """Exact in the mean at every width; 64 networks of each, all together. A factor of two is found out."""
    start = data["start"].dataset
    away, constant = experiment.distances(start)
    ratio = start["width"].values[:, None] * away**2 / constant[:, None, None] ** 2
    ratio = ratio.reshape(-1, 1)
    assert_mean(ratio, 1.0)
    with pytest.raises(AssertionError):
        assert_mean(2 * ratio, 1.0)


def test_the_matrix_is_better_conditioned_the_sparser():
    """λ_min over the diagonal, at least 1 − the largest sum of a row's other entries over it (Gershgorin)."""
    x, _ = experiment.inputs(5, 0)
    shares = []
    for b in (0.0, 1.0):
        kernel = experiment.infinite(x, b).ntk / (2 * scipy.special.ndtr(-b))
        shares.append(experiment.smallest(kernel))
        assert shares[-1] >= 1 - (np.abs(kernel).sum(1) - 1).max() - 1e-9
    assert shares[0] < shares[1] < 1


def test_networks_start_with_the_mean_loss_of_the_law(data):
    """½ mean (y² + Eφφ') at every width; 24 networks. Training lowers it."""
    training = data["training"].dataset
    losses = training["loss"].values
    assert_mean(np.moveaxis(losses[..., 0], 1, 0), training["law"].values[:, 0])
    assert (losses[..., -1].mean(1) < losses[..., 0].mean(1)).all()


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    for name in ("at_the_start", "trained"):
        monkeypatch.setattr(experiment, name, lambda *_, **__: pytest.fail("computed again"))
    again = experiment.compute(**OPTIONS, key=key, store=str(folder))
    assert experiment.summary(again) == experiment.summary(data)
    assert experiment.studies(**OPTIONS) == {}
