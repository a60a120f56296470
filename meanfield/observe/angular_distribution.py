"""Where neurons with inputs in the plane point, and with how much mass."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, integer
from meanfield.base.schema import Variable
from meanfield.observe.histogram import binned
from meanfield.observe.neuron import check_neurons, masked
from meanfield.observe.observable import Observable


@dataclasses.dataclass(frozen=True)
class AngularDistribution(Observable):
    """Density over the angle of w of E_ρ[a^± |w|], for inputs in the plane, per radian.

    A ReLU neuron without bias is a |w| φ(u·x) with u = w/|w|: the network is this signed density over
    directions and nothing else. Variable: `angular_distribution (sign, output,
    angular_distribution_angle)`, with sign 1 for a > 0 and −1 for a < 0, all values nonnegative, and the
    centres of the bins, in (−π, π), as values of the angle. Summed over sign and angle and multiplied by the
    width 2π/bins it is E|a||w|. A bias is not looked at.

    Args:
        bins: number of bins over the whole circle.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `angular_distribution`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: n k operations a look. Inputs must have two dimensions.
    Source: Chizat & Bach 2020, *section 2* (homogeneous networks as measures on the sphere). THEORY 1.2.
    """

    bins: int = 36
    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "bins", integer("bins", self.bins, 1))
        self.settle("angular_distribution")

    @property
    def variables(self):
        dims = ("sign", "output", f"{self.name}_angle")
        source = "Chizat & Bach 2020; THEORY 1.2"
        return {self.name: Variable(dims, "density of |a||w| over the angle of w", "1 / radian", source)}

    def edges(self):
        """Edges of the bins, (bins + 1,)."""
        return np.linspace(-np.pi, np.pi, self.bins + 1)

    def check(self, problem, system=None):
        check_neurons(self, system)
        if problem.inputs != 2:
            fail(
                "observe",
                f"observables that exist for {problem.inputs} inputs: AngularDistribution needs 2",
                self,
            )

    def compute(self, system, problem, measure, initial):
        a, w, weights = measure.points["a"], measure.points["w"], measure.weights
        edges = jnp.asarray(self.edges(), w.dtype)
        angle = jnp.clip(jnp.arctan2(w[:, 1], w[:, 0]), edges[0], edges[-1])  # however π is rounded
        mass = masked(weights, weights * jnp.hypot(w[:, 0], w[:, 1]))
        density = []
        for sign in (1, -1):
            parts = masked(weights, mass[:, None] * jnp.maximum(sign * a, 0))  # (M, k)
            density.append([binned(angle, parts[:, j], edges)[0] for j in range(a.shape[1])])
        return {self.name: jnp.array(density) * (self.bins / (2 * np.pi))}

    def coordinates(self, problem, system):
        edges = self.edges()
        axis = f"{self.name}_angle"
        return {
            "sign": ("sign", np.array([1, -1]), {"long_name": "sign of a", "units": "1"}),
            axis: (axis, (edges[1:] + edges[:-1]) / 2, {"long_name": "angle of w", "units": "radian"}),
        }
