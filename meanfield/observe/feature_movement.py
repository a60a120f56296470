"""How far the features of a layer have moved."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.schema import Variable
from meanfield.observe.neuron import relative
from meanfield.observe.where import OfLayer, inputs, layer_of

SOURCE = "Yang & Hu 2021; THEORY 3"


@dataclasses.dataclass(frozen=True)
class FeatureMovement(OfLayer):
    """√E|x^l_t − x^l_0|² over neurons and samples, as `feature_movement`, and in proportion to √E|x^l_0|², as
    `feature_movement_relative`, both without unit.

    As the width grows it stays of order one under feature learning and falls like n^{−½} in the NTK
    parametrization.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs instead of the training inputs.
        layer: l, by default the last hidden layer.
        name: another word for `feature_movement`, where one run has two of them.
    Accuracy: rounding, eps·|x^l|, as a floor (1e-7 for networks in float32).
    Cost: two forward passes a look.
    Source: Yang & Hu 2021. THEORY 3.
    """

    names = ("feature_movement", "feature_movement")

    @property
    def variables(self):
        words = "movement of the features from initialisation"
        return {
            self.name: Variable((), f"root mean square {words}", source=SOURCE),
            f"{self.name}_relative": Variable((), f"relative root mean square {words}", source=SOURCE),
        }

    def compute(self, system, problem, measure, initial):
        x, layer = inputs(problem, self.test), layer_of(self, system)
        start = system.features(initial, x, layer)
        moved = jnp.sqrt(jnp.mean((system.features(measure, x, layer) - start) ** 2))
        ratio = relative(moved, jnp.sqrt(jnp.mean(start**2)))
        return {self.name: moved, f"{self.name}_relative": ratio}
