"""The kernels of features and of backward fields of all layers at once."""

import dataclasses

import numpy as np

from meanfield.base.checks import boolean
from meanfield.base.schema import Variable
from meanfield.observe.observable import Observable
from meanfield.observe.where import check_where, inputs, sample_dims

SOURCE = "Bordelon & Pehlevan 2022; THEORY 3.2"


@dataclasses.dataclass(frozen=True)
class LayerKernels(Observable):
    """Φ^l and G^l of all hidden layers l = 1 … L, those of `FeatureKernel` and `GradientKernel`.

    Variables, without unit: `layer_kernels_feature (layer, sample, sample_2)` and `layer_kernels_gradient
    (layer, sample, output, sample_2, output_2)`. One pass forward and back serves all of them, and one
    compiled program: several times cheaper than as many single observables.

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, with `test_sample` and `test_sample_2`.
        name: another word for `layer_kernels`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: a backward pass for every output, 2 n P² k² operations for every layer, and L (Pk)² numbers a look.
    Source: Bordelon & Pehlevan 2022. THEORY 3.2.
    """

    at: int | tuple | None = None
    test: bool = False
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "test", boolean("test", self.test))
        self.settle("layer_kernels")

    @property
    def variables(self):
        first, second = sample_dims(self.test)
        where = " on the test set" if self.test else ""
        gradient = ("layer", first, "output", second, "output_2")
        return {
            f"{self.name}_feature": Variable(
                ("layer", first, second), f"feature kernel Φ{where}", source=SOURCE
            ),
            f"{self.name}_gradient": Variable(gradient, f"gradient kernel G{where}", source=SOURCE),
        }

    def check(self, problem, system=None):
        check_where(self, "layer_kernels", problem, system)

    def compute(self, system, problem, measure, initial):
        feature, gradient = system.layer_kernels(measure, inputs(problem, self.test))
        return {f"{self.name}_feature": feature, f"{self.name}_gradient": gradient}

    def coordinates(self, problem, system):
        about = {"long_name": "hidden layer", "units": "1"}
        return {"layer": ("layer", np.arange(1, system.layers + 1), about)}
