"""How far a kernel points along the labels."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.checks import boolean, instance
from meanfield.base.schema import Variable
from meanfield.observe.feature_kernel import FeatureKernel
from meanfield.observe.gradient_kernel import GradientKernel
from meanfield.observe.kernel import Kernel
from meanfield.observe.neuron import relative
from meanfield.observe.observable import Observable

SOURCE = "Cristianini, Shawe-Taylor, Elisseeff & Kandola 2002; Cortes, Mohri & Rostamizadeh 2012"


@dataclasses.dataclass(frozen=True)
class Alignment(Observable):
    """A = ⟨K, yyᵀ⟩ / (‖K‖_F ‖yyᵀ‖_F), from −1 to 1, as `alignment`, and A_t − A_0 as `alignment_change`, both
    without unit.

    1 for K ∝ yyᵀ, the kernel that knows the labels and nothing else. y is (P, k) for a kernel of features;
    for a kernel (P, k, P, k) it is the vector of all its P·k numbers. 0 for y = 0. The change is that of one
    and the same network; without matrices, values of looks at different steps differ in their draws as well.

    Args:
        of: what the kernel is: `FeatureKernel(layer=…)`, the default, `GradientKernel(…)` or `Kernel()`, the
            tangent kernel; with `test` the labels are those of the test set. Its steps and name have no part.
        centred: whether kernel and labels are centred over samples first, H K H with H = I − 11ᵀ/P: what the
            kernel says of the mean over samples is then left out.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `alignment`, where one run has two of them.
    Accuracy: bias O(1/M) in a limit, O(1/n) in the mean of networks.
    Cost: twice that of the kernel.
    Source: Cristianini, Shawe-Taylor, Elisseeff & Kandola 2002; Cortes, Mohri & Rostamizadeh 2012 (centred).
    """

    of: Observable = dataclasses.field(default_factory=FeatureKernel)
    centred: bool = False
    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        instance("of", self.of, (FeatureKernel, GradientKernel, Kernel), "a FeatureKernel or another kernel")
        object.__setattr__(self, "centred", boolean("centred", self.centred))
        self.settle("alignment")

    @property
    def variables(self):
        kernel = next(iter(self.of.variables.values())).long_name
        text = f"alignment of the {kernel} with the labels"
        return {
            self.name: Variable((), text, source=SOURCE),
            f"{self.name}_change": Variable((), f"change of the {text}", source=SOURCE),
        }

    def check(self, problem, system=None):
        self.of.check(problem, system)
        if self.of.test and problem.y_test is None:
            raise ValueError("Argument `of` must be on the training set for a test set without labels.")

    def compute(self, system, problem, measure, initial):
        y = problem.y_test if self.of.test else problem.y

        def aligned(network):
            return alignment(
                self.of.compute(system, problem, network, initial)[self.of.name], y, self.centred
            )

        now = aligned(measure)
        return {self.name: now, f"{self.name}_change": now - aligned(initial)}


def alignment(kernel, y, centred=False):
    """⟨K, yyᵀ⟩ / (‖K‖ ‖yyᵀ‖) of a kernel (P, P) or (P, k, P, k) and labels (P, k)."""
    if centred:
        axis = kernel.ndim // 2
        kernel = kernel - kernel.mean(0, keepdims=True)
        kernel = kernel - kernel.mean(axis, keepdims=True)
        y = y - y.mean(0, keepdims=True)
    if kernel.ndim == 4:
        kernel = kernel.reshape(y.size, y.size)
        y = y.reshape(-1, 1)
    inner = jnp.sum(y * (kernel @ y.astype(kernel.dtype)))
    return relative(inner, jnp.linalg.norm(kernel) * jnp.linalg.norm(y.T @ y))
