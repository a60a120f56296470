"""Normalised gradient descent: steps of given length, however small the gradient has become."""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import number
from meanfield.base.pytree import pytree
from meanfield.model.training import Memory, Training, check_steps


@pytree(repr=False)
class NormalizedDescent(Training):
    """θ ← θ − η ∇Ψ(θ) / (‖∇Ψ‖ ‖θ‖),  ‖·‖² = E_ρ|·|²: the curve of the gradient flow, in another time.

    Under the logistic or exponential loss the gradient falls like the loss R while N = ½‖θ‖² only grows like
    ln t, and a fixed step never reaches the directions of the limit. Here a step grows N by η at most, and by
    η exactly where −∇Ψ is parallel to θ, as at the end for homogeneous activations: then ‖∇Ψ‖ = R m ‖θ‖
    with m the margin, and this is the step η/R capped at (η/2m)/N, which the curvature N R of the loss asks
    for (a step η/R without the cap diverges).

    Args:
        learning_rate: η, in units of N; well below 1 follows the flow.
        steps: number of steps T. `time` counts η · step, the growth of N when aligned.
    Accuracy: first order in η. When every χ has underflowed (y f above 87 in float32, 700 in float64)
        nothing moves any more.
    Source: Chizat & Bach 2020, *section 2* (the flow, which no change of time alters); THEORY 1.2.
    """

    learning_rate: float
    steps: int

    def __post_init__(self):
        object.__setattr__(self, "learning_rate", number("learning_rate", self.learning_rate, above=0))
        object.__setattr__(self, "steps", check_steps(self.steps))

    def init(self, parameters):
        return Memory(jnp.zeros((), jnp.int32), None)

    def advance(self, gradient, memory, parameters, key, norm):
        direction, f = gradient(parameters)
        # Squares of a gradient like e^{−N m} would underflow long before the gradient does.
        largest = jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(direction)]).max()
        direction = jax.tree.map(lambda g: g / jnp.where(largest > 0, largest, 1), direction)
        length = norm(direction) * norm(parameters)
        eta = jnp.where(length > 0, self.learning_rate / jnp.where(length > 0, length, 1), 0.0)
        moved = jax.tree.map(lambda p, g: (p - eta * g).astype(p.dtype), parameters, direction)
        return moved, Memory(memory.count + 1, None), f

    def update(self, gradient, memory, parameters, key):
        raise TypeError("NormalizedDescent measures gradients in L²(ρ); call `advance`.")

    def times(self):
        """η · step, (steps + 1,)."""
        return self.learning_rate * np.arange(self.steps + 1)
