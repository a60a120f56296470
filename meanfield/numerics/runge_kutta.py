"""Adaptive integration of an autonomous ordinary differential equation on a pytree."""

import jax
import jax.numpy as jnp

# Dormand & Prince 1980, table 2: RK5(4)7M. The last row of A is b, so the last stage is the next first one.
A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
B_HAT = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ERROR = tuple(b - b_hat for b, b_hat in zip((*A[-1], 0.0), B_HAT, strict=True))

# A jump J of the velocity within a step makes the error per unit time at most 0.034 J (the largest tail sum
# of ERROR), however short the step; a mode that a step amplifies shows at least 0.1 of its speed.
JUMP = 0.05


def combine(y, h, weights, stages):
    """y + h Σ_i weights_i stages_i, leaf by leaf; stages with weight 0 are not read."""
    kept = [(w, k) for w, k in zip(weights, stages, strict=False) if w != 0.0]

    def leaf(y, *ks):
        total = sum(w * k for (w, _), k in zip(kept, ks, strict=True))
        return (y + h * total).astype(y.dtype)

    return jax.tree.map(leaf, y, *(k for _, k in kept))


def dormand_prince(velocity, y, time, h, tolerance, norm, shortest=0.0, most_steps=100_000):
    """y(time) for dy/dt = velocity(y), and the step size it ended with.

    A step h is taken if norm(error estimate) ≤ h · tolerance: error per unit time, so that the summed local
    errors stay below tolerance · time. The fifth-order value is kept. The tolerance is raised to
    64 eps (norm(y) + time norm(velocity)) / time where rounding would defeat it. Where the velocity jumps no
    step is short enough for that: one of at most `shortest` is taken if its error is that of a jump.

    Args:
        velocity: y → dy/dt, pytrees alike.
        y: initial value.
        time: length of the interval, > 0.
        h: first step size; 0 chooses one.
        tolerance: allowed error per unit time.
        norm: pytree → scalar.
        shortest: length of a step that is not cut further for a jump of the velocity.
        most_steps: attempts after which the result is set to NaN.
    Returns:
        (value at `time`, step size for the next interval).
    Accuracy: order 5 in h; the error estimate is that of order 4, so the true error is smaller.
    Source: Dormand & Prince 1980; error per unit step and step control, Hairer, Nørsett & Wanner 1993, II.4.
    """
    dtype = jnp.result_type(*jax.tree.leaves(y))
    time = jnp.asarray(time, dtype)
    k1 = velocity(y)
    floor = 64 * jnp.finfo(dtype).eps * (norm(y) / time + norm(k1))
    allowed = jnp.maximum(tolerance, floor).astype(dtype)
    guess = 0.1 * jnp.minimum(time, (allowed / jnp.maximum(norm(k1), 1e-30)) ** 0.25)
    h = jnp.where(h > 0, h, guess).astype(dtype)
    shortest = jnp.maximum(shortest, 64 * jnp.finfo(dtype).eps * time).astype(dtype)

    def attempt(carry):
        t, y, k1, h, tries = carry
        last = t + h * 1.0001 >= time
        used = jnp.where(last, time - t, h)
        stages = [k1]
        for row in A:
            stages.append(velocity(moved := combine(y, used, row, stages)))
        zero = jax.tree.map(jnp.zeros_like, y)
        error = norm(combine(zero, 1.0, ERROR, stages))
        ratio = error / allowed
        like_a_jump = error <= JUMP * norm(k1)
        taken = (ratio <= 1) | (like_a_jump & (used <= 1.001 * shortest))
        factor = jnp.clip(0.9 * jnp.maximum(ratio, 1e-10) ** -0.25, 0.2, 5.0)
        factor = jnp.where(jnp.isfinite(ratio), factor, 0.2)
        # A step cut short to end on time says nothing against the longer one that was planned.
        proposed = jnp.where(taken & last, jnp.maximum(h, used * factor), used * factor)
        proposed = jnp.where(like_a_jump, jnp.maximum(proposed, shortest), proposed)
        t = jnp.where(taken, jnp.where(last, time, t + used), t)
        y, k1 = jax.tree.map(lambda new, old: jnp.where(taken, new, old), (moved, stages[-1]), (y, k1))
        return t, y, k1, proposed.astype(dtype), tries + 1

    def unfinished(carry):
        t, _, k1, _, tries = carry
        return (t < time) & (tries < most_steps) & jnp.isfinite(norm(k1))

    start = (jnp.zeros((), dtype), y, k1, h, jnp.zeros((), jnp.int32))
    t, y, _, h, _ = jax.lax.while_loop(unfinished, attempt, start)
    y = jax.tree.map(lambda leaf: jnp.where(t < time, jnp.full_like(leaf, jnp.nan), leaf), y)
    return y, h
