"""First and second moments of the law of the neurons."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from meanfield.base.precision import HIGHEST
from meanfield.base.schema import Variable
from meanfield.observe.neuron import check_neurons, flat, labels, present, shapes
from meanfield.observe.observable import Observable


@dataclasses.dataclass(frozen=True)
class Moments(Observable):
    """E_ρ[θ] and E_ρ[θθᵀ], not centred, in units of the parameters and their square.

    Variables: `moments_mean (coordinate)` and `moments_second (coordinate, coordinate_2)`, with θ in the
    order of the labels a0, a1, ..., w0, w1, ..., b (where there is one): D = k + d (+ 1) of them.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `moments`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: n D² operations and D² numbers a look.
    Source: the second moment closes for φ = identity, THEORY 1.2.
    """

    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        self.settle("moments")

    @property
    def variables(self):
        source = "THEORY 1.2"
        return {
            f"{self.name}_mean": Variable(("coordinate",), "mean E[θ] of the neurons", source=source),
            f"{self.name}_second": Variable(
                ("coordinate", "coordinate_2"), "second moment E[θθᵀ] of the neurons", source=source
            ),
        }

    def check(self, problem, system=None):
        check_neurons(self, system)

    def compute(self, system, problem, measure, initial):
        theta = flat(present(measure).points)  # (M, D)
        second = jnp.einsum("n,ni,nj->ij", measure.weights, theta, theta, precision=HIGHEST)
        return {f"{self.name}_mean": measure.mean(theta), f"{self.name}_second": second}

    def coordinates(self, problem, system):
        values = np.array(labels(shapes(problem, system)))
        attributes = {"long_name": "coordinate of a neuron θ = (a, w, b)", "units": "1"}
        return {name: (name, values, attributes) for name in ("coordinate", "coordinate_2")}
