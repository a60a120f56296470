"""Two-layer networks in the mean-field parametrization."""

import dataclasses

from meanfield.base.checks import boolean, fail, instance, integer, number
from meanfield.model.activation import Activation
from meanfield.model.initial import Gaussian, Initial, check_even, check_initial
from meanfield.model.sampler import Sampler, Sobol
from meanfield.model.system import Law, Model
from meanfield.systems.two_layer.kernel import initial_kernel
from meanfield.systems.two_layer.limit import TwoLayerLimit
from meanfield.systems.two_layer.network import TwoLayerNetwork
from meanfield.systems.two_layer.particles import Particles
from meanfield.systems.two_layer.response import TwoLayerResponding


@dataclasses.dataclass(frozen=True, repr=False)
class TwoLayer(Model):
    """f(x) = (1/(γn)) Σ_i a_i φ(w_i·x + b_i), a_i ∈ R^k; limit f(x; ρ) = (1/γ) ∫ a φ(w·x + b) dρ.

    Training time is t = η · step with the neuron-wise gradient multiplied by the width:
    θ_i ← θ_i − η ∇Ψ(θ_i; ρ), Ψ(θ; ρ) = γ Σ_p χ_p · a φ(w·x_p + b) + γ²(λ/2)|θ|².

    Args:
        activation: φ, one of `meanfield.activations` or any `Activation`.
        bias: whether neurons have a bias b (0 at the start unless `initial` says otherwise).
        richness: γ = 1/α of lazy training: 1 is mean field, γ → 0 the kernel limit
            d f/dt = −K ∂R/∂f, K = E_{ρ_0}[∇ψ(x)·∇ψ(x')].
        initial: law ρ_0 of the neurons, by default standard normal in (a, w).
        train_readout: whether a moves.
    Raises:
        TypeError, ValueError: one sentence naming the argument.
    Source: Mei, Montanari & Nguyen 2018; Chizat & Bach 2018; Rotskoff & Vanden-Eijnden 2018; richness:
        Chizat, Oyallon & Bach 2019. THEORY 1.
    """

    responds = True

    activation: Activation
    bias: bool = False
    richness: float = 1.0
    _: dataclasses.KW_ONLY
    initial: Initial = Gaussian()
    train_readout: bool = True

    def __post_init__(self):
        instance("activation", self.activation, Activation, "one of meanfield.activations or an Activation")
        boolean("bias", self.bias)
        object.__setattr__(self, "richness", number("richness", self.richness, above=0))
        check_initial(self.initial)
        boolean("train_readout", self.train_readout)

    def particles(self):
        """The equations of motion."""
        return Particles(self.activation, self.train_readout, self.richness)

    def finite(self, width, *, dtype="float32"):
        """The network of width n, computed in `dtype` (float32 or float64; draws are the same in both)."""
        width = integer("width", width, 1)
        check_even(width, self.initial)
        dtype = getattr(dtype, "__name__", None) or str(dtype)
        if dtype not in ("float32", "float64"):
            fail("dtype", "float32 or float64", dtype)
        return TwoLayerNetwork(self.particles(), self.initial, bool(self.bias), dtype, width, width)

    def limit(self, particles=None, replicates=8, *, sampler=Sobol()):  # noqa: B008
        """The infinite-width limit in float64.

        Args:
            particles: M of each replicate; None doubles it until the limit's error is a quarter of the
                smallest finite-width error it is compared with.
            replicates: independent repetitions, at least 2, whose spread is the limit's error; always 2 for
                `Quadrature()` and for `Atoms`, where nothing is drawn.
            sampler: `meanfield.Sobol()`, `IID()`, or `Quadrature()` (at most 3 dimensions per neuron).
        Accuracy: standard error O(M^{−1/2}) for IID draws, smaller for Sobol points; bias O(1/M).
        Cost: replicates · M · P · d a step.
        """
        if particles is not None:
            particles = integer("particles", particles, 2)
        replicates = integer("replicates", replicates, 2)
        instance("sampler", sampler, Sampler, "IID(), Sobol() or Quadrature()")
        if not (sampler.random and self.initial.sampled):
            replicates = 2  # the rule and a coarser one, or the atoms twice
        return TwoLayerLimit(self.particles(), self.initial, sampler, bool(self.bias), replicates, particles)

    def responding(self, particles, replicates, sampler):
        return TwoLayerResponding(self.limit(particles, replicates, sampler=sampler))

    def initial_kernel(self, problem):
        return initial_kernel(self.limit(2), problem)

    def laws(self):
        """Predicted exponents in the width of the distance to the limit, at fixed time."""
        source = "Mei, Montanari & Nguyen 2018; Rotskoff & Vanden-Eijnden 2018; THEORY 1.1 and 9"
        return (Law("fluctuation", "width", -0.5, source), Law("bias", "width", -1.0, source))
