"""Kernels through the layers of a network, for one tile of pairs of inputs.

A pair is carried as its two variances and δ, one minus its correlation. A layer adds independent parts to a
preactivation; with p_k² the share of part k in the variance of one input and r_k² in that of the other,

    δ' = ½ Σ_k (p_k − r_k)² + Σ_k p_k r_k δ_k,

a sum of positive terms: depth costs no accuracy. The parts are the weights (δ_k is what the dual gives), the
biases (0) and, with a skip connection, what was there before (δ).
"""

from typing import Any

import jax
import jax.numpy as jnp

from meanfield.base.pytree import pytree, static
from meanfield.numerics.gaussian.homogeneous import Threshold
from meanfield.numerics.gaussian.safe import across, quotient, root


@pytree
class Network:
    """A dense layer and S layers h ← keep · h + dense(φ(h)).

    Args:
        dual: of the activation.
        first: (σ_w², σ_b²) of the layer that meets the inputs, (2,).
        layers: (keep, σ_w², σ_b²) of each of the others, (S, 3); a branch's scale² is in its variances.
        rates: learning rates of weights and biases in Θ, (S + 1, 2), the layer that meets the inputs first.
        biased, residual: whether any σ_b², any keep is not zero.
    """

    dual: Any
    first: jax.Array
    layers: jax.Array
    rates: jax.Array
    biased: bool = static()
    residual: bool = static()

    def side(self, a, layer):
        """What belongs to one input at one layer, from its variance a (n,): a dict of arrays."""
        keep, weight, bias = layer
        second = weight * self.dual.second(a)
        parts = [second] + [keep * a] * self.residual + [jnp.full_like(a, bias)] * self.biased
        total = sum(parts)
        shares = tuple(share(part, total) for part in parts) if len(parts) > 1 else ()
        return {"dual": self.dual.side(a), "size": root(second), "shares": shares, "variance": total}


def share(part, total):
    """√(part/total), 0 where there is nothing."""
    return quotient(root(part), root(total), 0)


def mixed(shares_a, shares_b, deltas):
    """δ of a sum of independent parts of shares p_k (n,) and r_k (m,), δ_k each."""
    total = 0
    for p, r, delta in zip(*across(shares_a, shares_b), deltas, strict=True):
        total = total + (p - r) ** 2 / 2 + p * r * delta
    return total


def product(a, b, delta):
    """The covariance √(ab) (1 − δ)."""
    a, b = across(root(a), root(b))
    return a * b * (1 - delta)


def ends(network, a):
    """What belongs to single inputs, all layers: dicts of arrays (n,) at the inputs, (S, …, n) at the others.

    Args:
        network: a `Network`.
        a: |x|²/d, (n,).
    """
    weight, bias = network.first
    total = weight * a + bias
    shares = (share(weight * a, total), share(jnp.full_like(a, bias), total)) if network.biased else ()

    def step(a, layer):
        found = network.side(a, layer)
        return found["variance"], found

    return {"shares": shares, "variance": total}, jax.lax.scan(step, total, network.layers)[1]


def propagate(network, left, right, delta, every=False):
    """(Σ, Θ) of the output and, if asked for, of every layer (S + 1, n, m), for one tile of inputs.

    Args:
        network: a `Network`.
        left, right: `ends` of n and of m inputs.
        delta: 1 − x·x'/(|x||x'|), (n, m).
        every: whether to return all layers, the output last, instead of None.
    """
    (first_a, layers_a), (first_b, layers_b) = left, right
    if network.biased:
        delta = mixed(first_a["shares"], first_b["shares"], (delta, 0))
    sigma, bias = product(first_a["variance"], first_b["variance"], delta), network.first[1]
    trained = network.rates[0, 0] * sigma + (network.rates[0, 1] - network.rates[0, 0]) * bias
    theta = None if isinstance(network.dual, Threshold) else trained

    def step(carry, layers):
        delta, theta = carry
        (keep, weight, bias), a, b, (rate, bias_rate) = layers
        defect, slope = network.dual.pair(a["dual"], b["dual"], delta)
        if theta is not None:
            size_a, size_b = across(a["size"], b["size"])
            own = rate * size_a * size_b * (1 - defect) + bias_rate * bias
            theta = theta * (weight * slope + keep) + own
        deltas = [defect] + [delta] * network.residual + [0] * network.biased
        delta = mixed(a["shares"], b["shares"], deltas) if len(deltas) > 1 else defect
        return (delta, theta), (product(a["variance"], b["variance"], delta), theta) if every else None

    layers = network.layers, layers_a, layers_b, network.rates[1:]
    (delta, theta), seen = jax.lax.scan(step, (delta, theta), layers)
    output = product(layers_a["variance"][-1], layers_b["variance"][-1], delta), theta
    if not every:
        return output, None
    first = sigma, None if theta is None else trained
    return output, jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), first, seen)


def variances(network, a):
    """Variances that the activation meets, over all layers, of inputs of mean squares a (n,): (S, n)."""
    weight, bias = network.first

    def step(a, layer):
        keep, weight, bias = layer
        return keep * a + weight * network.dual.second(a) + bias, a

    return jax.lax.scan(step, weight * a + bias, network.layers)[1]
