"""Kernels of perceptrons and residual networks as their definition reads, in NumPy and in covariances."""

import math

import numpy as np


def relu_moments(a, b, c):
    """Cho & Saul 2009."""
    theta = np.arccos(np.clip(c / np.sqrt(a * b), -1, 1))
    value = np.sqrt(a * b) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
    return value, (np.pi - theta) / (2 * np.pi)


def erf_moments(a, b, c):
    """Williams 1997."""
    scale = (1 + 2 * a) * (1 + 2 * b)
    return 2 / np.pi * np.arcsin(2 * c / np.sqrt(scale)), 4 / np.pi / np.sqrt(scale - 4 * c * c)


def identity_moments(a, b, c):
    return c, np.ones_like(c)


def tanh_moments(a, b, c):
    """Trapezoidal rules of step 0.2: poles π/2 from the axis, √a ≤ 1.6, so e^{−2π(π/2)/0.32} = 4e-14."""
    z = np.arange(-8.5, 8.6, 0.2)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    u = (np.sqrt(a)[..., None] * z)[..., None]
    own = np.sqrt(np.maximum(b - c * c / a, 0))[..., None, None]
    v = (c / np.sqrt(a))[..., None, None] * z[:, None] + own * z
    value = np.einsum("...ij,i,j->...", np.tanh(u) * np.tanh(v), weight, weight)
    return value, np.einsum("...ij,i,j->...", (1 - np.tanh(u) ** 2) * (1 - np.tanh(v) ** 2), weight, weight)


MOMENTS = {"relu": relu_moments, "erf": erf_moments, "identity": identity_moments, "tanh": tanh_moments}


def layer(name, sigma, theta, weight, bias, *, keep=0.0, scale=1.0):
    """Σ, Θ ← keep·(Σ, Θ) + s² (T, T + Θ σ_w² E[φ'φ']), T = σ_w² E[φφ'] + σ_b², of one set of inputs."""
    a, b = (np.broadcast_to(v, sigma.shape) for v in (np.diag(sigma)[:, None], np.diag(sigma)[None]))
    value, slope = MOMENTS[name](a, b, sigma)
    grown = weight * value + bias
    through = grown + theta * weight * slope
    return keep * sigma + scale**2 * grown, keep * theta + scale**2 * through


def first(x, weight, bias):
    sigma = weight * x @ x.T / x.shape[1] + bias
    return sigma, sigma


def plain_mlp(x, name, weights, biases):
    """[(Σ, Θ) of every layer], one weight and bias variance for each."""
    found = [first(x, weights[0], biases[0])]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        found.append(layer(name, *found[-1], weight, bias))
    return found


def plain_resmlp(x, name, weights, biases, scale):
    found = [first(x, weights[0], biases[0])]
    for weight, bias in zip(weights[1:-1], biases[1:-1], strict=True):
        found.append(layer(name, *found[-1], weight, bias, keep=1.0, scale=scale))
    return [*found, layer(name, *found[-1], weights[-1], biases[-1])]


def inputs(samples=5, dimension=4, seed=0):
    """Rows of lengths from 0.6 √d to 1.4 √d."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, dimension))
    return (
        x
        / np.linalg.norm(x, axis=1, keepdims=True)
        * math.sqrt(dimension)
        * rng.uniform(0.6, 1.4, (samples, 1))
    )
