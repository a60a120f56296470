"""Two-layer networks in numpy, written from THEORY 1 apart from the library, to hold observables to.

A cloud is a dictionary a (n, k), w (n, d), perhaps b (n,), with weights m (n,) in an entry of its own.
Everything is float64.
"""

import math

import jax
import numpy as np
import scipy.stats

# Numbers here pass through some 1e4 additions and multiplications in another order than in the library.
ROUNDING = {"rtol": 1e4 * np.finfo(float).eps, "atol": 1e4 * np.finfo(float).eps}


def preactivation(cloud, x):
    return cloud["w"] @ x.T + cloud.get("b", np.zeros(len(cloud["w"])))[:, None]  # (n, P)


def predict(cloud, m, x, gamma=1.0):
    """f of a tanh network, (P, k)."""
    return (m[:, None] * np.tanh(preactivation(cloud, x))).T @ cloud["a"] / gamma


def first_variation_gradient(cloud, m, x, y, gamma=1.0, decay=0.0):
    """∇Ψ at every neuron of a tanh network under the square loss, neuron by neuron."""
    chi = (predict(cloud, m, x, gamma) - y) / len(x)  # (P, k)
    gradient = {name: np.zeros_like(value) for name, value in cloud.items()}
    for i in range(len(m)):
        phi = np.tanh(preactivation(cloud, x)[i])  # (P,)
        for p in range(len(x)):
            back = (chi[p] @ cloud["a"][i]) * (1 - phi[p] ** 2)
            gradient["a"][i] += gamma * chi[p] * phi[p]
            gradient["w"][i] += gamma * back * x[p]
            if "b" in cloud:
                gradient["b"][i] += gamma * back
    return {name: g + gamma**2 * decay * cloud[name] for name, g in gradient.items()}


def descend(cloud, m, x, y, eta, steps, **options):
    """Clouds at steps 0, 1, ..., steps."""
    clouds = [cloud]
    for _ in range(steps):
        gradient = first_variation_gradient(clouds[-1], m, x, y, **options)
        clouds.append({name: value - eta * gradient[name] for name, value in clouds[-1].items()})
    return clouds


def tangent_kernel(cloud, m, x):
    """K (P, k, P, k) of a tanh network as a sum over neurons of products of gradients of ψ."""
    outputs = cloud["a"].shape[1]
    kernel = np.zeros((len(x), outputs, len(x), outputs))
    for i in range(len(m)):
        phi = np.tanh(preactivation(cloud, x)[i])
        rows = []
        for p in range(len(x)):
            for c in range(outputs):
                da = phi[p] * np.eye(outputs)[c]
                dh = cloud["a"][i, c] * (1 - phi[p] ** 2)
                rows.append(np.concatenate([da, dh * x[p], [dh] if "b" in cloud else []]))
        jacobian = np.array(rows)
        kernel += m[i] * (jacobian @ jacobian.T).reshape(kernel.shape)
    return kernel


def first_cloud(system, problem, seed=0, key=0):
    """The neurons that seed number `seed` of a finite network starts from, those that are there."""
    with jax.enable_x64(True):
        key = jax.random.split(jax.random.fold_in(jax.random.key(key), seed))[0]
        points = system.initial.sample(key, system.width, problem.inputs, problem.outputs, system.bias)
        return {name: np.asarray(value, np.float64) for name, value in points.items()}


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
