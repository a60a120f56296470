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
        """p with update(c ⊙ gradient) = c^p ⊙ update(gradient) for positive factors c of single entries:
        1 for SGD, 0 for Adam and sign descent, None where it is neither, as for clipping or a norm."""
        rng = np.random.default_rng(0)

        def draw():
            return {name: rng.uniform(-1, 1, shape) for name, shape in (("v", (4,)), ("w", (4, 3)))}

        def flat(tree):
            return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

        # Three steps, as a schedule may begin with a learning rate of 0; no entry is near Adam's ε.
        gradients = [jax.tree.map(lambda r: np.sign(r) * (1 + np.abs(r)), draw()) for _ in range(3)]
        factors = jax.tree.map(lambda r: 10.0 ** (0.5 + 1.5 * r), draw())

        def updates(factors):
            parameters = jax.tree.map(np.ones_like, factors)
            slots, found = self.transform.init(parameters), []
            for gradient in gradients:
                scaled = jax.tree.map(lambda c, g: jnp.asarray(c * g), factors, gradient)
                change, slots = self.transform.update(scaled, slots, parameters)
                found.append(flat(change))
            return np.stack(found)

        with jax.enable_x64(True):
            still = updates(jax.tree.map(np.zeros_like, factors))  # decay, which no gradient causes
            one = updates(jax.tree.map(np.ones_like, factors)) - still
            other = updates(factors) - still
        for degree in (0, 1):
            if one.any() and np.allclose(other, one * flat(factors) ** degree, 1e-4, 0):
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
