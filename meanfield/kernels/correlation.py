"""Order and chaos: how a perceptron maps the correlation of two inputs from layer to layer.

    q ← V(q) = σ_w² E[φ(√q z)²] + σ_b²,      c ← (σ_w² E[φ(u)φ(u')] + σ_b²)/q*,  E uu' = c q*.

Two inputs come together in depth if χ_1 = σ_w² E[φ'(√q* z)²] < 1 (order) and part if χ_1 > 1 (chaos). Source:
Poole et al. 2016; Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import array, instance, number, require
from meanfield.base.precision import double
from meanfield.kernels.duals import exact_dual
from meanfield.model.activation import Activation
from meanfield.numerics.gaussian.homogeneous import Threshold

LARGEST, SMALLEST = 1e12, 1e-30  # variances beyond are infinite and zero


@jax.jit
def _moments(dual, q, delta):
    """E[φ²], its derivative in q, 1 − E[φφ']/E[φ²] and E[φ'φ'] at variances q and δ, entry by entry (n,)."""

    def one(q, delta):
        second, slope = jax.value_and_grad(lambda q: dual.second(q[None])[0])(q)
        side = dual.side(q[None])
        defect, derivative = dual.pair(side, side, delta[None, None])
        return second, slope, defect[0, 0], derivative[0, 0]

    return jax.vmap(one)(q, delta)


class _Map:
    """The maps of one activation and two variances, in float64, for numbers and arrays (n,)."""

    def __init__(self, activation, weight_variance, bias_variance):
        instance("activation", activation, Activation, "an activation")
        self.weight = number("weight_variance", weight_variance, least=0)
        self.bias = number("bias_variance", bias_variance, least=0)
        self.dual = exact_dual(activation)
        require(not isinstance(self.dual, Threshold), "activation", "one with a derivative", activation)

    def moments(self, q, delta=0.0):
        q, delta = np.broadcast_arrays(np.asarray(q, float), np.asarray(delta, float))
        with double():
            found = _moments(self.dual, jnp.asarray(q.ravel()), jnp.asarray(delta.ravel()))
            return tuple(np.asarray(v).reshape(q.shape) for v in found)

    def variance(self, q):
        return self.weight * self.moments(q)[0] + self.bias

    def defect(self, q, delta):
        """1 − correlation after a layer, at a fixed point q of the variance."""
        second, _, defect, _ = self.moments(q, delta)
        grown = self.weight * second
        return grown * defect / (grown + self.bias)


def correlation_map(correlation, *, activation, weight_variance=1.0, bias_variance=0.0, variance=None):
    """The correlation after a layer, (σ_w² E[φ(u)φ(u')] + σ_b²)/(σ_w² E[φ(u)²] + σ_b²), E uu' = cq.

    Args:
        correlation: c, an array of numbers from −1 to 1.
        activation: φ.
        weight_variance, bias_variance: σ_w², σ_b².
        variance: q > 0; the fixed point q* if not given.
    Returns:
        an array of the shape of `correlation`.
    Raises:
        ValueError: if a correlation is not in [−1, 1], or there is no fixed point 0 < q* < ∞.
    Accuracy: 1e-14; 1e-12 for φ without closed form at unit variance. Source: Poole et al. 2016, eq. 5.
    """
    maps = _Map(activation, weight_variance, bias_variance)
    c = array("correlation", correlation, range(9), "an array of numbers from −1 to 1")
    require((np.abs(c) <= 1).all(), "correlation", "an array of numbers from −1 to 1", correlation)
    q = _fixed_variance(maps, 1.0) if variance is None else number("variance", variance, above=0)
    require(0 < q < math.inf, "variance", f"given where the variance of the layers tends to {q:g}", variance)
    return 1 - maps.defect(q, 1 - c)


@dataclasses.dataclass(frozen=True)
class Phase:
    """Where a deep perceptron's signals go.

    Args:
        variance: q*, the fixed point of the variance of a preactivation; 0 and ∞ included, where what has
            no meaning is NaN.
        susceptibility: χ_1 = σ_w² E[φ'(√q* z)²], the growth of a small difference, squared, per layer.
        correlation: c*, the fixed point of the correlation of two inputs.
        variance_depth: ξ_q = −1/ln |V'(q*)|, layers over which the variance forgets its start by e.
        correlation_depth: ξ_c = −1/ln χ(c*), layers over which the correlation does; ∞ at the edge of chaos.
    """

    variance: float
    susceptibility: float
    correlation: float
    variance_depth: float
    correlation_depth: float

    @property
    def chaotic(self):
        """Whether nearly equal inputs part."""
        return self.susceptibility > 1


def phase(activation, *, weight_variance=1.0, bias_variance=0.0, start=1.0):
    """Fixed points and depth scales of a perceptron: a `Phase`.

    Args:
        activation: φ.
        weight_variance, bias_variance: σ_w², σ_b².
        start: the variance at the first layer. The fixed point is the next one in the direction in which
            the variance moves from there.
    Raises:
        TypeError, ValueError: one sentence that names the argument.
    Accuracy: fixed points to 1e-12 relative, where the map is not tangent to the diagonal.
    Source: Poole et al. 2016; Schoenholz et al. 2017, eq. 7 and 9.
    """
    maps = _Map(activation, weight_variance, bias_variance)
    q = _fixed_variance(maps, number("start", start, above=0))
    if not 0 < q < math.inf:
        near = SMALLEST if q == 0 else LARGEST
        _, slope, _, derivative = maps.moments(near)
        chi = float(maps.weight * derivative)
        depth = _depth(maps.weight * float(slope)) if q == 0 else math.nan
        return Phase(q, chi, math.nan, depth, math.nan)
    _, slope, _, derivative = maps.moments(q)
    chi = float(maps.weight * derivative)
    delta = _fixed_defect(maps, q) if chi > 1 + 1e-12 else 0.0
    growth = maps.weight * float(maps.moments(q, delta)[3])
    return Phase(q, chi, 1 - delta, _depth(maps.weight * float(slope)), _depth(growth))


def critical_line(activation, variances):
    """The edge of chaos χ_1 = 1 in the plane (σ_w², σ_b²), by the fixed variance q on it.

        σ_w² = 1/E[φ'(√q z)²],   σ_b² = q − σ_w² E[φ(√q z)²].

    Args:
        activation: φ.
        variances: q > 0, (n,).
    Returns:
        (σ_w² (n,), σ_b² (n,)); NaN where σ_b² would be negative: no network has that q at its edge.
    Source: Schoenholz et al. 2017, section 3.
    """
    maps = _Map(activation, 1.0, 0.0)
    q = array("variances", variances, (1,), "an array (n,) of positive numbers")
    require((q > 0).all(), "variances", "an array (n,) of positive numbers", variances)
    second, _, _, derivative = maps.moments(q)
    weight = 1 / derivative
    bias = q - weight * second
    bias = np.where(np.abs(bias) <= 1e-13 * q, 0, bias)  # homogeneous φ: zero at every q
    return np.where(bias < 0, np.nan, weight), np.where(bias < 0, np.nan, bias)


def _depth(growth):
    """−1/ln |growth|; ∞ at 1, 0 at 0."""
    growth = abs(growth)
    return math.inf if abs(growth - 1) < 1e-12 else -1 / math.log(growth) if growth > 0 else 0.0


def _root(function, low, high):
    import scipy.optimize

    return float(scipy.optimize.brentq(function, low, high, xtol=1e-300, rtol=4e-15, maxiter=200))


def _fixed_variance(maps, start):
    def excess(q):
        return float(maps.variance(q)) - q

    at = excess(start)
    if abs(at) <= 1e-14 * start:
        return start
    factor = 2.0 if at > 0 else 0.5
    here = start
    while SMALLEST < here < LARGEST:
        there = here * factor
        if excess(there) * at <= 0:
            found = _root(excess, min(here, there), max(here, there))
            # Where V(q) = q − O(q²) the difference is lost to rounding long before q is.
            return 0.0 if maps.bias == 0 and found < 1e-12 * start else found
        here = there
    return math.inf if at > 0 else 0.0


def _fixed_defect(maps, q):
    """The first δ > 0 that a layer leaves as it is; small ones grow."""

    def excess(delta):
        return float(maps.defect(q, delta)) - delta

    low = 1e-12
    if excess(low) <= 0:
        return 0.0
    while low < 2:
        high = min(1.25 * low, 2.0)
        if excess(high) <= 0:
            return _root(excess, low, high)
        low = high
    return 2.0
