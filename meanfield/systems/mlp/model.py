"""Multilayer perceptrons: architecture, parametrization, and what they become at infinite width."""

import dataclasses
import math

from meanfield.base.checks import boolean, fail, instance, integer, number
from meanfield.model.activation import Activation
from meanfield.model.parametrization import Parametrization
from meanfield.model.system import Law, Model
from meanfield.programs.gaussians import Antithetic
from meanfield.programs.program import (
    check_finite,
    check_limit,
    check_smooth,
    finite_network,
    is_matrix_free,
    limit_of,
)
from meanfield.programs.samplers import Dense
from meanfield.systems.mlp.descent import descent_program
from meanfield.systems.mlp.kernel_limit import MLPKernelLimit
from meanfield.systems.mlp.kernels import initial_kernel
from meanfield.systems.mlp.network import MLPNetwork
from meanfield.systems.mlp.program import Program, descent_rates, scales


@dataclasses.dataclass(frozen=True, repr=False)
class MLP(Model):
    """L hidden layers of width n in any abc-parametrization W^l = n^{−a_l} w^l, w^l ~ N(0, n^{−2b_l}).

        h¹ = σ_w W¹x/√d + σ_b b¹,   x^l = φ(h^l),   h^{l+1} = σ_w W^{l+1}x^l + σ_b b^{l+1},
        f = (σ_w W^{L+1}x^L + σ_b b^{L+1})/γ.

    Gradient descent has the learning rate ηγ² n^{−c_l} for layer l, so that time is t = η · step at every
    width and richness; hidden biases share the exponents of the input layer, the output's bias has the rate
    ηγ² and starts at N(0, 1) where f_0 is of order one, at 0 where f_0 vanishes with the width. Weight decay
    pulls all parameters to 0 at the rate ηλ. Adam and sign descent, through `Optax`, have the learning rates
    that move every layer as much as descent does (Yang & Littwin 2023). Richness γ is 1/α of lazy training.

    Args:
        hidden_layers: L ≥ 1.
        activation: φ, one of `meanfield.activations` or any `Activation`.
        parametrization: one of `meanfield.parametrizations` or any `Parametrization`; it decides what the
            network becomes at infinite width: `parametrization.at_infinite_width(L)` says it in words.
        richness: γ > 0.
        bias: whether there are biases; they need `bias_variance` > 0, which alone gives them too.
        weight_variance, bias_variance: σ_w² > 0, σ_b² ≥ 0.
        centred: whether the output is f − f_0, for training and for predictions.
    Raises:
        TypeError, ValueError: one sentence naming the argument.
    Source: Yang & Hu 2021; Jacot, Gabriel & Hongler 2018; Bordelon & Pehlevan 2022. THEORY 3, 3.1, 3.2.
    """

    hidden_layers: int
    activation: Activation
    parametrization: Parametrization
    richness: float = 1.0
    bias: bool = False
    weight_variance: float = 1.0
    bias_variance: float = 0.0
    centred: bool = False

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_("hidden_layers", integer("hidden_layers", self.hidden_layers, 1))
        instance("activation", self.activation, Activation, "one of meanfield.activations or an Activation")
        rule = "one of meanfield.parametrizations or a Parametrization"
        instance("parametrization", self.parametrization, Parametrization, rule)
        self.parametrization.layers(self.hidden_layers)
        set_("richness", number("richness", self.richness, above=0))
        set_("weight_variance", number("weight_variance", self.weight_variance, above=0))
        set_("bias_variance", number("bias_variance", self.bias_variance, least=0))
        if boolean("bias", self.bias) and self.bias_variance == 0:
            fail("bias_variance", "above 0 for a network with biases", self.bias_variance)
        set_("bias", self.bias_variance > 0)
        set_("centred", boolean("centred", self.centred))

    def finite(self, width, *, sampler=Dense(), dtype="float32"):  # noqa: B008
        """The network of width n.

        Args:
            width: n.
            sampler: `meanfield.Dense()`, every matrix drawn, or `meanfield.MatrixFree(tolerance)`, a network
                of the same law without its matrices, for gradient descent at any width.
            dtype: float32 or float64; draws of a dense network are the same in both.
        """
        width, sampler, dtype = check_finite(width, sampler, dtype)
        if is_matrix_free(width, sampler):
            if self.centred:
                raise ValueError(
                    "Argument `sampler` must be Dense() for a centred network, whose initial function is "
                    f"needed at every step, but is {sampler!r}."
                )
            sampler = dataclasses.replace(sampler, tolerance=self._seen_in_output(sampler.tolerance))
            return finite_network(descent_program(self, width), width, sampler, dtype)
        s = scales(self.parametrization, self.hidden_layers, width, self.weight_variance, self.bias_variance)
        program = Program(self.activation, self.hidden_layers, self.bias, self.richness, s)
        rates = descent_rates(self.parametrization, self.hidden_layers, width)
        return MLPNetwork(program, rates, self, width, self.centred, dtype)

    def limit(
        self,
        particles=None,
        replicates=8,
        *,
        sampler=Antithetic(),  # noqa: B008
        tolerance=1e-3,
        responses="parts",
    ):
        """What the network becomes as n → ∞, by the regime of its parametrization.

        Kernel regime: the law of an ensemble, or one trajectory where f_0 vanishes or the output is centred.
        Both are exact, but for the law under a loss that is not square: there `particles` draws of f_0 (4096)
        are trained, and every mean has its standard error; the other arguments have no part in it.

        Feature learning: one trajectory, computed with particles in one causal pass (THEORY 3.2).

        Args:
            particles: M of each replicate; None doubles it until the limit's error is a quarter of the
                smallest finite-width error it is compared with.
            replicates: independent repetitions, at least 2, whose spread is the limit's error.
            sampler: `meanfield.programs.Antithetic()` or `meanfield.programs.Independent()`.
            tolerance: part of a vector, relative to the largest of its block, that may be dropped, at γ = 1;
                it falls with γ, by powers of ten.
            responses: how the response of a direction q that a matrix meets to the Gaussian part ζ_k of an
                earlier image, E[ζ_k q] = E[∂q/∂ζ_k], is averaged: "parts", the left side, for any φ, or
                "path", the right side, differentiating along the path of every particle at fixed law, for φ
                without kinks: its noise vanishes with the response.
        Raises:
            ValueError: if the parametrization is unstable or trivial, with the exponent that breaks; for
                responses by "path" if φ has kinks, or in the kernel regime, which has none.
        Accuracy: standard error O(M^{−1/2}), bias O(rank/M), and `tolerance`, relative.
        Cost: replicates · M · rank · P operations a step and M · rank numbers; by "path" both times the
            number of Gaussians, the sum of all ranks on both sides: for trainings of moderate length.
        Source: Yang & Hu 2021; Bordelon & Pehlevan 2022. THEORY 3.2.
        """
        checked = check_limit(particles, replicates, sampler, tolerance, responses)
        regime = self.parametrization.regime(self.hidden_layers)
        if regime == "kernel":
            if responses != "parts":
                fail("responses", 'left at "parts" in the kernel regime, which has no responses', responses)
            return MLPKernelLimit(self, particles or 4096)
        if regime == "feature learning":
            check_smooth(self.activation, responses)
            *checked, tolerance, responses = checked
            tolerance = self._seen_in_output(tolerance)
            return limit_of(descent_program(self, None), *checked, tolerance, responses)
        raise ValueError(
            f"Argument `parametrization` must have a limit, but {self.parametrization!r} is {regime} with "
            f"{self.hidden_layers} hidden layers: {' '.join(self.parametrization.breaks(self.hidden_layers))}"
        )

    def _seen_in_output(self, tolerance):
        """Fields move by O(γ) and the output is divided by γ: the tolerance that is seen in it as at γ = 1,
        in powers of ten, as every other one is compiled anew."""
        return tolerance * min(1.0, 10.0 ** math.floor(math.log10(self.richness) + 1e-9))

    def initial_kernel(self, problem):
        return initial_kernel(self, None, problem)

    def is_law(self):
        """Whether the limit is that of an ensemble, whose networks stay different from each other."""
        a, b, _, _ = self.parametrization.layers(self.hidden_layers)
        started = abs(a[-1] + b[-1] - 0.5) < 1e-9
        return self.parametrization.regime(self.hidden_layers) == "kernel" and started and not self.centred

    def laws(self):
        """Predicted exponents in the width of the distance to the limit, at fixed time."""
        if self.is_law():
            source = "Yaida 2020; Dyer & Gur-Ari 2020; Hanin & Nica 2020; THEORY 9"
            return tuple(Law(kind, "width", -1.0, source) for kind in ("bias", "spread", "distribution"))
        source = "Dyer & Gur-Ari 2020; Bordelon & Pehlevan 2023; THEORY 9"
        return (Law("fluctuation", "width", -0.5, source), Law("bias", "width", -1.0, source))
