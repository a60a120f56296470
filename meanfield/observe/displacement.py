"""How far neurons have moved from where they started."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.schema import Variable
from meanfield.observe.neuron import check_neurons, masked, relative
from meanfield.observe.observable import Observable

SOURCE = "Chizat, Oyallon & Bach 2019; THEORY 1"
WORDS = {"a": "readout weights a", "w": "input weights w", "b": "biases b"}


@dataclasses.dataclass(frozen=True)
class Displacement(Observable):
    """D = (E_ρ|θ_t − θ_0|²)^½, the root mean square over neurons of the way from initialisation.

    Variables, all without further dimensions and in units of the parameters: `displacement` of
    θ = (a, w, b); `displacement_a`, `displacement_w` and, in a model with bias, `displacement_b` of one array
    each, the squares of which sum to that of the whole. Without unit: `displacement_relative` =
    D / (E|θ_0|²)^½, and `displacement_relative_a`, `displacement_relative_w`, each in proportion to its own
    array; 0 where nothing moved, NaN where what moved started at 0 (b, which does so by default, has none).

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `displacement`, where one run has two of them.
    Accuracy: rounding, eps·|θ|, as a floor (1e-7 for networks in float32); bias O(1/M) in a limit.
    Source: Chizat, Oyallon & Bach 2019: D = O(γ) at fixed time as the richness γ → 0. THEORY 1.
    """

    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        self.settle("displacement")

    @property
    def variables(self):
        head, tail = "root mean square displacement", "from initialisation"
        found = {self.name: Variable((), f"{head} of neurons {tail}", source=SOURCE)}
        found[f"{self.name}_relative"] = Variable((), f"relative {head} of neurons {tail}", source=SOURCE)
        for name, words in WORDS.items():
            found[f"{self.name}_{name}"] = Variable((), f"{head} of {words} {tail}", source=SOURCE)
            if name != "b":
                long_name = f"relative {head} of {words} {tail}"
                found[f"{self.name}_relative_{name}"] = Variable((), long_name, source=SOURCE)
        return found

    def check(self, problem, system=None):
        check_neurons(self, system)

    def compute(self, system, problem, measure, initial):
        def square(values, weights):
            values = masked(weights, values.reshape(values.shape[0], -1))
            return jnp.sum(weights * jnp.sum(values * values, 1))

        moved = {n: square(p - initial.points[n], measure.weights) for n, p in measure.points.items()}
        start = {n: square(p, initial.weights) for n, p in initial.points.items()}
        found = {self.name: jnp.sqrt(sum(moved.values()))}
        found[f"{self.name}_relative"] = relative(found[self.name], jnp.sqrt(sum(start.values())))
        for name in moved:
            found[f"{self.name}_{name}"] = jnp.sqrt(moved[name])
            if name != "b":
                ratio = relative(jnp.sqrt(moved[name]), jnp.sqrt(start[name]))
                found[f"{self.name}_relative_{name}"] = ratio
        return found
