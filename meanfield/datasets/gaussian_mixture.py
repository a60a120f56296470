"""Two Gaussian classes that differ in variance or in mean, as finite sets and as streams."""

import dataclasses

import numpy as np

from meanfield.base.checks import integer, number
from meanfield.datasets.finite import finite_problem
from meanfield.datasets.sources import JaxSource


@dataclasses.dataclass(frozen=True)
class GaussianMixtureDraw:
    """y = ±1 with probability ½ each, x = y μ + (1 + yΔ) ξ, ξ ~ N(0, I_d), μ = (distance/2, 0, …, 0).

    Calling it with (key, size) gives x (size, d), y (size, 1). Use `isotropic_gaussians_draw` or
    `gaussian_clusters_draw`, which check their arguments.
    """

    dimension: int
    distance: float = 0.0
    spread: float = 0.0

    def sample(self, source, size):
        y = source.signs("y", (size, 1))
        centre = np.zeros((1, self.dimension))
        centre[0, 0] = self.distance / 2
        return y * centre + (1 + self.spread * y) * source.normal("x", (size, self.dimension)), y

    def __call__(self, key, size):
        return self.sample(JaxSource(key), size)


def isotropic_gaussians_draw(dimension, spread=0.8):
    """Fresh samples (key, size) → (x, y) of `isotropic_gaussians`, in traceable JAX code, for a `Stream`."""
    dimension = integer("dimension", dimension, 1)
    return GaussianMixtureDraw(dimension, spread=number("spread", spread, above=0, below=1))


def gaussian_clusters_draw(dimension, distance=2.0):
    """Fresh samples (key, size) → (x, y) of `gaussian_clusters`, in traceable JAX code, for a `Stream`."""
    dimension = integer("dimension", dimension, 1)
    return GaussianMixtureDraw(dimension, distance=number("distance", distance, least=0))


def isotropic_gaussians(dimension, samples=64, test_samples=200, *, spread=0.8, loss=None, key=0):
    """y = ±1 with probability ½ each, x | y ~ N(0, (1 + yΔ)² I_d): two centred classes, told apart by |x|.

    Rotation invariant, so that the mean-field limit from an isotropic start reduces to the law of (a, |w|):
    THEORY 1.3. Inputs have length about √d, E|x|² = (1 + Δ²) d.

    Args:
        dimension: d.
        samples, test_samples: P and P', independent draws; no test set for 0.
        spread: Δ, 0 < Δ < 1; the standard deviations are 1 + Δ (y = 1) and 1 − Δ (y = −1).
        loss: by default square; labels are ±1, for softmax class 0 (y = −1) and 1.
        key: integer that determines the samples.
    Returns:
        `Problem` with x (P, d) and y (P, 1), ±1. The classes have random, about equal sizes.
    Raises:
        TypeError, ValueError: for sizes or a key that are not integers in range, Δ not between 0 and 1.
    Source: Mei, Montanari, Nguyen 2018, "Centered isotropic Gaussians" (d = 40, Δ = 0.8 there).
    """
    law = isotropic_gaussians_draw(dimension, spread)
    return finite_problem("gaussian", law, samples, test_samples, loss=loss, key=key, labels=True)


def gaussian_clusters(dimension, distance=2.0, samples=64, test_samples=200, *, loss=None, key=0):
    """y = ±1 with probability ½ each, x | y ~ N(yμ, I_d), |μ| = distance/2 along the first coordinate.

    The best classifier is the sign of x_1; it errs with probability P(N(0, 1) > distance/2).

    Args:
        dimension: d.
        distance: 2|μ|, between the two centres, in standard deviations; 0 leaves nothing to learn.
        samples, test_samples: P and P', independent draws; no test set for 0.
        loss: by default square; labels are ±1, for softmax class 0 (y = −1) and 1.
        key: integer that determines the samples.
    Returns:
        `Problem` with x (P, d) and y (P, 1), ±1. The classes have random, about equal sizes.
    Raises:
        TypeError, ValueError: for sizes or a key that are not integers in range, or a negative distance.
    Source: Fisher 1936 (linear discriminant).
    """
    law = gaussian_clusters_draw(dimension, distance)
    return finite_problem("gaussian", law, samples, test_samples, loss=loss, key=key, labels=True)
