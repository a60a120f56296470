"""The experiment on deep narrow networks, at a size of seconds: its exact kernel, its first order in 1/C."""

import numpy as np
import pytest
from assertions import EPS, assert_order
from meanfield.experiments import deep_narrow as experiment
from round_trip import check_protocol, computed

import meanfield as mf

OPTIONS = {
    "depths": (8, 32), "scales": (16.0, 64.0), "networks": 4, "samples": 4, "trained_depth": 16,
    "trained_networks": 2, "steps": 20, "progress": False,
}  # fmt: skip
data = computed(experiment, OPTIONS)


def quarter(samples):
    angles = np.pi / 2 * (np.arange(samples) + 0.5) / samples
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def layers(parameters, x, scale, outputs=1):
    """The part of every layer in the kernel of an output at the start, (L + 1, P, P)."""
    inputs = x.shape[1]
    first = np.maximum(x @ parameters["head"][inputs] + parameters["head_bias"][inputs], 0)
    u, v = parameters["body"][:, inputs, :inputs], parameters["body_bias"][:, inputs]
    random = np.vstack([first[None], np.maximum(scale * u @ x.T + v[:, None], 0)])  # (L, P)
    inner = x @ x.T
    rest = 1 + scale**2 * (inner + outputs) + random[:, :, None] * random[:, None]
    return np.concatenate([inner[None] + 1, rest])


@pytest.mark.parametrize(("inputs", "outputs", "depth", "scale"), [(2, 1, 9, 3.0), (3, 2, 5, 0.7)])
def test_the_kernel_is_the_exact_one_at_every_depth_and_scale(key, inputs, outputs, depth, scale):
    """Differentiated by JAX against the sum of squares of what enters the last neurons' rows, to rounding."""
    rng = np.random.default_rng([key, inputs])
    x = rng.uniform(0.2, 1, (5, inputs))
    parameters = experiment.initial(rng, inputs, outputs, depth, scale)
    found = mf.kernels.empirical(experiment.apply, parameters, x, outputs=True)
    np.testing.assert_array_equal(found.nngp, 0)  # f = 0
    expected = layers(parameters, x, scale, outputs).sum(0)
    for c in range(outputs):
        for other in range(outputs):
            truth = expected if c == other else 0 * expected
            np.testing.assert_allclose(
                found.ntk[:, c, :, other], truth, rtol=0, atol=100 * EPS * expected.max()
            )


def test_the_limit_and_its_constant_are_those_of_polar_coordinates():
    """u = √a r cos θ, v = √b r cos(θ − lag), E r² = 2, E r⁴ = 8: averages over N equal angles of functions
    with a jump in their first (second) derivative are (2π/N)² off at most."""
    x = quarter(5)
    covariance = x @ x.T / 2 + 1
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    lag = np.arccos(np.clip(covariance / size, -1, 1))[..., None]
    angles = 2 * np.pi * np.arange(4000) / 4000
    both = np.maximum(np.cos(angles), 0) * np.maximum(np.cos(angles - lag), 0)
    average, square = 2 * size * both.mean(-1), 8 * size**2 * (both**2).mean(-1)
    limit, constant = experiment.limit_kernel(x, outputs=2)
    tolerance = (2 * np.pi / 4000) ** 2
    np.testing.assert_allclose(limit, x @ x.T + 2 + average, rtol=tolerance)
    expected = np.sqrt((square - average**2).sum()) / np.linalg.norm(limit)
    np.testing.assert_allclose(constant, expected, rtol=3 * tolerance)


def test_training_changes_the_kernel_by_the_first_order_in_the_inverse_scale(key):
    """f = Σ_l F_l, F_l = Θ_l c of layer l. Layer l meets Σ_{m<l} F_m above C, its gradient the weights'
    C Σ_{m>l} Σ_p c_p above 1, m ≤ L + 1: exact to order 1/C at every depth. Sums are the integrals of the
    experiment's formula, for parts that are equal."""
    x, depth, steps, scales = quarter(3), 6, 20, np.array([20.0, 40.0, 80.0, 160.0])
    y, left = x[:, :1] * x[:, 1:], []
    for scale in scales:
        start = experiment.initial(np.random.default_rng([key, 5]), 2, 1, depth, scale)
        parts = layers(start, x, scale)
        values, vectors = np.linalg.eigh(parts.sum(0))
        rate = 0.5 * len(x) / values[-1]
        (end,), _ = experiment.descended([start], x, y, rate, steps)
        change = mf.kernels.empirical(experiment.apply, end, x).ntk - parts.sum(0)
        c = vectors @ ((1 - (1 - rate * values / len(x)) ** steps) / values * (vectors.T @ y[:, 0]))
        met = np.cumsum(parts @ c, 0)[:-1]  # by layers 2 ... L + 1
        later = np.arange(depth, -1, -1)[:, None, None]  # weights to itself that a layer's gradient meets
        first = (2 * scale * c.sum() * later * parts).sum(0)
        first += scale * (met[:, :, None] + met[:, None]).sum(0)
        left.append(np.linalg.norm(change - first) / np.linalg.norm(first))
    assert_order(1 / scales, left, 1.0)


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    for name in ("kernels_at_the_start", "training"):
        monkeypatch.setattr(experiment, name, lambda *_, **__: pytest.fail("computed again"))
    again = experiment.compute(**OPTIONS, key=key, store=str(folder))
    assert experiment.summary(again) == experiment.summary(data)
    assert experiment.studies(**OPTIONS) == {}
