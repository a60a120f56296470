"""Laws ρ_0 from which the neurons of a two-layer network are drawn.  THEORY 1."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, boolean, instance, integer, number
from meanfield.base.fingerprint import describe
from meanfield.base.text import Concise


class Initial(Concise):
    """The interface: `sample(key, neurons, inputs, outputs, bias)` draws neurons, traceable; `replicates`
    gives the particles of a limit, on the host. Neurons are {a (n, k), w (n, d)} and b (n,) if `bias`."""

    paired = False
    sampled = True


@dataclasses.dataclass(frozen=True, repr=False)
class Gaussian(Initial):
    """Independent centred Gaussians; by default a, w ~ N(0, I) and b = 0.

    Args:
        readout: standard deviation of the entries of a.
        weights: that of the entries of w; there is no 1/√d in front of w·x.
        bias: that of b.
        paired: draw neurons in pairs (±a, w, b): the same law in the limit, and f_0 = 0 exactly at every
            even width, as training close to the lazy regime needs.
    """

    readout: float = 1.0
    weights: float = 1.0
    bias: float = 0.0
    paired: bool = False

    def __post_init__(self):
        for name in ("readout", "weights", "bias"):
            object.__setattr__(self, name, number(name, getattr(self, name), least=0))
        boolean("paired", self.paired)

    def check(self, inputs, outputs, bias):
        if self.bias > 0 and not bias:
            raise ValueError(
                f"Argument `bias` of Gaussian must be 0 for a model without bias, but is {self.bias:g}."
            )

    def dimension(self, inputs, outputs, bias):
        """Number of standard normals behind one neuron."""
        return outputs + inputs + (1 if bias and self.bias > 0 else 0)

    def neurons(self, z, inputs, outputs, bias):
        """Neurons from standard normals z (..., dimension)."""
        points = {"a": self.readout * z[..., :outputs], "w": self.weights * z[..., outputs : outputs + inputs]}
        if bias:
            points["b"] = self.bias * z[..., -1] if self.bias > 0 else jnp.zeros(z.shape[:-1], z.dtype)
        return points

    def sample(self, key, neurons, inputs, outputs, bias):
        key_readout, key_weights, key_bias = jax.random.split(key, 3)
        drawn = -(-neurons // 2) if self.paired else neurons
        points = {
            "a": self.readout * jax.random.normal(key_readout, (drawn, outputs)),
            "w": self.weights * jax.random.normal(key_weights, (drawn, inputs)),
        }
        if bias:
            points["b"] = self.bias * jax.random.normal(key_bias, (drawn,))
        if self.paired:
            points = {name: jnp.repeat(value, 2, axis=0)[:neurons] for name, value in points.items()}
            points["a"] = points["a"] * jnp.where(jnp.arange(neurons) % 2 == 0, 1.0, -1.0)[:, None]
        return points

    def replicates(self, sampler, key, particles, inputs, outputs, bias, count):
        """Particles and weights of `count` replicates, ({name: (R, M, ...)}, (R, M))."""
        dimension = self.dimension(inputs, outputs, bias)
        sampler.check(dimension)
        half = -(-particles // 2) if self.paired else particles
        z, weights = sampler.replicates(key, half, dimension, count)
        points = jax.tree.map(np.asarray, self.neurons(z, inputs, outputs, bias))
        if self.paired:
            points = {name: np.concatenate([value, value], 1) for name, value in points.items()}
            points["a"][:, weights.shape[1] :] *= -1
            weights = np.concatenate([weights, weights], 1) / 2
        return points, weights


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Atoms(Initial):
    """ρ_0 = Σ_i m_i δ_{θ_i} with stored particles: the limit is then computed without sampling error.

    Args:
        a: readout weights, (M,) or (M, k).
        w: input weights, (M, d).
        b: biases, (M,), for a model with bias.
        weights: m, (M,), by default 1/M each.
    """

    a: np.ndarray
    w: np.ndarray
    b: np.ndarray | None = None
    weights: np.ndarray | None = None

    sampled = False

    def __post_init__(self):
        a = array("a", self.a, (1, 2), "an array of shape (particles,) or (particles, outputs)")
        w = array("w", self.w, (2,), "an array of shape (particles, inputs)")
        rows = w.shape[0]
        b = None if self.b is None else array("b", self.b, (1,), "an array of shape (particles,)")
        weights = np.full(rows, 1.0 / rows)
        if self.weights is not None:
            weights = array("weights", self.weights, (1,), "an array of shape (particles,)")
            if (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
                raise ValueError(
                    f"Argument `weights` must be nonnegative with sum 1, but has minimum {weights.min():g} "
                    f"and sum {weights.sum():g}."
                )
        a = a[:, None] if a.ndim == 1 else a
        for name, value in (("a", a), ("b", b), ("weights", weights)):
            if value is not None and value.shape[0] != rows:
                raise ValueError(
                    f"Argument `{name}` must have one row for each of the {rows} particles of `w`, "
                    f"but has {value.shape[0]}."
                )
        for name, value in (("a", a), ("w", w), ("b", b), ("weights", weights)):
            object.__setattr__(self, name, value)

    def check(self, inputs, outputs, bias):
        if self.w.shape[1] != inputs or self.a.shape[1] != outputs:
            raise ValueError(
                f"Argument `initial` must hold neurons with {inputs} inputs and {outputs} outputs as the "
                f"problem has, but they have {self.w.shape[1]} and {self.a.shape[1]}."
            )
        if (self.b is not None) != bias:
            raise ValueError(
                f"Argument `initial` must hold biases if and only if the model has them, but bias is {bias}."
            )

    def _points(self):
        points = {"a": self.a, "w": self.w}
        if self.b is not None:
            points["b"] = self.b
        return points

    def sample(self, key, neurons, inputs, outputs, bias):
        """Draws with replacement; neuron i depends on the key and i only."""
        uniform = jax.random.uniform(key, (neurons,))
        rows = jnp.searchsorted(jnp.cumsum(jnp.asarray(self.weights)), uniform, side="right")
        rows = jnp.minimum(rows, self.weights.size - 1)
        return {name: jnp.asarray(value)[rows] for name, value in self._points().items()}

    def replicates(self, sampler, key, particles, inputs, outputs, bias, count):
        """The atoms themselves, twice: nothing is sampled, so the two replicates agree."""
        points = {name: np.stack([value, value]) for name, value in self._points().items()}
        return points, np.stack([self.weights, self.weights])

    def __repr__(self):
        return f"Atoms({self.weights.size} neurons)"

    def describe(self):
        names = ("a", "w", "b", "weights")
        return {"class": "Atoms", **{n: describe(getattr(self, n)) for n in names}}


def check_initial(initial):
    return instance("initial", initial, Initial, "one of meanfield.initial: Gaussian(...) or Atoms(...)")


def check_even(width, initial):
    if initial.paired and width % 2:
        integer("width", width, 1)
        raise ValueError(f"Argument `width` must be even for neurons drawn in pairs, but is {width}.")


