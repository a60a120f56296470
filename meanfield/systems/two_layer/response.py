"""What the response of a limit to its initial measure asks of two-layer networks.  THEORY 1.1."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.pytree import pytree
from meanfield.model.activation import Activation
from meanfield.systems.two_layer.limit import TwoLayerLimit
from meanfield.systems.two_layer.network import capacity
from meanfield.systems.two_layer.particles import Particles

ENTRIES = 4e6  # neurons × samples of the networks that are run together


def mollified(activation, bandwidth):
    """The activation with a φ'' that sees its kinks: jumps of φ' spread as Gaussians of this width.

    Values and first derivatives are untouched. The derivative of an average over particles of φ' has a term
    jump × density of preactivations at the kink, which differentiating particle by particle drops.
    """
    if not activation.kinks:
        return activation

    @jax.custom_jvp
    def slope(z):
        return activation.derivative(z)

    @slope.defjvp
    def slope_jvp(primals, tangents):
        (z,), (dz,) = primals, tangents
        smooth = jax.jvp(activation.derivative, (z,), (jnp.ones_like(z),))[1]
        for point, jump in activation.kinks:
            u = (z - point) / bandwidth
            smooth = smooth + jump / (bandwidth * math.sqrt(2 * math.pi)) * jnp.exp(-u * u / 2)
        return slope(z), smooth * dz

    @jax.custom_jvp
    def value(z):
        return activation(z)

    @value.defjvp
    def value_jvp(primals, tangents):
        (z,), (dz,) = primals, tangents
        return value(z), slope(z) * dz

    return Activation(value, f"{activation.name}_mollified", lambda z: (value(z), slope(z)))


@pytree(eq=False)
class Setting:
    """What a response is computed of: equations of motion, problem, training, all inputs looked at."""

    particles: Particles
    problem: object
    training: object
    inputs: jax.Array

    def move(self, parameters, memory, fixed, chi):
        """One step of neurons in a field with residuals χ."""
        p = self.particles
        points = {**parameters, **fixed}
        gradient = p.pull(points, *p.features(points, self.problem.x), self.problem.x, chi)
        penalty = p.richness**2 * self.training.weight_decay
        gradient = jax.tree.map(lambda g, v: g + penalty * v, gradient, points)
        return self.training.update(p.split(gradient)[0], memory, parameters, None)

    def start(self, points):
        parameters, fixed = self.particles.split(points)
        return parameters, self.training.init(parameters), fixed

    def predict(self, parameters, fixed, weights):
        return self.particles.predict({**parameters, **fixed}, weights, self.problem.x)

    def look(self, parameters, fixed, weights):
        return self.particles.predict({**parameters, **fixed}, weights, self.inputs)


def bandwidth_of(points, inputs, particles):
    """Width for mollified kinks: 0.3 M^{−1/5} times the spread of preactivations, the rate that balances
    the bias h² against the noise 1/(Mh)."""
    h = np.einsum("nd,pd->np", points["w"][:4096], inputs)
    return 0.3 * float(h.std()) * points["w"].shape[0] ** -0.2


def make_setting(limit, problem, training, points, chunk=None):
    """The setting of a response in float64, kinks mollified."""
    inputs = problem.x if problem.x_test is None else np.concatenate([problem.x, problem.x_test])
    bandwidth = bandwidth_of(points, problem.x, points["w"].shape[0])
    activation = mollified(limit.particles.activation, bandwidth)
    particles = dataclasses.replace(limit.particles, activation=activation, chunk=chunk)
    return Setting(particles, problem.astype("float64"), training, jnp.asarray(inputs))


@dataclasses.dataclass(frozen=True)
class TwoLayerResponding:
    """A two-layer limit as `Model.responding` describes it."""

    limit: TwoLayerLimit

    @property
    def random(self):
        return self.limit.random

    @property
    def sampled(self):
        return self.limit.initial.sampled

    @property
    def paired(self):
        return self.limit.initial.paired

    @property
    def particles(self):
        return self.limit.rows

    def check(self, problem, training):
        self.limit.check(problem, training)

    def draw(self, problem, key):
        limit = self.limit
        return limit.initial.replicates(
            limit.sampler, key, limit.rows, problem.inputs, problem.outputs, limit.bias, limit.count
        )

    def setting(self, problem, training, points):
        return make_setting(self.limit, problem, training, points)

    def networks(self, network, problem, keys):
        # In their own precision, as what is compared with them; only the response is computed in float64.
        rows = capacity(network.width, np.inf)
        together = max(1, min(len(keys), int(ENTRIES / (rows * problem.samples))))
        shape = (rows, problem.inputs, problem.outputs, network.bias)
        weights = np.where(np.arange(rows) < network.width, 1.0 / network.width, 0.0)
        for start in range(0, len(keys), together):
            batch = keys[start : start + together]
            repeated = np.minimum(np.arange(together), len(batch) - 1)
            points = network.initial.sample_many(batch[repeated], *shape, network.dtype)
            points = {name: jnp.asarray(value, "float64") for name, value in points.items()}
            yield points, jnp.asarray(np.broadcast_to(weights, (together, rows))), len(batch)
