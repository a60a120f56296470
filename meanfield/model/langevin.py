"""Noisy gradient descent: dθ = −∇Ψ dt + √(2τ) dB, by Euler–Maruyama."""

import dataclasses

import jax
import jax.numpy as jnp

from meanfield.base.checks import integer, number
from meanfield.base.pytree import pytree, static
from meanfield.model.training import Descent, Memory, Schedule, check_batch_key, check_steps, learning_rate


def standard_normal_like(key, parameters):
    """Independent N(0, 1) entries, one key per named array, drawn in float64 where that is on, then cast."""
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.normal(k, p.shape).astype(p.dtype) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


@pytree(repr=False)
class Langevin(Descent):
    """θ ← θ − η ∇Ψ(θ) + √(2ητ) ξ, ξ ~ N(0, I) fresh for every particle and step; time is η · step.

    The law of the particles follows ∂_t ρ = ∇·(ρ∇Ψ) + τΔρ; the step has weak error O(η).
    For TwoLayer of richness γ the temperature stands as it is: it is not multiplied by γ².

    Args:
        learning_rate: η, or a function of the step.
        steps: number of steps.
        temperature: τ ≥ 0.
        weight_decay: λ of V = (λ/2)|θ|²; without it there is no stationary state.
        batch_size, batch_key: as in `GradientDescent`.
    """

    learning_rate: float | Schedule
    steps: int
    temperature: float
    weight_decay: float = 0.0
    batch_size: int | None = static(default=None)
    _: dataclasses.KW_ONLY
    batch_key: int = 0

    def __post_init__(self):
        object.__setattr__(self, "learning_rate", learning_rate(self.learning_rate))
        object.__setattr__(self, "steps", check_steps(self.steps))
        object.__setattr__(self, "temperature", number("temperature", self.temperature, least=0))
        object.__setattr__(self, "weight_decay", number("weight_decay", self.weight_decay, least=0))
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, 1)
        check_batch_key(self.batch_key)

    def init(self, parameters):
        return Memory(jnp.zeros((), jnp.int32), None)

    def update(self, gradient, memory, parameters, key):
        eta = self.rate(memory.count)
        size = jnp.sqrt(2 * eta * self.temperature)
        noise = standard_normal_like(key, parameters)

        def move(p, g, xi):
            return (p - eta * g + size * xi).astype(p.dtype)

        return jax.tree.map(move, parameters, gradient, noise), Memory(memory.count + 1, None)
