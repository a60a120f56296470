"""Gradient descent: θ ← θ − η ∇Ψ(θ), with momentum, weight decay, mini-batches, schedules."""

import dataclasses

import jax
import jax.numpy as jnp

from meanfield.base.checks import integer, number
from meanfield.base.pytree import pytree, static
from meanfield.model.training import Descent, Memory, Schedule, check_batch_key, check_steps, learning_rate


@pytree(repr=False)
class GradientDescent(Descent):
    """m ← μ m + ∇Ψ(θ), θ ← θ − η m, with λθ part of ∇Ψ; time is t = η · step.

    Args:
        learning_rate: η, in the units of the limit (THEORY 1: the neuron-wise gradient is multiplied by
            the width), or a function of the step.
        steps: number of steps T.
        momentum: μ in [0, 1).
        weight_decay: λ of V = (λ/2)|θ|².
        batch_size: samples a step; None is the whole training set.
        batch_key: integer that fixes the order of the data, the same for all seeds, widths and the limit.
    """

    learning_rate: float | Schedule
    steps: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int | None = static(default=None)
    _: dataclasses.KW_ONLY
    batch_key: int = 0
    linear = True
    has_momentum: bool = static(init=False, repr=False, default=False)

    def __post_init__(self):
        object.__setattr__(self, "learning_rate", learning_rate(self.learning_rate))
        object.__setattr__(self, "steps", check_steps(self.steps))
        object.__setattr__(self, "momentum", number("momentum", self.momentum, least=0, below=1))
        object.__setattr__(self, "weight_decay", number("weight_decay", self.weight_decay, least=0))
        object.__setattr__(self, "has_momentum", self.momentum > 0)
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, 1)
        check_batch_key(self.batch_key)

    def init(self, parameters):
        velocity = jax.tree.map(jnp.zeros_like, parameters) if self.has_momentum else None
        return Memory(jnp.zeros((), jnp.int32), velocity)

    def update(self, gradient, memory, parameters, key):
        eta = self.rate(memory.count)
        if self.has_momentum:
            gradient = jax.tree.map(lambda m, g: self.momentum * m + g, memory.slots, gradient)
        moved = jax.tree.map(lambda p, g: (p - eta * g).astype(p.dtype), parameters, gradient)
        return moved, Memory(memory.count + 1, gradient if self.has_momentum else None)
