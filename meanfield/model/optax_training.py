"""Training by any optax transform."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from meanfield.base.checks import integer, require
from meanfield.base.fingerprint import function_text
from meanfield.base.pytree import pytree, static
from meanfield.model.training import Memory, Training, check_batch_key, check_steps


@pytree(repr=False)
class Optax(Training):
    """Updates by `transform.update(gradient, state, parameters)`, gradient = ∇Ψ (already times the width).

    A limit needs a transform that acts coordinate by coordinate (adam, rmsprop, sgd, sign): a global norm,
    as in clipping, mixes particles and depends on their number. Time is the step, as the learning rate is
    inside the transform.

    Args:
        transform: an `optax.GradientTransformation`.
        steps: number of steps.
        batch_size, batch_key: as in `GradientDescent`.
    """

    transform: Any = static()
    steps: int
    batch_size: int | None = static(default=None)
    _: dataclasses.KW_ONLY
    batch_key: int = 0

    def __post_init__(self):
        good = hasattr(self.transform, "init") and hasattr(self.transform, "update")
        require(good, "transform", "an optax gradient transformation", self.transform, TypeError)
        object.__setattr__(self, "steps", check_steps(self.steps))
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, 1)
        check_batch_key(self.batch_key)

    def degree(self):
        """p with update(c · gradient) = c^p update(gradient) in the first step: 1 for SGD, 0 for Adam and
        sign descent, None where it is neither, as for clipping."""
        rng = np.random.default_rng(0)
        gradient = {"w": rng.standard_normal((4, 3)), "v": rng.standard_normal(4)}
        parameters = jax.tree.map(np.ones_like, gradient)

        def update(scale):
            scaled = jax.tree.map(lambda leaf: jnp.asarray(scale * leaf), gradient)
            zero = jax.tree.map(jnp.zeros_like, scaled)
            start = self.transform.init(parameters)
            still = self.transform.update(zero, start, parameters)[0]  # decay, which no gradient causes
            moved = self.transform.update(scaled, start, parameters)[0]
            return np.concatenate(
                [np.ravel(m - s) for m, s in zip(*map(jax.tree.leaves, (moved, still)), strict=True)]
            )

        with jax.enable_x64(True):
            small, one, large = (update(scale) for scale in (1e-2, 1.0, 1e2))
        for degree in (0, 1):
            scaled = 100.0**degree
            if np.allclose(small * scaled, one, 1e-4, 0) and np.allclose(one * scaled, large, 1e-4, 0):
                return degree
        return None

    def init(self, parameters):
        # Some transforms keep the parameters themselves: the time loop gives buffers away and needs copies.
        slots = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), self.transform.init(parameters))
        return Memory(jnp.zeros((), jnp.int32), slots)

    def update(self, gradient, memory, parameters, key):
        change, slots = self.transform.update(gradient, memory.slots, parameters)
        moved = jax.tree.map(lambda p, c: (p + c).astype(p.dtype), parameters, change)
        slots = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), slots, memory.slots)
        return moved, Memory(memory.count + 1, slots)

    def times(self):
        """The step itself, (steps + 1,)."""
        return np.arange(self.steps + 1, dtype=float)

    def describe(self):
        example = {"a": np.ones(2), "w": np.ones((2, 3))}

        def one_step(parameters):
            return optax.apply_updates(
                parameters, self.transform.update(parameters, self.transform.init(parameters), parameters)[0]
            )

        names = ("steps", "batch_size", "batch_key")
        text = function_text(one_step, example)
        return {"class": "Optax", "transform": text, **{n: getattr(self, n) for n in names}}
