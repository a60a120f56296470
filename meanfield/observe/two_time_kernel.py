"""The kernel of the features of now and of initialisation."""

import dataclasses

import jax.numpy as jnp

from meanfield.base.precision import HIGHEST
from meanfield.base.schema import Variable
from meanfield.observe.where import OfLayer, inputs, layer_of, sample_dims


@dataclasses.dataclass(frozen=True)
class TwoTimeKernel(OfLayer):
    """Φ^l_{t0}(x, x') = E[x^l_t(x) x^l_0(x')], as `two_time_kernel (sample, sample_2)`, without unit.

    E is the average over neurons. It says how much of the features of now lies along those of initialisation:
    in the kernel regime it is Φ^l_{00} for ever; with Φ^l_{tt} and Φ^l_{00} it gives the movement,
    E|x_t − x_0|² = tr(Φ_tt + Φ_00 − 2 Φ_t0).

    Args:
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, as `test_two_time_kernel (test_sample, test_sample_2)`.
        layer: l of an MLP, by default its last hidden layer.
        name: another word for `two_time_kernel`, where one run has two of them.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: two forward passes and P² numbers a look.
    Source: Yang & Hu 2021; Bordelon & Pehlevan 2022 (kernels of two times). THEORY 3.2.
    """

    names = ("two_time_kernel", "test_two_time_kernel")

    @property
    def variables(self):
        where = " on the test set" if self.test else ""
        text = f"kernel of the features of now and of initialisation{where}"
        source = "Bordelon & Pehlevan 2022; THEORY 3.2"
        return {self.name: Variable(sample_dims(self.test), text, source=source)}

    def compute(self, system, problem, measure, initial):
        x, layer = inputs(problem, self.test), layer_of(self, system)
        now, start = (system.features(of, x, layer) for of in (measure, initial))
        return {self.name: jnp.einsum("np,nq->pq", now, start, precision=HIGHEST) / now.shape[0]}
