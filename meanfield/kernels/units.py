"""How the kernel regime of a parametrization compares with that of the NTK parametrization."""

from typing import NamedTuple

from meanfield.base.checks import fail, instance, integer, number
from meanfield.kernels.kernel import Kernel
from meanfield.model.parametrization import Parametrization


class KernelUnits(NamedTuple):
    """What a parametrization makes of the kernel regime: f_0 is `output` times that of THEORY 3.1, and the
    tangent kernel of its training Σ_l layers_l Θ_l, Θ_l the part of layer l = 1 … L + 1 in Θ."""

    output: float
    layers: tuple

    @property
    def speed(self):
        """κ, if it is the same for all layers; ValueError if not."""
        if max(self.layers) - min(self.layers) > 1e-9 * max(self.layers):
            shown = ", ".join(f"{v:.3g}" for v in self.layers)
            raise ValueError(
                f"The layers learn at speeds {shown} times those of the kernel Θ, which no single factor of "
                "time relates: weigh the kernels of the layers."
            )
        return max(self.layers)

    def time(self, learning_rate, steps):
        """t = η · step · κ, at which `predict` with Θ is to be compared."""
        return learning_rate * steps * self.speed

    def learning_rate(self, learning_rate, other):
        """η' with which a network of units `other` follows the same curve, step by step."""
        return learning_rate * self.speed / other.speed

    def kernels(self, kernel):
        """(output² Σ, κ Θ): what to predict with at t = η · step."""
        return Kernel(self.output**2 * kernel.nngp, self.speed * kernel.ntk)


def kernel_units(parametrization, *, hidden_layers, width, richness=1.0):
    """How a parametrization's output, learning rate and time compare with those of the kernel regime.

    With the draws of the NTK parametrization (THEORY 3.1, entries N(0, 1)) and f divided by the richness γ,
    rate η γ² n^{−c_l}, the output at the start is κ f_0 and the tangent kernel Σ_l κ_l Θ_l, exactly at every
    width n:

        κ = n^{½ − s}/γ,    κ_l = n^{1 − 2s} n^{1(l ≥ 2) − 2a_l − c_l}  (l ≤ L),    s = a_{L+1} + b_{L+1},
        κ_{L+1} = n^{1 − 2a_{L+1} − c_{L+1}}.

    So t = η · step · κ_l. Where κ → 0 all networks start at zero, and the `centred` law is theirs.

    Args:
        parametrization: a Parametrization with a_1 + b_1 = 0 and a_l + b_l = ½ for 2 ≤ l ≤ L.
        hidden_layers, width: L and n.
        richness: γ.
    Returns:
        KernelUnits.
    Raises:
        ValueError: if hidden fields are not of order one at the start.
    Source: Yang & Hu (2021); THEORY 3 and 3.1.
    """
    instance("parametrization", parametrization, Parametrization, "a Parametrization")
    a, b, c, _ = parametrization.layers(hidden_layers)
    width, gamma = integer("width", width, 1), number("richness", richness, above=0)
    if any(abs(a[i] + b[i] - 0.5 * (i > 0)) > 1e-9 for i in range(hidden_layers)):
        fail(
            "parametrization", "one with a + b = 0 in the input layer and 0.5 in hidden ones", parametrization
        )
    n, s = float(width), a[-1] + b[-1]
    below = (n ** (1 - 2 * s + (i > 0) - 2 * a[i] - c[i]) for i in range(hidden_layers))
    return KernelUnits(n ** (0.5 - s) / gamma, (*below, n ** (1 - 2 * a[-1] - c[-1])))
