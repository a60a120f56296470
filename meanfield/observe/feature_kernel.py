"""The kernel of the hidden features."""

import dataclasses

from meanfield.base.checks import boolean
from meanfield.base.schema import Variable
from meanfield.observe.kernel_sum import check_kernel, inputs, kernel_sum, sample_dims
from meanfield.observe.observable import Observable


@dataclasses.dataclass(frozen=True)
class FeatureKernel(Observable):
    """Φ(x, x') = E_ρ[φ(w·x + b) φ(w·x' + b)], as `feature_kernel (sample, sample_2)`, without unit.

    It moves in the feature-learning regime and stands still in the kernel regime.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, as `test_feature_kernel (test_sample, test_sample_2)`.
        name: another word for `feature_kernel`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: n P² operations and P² numbers a look.
    Source: Neal 1996 (at initialisation); Yang & Hu 2021 (its movement). THEORY 1, 3.1.
    """

    at: int | tuple | None = None
    test: bool = False
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "test", boolean("test", self.test))
        self.settle("test_feature_kernel" if self.test else "feature_kernel")

    @property
    def variables(self):
        where = " on the test set" if self.test else ""
        source = "Neal 1996; Yang & Hu 2021; THEORY 1, 3.1"
        return {self.name: Variable(sample_dims(self.test), f"feature kernel Φ{where}", source=source)}

    def check(self, problem, system=None):
        check_kernel(self, problem, system)

    def compute(self, system, problem, measure, initial):
        x, particles = inputs(problem, self.test), system.particles
        return {self.name: kernel_sum(particles.feature_kernel, particles, measure, x)}
