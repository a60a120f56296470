"""Losses ℓ(f, y): R = (1/P) Σ_p ℓ(f(x_p), y_p), χ_p = (1/P) ∂ℓ/∂f.  THEORY 0."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, number


@dataclasses.dataclass(frozen=True)
class Loss:
    """ℓ(f, y) of one sample, summed over outputs. Concrete losses give `value` and `derivative`."""

    def value(self, f, y):
        """ℓ, (...,), from predictions and targets (..., k)."""
        raise NotImplementedError

    def derivative(self, f, y):
        """∂ℓ/∂f, (..., k)."""
        raise NotImplementedError

    def curvature(self, f, y):
        """∂²ℓ/∂f², (P, k, k), from predictions and targets (P, k)."""
        return jax.vmap(jax.jacfwd(self.derivative))(f, y)

    def targets(self, name, y, samples):
        """Targets as (P, k) float64, or one sentence that says what is wrong with them."""
        y = np.asarray(y, np.float64)
        return y[:, None] if y.ndim == 1 else y

    def describe(self):
        return {"loss": type(self).__name__.lower(), **dataclasses.asdict(self)}

    def __repr__(self):
        fields = ", ".join(f"{k}={v:g}" for k, v in dataclasses.asdict(self).items())
        return (
            f"losses.{type(self).__name__}({fields})" if fields else f"losses.{type(self).__name__.lower()}"
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Square(Loss):
    """ℓ = ½|f − y|²."""

    def value(self, f, y):
        return 0.5 * jnp.sum((f - y) ** 2, -1)

    def derivative(self, f, y):
        return f - y


class _SignLabels(Loss):
    def targets(self, name, y, samples):
        y = super().targets(name, y, samples)
        if np.isin(y, (-1.0, 1.0)).all():
            return y
        loss = type(self).__name__.lower()
        values = np.unique(y)
        if np.isin(y, (0.0, 1.0)).all():
            raise ValueError(
                f"Argument `{name}` must have labels -1 and 1 for the {loss} loss, but has 0 and 1: "
                f"pass 2 * {name} - 1."
            )
        shown = ", ".join(f"{v:g}" for v in values[:5]) + (", ..." if values.size > 5 else "")
        raise ValueError(f"Argument `{name}` must have labels -1 and 1 for the {loss} loss, but has {shown}.")


@dataclasses.dataclass(frozen=True, repr=False)
class Logistic(_SignLabels):
    """ℓ = log(1 + e^{−yf}), y = ±1, summed over outputs."""

    def value(self, f, y):
        return jnp.sum(jnp.logaddexp(0, -y * f), -1)

    def derivative(self, f, y):
        return -y * jax.nn.sigmoid(-y * f)


@dataclasses.dataclass(frozen=True, repr=False)
class Exponential(_SignLabels):
    """ℓ = e^{−yf}, y = ±1, summed over outputs."""

    def value(self, f, y):
        return jnp.sum(jnp.exp(-y * f), -1)

    def derivative(self, f, y):
        return -y * jnp.exp(-y * f)


@dataclasses.dataclass(frozen=True, repr=False)
class Softmax(Loss):
    """ℓ = log Σ_j e^{f_j} − y·f, y one-hot or a probability vector; integer labels are made one-hot."""

    def value(self, f, y):
        return jax.nn.logsumexp(f, -1) - jnp.sum(y * f, -1)

    def derivative(self, f, y):
        return jax.nn.softmax(f, -1) - y

    def targets(self, name, y, samples, classes=None):
        y = np.asarray(y, np.float64)
        rule = "integers 0, 1, ..., k - 1 or rows of probabilities for the softmax loss"
        if y.ndim == 1:
            if (y < 0).any() or (y != np.round(y)).any():
                bad = y[(y < 0) | (y != np.round(y))][0]
                fail(name, rule, float(bad))
            if classes is not None and y.max() >= classes:
                raise ValueError(
                    f"Argument `{name}` must have labels below {classes}, the number of classes of `y`, "
                    f"but has {int(y.max())}."
                )
            return np.eye(max(2, classes or int(y.max()) + 1))[y.astype(int)]
        sums = y.sum(1)
        if y.shape[1] < 2 or (y < 0).any() or np.abs(sums - 1).max() > 1e-6:
            raise ValueError(
                f"Argument `{name}` must be {rule}, but has a row with entries from {y.min():g} to "
                f"{y.max():g} and sum {sums[np.argmax(np.abs(sums - 1))]:g}."
            )
        return y


@dataclasses.dataclass(frozen=True, repr=False)
class Huber(Loss):
    """ℓ = Σ_j (½r_j² if |r_j| ≤ δ, else δ(|r_j| − δ/2)), r = f − y."""

    delta: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "delta", number("delta", self.delta, above=0))

    def value(self, f, y):
        r = jnp.abs(f - y)
        return jnp.sum(jnp.where(r <= self.delta, 0.5 * r * r, self.delta * (r - self.delta / 2)), -1)

    def derivative(self, f, y):
        return jnp.clip(f - y, -self.delta, self.delta)


square = Square()
logistic = Logistic()
exponential = Exponential()
softmax = Softmax()
huber = Huber()
