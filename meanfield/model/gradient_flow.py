"""Gradient flow: dθ/dt = −∇Ψ(θ), integrated adaptively to a stated tolerance."""

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, integer, number
from meanfield.base.pytree import pytree
from meanfield.model.problem import Problem
from meanfield.model.training import Memory, Training
from meanfield.numerics.runge_kutta import dormand_prince


@pytree(repr=False)
class GradientFlow(Training):
    """dθ/dt = −∇Ψ(θ; ρ_t) over [0, time], by the Dormand–Prince 5(4) pair.

    The estimated local errors, in root mean square over particles, are kept below `tolerance` per unit of
    the whole time, so that they sum to at most `tolerance`; what the flow does to them afterwards comes on
    top. In float32 the tolerance cannot go below about 1e-5 of the parameters' size and is raised to that.
    Where φ has kinks the velocity of a neuron jumps, and steps of length `tolerance` · T are taken as they
    are: a wide network, in which some neuron meets a kink at any time, needs up to 1/tolerance steps.
    `step` counts the saved times 0, 1, ..., save − 1.

    Args:
        time: end time T.
        save: number of saved times, evenly from 0 to T.
        tolerance: bound on the summed local errors.
        weight_decay: λ of V = (λ/2)|θ|².
    Cost: explicit, so about T · λ_max(K)/P / 3 steps of six gradients each where the kernel K is stiff.
    """

    time: float
    save: int = 101
    tolerance: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "time", number("time", self.time, above=0))
        object.__setattr__(self, "save", integer("save", self.save, 2))
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance, above=0, below=1))
        object.__setattr__(self, "weight_decay", number("weight_decay", self.weight_decay, least=0))

    @property
    def steps(self):
        return self.save - 1

    def init(self, parameters):
        """The memory holds the step size of the integrator, 0 before the first step."""
        return Memory(jnp.zeros((), jnp.int32), jnp.zeros(()))

    def advance(self, gradient, memory, parameters, key, norm):
        """From one saved time to the next."""
        interval = self.time / (self.save - 1)
        moved, h = dormand_prince(
            lambda p: _negative(gradient(p)[0]),
            *(parameters, interval, memory.slots, self.tolerance / self.time, norm),
            shortest=self.tolerance * self.time,
        )
        return moved, Memory(memory.count + 1, h.astype(memory.slots.dtype)), None

    def update(self, gradient, memory, parameters, key):
        raise TypeError("GradientFlow asks for gradients as it needs them; call `advance`.")

    def times(self):
        """The saved times, (save,)."""
        return np.linspace(0.0, self.time, self.save)

    def check(self, problem):
        if not isinstance(problem, Problem):
            fail("problem", "a Problem with a fixed training set for GradientFlow", problem, TypeError)


def _negative(tree):
    return jax.tree.map(jnp.negative, tree)
