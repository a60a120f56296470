"""Neurons themselves, to be seen in the plane."""

import dataclasses

import jax
import jax.numpy as jnp

from meanfield.base.checks import integer
from meanfield.base.schema import Variable
from meanfield.observe.neuron import check_neurons
from meanfield.observe.observable import Observable

SOURCE = "THEORY 1"


@dataclasses.dataclass(frozen=True)
class Neurons(Observable):
    """θ_i = (a_i, w_i, b_i) of the first `count` neurons, the same ones at every look.

    Variables: `neurons_a (neuron, output)`, `neurons_w (neuron, input)`, in a model with bias
    `neurons_b (neuron)`, and `neurons_weight (neuron)`, the mass m_i that each one has in ρ. Particles of
    unequal weights come heaviest first, equal ones in their order. Where fewer than `count` exist, the rest
    is NaN with weight 0. A limit gives particles of its first replicate (of a deterministic sampler the finer
    rule), and no error: an average over replicates would make no sense.

    Args:
        count: number of neurons.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `neurons`, where one run has two of them; the dimension is then
            `NAME_neuron`.
    Cost: count · (k + d + 1) numbers a look.
    Source: THEORY 1.
    """

    count: int = 256
    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    average = False

    def __post_init__(self):
        object.__setattr__(self, "count", integer("count", self.count, 1))
        self.settle("neurons")

    @property
    def variables(self):
        axis = "neuron" if self.name == "neurons" else f"{self.name}_neuron"
        return {
            f"{self.name}_a": Variable((axis, "output"), "readout weights a of a neuron", source=SOURCE),
            f"{self.name}_w": Variable((axis, "input"), "input weights w of a neuron", source=SOURCE),
            f"{self.name}_b": Variable((axis,), "bias b of a neuron", source=SOURCE),
            f"{self.name}_weight": Variable((axis,), "mass m of a neuron under ρ", source=SOURCE),
        }

    def check(self, problem, system=None):
        check_neurons(self, system)

    def compute(self, system, problem, measure, initial):
        count = min(self.count, measure.particles)
        # Chosen by the weights at the start, so that it is the same neurons at every look.
        there, rows = jax.lax.top_k(initial.weights, count)

        def pad(values, fill):
            missing = self.count - count
            return jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1), constant_values=fill)

        def chosen(values):
            absent = (there == 0).reshape(-1, *[1] * (values.ndim - 1))
            return pad(jnp.where(absent, jnp.nan, values[rows]), jnp.nan)

        found = {f"{self.name}_{name}": chosen(values) for name, values in measure.points.items()}
        return {**found, f"{self.name}_weight": pad(measure.weights[rows], 0.0)}
