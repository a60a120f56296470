"""Laws ρ_0 from which the neurons of a two-layer network are drawn.  THEORY 1."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, boolean, instance, number
from meanfield.base.fingerprint import describe
from meanfield.base.text import Concise

BLOCK = 256  # neurons drawn from one key
GROUP = 8  # blocks drawn at a time


class Initial(Concise):
    """The interface: `block(key, number, inputs, outputs, bias)` draws 256 neurons, traceable; `replicates`
    gives the particles of a limit, on the host. Neurons are {a (n, k), w (n, d)} and b (n,) if `bias`."""

    paired = False
    sampled = True

    def sample(self, key, neurons, inputs, outputs, bias):
        """Neurons of one network, traceable: neuron i depends on the key and i only, so that a narrow
        network is the first part of a wide one and no draw depends on how work is cut."""
        numbers = jnp.arange(-(-self._drawn(neurons) // BLOCK))
        blocks = jax.vmap(lambda number: self.block(key, number, inputs, outputs, bias))(numbers)
        points = {name: value.reshape(-1, *value.shape[2:]) for name, value in blocks.items()}
        return self._finished(points, neurons, jnp)

    def sample_many(self, keys, neurons, inputs, outputs, bias, dtype):
        """The same for many keys, on the host: one compiled program draws blocks for any width."""
        blocks = -(-self._drawn(neurons) // BLOCK)
        rows, numbers = (index.ravel() for index in np.indices((len(keys), blocks)))
        missing = -rows.size % GROUP
        rows, numbers = np.pad(rows, (0, missing)), np.pad(numbers, (0, missing))
        drawn = {}
        data = np.asarray(jax.random.key_data(keys))
        for start in range(0, rows.size, GROUP):
            part = slice(start, start + GROUP)
            group = _draw_group(self, data[rows[part]], numbers[part], inputs, outputs, bias)
            for name, value in group.items():
                if name not in drawn:
                    drawn[name] = np.empty((rows.size, *value.shape[1:]), dtype)
                drawn[name][part] = value
        size = len(keys) * blocks
        points = {n: v[:size].reshape(len(keys), blocks * BLOCK, *v.shape[2:]) for n, v in drawn.items()}
        networks = [
            self._finished({n: v[i] for n, v in points.items()}, neurons, np) for i in range(len(keys))
        ]
        return {name: np.stack([network[name] for network in networks]) for name in points}

    def _drawn(self, neurons):
        """Independent draws behind so many neurons."""
        return -(-neurons // 2) if self.paired else neurons

    def _finished(self, points, neurons, xp):
        """Cut to the number of neurons; pairs stand side by side."""
        if self.paired:
            points = {name: xp.repeat(value, 2, axis=0) for name, value in points.items()}
            sign = xp.where(xp.arange(points["a"].shape[0]) % 2 == 0, 1.0, -1.0).astype(points["a"].dtype)
            points["a"] = points["a"] * sign[:, None]
        return {name: value[:neurons] for name, value in points.items()}


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
        points = {
            "a": self.readout * z[..., :outputs],
            "w": self.weights * z[..., outputs : outputs + inputs],
        }
        if bias:
            points["b"] = self.bias * z[..., -1] if self.bias > 0 else jnp.zeros(z.shape[:-1], z.dtype)
        return points

    def block(self, key, number, inputs, outputs, bias):
        key_readout, key_weights, key_bias = jax.random.split(jax.random.fold_in(key, number), 3)
        points = {
            "a": self.readout * jax.random.normal(key_readout, (BLOCK, outputs)),
            "w": self.weights * jax.random.normal(key_weights, (BLOCK, inputs)),
        }
        if bias:
            points["b"] = self.bias * jax.random.normal(key_bias, (BLOCK,))
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

    def block(self, key, number, inputs, outputs, bias):
        """Draws with replacement."""
        uniform = jax.random.uniform(jax.random.fold_in(key, number), (BLOCK,))
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


# Half the time to compile, the same time to run.
@functools.partial(
    jax.jit,
    static_argnames=("initial", "inputs", "outputs", "bias"),
    compiler_options={"xla_backend_optimization_level": 1},
)
def _draw_group(initial, data, numbers, inputs, outputs, bias):
    keys = jax.random.wrap_key_data(data)
    return jax.vmap(lambda key, number: initial.block(key, number, inputs, outputs, bias))(keys, numbers)


def check_initial(initial):
    return instance("initial", initial, Initial, "one of meanfield.initial: Gaussian(...) or Atoms(...)")


def check_even(width, initial):
    if initial.paired and width % 2:
        raise ValueError(f"Argument `width` must be even for neurons drawn in pairs, but is {width}.")
