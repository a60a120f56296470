"""The kernel of the hidden features."""

import dataclasses

from meanfield.base.schema import Variable
from meanfield.observe.where import OfLayer, inputs, layer_of, sample_dims


@dataclasses.dataclass(frozen=True)
class FeatureKernel(OfLayer):
    """Φ^l(x, x') = E[x^l(x) x^l(x')], as `feature_kernel (sample, sample_2)`, without unit.

    E is the average over neurons; for TwoLayer x^1 = φ(w·x + b).

    It moves in the feature-learning regime and stands still in the kernel regime.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, as `test_feature_kernel (test_sample, test_sample_2)`.
        layer: l of an MLP, by default its last hidden layer.
        name: another word for `feature_kernel`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: n P² operations and P² numbers a look.
    Source: Neal 1996 (at initialisation); Yang & Hu 2021 (its movement). THEORY 1, 3.1.
    """

    names = ("feature_kernel", "test_feature_kernel")
    method = "feature_kernel"

    @property
    def variables(self):
        where = " on the test set" if self.test else ""
        source = "Neal 1996; Yang & Hu 2021; THEORY 1, 3.1"
        return {self.name: Variable(sample_dims(self.test), f"feature kernel Φ{where}", source=source)}

    def compute(self, system, problem, measure, initial):
        x = inputs(problem, self.test)
        return {self.name: system.feature_kernel(measure, x, layer_of(self, system))}
