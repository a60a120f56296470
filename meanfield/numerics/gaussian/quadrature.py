"""Gaussian expectations of any function, by quadrature that knows where it bends."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, function, require
from meanfield.base.precision import double
from meanfield.base.pytree import pytree, static
from meanfield.numerics.gaussian.safe import quotient, root

REACH = 9.0  # the standard normal law beyond: 2e-19
NODES = 128  # a piece; half of them give the error estimate
BATCH = 8  # pairs at a time, a megabyte each


def _rule(nodes):
    """Tanh-sinh rule on [0, 1]: distance of a node to the nearer end, whether that is the left one, weight.

    x = 1/(1 + e^{−π sinh t}) at equal steps of t, |t| ≤ 3.2: the ends keep 2e-17 of the integral. It takes a
    singularity at an end and, without knowing its width, a layer there. Source: Takahasi & Mori 1974.
    """
    t, step = np.linspace(-3.2, 3.2, nodes, retstep=True)
    near = 1 / (1 + np.exp(np.pi * np.sinh(np.abs(t))))
    return near, t < 0, step * np.pi * np.cosh(t) * near * (1 - near)


def normal_rule(breaks, nodes):
    """Nodes and weights of the standard normal law, cut at `breaks` (B,), sorted: two of ((B + 1) N,)."""
    near, left, weight = _rule(nodes)
    near, weight = jnp.asarray(near, breaks.dtype)[None], jnp.asarray(weight, breaks.dtype)[None]
    edge = jnp.full((1,), REACH, breaks.dtype)
    ends = jnp.concatenate([-edge, jnp.clip(breaks, -REACH, REACH), edge])
    low, high = ends[:-1, None], ends[1:, None]
    length = high - low
    z = jnp.where(left[None], low + length * near, high - length * near)
    weight = length * weight * jnp.exp(-z * z / 2)
    return z.ravel(), (weight / weight.sum()).ravel()


def _smoothed(f, kinks, nodes, x, spread):
    """(mean, variance) of f(x + spread · z), z standard normal; x and spread numbers."""
    breaks = jnp.stack([quotient(k - x, spread, jnp.sign(k - x) * REACH) for k in kinks])
    z, weight = normal_rule(breaks, nodes)
    values = f(x + spread * z)
    mean = (weight * values).sum()
    return mean, (weight * (values - mean) ** 2).sum()


def _conditioned(f, g, kinks, rough, nodes, a, b, delta):
    """Weights of nodes z, mean and variance of f(u) given z, the same of g(v); a, b, delta numbers.

    u = √a (√(1 − m) z + √m z'), v = ±√b (√(1 − m) z + √m z''), m = min(δ, 2 − δ), z, z', z'' independent:
    two integrals over one number for every z, instead of one over two.
    """
    m = jnp.minimum(delta, 2 - delta)
    common, own = root(1 - m), root(m)
    scale_a, scale_b = root(a) * common, jnp.where(delta > 1, -1, 1) * root(b) * common
    breaks = [jnp.zeros_like(a)] * (0.0 in kinks)
    for k in kinks:
        if k != 0:
            breaks += [jnp.sign(s) * quotient(k, jnp.abs(s), REACH) for s in (scale_a, scale_b)]
    if rough:  # own noise smooths a kink over its own width
        width = REACH * quotient(own, common, 1)
        breaks = [point + shift for point in breaks for shift in (-width, 0, width)]
    z, weight = normal_rule(jnp.sort(jnp.stack(breaks)), nodes)
    smoothed = jax.vmap(_smoothed, (None, None, None, 0, None))
    first = smoothed(f, kinks, nodes, scale_a * z, root(a) * own)
    second = smoothed(g, kinks, nodes, scale_b * z, root(b) * own)
    return weight, *first, *second


def _product(f, g, kinks, rough, nodes, a, b, delta):
    """E[f(u) g(v)]."""
    weight, mean_f, _, mean_g, _ = _conditioned(f, g, kinks, rough, nodes, a, b, delta)
    return (weight * mean_f * mean_g).sum()


def _square(f, kinks, nodes, a):
    """E[f(√a z)²]."""
    mean, variance = _smoothed(f, kinks, nodes, jnp.zeros_like(a), root(a))
    return mean * mean + variance


def _derivative(f):
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _defect(f, slope, kinks, rough, a, b, delta):
    """1 − E[f(u)f(v)]/√(E f(u)² E f(v)²) for numbers a, b, delta.

    It is half of E(f̂(u) − f̂(v))², f̂ the function over its norm; given z a square and two variances, so that
    nothing cancels for δ ≤ 1.
    """
    weight, mean_a, var_a, mean_b, var_b = _conditioned(f, f, kinks, rough, NODES, a, b, delta)
    size_a, size_b = (root(_square(f, kinks, NODES, v)) for v in (a, b))
    mean_a, mean_b = quotient(mean_a, size_a, 0), quotient(mean_b, size_b, 0)
    var_a, var_b = quotient(var_a, size_a**2, 0), quotient(var_b, size_b**2, 0)
    near = (weight * ((mean_a - mean_b) ** 2 + var_a + var_b)).sum() / 2
    far = 1 - (weight * mean_a * mean_b).sum()
    return jnp.where((size_a > 0) & (size_b > 0), jnp.where(delta > 1, far, near), delta)


@_defect.defjvp
def _defect_jvp(f, slope, kinks, rough, primals, tangents):
    (a, b, delta), (da, db, ddelta) = primals, tangents
    value, moved = jax.jvp(lambda a, b: _defect.fun(f, slope, kinks, rough, a, b, delta), (a, b), (da, db))
    # ∂E/∂c = E[φ'φ'] (Price 1958): the square roots of δ in the nodes are not differentiated
    size = root(_square(f, kinks, NODES, a)) * root(_square(f, kinks, NODES, b))
    rate = quotient(root(a) * root(b) * _slope(slope, kinks, rough, a, b, delta), size, 1)
    return value, moved + rate * ddelta


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _slope(f, kinks, rough, a, b, delta):
    """E[f(u)f(v)] of a derivative f = φ', which jumps at the kinks if `rough`."""
    return _product(f, f, kinks, rough, NODES, a, b, delta)


@_slope.defjvp
def _slope_jvp(f, kinks, rough, primals, tangents):
    (a, b, delta), (da, db, ddelta) = primals, tangents
    value, moved = jax.jvp(lambda a, b: _slope.fun(f, kinks, rough, a, b, delta), (a, b), (da, db))
    if rough:  # a cone at both ends, where 0 is given; the nodes have no derivative at δ = 1
        ends = (delta <= 0) | (delta >= 2)
        inside = jnp.where(ends, 0.5, jnp.where(delta == 1, 1 - 1e-12, delta))
        rate = jax.jvp(lambda d: _slope.fun(f, kinks, rough, a, b, d), (inside,), (jnp.ones_like(delta),))[1]
        return value, moved + jnp.where(ends, 0, rate) * ddelta
    bent = _derivative(f)
    return value, moved - root(a) * root(b) * _product(bent, bent, kinks, rough, NODES, a, b, delta) * ddelta


@pytree
class Quadrature:
    """Any φ: by conditioning on what u and v share, tanh-sinh rules between the kinks of φ.

    Accuracy: 1e-13 at unit variances; a smooth φ is cut at 0, where the nodes crowd, so that its own scale
    may be small against the deviation: tanh to 1e-9 at variances of 1e4. Kinks of φ are cut at.
    Cost: about half a millisecond per pair.

    Args:
        function: φ, entry by entry.
        slope: φ'.
        kinks: where φ' jumps.
    """

    function: Callable = static()
    slope: Callable = static()
    kinks: tuple = static(default=())

    @property
    def _setting(self):
        return self.kinks or (0.0,), bool(self.kinks)

    def second(self, a):
        return jax.vmap(lambda v: _square(self.function, self._setting[0], NODES, v))(a)

    def side(self, a):
        return a

    def pair(self, left, right, delta):
        @jax.checkpoint  # a pair has thousands of nodes: they are not kept for a derivative
        def one(pair):
            defect = _defect(self.function, self.slope, *self._setting, *pair)
            return defect, _slope(self.slope, *self._setting, *pair)

        pairs = [jnp.broadcast_to(v, delta.shape).ravel() for v in (left[:, None], right[None], delta)]
        return tuple(v.reshape(delta.shape) for v in jax.lax.map(one, tuple(pairs), batch_size=BATCH))


def expectation(phi, psi, a, b, c, *, kinks=()):
    """E[φ(u)ψ(v)] of (u, v) ~ N(0, [[a, c], [c, b]]), with an estimate of its error: (value, error).

    Args:
        phi, psi: functions of a JAX array, entry by entry; bounded by a power.
        a, b: variances ≥ 0, of one shape with c or numbers.
        c: covariance, |c| ≤ √(ab).
        kinks: points where φ, ψ or their derivatives jump; the rule is cut there.
    Returns:
        two float64 arrays of the common shape of a, b and c.
    Raises:
        ValueError: if a variance is negative, or |c| exceeds √(ab) by more than rounding.
    Accuracy: `error` is the difference to the rule with half as many nodes, which overstates it: the rule
        converges exponentially. Cost: half a millisecond per entry.
    """
    function("phi", phi)
    function("psi", psi)
    a, b, c = (array(name, v, range(9), "an array") for name, v in (("a", a), ("b", b), ("c", c)))
    for name, v in (("a", a), ("b", b)):
        require((v >= 0).all(), name, "at least 0", v)
    a, b, c = np.broadcast_arrays(a, b, c)
    size = np.sqrt(a) * np.sqrt(b)
    require((np.abs(c) <= size * (1 + 1e-12)).all(), "c", "at most √(ab) in absolute value", c)
    delta = np.clip(np.divide(size - c, size, out=np.zeros_like(size), where=size > 0), 0, 2)
    points = tuple(sorted({0.0, *map(float, kinks)}))
    with double():
        entries = tuple(jnp.asarray(v.ravel()) for v in (a, b, delta))
        fine, coarse = (
            np.asarray(_expectation(phi, psi, points, bool(kinks), n, entries)) for n in (NODES, NODES // 2)
        )
    return fine.reshape(a.shape), np.abs(fine - coarse).reshape(a.shape)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _expectation(phi, psi, kinks, rough, nodes, entries):
    def one(entry):
        return _product(phi, psi, kinks, rough, nodes, *entry)

    return jax.lax.map(one, entries, batch_size=BATCH)
