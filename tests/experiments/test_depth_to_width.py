"""The experiment on depth over width, at a size of seconds, and the moments it knows exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import assert_mean
from meanfield.experiments import depth_to_width as experiment
from round_trip import check_protocol, computed

import meanfield as mf

OPTIONS = {"widths": (32, 64), "ratios": (0.03125, 0.0625, 0.25), "networks": 4096, "progress": False}
data = computed(experiment, OPTIONS)


def plain(parameters, x):
    """f of a dense network with |x|² = d, as the experiment writes it."""
    first, hidden, readout = parameters
    h = start = np.sqrt(2 / x.size) * first @ x
    for w in hidden:
        h = np.sqrt(2 / h.size) * w @ jnp.maximum(h, 0)
    return np.sqrt(2 / h.size) * readout @ jnp.maximum(h, 0), (start, h)


def residual(scale):
    def apply(parameters, x):
        first, hidden, readout = parameters
        h = start = first @ x / np.sqrt(x.size)
        for v, w in hidden:
            h = h + scale * np.sqrt(2 / h.size) * v @ jnp.maximum(w @ h / np.sqrt(h.size), 0)
        return readout @ h / np.sqrt(h.size), (start, h)

    return apply


@functools.partial(jax.jit, static_argnums=0)
def kernels(apply, parameters, x):
    """(|h^L|² over its start, Θ) of every network, by differentiation."""

    def one(parameters):
        (_, (start, h)), gradient = jax.value_and_grad(apply, has_aux=True)(parameters, x)
        return (h * h).sum() / (start * start).sum(), sum((g * g).sum() for g in jax.tree.leaves(gradient))

    return jax.vmap(one)(parameters)


@pytest.mark.parametrize("kind", experiment.KINDS)
def test_networks_drawn_by_products_have_the_law_of_dense_ones(kind, key):
    """Means of Θ and √Θ, and mean and variance of log |h|² of residual ones, 4000 networks of depth 3 each
    way: the difference of independent draws has mean 0, false alarms 1e-6. Another depth is noticed."""
    n, depth, inputs, count = 32 if kind == "plain" else 5, 3, 2, 4000
    rng = np.random.default_rng([key, 7])
    normal = lambda *shape: rng.standard_normal((count, *shape)).astype(np.float32)  # noqa: E731
    x = np.full(inputs, 1.0, np.float32)
    if kind == "plain":
        apply, hidden = plain, [normal(n, n) for _ in range(depth - 1)]
    else:
        apply = residual(1.0 if kind == "residual" else depth**-0.5)
        hidden = [(normal(n, n), normal(n, n)) for _ in range(depth)]
    square, theta = kernels(apply, (normal(n, inputs), hidden, normal(n)), x)
    mean = experiment.kernel_mean(kind, depth)
    other = ("residual", depth) if kind == "scaled" else (kind, depth + 1)
    for which, levels in ((kind, depth), other):
        drawn = experiment.sampled(which, n, levels, count, key)
        pairs = [(np.asarray(theta) / mean, drawn["kernel"].values / mean)]
        pairs.append(tuple(np.sqrt(v) for v in pairs[0]))  # lighter tails than squares
        if kind != "plain":
            logs = np.log(np.asarray(square)), drawn["log_square"].values
            pairs += [logs, tuple((v - v.mean()) ** 2 for v in logs)]
        differences = np.stack([a - b for a, b in pairs], 1)
        if (which, levels) == (kind, depth):
            assert_mean(differences, 0.0)
        else:
            with pytest.raises(AssertionError):
                assert_mean(differences, 0.0)


def test_the_tangent_kernel_of_dense_networks_has_the_exact_second_moment(key):
    """Mean and mean square of Θ over its mean, 20000 dense networks of width 16 and depth 2, Θ² with about
    four times its mean as spread. Uncorrelated layers would have half of the variance."""
    rng = np.random.default_rng([key, 8])
    normal = lambda *shape: rng.standard_normal((20000, *shape)).astype(np.float32)  # noqa: E731
    x = np.ones(3, np.float32)
    theta = np.asarray(kernels(plain, (normal(16, 3), [normal(16, 16)], normal(16)), x)[1], float)
    truth = mf.kernels.mlp(x[None], hidden_layers=2, activation=mf.activations.relu, weight_variance=2.0)
    mean, ratio = experiment.kernel_mean("plain", 2), experiment.kernel_ratio("plain", 16, 2)
    np.testing.assert_allclose(truth.ntk, mean, rtol=1e-12)
    assert_mean(theta[:, None] / mean, 1.0)
    assert_mean((theta[:, None] / mean) ** 2, ratio)
    with pytest.raises(AssertionError):
        assert_mean((theta[:, None] / mean) ** 2, 1 + (ratio - 1) / 2)


@pytest.mark.parametrize(("n", "depth"), [(6, 1), (10, 3)])
def test_residual_networks_of_matrices_have_the_exact_second_moment(n, depth, key):
    """20000 dense networks with branches of size L^{−1/2}, mean and mean square of Θ; false alarms 1e-6, ten
    times that for the skewness of Θ². Blocks that knew nothing of each other would be found out."""
    rng = np.random.default_rng([key, 9])
    normal = lambda *shape: rng.standard_normal((20000, *shape)).astype(np.float32)  # noqa: E731
    hidden = [(normal(n, n), normal(n, n)) for _ in range(depth)]
    parameters = normal(n, 2), hidden, normal(n)
    theta = np.asarray(kernels(residual(depth**-0.5), parameters, np.ones(2, np.float32))[1], float)
    theta = theta[:, None] / experiment.kernel_mean("scaled", depth)
    ratio = experiment.kernel_ratio("scaled", n, depth)
    assert_mean(theta, 1.0)
    assert_mean(theta**2, ratio)
    with pytest.raises(AssertionError):
        assert_mean(theta**2, 1 + (ratio - 1) / 2)


def test_without_branches_a_residual_network_is_linear_with_one_layer():
    """s = 0: Θ = |v|²/n + |h|²/n, so E Θ² = 2(n + 2)/n + 2 and E Θ = 2. One scale, any depth."""
    for depth in (1, 2, 7):
        np.testing.assert_allclose(experiment.residual_ratio(9, depth, 0.0), (11 / 9 + 1) / 2, rtol=1e-14)


def test_scaled_branches_leave_a_variance_of_order_one_over_width_at_any_depth():
    """n Var Θ/(E Θ)² tends to a number as L and n grow together: errors O(1/n) are halved."""
    found = np.array([n * (experiment.kernel_ratio("scaled", n, n) - 1) for n in (100, 200, 400, 800)])
    steps = np.diff(found)
    np.testing.assert_allclose(steps[:-1] / steps[1:], 2, rtol=0.1)
    assert 4 < found[-1] < 5


def test_one_hidden_layer_by_hand():
    """Θ = (4/n) Σ d(v² + ξ²), d fair coins: (E Θ², (E Θ)²) = 16 (1 + 3/n, 1)."""
    for n in (1, 7, 100):
        np.testing.assert_allclose(experiment.plain_ratio(n, 1), 1 + 3 / n, rtol=1e-14)


def test_the_second_moment_tends_to_its_joint_limit():
    """At L/n = τ, with error O(1/n): halved from n to 2n."""
    for tau in (0.25, 2.0):
        limit = np.exp(5 * tau) / 3 * (1 + 4 * (1 / (6 * tau) + np.expm1(-6 * tau) / (36 * tau**2)))
        off = [experiment.plain_ratio(n, round(tau * n)) - limit for n in (2000, 4000, 8000)]
        np.testing.assert_allclose(np.array(off[:-1]) / off[1:], 2, rtol=0.05)


def test_moments_of_a_block_agree_with_twice_as_many_nodes_and_with_the_first_order():
    """n · variance tends to (4s² + 7s⁴)/(1 + s²)², n · (mean − log(1 + s²)) to minus half of it, with errors
    O(1/n)."""
    for square in (1.0, 0.1):
        coarse, fine = (experiment.block_moments(32, square, nodes) for nodes in (16, 32))
        np.testing.assert_allclose(coarse, fine, rtol=1e-6)
        first = (4 * square + 7 * square**2) / (1 + square) ** 2
        found = np.array([experiment.block_moments(n, square) for n in (64, 128, 256)])
        found[:, 0] -= np.log1p(square)
        off = np.array([64, 128, 256])[:, None] * found - [-first / 2, first]
        np.testing.assert_allclose(off[:-1] / off[1:], 2, rtol=0.1)


def test_measured_numbers_are_the_exact_ones(data):
    """Student's t of all at 1e-6, which the skewness of squares among 4096 makes 1e-4 at most. Variances that
    are 1.5 times too large are noticed."""
    z, threshold = experiment.scores(data, 1e-6)
    assert np.abs(z).max() < threshold
    other = data.copy(deep=True)
    other["log_variance_theory"] *= 1.5
    assert np.abs(experiment.scores(other, 1e-6)[0]).max() > threshold


def test_a_width_too_small_is_named():
    with pytest.raises(ValueError, match="`widths` must be of at least 32, but is"):
        experiment.compute(widths=(16,))


def test_it_is_drawn_and_survives_a_file(data):
    check_protocol(experiment, data, axes=3)


def test_a_store_is_used(data, folder, key, monkeypatch):
    monkeypatch.setattr(experiment, "sampled", lambda *_: pytest.fail("drawn again"))
    again = experiment.compute(**OPTIONS, key=key, store=str(folder))
    assert experiment.summary(again) == experiment.summary(data)
    assert experiment.studies(**OPTIONS) == {}
