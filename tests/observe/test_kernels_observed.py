"""Kernel and FeatureKernel: against Jacobians, closed forms, and the motion they predict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from numpy_network import (
    ATOMS,
    LIMIT,
    M6,
    NETWORK,
    PROBLEM,
    ROUNDING,
    TRAINING,
    X,
    Y,
    assert_error_is,
    assert_mean_and_error,
    descend,
    features,
    tangent_kernel,
    trained_clouds,
)

import meanfield as mf

PLANE = np.array([[0.5, 0.1], [-0.3, 0.4], [0.2, -0.6]])


def jacobian_kernel(cloud, x, moving):
    """n J Jᵀ, J the Jacobian of f = (1/n) Σ a tanh(w·x + b) by automatic differentiation."""
    neurons = len(cloud["w"])

    def f(moved):
        points = {**cloud, **moved}
        h = jnp.asarray(x) @ points["w"].T + (points["b"][None, :] if "b" in points else 0.0)
        return jnp.tanh(h) @ points["a"] / neurons

    with jax.enable_x64(True):
        jacobian = jax.jacobian(f)({name: jnp.asarray(cloud[name]) for name in moving})
        parts = [np.asarray(j).reshape(len(x), 2, -1) for j in jacobian.values()]
    return neurons * sum(np.einsum("pki,qci->pkqc", j, j) for j in parts)


@pytest.mark.parametrize("train_readout", [True, False])
@pytest.mark.parametrize("richness", [1.0, 0.3])
def test_the_kernel_of_a_network_is_n_times_its_jacobian_squared(train_readout, richness):
    """At the start and after training, with biases and two outputs, for the parameters that move; at any
    richness γ, since γ in the pull and 1/γ in the output cancel."""
    initial = mf.initial.Gaussian(bias=0.5)
    model = mf.TwoLayer(mf.activations.tanh, True, richness, initial=initial, train_readout=train_readout)
    looks = (mf.observe.Kernel(), mf.observe.Kernel(test=True), mf.observe.Neurons(20))
    data = mf.simulate(model.finite(20, dtype="float64"), PROBLEM, TRAINING, seeds=2, observe=looks)
    moving = ("a", "w", "b") if train_readout else ("w", "b")
    for seed in (0, 1):
        for look in (0, 1):
            at = {"seed": seed, "neurons_step": look}
            cloud = {name: data[f"neurons_{name}"].isel(at).values for name in ("a", "w", "b")}
            found = data.kernel[seed, look].values
            np.testing.assert_allclose(found, jacobian_kernel(cloud, X, moving), **ROUNDING)
            found = data.test_kernel[seed, look].values
            np.testing.assert_allclose(found, jacobian_kernel(cloud, PROBLEM.x_test, moving), **ROUNDING)
    assert data.kernel.dims == ("seed", "kernel_step", "sample", "output", "sample_2", "output_2")
    assert data.test_kernel.dims[2:] == ("test_sample", "output", "test_sample_2", "output_2")


@pytest.mark.parametrize("name", ["kernel", "test_kernel"])
def test_kernel_change_is_the_relative_frobenius_distance_from_the_start(name):
    looks = mf.observe.Kernel(at=3, test=name.startswith("test"))
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    kernel = data[name].values.reshape(2, 3, -1)
    expected = np.linalg.norm(kernel - kernel[:, :1], axis=-1) / np.linalg.norm(kernel[:, :1], axis=-1)
    np.testing.assert_allclose(data[f"{name}_change"], expected, **ROUNDING)
    assert (data[f"{name}_change"][:, 0] < 1e-15).all() and (data[f"{name}_change"][:, 1:] > 0.01).all()
    np.testing.assert_array_equal(data[f"{name}_step"], [0, 2, 4])
    np.testing.assert_allclose(data[f"{name}_time"], [0, 0.6, 1.2])


def test_the_limit_of_known_atoms_has_their_kernels_at_every_look():
    """No sampling: the limit started from atoms is their own descent, and so are its kernels."""
    looks = (mf.observe.Kernel(at=(0, 2, 4)), mf.observe.FeatureKernel(at=(0, 2, 4)))
    data = mf.simulate(LIMIT, PROBLEM, TRAINING, observe=looks)
    clouds = descend(ATOMS, M6, X, Y, 0.3, 4)
    for look, step in enumerate((0, 2, 4)):
        phi = features(clouds[step], X)
        np.testing.assert_allclose(data.kernel[look], tangent_kernel(clouds[step], M6, X), **ROUNDING)
        np.testing.assert_allclose(data.feature_kernel[look], (M6[:, None] * phi).T @ phi, **ROUNDING)
    assert (data.kernel_error <= 1e-14).all() and (data.feature_kernel_error <= 1e-14).all()


@pytest.mark.parametrize("richness", [1.0, 0.25])
def test_one_small_step_moves_the_prediction_by_minus_the_kernel_times_the_residual(richness):
    """(f_1 − f_0)/η = −K χ + O(η): the remainder halves with η, slope within 0.1 of 1."""
    system = mf.TwoLayer(mf.activations.tanh, richness=richness).finite(16, dtype="float64")
    rates, remainders = [0.04, 0.02, 0.01, 0.005], []
    for eta in rates:
        data = mf.simulate(system, PROBLEM, mf.GradientDescent(eta, 1), observe=mf.observe.Kernel())
        f = data.prediction[0].values
        chi = (f[0] - Y) / len(X)
        drift = np.einsum("pkqc,qc->pk", data.kernel[0, 0].values, chi)
        remainders.append(np.abs((f[1] - f[0]) / eta + drift).max())
    slopes = np.diff(np.log(remainders)) / np.diff(np.log(rates))
    assert abs(slopes[-1] - 1) < 0.1, slopes


def closed_form(name):
    """(K, Φ) at ρ_0 = N(0, I) in (a, w): K = Φ + E[a²] (x·x') E[φ'φ'].

    identity: Φ = x·x', E[φ'φ'] = 1. quadratic: Φ = |x|²|x'|² + 2(x·x')², E[φ'φ'] = 4 x·x'. erf: with
    q = |x|², c = x·x': Φ = (2/π) arcsin(2c/√((1+2q)(1+2q'))), E[φ'φ'] = (4/π)/√((1+2q)(1+2q') − 4c²).
    """
    c, q = PLANE @ PLANE.T, (PLANE**2).sum(1)
    outer = (1 + 2 * q)[:, None] * (1 + 2 * q)[None, :]
    phi, slopes = {
        "identity": (c, np.ones_like(c)),
        "quadratic": (q[:, None] * q[None, :] + 2 * c**2, 4 * c),
        "erf": (2 / np.pi * np.arcsin(2 * c / np.sqrt(outer)), 4 / np.pi / np.sqrt(outer - 4 * c**2)),
    }[name]
    return phi + c * slopes, phi


@pytest.mark.parametrize("name", ["identity", "quadratic", "erf"])
def test_kernels_at_the_start_of_the_limit_are_those_of_the_closed_form(name):
    """Gauss–Hermite quadrature is exact for polynomials of degree up to 2m − 1 = 31. For erf the reported
    error, the distance to a coarser rule, bounds that of the finer one from above."""
    problem = mf.Problem(PLANE, np.ones(3))
    limit = mf.TwoLayer(getattr(mf.activations, name)).limit(sampler=mf.Quadrature(16), particles=16**3)
    looks = (mf.observe.Kernel(), mf.observe.FeatureKernel())
    data = mf.simulate(limit, problem, mf.GradientDescent(0.01, 1), observe=looks)
    kernel, feature_kernel = closed_form(name)
    for found, error, truth in (
        (data.kernel[0, :, 0, :, 0], data.kernel_error[0, :, 0, :, 0], kernel),
        (data.feature_kernel[0], data.feature_kernel_error[0], feature_kernel),
    ):
        slack = 1e-12 if name != "erf" else error.values + 1e-12
        assert (np.abs(found.values - truth) <= slack).all()
        assert (error.values < 1e-4).all()


def test_the_error_of_a_sampled_kernel_is_the_one_it_has(key):
    """φ = identity: one particle gives (w·x)(w·x') + a² x·x', of variance |x|²|x'|² + 3 (x·x')²."""
    particles, repeats = 400, 64
    limit = mf.TwoLayer(mf.activations.identity).limit(particles, repeats, sampler=mf.IID())
    problem, looks = mf.Problem(PLANE, np.ones(3)), mf.observe.Kernel(at=(0,))
    data = mf.simulate(limit, problem, mf.GradientDescent(0.01, 1), key=key, observe=looks)
    c, q = PLANE @ PLANE.T, (PLANE**2).sum(1)
    found, error = data.kernel[0, :, 0, :, 0].values, data.kernel_error[0, :, 0, :, 0].values
    assert_mean_and_error(found, error, closed_form("identity")[0], repeats)
    sigma = np.sqrt((q[:, None] * q[None, :] + 3 * c**2) / (particles * repeats))
    # The excess kurtosis of one particle is below 36 (twice that of a squared normal, 12, and then some).
    assert_error_is(error, sigma, repeats, kurtosis=36 / particles)


def test_the_check_of_errors_can_fail():
    sigma = np.ones(9)
    estimates = np.sqrt(np.random.default_rng(1).chisquare(63, 9) / 63)
    assert_error_is(estimates, sigma, 64)
    with pytest.raises(AssertionError):
        assert_error_is(estimates, 3 * sigma, 64)
    with pytest.raises(AssertionError):
        assert_mean_and_error(np.full(9, 7.0), sigma, 0.0, 64)


def test_a_limit_that_works_in_chunks_has_the_same_kernels():
    """A small `memory` makes the system cut its neurons; the sums agree but for their order."""
    x = np.random.default_rng(0).standard_normal((20, 2))
    problem = mf.Problem(x, x[:, 0])
    limit = mf.TwoLayer(mf.activations.tanh).limit(2000, 2)
    training = mf.GradientDescent(0.1, 1)
    looks = (mf.observe.Kernel(), mf.observe.FeatureKernel())
    assert limit.plan(problem, training, 1, 1e6)[0].particles.chunk is not None
    assert limit.plan(problem, training, 1, 4e9)[0].particles.chunk is None
    small, large = (mf.simulate(limit, problem, training, observe=looks, memory=m) for m in (1e6, 4e9))
    for name in ("kernel", "kernel_change", "feature_kernel"):
        np.testing.assert_allclose(small[name], large[name], **ROUNDING)


def test_feature_kernel_of_a_network_is_the_average_over_its_own_neurons():
    looks = (mf.observe.FeatureKernel(), mf.observe.FeatureKernel(test=True))
    data = mf.simulate(NETWORK, PROBLEM, TRAINING, seeds=2, observe=looks)
    for seed in (0, 1):
        clouds = trained_clouds(seed)
        for look, step in enumerate((0, 4)):
            for name, x in (("feature_kernel", X), ("test_feature_kernel", PROBLEM.x_test)):
                phi = features(clouds[step], x)
                np.testing.assert_allclose(data[name][seed, look], phi.T @ phi / 20, **ROUNDING)
    assert data.feature_kernel.dims == ("seed", "feature_kernel_step", "sample", "sample_2")
    assert data.test_feature_kernel.dims[2:] == ("test_sample", "test_sample_2")


def test_kernels_are_symmetric_and_positive_semidefinite():
    """Also in float32, up to the rounding of a P k × P k matrix with its own trace."""
    system = mf.TwoLayer(mf.activations.relu, bias=True).finite(12)
    data = mf.simulate(system, PROBLEM, TRAINING, seeds=2, observe=mf.observe.Kernel())
    kernel = data.kernel.values.reshape(-1, 8, 8)
    allowed = 100 * np.finfo(np.float32).eps * np.trace(kernel, axis1=1, axis2=2)
    assert (np.abs(kernel - kernel.transpose(0, 2, 1)).max((1, 2)) <= allowed).all()
    assert (np.linalg.eigvalsh(kernel.astype(float)).min(1) >= -allowed).all()


def test_the_kernel_on_a_test_set_needs_one():
    problem = mf.Problem(X, Y)
    for observable in (mf.observe.Kernel(test=True), mf.observe.FeatureKernel(test=True)):
        with pytest.raises(ValueError, match="`test` must be False for a problem without a test set"):
            mf.simulate(NETWORK, problem, TRAINING, observe=observable)
    with pytest.raises(TypeError, match="`test` must be True or False"):
        mf.observe.Kernel(test="yes")


def test_the_erf_of_the_closed_form_is_that_of_the_library():
    z = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(mf.activations.erf(z), scipy.special.erf(z), rtol=1e-5)
