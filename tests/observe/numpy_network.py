"""Networks in numpy to hold observables to, and assertions on means with their standard errors.

A cloud is a dictionary a (n, k), w (n, d), perhaps b (n,); its weights m (n,) stand apart. Activation tanh,
square loss, float64.
"""

import math

import jax
import numpy as np
import scipy.stats
from assertions import EPS
from reference import NumpyTwoLayer

import meanfield as mf

# Numbers here pass through some 1e4 additions and multiplications in another order than in the library.
ROUNDING = {"rtol": 1e4 * EPS, "atol": 1e4 * EPS}

# One problem, one network and one limit without sampling for many tests: they share compiled programs. Of
# the network's 32 rows 12 stand for nobody, and neither does the atom of weight 0.
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
PROBLEM = mf.Problem(X, Y, x_test=rng.standard_normal((3, 2)))
TRAINING = mf.GradientDescent(0.3, 4)
MODEL = mf.TwoLayer(mf.activations.tanh, True, initial=mf.initial.Gaussian(bias=0.5))
NETWORK = MODEL.finite(20, dtype="float64")
M20 = np.full(20, 1 / 20)
ATOMS = {"a": rng.standard_normal((6, 2)), "w": rng.standard_normal((6, 2)), "b": rng.standard_normal(6)}
M6 = np.array([0.3, 0.2, 0.1, 0.0, 0.15, 0.25])
MODEL6 = mf.TwoLayer(mf.activations.tanh, True, initial=mf.initial.Atoms(**ATOMS, weights=M6))
LIMIT = MODEL6.limit(6)


def features(cloud, x):
    """φ (n, P)."""
    return np.tanh(cloud["w"] @ x.T + cloud.get("b", np.zeros(len(cloud["w"])))[:, None])


def first_variation_gradient(cloud, m, x, y, gamma=1.0, decay=0.0):
    """∇Ψ at every neuron."""
    gradient = NumpyTwoLayer(cloud, m, "tanh", richness=gamma).data_gradient(x, y)
    return {name: g + gamma**2 * decay * cloud[name] for name, g in gradient.items()}


def descend(cloud, m, x, y, eta, steps):
    """Clouds at steps 0, 1, ..., steps."""
    network = NumpyTwoLayer(cloud, m, "tanh")
    clouds = [cloud]
    for _ in range(steps):
        network.descend(x, y, eta)
        clouds.append(dict(network.points))
    return clouds


def tangent_kernel(cloud, m, x):
    """K (P, k, P, k) of a tanh network as a sum over neurons of products of gradients of ψ."""
    outputs = cloud["a"].shape[1]
    kernel = np.zeros((len(x), outputs, len(x), outputs))
    for i in range(len(m)):
        phi = features(cloud, x)[i]
        rows = []
        for p in range(len(x)):
            for c in range(outputs):
                da = phi[p] * np.eye(outputs)[c]
                dh = cloud["a"][i, c] * (1 - phi[p] ** 2)
                rows.append(np.concatenate([da, dh * x[p], [dh] if "b" in cloud else []]))
        jacobian = np.array(rows)
        kernel += m[i] * (jacobian @ jacobian.T).reshape(kernel.shape)
    return kernel


def first_cloud(seed):
    """The neurons that seed number `seed` of the network starts from with key 0, those that are there."""
    with jax.enable_x64(True):
        key = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))[0]
        points = NETWORK.initial.sample(key, NETWORK.width, PROBLEM.inputs, PROBLEM.outputs, NETWORK.bias)
        return {name: np.asarray(value, np.float64) for name, value in points.items()}


def trained_clouds(seed):
    """The network's neurons at steps 0, ..., 4."""
    return descend(first_cloud(seed), M20, X, Y, 0.3, 4)


def assert_mean_and_error(mean, error, truth, repeats, alpha=1e-6):
    """Fail if |mean − truth| is more standard errors than Student's t allows; false alarms ≤ alpha."""
    ratio = np.abs(mean - truth) / error
    allowed = scipy.stats.t.isf(alpha / (2 * np.size(ratio)), repeats - 1)
    assert np.max(ratio) <= allowed, f"off by {np.max(ratio):.1f} standard errors, {allowed:.1f} allowed"


def assert_error_is(error, truth, repeats, kurtosis=0.0, alpha=1e-6):
    """Fail if estimates of a standard error from `repeats` near-Gaussian values do not have its size.

    The variance of s²/σ² is 2/(R − 1) + κ/R with excess kurtosis κ; a normal bound on log s², Bonferroni.
    """
    spread = math.sqrt(2 / (repeats - 1) + kurtosis / repeats)
    allowed = scipy.stats.norm.isf(alpha / (2 * np.size(error))) * spread
    worst = np.max(np.abs(np.log(np.square(error) / np.square(truth))))
    assert worst <= allowed, f"log of the variance off by {worst:.2f}, {allowed:.2f} allowed"
