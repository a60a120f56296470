"""How parameters move. Each way of training is one file; this one holds what they share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, integer, is_number, number
from meanfield.base.fingerprint import function_text
from meanfield.base.pytree import pytree, static
from meanfield.base.text import Concise


@pytree
class Schedule:
    """A learning rate that depends on the step: any JAX function of an integer."""

    function: Callable = static()

    def __call__(self, step):
        return self.function(step)

    def __repr__(self):
        return getattr(self.function, "__name__", "function of the step")

    def describe(self):
        return {"schedule": function_text(self.function, 0)}


def learning_rate(value):
    """A positive number or a function of the step, wrapped so that it passes through jit."""
    if is_number(value):
        return number("learning_rate", value, above=0)
    if isinstance(value, Schedule):
        return value
    if not callable(value):
        fail("learning_rate", "a positive number or a function of the step", value, TypeError)
    try:
        with jax.enable_x64(True):
            first = float(value(0))
            jax.eval_shape(value, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        rule = "a JAX function of the step that gives a number"
        raise TypeError(f"Argument `learning_rate` must be {rule}, but fails: {reason}.") from None
    number("learning_rate", first, least=0)
    return Schedule(value)


class Memory(NamedTuple):
    """What a training carries from step to step: the count of steps, then its own arrays."""

    count: jax.Array
    slots: Any


class Training(Concise):
    """The interface of all trainings.

    `steps` counts what can be recorded; `init(parameters)` gives the memory; `update(gradient, memory,
    parameters, key)` gives (parameters, memory) after one step along the gradient ∇Ψ, weight decay
    included. Systems call `advance`, which asks for gradients as it needs them. `linear` says that `update`
    is linear in (gradient, parameters, slots), alike for all entries: it then commutes with linear changes
    of coordinates.
    """

    linear = False
    batch_size = None
    batch_key = 0
    weight_decay = 0.0

    def count(self, memory):
        """Number of steps taken."""
        return memory.count

    def advance(self, gradient, memory, parameters, key, norm):
        """One step: (parameters, memory, predictions that it saw, or None).

        `gradient(parameters)` gives ∇Ψ and the predictions, `norm` the size of a displacement in L²(ρ).
        """
        direction, f = gradient(parameters)
        return (*self.update(direction, memory, parameters, key), f)

    def check(self, problem):
        """Whether this training fits the problem; raises one sentence if not."""
        problem.check_batch(self.batch_size)


class Descent(Training):
    """What trainings with a learning rate share: its value at a step, and time t = Σ η."""

    def rate(self, step):
        """η at a step."""
        return self.learning_rate(step) if isinstance(self.learning_rate, Schedule) else self.learning_rate

    def times(self):
        """Training time after 0, 1, ..., steps steps, (steps + 1,)."""
        if isinstance(self.learning_rate, Schedule):
            with jax.enable_x64(True):
                rates = np.asarray(jax.vmap(self.learning_rate.function)(jnp.arange(self.steps)), np.float64)
            return np.concatenate([[0.0], np.cumsum(rates * np.ones(self.steps))])
        return self.learning_rate * np.arange(self.steps + 1)

    def check(self, problem):
        super().check(problem)
        rates = np.diff(self.times())
        wrong = ~(np.isfinite(rates) & (rates >= 0))
        if wrong.any():
            step = int(np.argmax(wrong))
            raise ValueError(
                "Argument `learning_rate` must be finite and at least 0 at every step, "
                f"but is {rates[step]:g} at step {step}."
            )


def check_batch_key(key):
    return integer("batch_key", key, 0, 2**63 - 1)


def check_steps(steps):
    return integer("steps", steps, 1)
