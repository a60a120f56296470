"""The tangent kernel and how far it has moved."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.checks import boolean
from meanfield.base.schema import Variable
from meanfield.observe.neuron import relative
from meanfield.observe.observable import Observable
from meanfield.observe.where import check_where, inputs, sample_dims

SOURCE = "Jacot, Gabriel & Hongler 2018; Chizat, Oyallon & Bach 2019; THEORY 1"


@dataclasses.dataclass(frozen=True)
class Kernel(Observable):
    """K with d f/dt = −K ∂R/∂f under gradient flow, the tangent kernel at time t, and its relative movement.

    For TwoLayer K(x, x') = E_ρ[∇ψ(x) · ∇ψ(x')]; for an MLP the sum over layers with their learning rates.

    Variables: `kernel (sample, output, sample_2, output_2)` and `kernel_change` = ‖K_t − K_0‖_F / ‖K_0‖_F,
    both without unit. ∇ is over the parameters that move. In the kernel regime `kernel_change` vanishes.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs instead of the training inputs, as `test_kernel (test_sample, output,
            test_sample_2, output_2)` and `test_kernel_change`.
        name: another word for `kernel`, where one run has two of them.
    Accuracy: K is linear in ρ, hence unbiased in a limit; `kernel_change` has bias O(1/M).
    Cost: 2 n P² k² operations for every hidden layer and (Pk)² numbers a look.
    Source: Jacot, Gabriel & Hongler 2018; Chizat, Oyallon & Bach 2019. THEORY 1.
    """

    at: int | tuple | None = None
    test: bool = False
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "test", boolean("test", self.test))
        self.settle("test_kernel" if self.test else "kernel")

    @property
    def variables(self):
        first, second = sample_dims(self.test)
        where = " on the test set" if self.test else ""
        dims = (first, "output", second, "output_2")
        return {
            self.name: Variable(dims, f"tangent kernel K{where}", source=SOURCE),
            f"{self.name}_change": Variable((), f"relative change of the kernel K{where}", source=SOURCE),
        }

    def check(self, problem, system=None):
        check_where(self, "tangent_kernel", problem, system)

    def compute(self, system, problem, measure, initial):
        x = inputs(problem, self.test)
        kernel, start = system.tangent_kernel(measure, x), system.tangent_kernel(initial, x)
        change = relative(jnp.linalg.norm((kernel - start).ravel()), jnp.linalg.norm(start.ravel()))
        return {self.name: kernel, f"{self.name}_change": change}
