"""Activation functions φ, with φ', their degree of homogeneity and their kinks."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from meanfield.base.checks import function as check_function
from meanfield.base.checks import instance, integer, number, require
from meanfield.base.fingerprint import function_text


@dataclasses.dataclass(frozen=True)
class Activation:
    """A coordinatewise nonlinearity φ: R → R.

    Any function of one JAX array that acts entry by entry will do: `Activation(lambda z: z / (1 + abs(z)))`.
    Two activations are equal if their names, functions and the rest are; equal ones share compiled programs.

    Args:
        function: φ.
        name: shown in reports and stored with results; by default the function's own name.
        pair: z → (φ(z), φ'(z)), where that is cheaper than differentiating φ.
        homogeneity: p with φ(cz) = c^p φ(z) for c > 0, or None.
        kinks: points where φ' jumps, as pairs (z, jump); φ'' has a point mass there that automatic
            differentiation does not see.
    """

    function: Callable
    name: str | None = None
    pair: Callable | None = None
    homogeneity: float | None = None
    kinks: tuple = ()

    def __post_init__(self):
        check_function("function", self.function, "a function of one JAX array")
        if self.name is None:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "activation"))
        instance("name", self.name, str, "a string")
        if self.pair is not None:
            check_function("pair", self.pair, "a function z -> (φ(z), φ'(z))")
        if self.homogeneity is not None:
            number("homogeneity", self.homogeneity)
        good = isinstance(self.kinks, tuple) and all(isinstance(k, tuple) and len(k) == 2 for k in self.kinks)
        require(good, "kinks", "a tuple of pairs (z, jump)", self.kinks, TypeError)
        self._check_function("function", lambda z: (self.function(z),))
        self._check_function("pair" if self.pair is not None else "function", self.value_and_derivative)

    def _check_function(self, name, function):
        """Whether it is JAX code that keeps the shape; nothing is computed.

        In float64 as everything later: JAX may keep what it traced first, constants in their types included.
        """
        points = jax.ShapeDtypeStruct((2, 3), jnp.float64)
        try:
            with jax.enable_x64(True):
                shapes = [result.shape for result in jax.eval_shape(function, points)]
        except Exception as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise TypeError(
                f"Argument `{name}` must be JAX code that acts entry by entry, but fails: {reason}."
            ) from None
        if any(shape != points.shape for shape in shapes):
            raise ValueError(
                f"Argument `{name}` must be JAX code that acts entry by entry, but gives {shapes[0]} "
                f"for shape {points.shape}."
            )

    def __call__(self, z):
        return self.function(z)

    def value_and_derivative(self, z):
        """(φ(z), φ'(z)), entry by entry."""
        if self.pair is not None:
            return self.pair(z)
        return jax.jvp(self.function, (z,), (jnp.ones_like(z),))

    def derivative(self, z):
        """φ'(z), entry by entry; at a kink the value of the branch the function takes there."""
        return self.value_and_derivative(z)[1]

    def describe(self):
        """What identifies φ in a store: the text of the program for (φ, φ'), with its name."""
        return {"activation": self.name, "function": function_text(self.value_and_derivative, 0.5)}

    def __repr__(self):
        return f"activations.{self.name}" if self.name.isidentifier() else f"Activation({self.name!r})"


# Functions of this module, not JAX's own: those are compiled objects that cannot be pickled.
def _tanh(z):
    return jnp.tanh(z)


def _tanh_pair(z):
    t = jnp.tanh(z)
    return t, 1 - t * t


def _sigmoid(z):
    return jax.nn.sigmoid(z)


def _sin(z):
    return jnp.sin(z)


def _cos(z):
    return jnp.cos(z)


def _absolute(z):
    return jnp.abs(z)


def _relu(z):
    return jnp.maximum(z, 0)


def _relu_pair(z):
    on = z > 0
    return jnp.where(on, z, 0), on.astype(z.dtype)


def _sigmoid_pair(z):
    s = jax.nn.sigmoid(z)
    return s, s * (1 - s)


def _erf(z):
    return jax.lax.erf(jnp.asarray(z))


def _erf_pair(z):
    return jax.lax.erf(z), (2 / math.sqrt(math.pi)) * jnp.exp(-z * z)


def _normal_cdf(z):
    return 0.5 * jax.lax.erfc(-z / math.sqrt(2))


def _gelu(z):
    z = jnp.asarray(z)
    return z * _normal_cdf(z)


def _gelu_pair(z):
    cdf = _normal_cdf(z)
    return z * cdf, cdf + z * jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _softplus(z):
    return jnp.logaddexp(z, 0)


def _softplus_pair(z):
    return jnp.logaddexp(z, 0), jax.nn.sigmoid(z)


def _sin_pair(z):
    return jnp.sin(z), jnp.cos(z)


def _cos_pair(z):
    return jnp.cos(z), -jnp.sin(z)


def _absolute_pair(z):
    return jnp.abs(z), jnp.where(z > 0, 1, -1).astype(z.dtype)


def _identity(z):
    return jnp.asarray(z)


def _identity_pair(z):
    return z, jnp.ones_like(z)


def _quadratic(z):
    return z * z


def _quadratic_pair(z):
    return z * z, 2 * z


def _silu(z):
    z = jnp.asarray(z)
    return z * jax.nn.sigmoid(z)


def _silu_pair(z):
    s = jax.nn.sigmoid(z)
    return z * s, s * (1 + z * (1 - s))


def _gaussian(z):
    return jnp.exp(-z * z / 2)


def _gaussian_pair(z):
    bump = jnp.exp(-z * z / 2)
    return bump, -z * bump


def _sign(z):
    return jnp.sign(z)


def _sign_pair(z):
    return jnp.sign(z), jnp.zeros_like(z)


def _step(z):
    return jnp.heaviside(z, 0.5)


def _step_pair(z):
    return jnp.heaviside(z, 0.5), jnp.zeros_like(z)


relu = Activation(_relu, "relu", _relu_pair, homogeneity=1.0, kinks=((0.0, 1.0),))
tanh = Activation(_tanh, "tanh", _tanh_pair)
erf = Activation(_erf, "erf", _erf_pair)
gelu = Activation(_gelu, "gelu", _gelu_pair)
sigmoid = Activation(_sigmoid, "sigmoid", _sigmoid_pair)
softplus = Activation(_softplus, "softplus", _softplus_pair)
silu = Activation(_silu, "silu", _silu_pair)
sin = Activation(_sin, "sin", _sin_pair)
cos = Activation(_cos, "cos", _cos_pair)
absolute = Activation(_absolute, "absolute", _absolute_pair, homogeneity=1.0, kinks=((0.0, 2.0),))
identity = Activation(_identity, "identity", _identity_pair, homogeneity=1.0)
quadratic = Activation(_quadratic, "quadratic", _quadratic_pair, homogeneity=2.0)
gaussian = Activation(_gaussian, "gaussian", _gaussian_pair)
# φ' is a point mass at 0 that no derivative sees: such networks have a covariance but do not train.
sign = Activation(_sign, "sign", _sign_pair, homogeneity=0.0)
step = Activation(_step, "step", _step_pair, homogeneity=0.0)


@dataclasses.dataclass(frozen=True)
class _LeakyRelu:
    """z → max(z, 0) + slope · min(z, 0); equal slopes are equal functions."""

    slope: float

    def __call__(self, z):
        return jnp.where(z > 0, z, self.slope * z)


@dataclasses.dataclass(frozen=True)
class _LeakyReluPair:
    """z → (φ(z), φ'(z)). Not a bound method: Python compares those by identity of their object."""

    slope: float

    def __call__(self, z):
        on = z > 0
        return jnp.where(on, z, self.slope * z), jnp.where(on, 1, self.slope).astype(z.dtype)


def leaky_relu(slope=0.01):
    """φ(z) = z for z > 0, slope · z below: slope 0 is relu, −1 the absolute value, 1 the identity."""
    slope = number("slope", slope)
    kinks = ((0.0, 1.0 - slope),)
    name = f"leaky_relu({slope:g})"
    return Activation(_LeakyRelu(slope), name, _LeakyReluPair(slope), homogeneity=1.0, kinks=kinks)


def _hermite_values(degree, z):
    """He_k/√k! for k = degree and degree − 1, by √(k+1) h_{k+1} = z h_k − √k h_{k−1}."""
    before, value = jnp.zeros_like(z), jnp.ones_like(z)
    for k in range(degree):
        before, value = value, (z * value - math.sqrt(k) * before) / math.sqrt(k + 1)
    return value, before


@dataclasses.dataclass(frozen=True)
class _Hermite:
    """z → He_k(z)/√k!."""

    degree: int

    def __call__(self, z):
        return _hermite_values(self.degree, jnp.asarray(z))[0]


@dataclasses.dataclass(frozen=True)
class _HermitePair:
    """z → (φ(z), φ'(z)); the derivative of h_k is √k h_{k−1}."""

    degree: int

    def __call__(self, z):
        value, before = _hermite_values(self.degree, z)
        return value, math.sqrt(self.degree) * before


def hermite(degree):
    """φ(z) = He_k(z)/√k!, the Hermite polynomial with E φ(z)² = 1 for standard normal z; degree k ≥ 0."""
    degree = integer("degree", degree, 0)
    return Activation(_Hermite(degree), f"hermite({degree})", _HermitePair(degree))
