"""The kernel of the backward fields."""

import dataclasses

from meanfield.base.schema import Variable
from meanfield.observe.where import OfLayer, inputs, layer_of, sample_dims


@dataclasses.dataclass(frozen=True)
class GradientKernel(OfLayer):
    """G^l(x, x') = E[g_c^l(x) g_e^l(x')], g_c^l = nγ ∂f_c/∂h^l, as `gradient_kernel (sample, output,
    sample_2, output_2)`, without unit.

    E is the average over neurons. Beside the kernel of the features it is the other half of the tangent
    kernel, K = Σ_l G^{l+1} Φ^l with G^{L+1} = 1 under the maximal update parametrization, where it is of
    order one; in other parametrizations it carries the power of n that ∂f/∂h^l does.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, as `test_gradient_kernel (test_sample, output, test_sample_2, output_2)`.
        layer: l of an MLP, by default its last hidden layer.
        name: another word for `gradient_kernel`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: a backward pass for every output, 2 n P² k² operations and (Pk)² numbers a look.
    Source: Bordelon & Pehlevan 2022. THEORY 3.2.
    """

    names = ("gradient_kernel", "test_gradient_kernel")
    method = "gradient_kernel"

    @property
    def variables(self):
        first, second = sample_dims(self.test)
        where = " on the test set" if self.test else ""
        source = "Bordelon & Pehlevan 2022; THEORY 3.2"
        dims = (first, "output", second, "output_2")
        return {self.name: Variable(dims, f"gradient kernel G{where}", source=source)}

    def compute(self, system, problem, measure, initial):
        x = inputs(problem, self.test)
        return {self.name: system.gradient_kernel(measure, x, layer_of(self, system))}
