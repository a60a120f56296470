"""A learning problem on a fixed training set: samples, targets, a loss.  THEORY 0."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, fail, instance, integer
from meanfield.base.fingerprint import describe
from meanfield.base.pytree import pytree, static
from meanfield.model import loss as losses


def check_samples(x_name, x, y_name, y, loss, **options):
    """Inputs (P, d) and targets (P, k), both float64 and finite; any other kind gives one sentence."""
    x = array(x_name, x, (2,), "an array of shape (samples, inputs)")
    y = array(y_name, y, (1, 2), "an array of shape (samples,) or (samples, outputs)")
    if y.shape[0] != x.shape[0]:
        raise ValueError(
            f"Argument `{y_name}` must have one row for each of the {x.shape[0]} samples of `{x_name}`, "
            f"but has {y.shape[0]}."
        )
    return x, loss.targets(y_name, y, x.shape[0], **options)


class Samples:
    """What a fixed training set and a stream share: x (P, d), y (P, k), a loss, an optional test set."""

    @property
    def samples(self):
        return self.x.shape[0]

    @property
    def inputs(self):
        return self.x.shape[1]

    @property
    def outputs(self):
        return self.y.shape[1]

    def residual(self, f, y=None, weight=None):
        """χ_p = weight_p ∂ℓ/∂f(x_p), (P, k); by default on the training set, weight 1/P."""
        y = self.y if y is None else y
        weight = jnp.full((f.shape[0],), 1.0 / f.shape[0], f.dtype) if weight is None else weight
        return weight[:, None] * self.loss.derivative(f, y)

    def risk(self, f, y):
        """R = (1/P) Σ_p ℓ(f_p, y_p), from predictions and targets (P, k)."""
        return jnp.mean(self.loss.value(f, y))


@pytree(eq=False)
class Problem(Samples):
    """Empirical risk R(f) = (1/P) Σ_p ℓ(f(x_p), y_p) over a fixed training set.

    Args:
        x: training inputs, (P, d).
        y: targets, (P,) or (P, k); kept as (P, k). Labels ±1 for the logistic and exponential loss;
            integers (P,) or rows of probabilities for softmax.
        loss: ℓ, one of `meanfield.losses`.
        x_test, y_test: test set, (P', d) and (P', k); `y_test` may be left out, then no test loss is given.
    Raises:
        ValueError, TypeError: for shapes that do not match, entries that are not finite, labels that the
            loss does not take.
    """

    x: np.ndarray
    y: np.ndarray
    _: dataclasses.KW_ONLY
    loss: losses.Loss = static(default=losses.square)
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None

    def __post_init__(self):
        instance("loss", self.loss, losses.Loss, "one of meanfield.losses")
        x, y = check_samples("x", self.x, "y", self.y, self.loss)
        x_test, y_test = check_test_set(self.x_test, self.y_test, self.loss, x.shape[1], y.shape[1])
        for name, value in (("x", x), ("y", y), ("x_test", x_test), ("y_test", y_test)):
            object.__setattr__(self, name, value)

    def batch(self, step, size=None, key=None):
        """What step number `step` sees: (x, y, weight); Σ weight = 1.

        The whole set, or `size` samples of it: every epoch is one permutation, cut into batches, that
        depends on `key` and the epoch only, so that all networks and the limit see the same order. The
        P mod size samples left over wait for the next epoch.
        """
        samples = self.samples
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)
        if size is None or size == samples:
            return x, y, jnp.full((samples,), 1.0 / samples, x.dtype)
        per_epoch = samples // size
        key = jax.random.key(key)
        order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), samples)
        rows = jax.lax.dynamic_slice(order, ((step % per_epoch) * size,), (size,))
        return x[rows], y[rows], jnp.full((size,), 1.0 / size, x.dtype)

    def check_batch(self, size):
        """Whether a mini-batch of that size can be drawn."""
        if size is not None and integer("batch_size", size, 1) > self.samples:
            fail("batch_size", f"at most the number of samples, {self.samples}", size)

    def astype(self, dtype):
        """The same problem with arrays of another precision, for use inside compiled code."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self)

    def describe(self):
        return {
            "class": "Problem",
            **{f.name: describe(getattr(self, f.name)) for f in dataclasses.fields(self)},
        }

    def __repr__(self):
        test = "" if self.x_test is None else f", {self.x_test.shape[0]} test samples"
        return (
            f"Problem({self.samples} samples, {self.inputs} inputs, {self.outputs} outputs, "
            f"loss={self.loss!r}{test})"
        )


def check_test_set(x_test, y_test, loss, inputs, outputs):
    """The test set as (P', d) and (P', k), each None where it was not given."""
    if x_test is None:
        if y_test is not None:
            raise ValueError("Argument `x_test` must be given where `y_test` is, but is None.")
        return None, None
    if y_test is None:
        x_test = array("x_test", x_test, (2,), "an array of shape (samples, inputs)")
    else:
        options = {"classes": outputs} if isinstance(loss, losses.Softmax) else {}
        x_test, y_test = check_samples("x_test", x_test, "y_test", y_test, loss, **options)
        if y_test.shape[1] != outputs:
            raise ValueError(
                f"Argument `y_test` must have {outputs} outputs as `y` does, but has {y_test.shape[1]}."
            )
    if x_test.shape[1] != inputs:
        raise ValueError(
            f"Argument `x_test` must have {inputs} inputs as `x` does, but has {x_test.shape[1]}."
        )
    return x_test, y_test
