"""A two-layer teacher on the sphere, as finite sets and as streams."""

import dataclasses
import math

import numpy as np

from meanfield.base.checks import instance, integer, number
from meanfield.datasets.finite import finite_problem
from meanfield.datasets.sources import JaxSource, NumpySource, tag


@dataclasses.dataclass(frozen=True)
class SphereTeacherDraw:
    """x uniform on |x| = r, y = f*(x) + noise. Calling it with (key, size) gives x (size, d), y (size, 1).

    The teacher depends on `key` only, not on the key of the samples. Use `sphere_teacher_draw`, which checks
    its arguments.
    """

    dimension: int
    neurons: int
    activation: object
    noise: float
    radius: float
    key: int

    def directions(self):
        """v (k, d): the first k rows of a uniform orthogonal matrix; for k > d independent directions."""
        normal = NumpySource((tag("sphere_teacher"), self.key)).normal("v", (self.neurons, self.dimension))
        if self.neurons > self.dimension:
            return normal / np.linalg.norm(normal, axis=1, keepdims=True)
        q, r = np.linalg.qr(normal.T)
        return (q * np.sign(np.diag(r))).T  # with the signs of R's diagonal Q is uniform (Mezzadri 2007)

    def target(self, x):
        """f*(x), (size, 1), of inputs (size, d), JAX."""
        import jax.numpy as jnp

        from meanfield.base.precision import HIGHEST

        weights = math.sqrt(self.dimension) / self.radius * self.directions()
        z = jnp.matmul(x, weights.T, precision=HIGHEST)  # (size, k)
        return self.activation(z).mean(1, keepdims=True)

    def sample(self, source, size):
        normal = source.normal("x", (size, self.dimension))
        x = self.radius * normal / (normal * normal).sum(1, keepdims=True) ** 0.5
        y = self.target(x)
        if self.noise:
            y = y + self.noise * source.normal("noise", (size, 1))
        return x, y

    def __call__(self, key, size):
        return self.sample(JaxSource(key), size)


def sphere_teacher_draw(dimension, neurons=5, *, activation=None, noise=0.0, radius=1.0, key=0):
    """Fresh samples (key, size) → (x, y) of `sphere_teacher`, in traceable JAX code, for a `Stream`.

    `key` here is that of the teacher: the same number gives the teacher of `sphere_teacher`. Two draws with
    equal arguments are equal and share compiled programs.
    """
    from meanfield.model.activation import Activation, relu

    activation = relu if activation is None else activation
    instance("activation", activation, Activation, "an Activation")
    return SphereTeacherDraw(
        dimension=integer("dimension", dimension, 1),
        neurons=integer("neurons", neurons, 1),
        activation=activation,
        noise=number("noise", noise, least=0),
        radius=number("radius", radius, above=0),
        key=integer("key", key, 0),
    )


def sphere_teacher(
    dimension,
    neurons=5,
    samples=64,
    test_samples=200,
    *,
    activation=None,
    noise=0.0,
    radius=1.0,
    loss=None,
    key=0,
):
    """f*(x) = (1/k) Σ_j φ(√d v_j·x/|x|), x uniform on the sphere |x| = r of R^d, |v_j| = 1.

    The teacher is itself a mean-field network of width k: with r = 1 its neurons are a = 1 and w = √d v_j, of
    the length of a standard normal vector, and the preactivation of each has mean 0 and variance 1. The v_j
    are orthonormal (uniformly so) if k ≤ d, otherwise independent and uniform. The spread of f* over x falls
    as k^{−1/2}.

    Args:
        dimension, neurons: d and k.
        samples, test_samples: P and P', independent draws; no test set for 0.
        activation: φ, by default ReLU.
        noise: standard deviation of the Gaussian noise on the training targets; the test targets have none,
            so that the test loss is the excess risk.
        radius: r; 1 where nothing divides w·x, √d where the input layer does by √d.
        loss: by default square.
        key: integer that determines the teacher and the samples.
    Returns:
        `Problem` with x (P, d), |x| = r, and y (P, 1).
    Raises:
        TypeError, ValueError: for sizes or a key that are not integers in range, negative noise, a radius
            that is not positive, or an activation that is none.
    Source: Rotskoff, Vanden-Eijnden 2018; Chizat, Bach 2018 (teacher-student experiments).
    """
    law = sphere_teacher_draw(dimension, neurons, activation=activation, noise=noise, radius=radius, key=key)
    return finite_problem("sphere_teacher", law, samples, test_samples, loss=loss, key=key)
