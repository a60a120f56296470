"""A learning problem with fresh samples at every step: one-pass training, the population risk."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, function, instance, integer
from meanfield.base.fingerprint import describe, function_text
from meanfield.base.pytree import pytree, static
from meanfield.model import loss as losses
from meanfield.model.problem import Samples, check_samples, check_test_set
from meanfield.model.training import check_batch_key


@pytree(eq=False)
class Stream(Samples):
    """One-pass training: step t sees `batch_size` fresh samples, the same for all networks and the limit.

    The recorded `prediction` and `loss` are those on one fixed draw of `batch_size` samples that training
    does not see; with a test set, `test_prediction` and `test_loss` are recorded besides.

    Args:
        draw: (key, size) → (x, y), x (size, d), y (size,) or (size, k); JAX code.
        batch_size: samples a step.
        loss: ℓ, one of `meanfield.losses`.
        x_test, y_test: test set, (P', d) and (P', k).
        batch_key: integer; the samples depend on it and on the step only.
    """

    draw: Callable = static()
    batch_size: int = static()
    loss: losses.Loss = static(default=losses.square)
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    _: dataclasses.KW_ONLY
    batch_key: int = 0
    x: np.ndarray | None = None
    y: np.ndarray | None = None

    def __post_init__(self):
        function("draw", self.draw, "a function (key, size) -> (x, y)")
        integer("batch_size", self.batch_size, 1)
        instance("loss", self.loss, losses.Loss, "one of meanfield.losses")
        check_batch_key(self.batch_key)
        if self.x is not None or self.y is not None:
            raise TypeError("Arguments `x` and `y` of a Stream are drawn by it and must not be given.")
        try:
            with jax.enable_x64(True):
                x, y = jax.tree.map(np.asarray, tuple(self.draw(self._key(0), self.batch_size)))
        except Exception as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise TypeError(
                f"Argument `draw` must be a function (key, size) -> (x, y), but fails: {reason}."
            ) from None
        if np.ndim(x) != 2 or x.shape[0] != self.batch_size:
            fail("draw", f"a function that returns x of shape ({self.batch_size}, inputs)", x)
        x, y = check_samples("x drawn by `draw`", x, "y drawn by `draw`", y, self.loss)
        x_test, y_test = check_test_set(self.x_test, self.y_test, self.loss, x.shape[1], y.shape[1])
        for name, value in (("x", x), ("y", y), ("x_test", x_test), ("y_test", y_test)):
            object.__setattr__(self, name, value)

    def _key(self, number):
        """Key 0 is the fixed draw that is only looked at, key t + 1 that of step t."""
        return jax.random.fold_in(jax.random.key(self.batch_key), number)

    def batch(self, step, size=None, key=None):
        """(x, y, weight) of step number `step`: fresh samples, weight 1/batch_size each."""
        x, y = self.draw(self._key(step + 1), self.batch_size)
        dtype = jnp.asarray(self.x).dtype  # float32 outside the float64 context
        y = jnp.asarray(y, dtype)
        y = y[:, None] if y.ndim == 1 else y
        if isinstance(self.loss, losses.Softmax) and y.shape[1] == 1:
            y = jax.nn.one_hot(y[:, 0].astype(int), self.outputs, dtype=dtype)
        return jnp.asarray(x, dtype), y, jnp.full((self.batch_size,), 1.0 / self.batch_size, dtype)

    def check_batch(self, size):
        if size is not None:
            fail("batch_size", "None with a Stream, which has its own batch size", size)

    def astype(self, dtype):
        """The same stream with samples of another precision, for use inside compiled code."""
        arrays = {n: getattr(self, n) for n in ("x", "y", "x_test", "y_test")}
        arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), arrays)
        leaves, structure = jax.tree.flatten(self)
        copy = jax.tree.unflatten(structure, leaves)
        for name, value in arrays.items():
            object.__setattr__(copy, name, value)
        return copy

    def describe(self):
        with jax.enable_x64(True):
            draw = function_text(lambda key: self.draw(key, self.batch_size), jax.random.key(0))
        names = ("batch_size", "loss", "x_test", "y_test", "batch_key")
        return {"class": "Stream", "draw": draw, **{n: describe(getattr(self, n)) for n in names}}

    def __repr__(self):
        return f"Stream({self.batch_size} samples a step, {self.inputs} inputs, loss={self.loss!r})"
