"""Linear and quadratic response of the mean-field limit to its initial measure.  THEORY 1.1.

With D_θ = d/dε at ε = 0 of the limit started from (1−ε)ρ_0 + εδ_θ,

    √n (f_n − f) → N(0, C),   C = Cov_{θ~ρ_0}[D_θ f],       E f_n − f = (1/2n) E_{θ~ρ_0}[D_θ² f] + O(n^{−2}).

Particles interact through χ alone. Let H_t(θ) = ψ(θ_t) be what a neuron started at θ contributes in the
limit's field. A network's mean of H deviates from f by e; the limit answers with δf = e + R e, where R e is
what particles moved by δχ_s = ∂χ_s/∂f_s · δf_s contribute: (I − J)^{−1} = I + R. Hence
D_θ f = (I + R)(H(θ) − f),
and (1/n) Σ_i D_{θ_i} f over a network's own neurons has mean zero exactly.

What a neuron contributes and how it moves in a given field is the model's: its `Setting` answers
- `start(points)`: (trained arrays, the training's memory, fixed arrays) of neurons at step 0;
- `move(parameters, memory, fixed, chi)`: (trained arrays, memory) one step later, residuals χ given;
- `predict(parameters, fixed, weights)`: f on the training set, and `look` on all inputs looked at;
- `problem`, `training`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.pytree import pytree


@pytree(eq=False)
class Field:
    """The limit of one replicate: its particles at step 0 and what it does to them.

    points, weights: the particles, (M, ...) and (M,).
    f, chi: predictions and residuals on the training set at steps 0 ... T, (T + 1, P, k).
    out: predictions on all looked-at inputs, training set first, at the recorded steps, (S, P + P', k).
    """

    points: dict
    weights: jax.Array
    f: jax.Array
    chi: jax.Array
    out: jax.Array


def segments(record):
    """Steps to take before each recorded step."""
    return jnp.asarray(np.diff(record, prepend=0), jnp.int32)


@functools.partial(jax.jit, static_argnames="steps")
def limit_field(setting, points, weights, counts, steps):
    """Run the limit once: (f and χ at all steps, outputs at the recorded ones)."""
    problem = setting.problem
    parameters, memory, fixed = setting.start(points)

    def step(carry, _):
        parameters, memory = carry
        f = setting.predict(parameters, fixed, weights)
        chi = problem.residual(f)
        return setting.move(parameters, memory, fixed, chi), (f, chi)

    (_, _), (f, chi) = jax.lax.scan(step, (parameters, memory), None, length=steps + 1)
    return Field(points, weights, f, chi, passive_mean(setting, points, weights, chi, counts)[1])


def passive_mean(setting, points, weights, chi, counts):
    """Means of H over weighted neurons driven by χ: on the training set at all steps (T + 1, P, k), on all
    inputs at the recorded steps (S, P + P', k)."""
    parameters, memory, fixed = setting.start(points)
    steps = chi.shape[0]
    kept = jnp.zeros((steps, *chi.shape[1:]))

    def step(carry):
        parameters, memory, kept = carry
        count = setting.training.count(memory)
        f = setting.predict(parameters, fixed, weights)
        kept = kept.at[count].set(f)
        return (*setting.move(parameters, memory, fixed, chi[count]), kept)

    def segment(carry, count):
        carry = jax.lax.fori_loop(0, count, lambda _, c: step(c), carry)
        return carry, setting.look(carry[0], fixed, weights)

    (*_, kept), out = jax.lax.scan(segment, (parameters, memory, kept), counts)
    return kept, out


@jax.jit
def networks_forcing(setting, field, points, weights, counts):
    """e = mean of H over each network's neurons − f, for K networks: (K, T + 1, P, k), (K, S, P + P', k)."""

    def one(points, weights):
        kept, out = passive_mean(setting, points, weights, field.chi, counts)
        return kept - field.f, out - field.out

    return jax.vmap(one)(points, weights)


@functools.partial(jax.jit, static_argnames="order")
def deviations(setting, field, counts, change, forcing, order=1):
    """Response of the limit, K directions at a time, at the recorded steps.

    A direction is a change of the particles' weights (`change`, (K, M)) or an outside forcing of f on the
    training set (`forcing`, (K, T + 1, P, k)); the other one is None.
    Returns first derivatives (K, S, P + P', k) and, with order=2, second derivatives alike. What a forcing
    itself adds to the outputs is not included: this is R e.
    """
    problem = setting.problem
    parameters, memory, fixed = setting.start(field.points)
    directions = forcing.shape[0] if change is None else change.shape[0]
    no_change, no_force = jnp.zeros_like(field.weights), jnp.zeros_like(field.f[0])

    def look(parameters, weights):
        return setting.look(parameters, fixed, weights)

    def directed(function, base, first, second):
        """Derivatives up to `order` of `function` along base + ε first + ε²/2 second."""
        if order == 1:
            return (jax.jvp(function, base, first)[1],)

        def slope(base, first):
            return jax.jvp(function, base, first)[1]

        return jax.jvp(slope, (base, first), (first, second))

    def along(function, base, tangents, change, force=None):
        """`directed` for every direction; the last arguments of `function` are the weights and, where there
        is one, the forcing."""
        outside = () if force is None else (force,)

        def one(change, outside, tangents):
            first = (*tangents[0], no_change if change is None else change, *outside)
            second = (*tangents[1], no_change, *(no_force for _ in outside)) if order == 2 else None
            return directed(function, base, first, second)

        axes = (None if change is None else 0, 0 if forcing is not None else None, 0)
        return jax.vmap(one, axes)(change, outside, tangents)

    def step(carry):
        parameters, memory, tangents = carry
        count = setting.training.count(memory)

        def move(parameters, floats, weights, e):
            f = setting.predict(parameters, fixed, weights) + e
            moved, later = setting.move(parameters, _with_floats(memory, floats), fixed, problem.residual(f))
            return moved, _floats(later)

        base = (parameters, _floats(memory), field.weights, no_force)
        force = no_force if forcing is None else forcing[:, count]
        moved = along(move, base, tangents, change, force)
        later = setting.move(parameters, memory, fixed, field.chi[count])
        return (*later, moved)

    def segment(carry, count):
        carry = jax.lax.fori_loop(0, count, lambda _, c: step(c), carry)
        tangents = tuple((t[0],) for t in carry[2])
        return carry, along(look, (carry[0], field.weights), tangents, change)

    def nothing(tree):
        return jax.tree.map(lambda leaf: jnp.zeros((directions, *leaf.shape)), tree)

    zeros = (nothing(parameters), nothing(_floats(memory)))
    _, seen = jax.lax.scan(segment, (parameters, memory, (zeros,) * order), counts)
    return tuple(jnp.moveaxis(s, 1, 0) for s in seen)


def _floats(memory):
    """The leaves of a training's memory that can be differentiated."""
    return [leaf for leaf in jax.tree.leaves(memory) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _with_floats(memory, floats):
    """The memory with those leaves replaced."""
    floats = iter(floats)
    return jax.tree.map(
        lambda leaf: next(floats) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, memory
    )


@jax.jit
def particle_deviations(setting, field, operator, points, counts):
    """D_θ f at the recorded steps for every given neuron, (N, S, P + P', k), with the operator R as a matrix
    (S (P + P') k, T P k)."""

    def one(point):
        point = jax.tree.map(lambda leaf: leaf[None], point)
        kept, out = passive_mean(setting, point, jnp.ones(1), field.chi, counts)
        e = (kept - field.f)[:-1].ravel()
        return out - field.out + (operator @ e).reshape(out.shape)

    return jax.vmap(one)(points)


def unit_forcings(field):
    """One direction for each (step, training sample, output): (T P k, T + 1, P, k)."""
    steps, *rest = field.f.shape
    size = (steps - 1) * math.prod(rest)
    unit = jnp.eye(size).reshape(size, steps - 1, *rest)
    return jnp.concatenate([unit, jnp.zeros((size, 1, *rest))], 1)


def multipliers(key, weights, count, paired):
    """Changes of the weights, (count, M): ε_i √m_i − m_i Σ_j ε_j √m_j, ε standard normal.

    Along such a direction the first derivative of f has covariance C and half the second derivative has the
    mean n (E f_n − f). Neurons drawn in pairs share their ε; the particles stand as all first, all second.
    """
    drawn = weights.shape[0] // 2 if paired else weights.shape[0]
    epsilon = jax.random.normal(key, (count, drawn))
    if paired:
        epsilon = jnp.concatenate([epsilon, epsilon], 1)
    change = epsilon * jnp.sqrt(weights)[None, :]
    return change - weights[None, :] * change.sum(1, keepdims=True)


def every_direction(weights):
    """The directions δ_{θ_i} − ρ_0 scaled by √m_i: sums over them are the exact expectations."""
    count = weights.shape[0]
    return jnp.sqrt(weights)[:, None] * (jnp.eye(count) - weights[None, :])
