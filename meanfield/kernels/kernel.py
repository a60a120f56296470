"""The two kernels of a network at infinite width."""

from typing import Any

from meanfield.base.pytree import pytree


@pytree(repr=False)
class Kernel:
    """Covariance Σ of the outputs at initialisation and tangent kernel Θ. THEORY 3.1.

    Args:
        nngp: Σ between two sets of inputs, (P, Q), per output.
        ntk: Θ, (P, Q); None where φ has no derivative (step, sign).
        nngp_layers: Σ of every layer, (layers, P, Q), if asked for; the last one is `nngp`.
        ntk_layers: Θ of every layer, as if the network ended there; the last one is `ntk`.
    """

    nngp: Any
    ntk: Any = None
    nngp_layers: Any = None
    ntk_layers: Any = None

    def __repr__(self):
        parts = [f"{name} {value.shape}" for name, value in vars(self).items() if value is not None]
        return f"Kernel({', '.join(parts)})"
