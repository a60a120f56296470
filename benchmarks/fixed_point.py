"""The alternating solver of the feature-learning limit, the method that `limit.py` compares with.

The equations of THEORY 3.2 as a fixed point of the kernels: fields over all (step, sample) at once are drawn
as Gaussian processes of the present kernels Φ, G, single neurons are integrated in time with the present
responses A, B and errors, and averages over S neurons are the next kernels and responses; again, until
nothing changes.

Written to be fast: draws are kept from one iteration to the next, so that the iteration converges; they come
in pairs with opposite r, so that responses and outputs have no noise that does not vanish with them;
responses by Gaussian integration by parts, E[x ζᵀ] L⁻¹ with r = Lζ, one triangular solve instead of a
derivative along every path; history in blocks of steps, one matrix product each, nothing computed above the
diagonal; errors follow from the tangent kernel of the present kernels, with what is of second order in the
step from the samples. All in float64 and compiled. `jitter`, relative to the mean variance, is added to
kernels before they are factorised: much at first, as kernels that are not those of the fields would make
responses explode (1/√jitter), less as they settle.

Cost: O(S (TP)² + (TP)³) operations a layer and iteration, (TP)(S + TP) numbers a layer.
Source: Bordelon & Pehlevan 2022; THEORY 3.2.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

HIGHEST = jax.lax.Precision.HIGHEST
BLOCK = 10  # steps whose history is one matrix product


class Settings(NamedTuple):
    """What compiled programs depend on. `steps` counts predictions, f_0 included: one less is taken."""

    layers: int
    steps: int
    samples: int
    activation: object
    learning_rate: float
    richness: float


class Kernels(NamedTuple):
    """Per layer (L + 1, N, N), N = steps · samples in the order (step, sample): Φ⁰ … Φ^L and G¹ … G^{L+1};
    responses of layers 1 … L, (L, N, N): A of the forward field to g, B of the backward field to x;
    predictions (steps, P)."""

    Phi: jax.Array
    G: jax.Array
    A: jax.Array
    B: jax.Array
    f: jax.Array


def product(a, b):
    return jnp.matmul(a, b, precision=HIGHEST)


def factor(kernel, jitter):
    """L with LLᵀ = kernel, jitter on the diagonal."""
    size = kernel.shape[0]
    return jnp.linalg.cholesky(kernel + jitter * jnp.trace(kernel) / size * jnp.eye(size))


def earlier(settings, same):
    """(N, N) of ones where the second step is earlier than the first, or the same too."""
    ones = jnp.tril(jnp.ones((settings.steps, settings.steps)), 0 if same else -1)
    return jnp.kron(ones, jnp.ones((settings.samples, settings.samples)))


def paths(settings, u, r, forward, backward):
    """(x, g, p), each (N, S):

    h_t = u_t + Σ_{s<t} forward_{ts} g_s, x = φ(h), p_t = r_t + Σ_{s≤t} backward_{ts} x_s, g = φ'(h) p.
    """
    P, S = settings.samples, u.shape[1]
    done = (jnp.zeros((0, S)),) * 3
    for start in range(0, settings.steps, BLOCK):
        steps = min(BLOCK, settings.steps - start)
        past, now = slice(0, start * P), slice(start * P, (start + steps) * P)
        h0 = u[now] + product(forward[now, past], done[1])
        p0 = r[now] + product(backward[now, past], done[0])

        def step(held, given):
            x, g, p = held
            t, h, pulled, row, row_back = given
            h = h + product(row, g)
            phi, slope = settings.activation.value_and_derivative(h)
            x = jax.lax.dynamic_update_slice(x, phi, (t * P, 0))
            pulled = pulled + product(row_back, x)
            g = jax.lax.dynamic_update_slice(g, slope * pulled, (t * P, 0))
            p = jax.lax.dynamic_update_slice(p, pulled, (t * P, 0))
            return (x, g, p), None

        by_step = lambda a: a.reshape(steps, P, a.shape[1])  # noqa: B023, E731
        rows, rows_back = by_step(forward[now, now]), by_step(backward[now, now])
        given = (jnp.arange(steps), by_step(h0), by_step(p0), rows, rows_back)
        found, _ = jax.lax.scan(step, (jnp.zeros((steps * P, S)),) * 3, given)
        done = tuple(jnp.concatenate([old, new]) for old, new in zip(done, found, strict=True))
    return done


def repeated(settings, block):
    """A kernel (P, P) that is the same between any two steps, (N, N)."""
    return jnp.tile(block, (settings.steps, settings.steps))


@functools.partial(jax.jit, static_argnums=0)
def beginning(settings, K, y, draws):
    """Kernels of the untrained network at all steps, no responses, and predictions of its tangent kernel."""
    P, L = settings.samples, settings.layers
    Phi, slopes = [K], []
    for u in draws[0]:
        h = product(factor(Phi[-1], 1e-9), u[:P])
        phi, slope = settings.activation.value_and_derivative(h)
        Phi.append(product(phi, phi.T) / h.shape[1])
        slopes.append(product(slope, slope.T) / h.shape[1])
    G = [jnp.ones((P, P))]
    for slope in slopes[::-1]:
        G.insert(0, slope * G[0])
    Phi, G = (jnp.stack([repeated(settings, k) for k in kernels]) for kernels in (Phi, G))
    none = jnp.zeros((L, *Phi.shape[1:]))
    f = predictions(settings, Phi, G, y, jnp.zeros(P), jnp.zeros((settings.steps - 1, P)))
    return Kernels(Phi, G, none, none, f)


def predictions(settings, Phi, G, y, f_0, rest):
    """f_{t+1} = f_t − ηΘ_tχ_t + rest_t, Θ_t = Σ_l Φ^l_tt G^{l+1}_tt."""

    def step(f, given):
        Theta, rest = given
        return f - settings.learning_rate * product(Theta, (f - y) / settings.samples) + rest, f

    f, before = jax.lax.scan(step, f_0, (tangent(settings, Phi, G), rest))
    return jnp.concatenate([before, f[None]])


def tangent(settings, Phi, G):
    """Θ_t, (steps − 1, P, P)."""
    T, P = settings.steps, settings.samples
    at = lambda k: jnp.moveaxis(jnp.diagonal(k.reshape(-1, T, P, T, P), axis1=1, axis2=3), -1, 1)  # noqa: E731
    return (at(Phi) * at(G)).sum(0)[:-1]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def iterate(settings, kernels, y, draws, share, jitter):
    """(kernels after one iteration, `share` of which is new; the relative root-mean-square changes of the
    predictions and, at most, of a kernel)."""
    L, T, P = settings.layers, settings.steps, settings.samples
    Phi, G, A, B, f = kernels
    chi = ((f - y) / P).reshape(1, T * P)
    rate = settings.learning_rate * settings.richness
    before, until = earlier(settings, False), earlier(settings, True)
    new_Phi, new_G, new_A, new_B = [Phi[0]], [], [jnp.zeros_like(A[0])], []
    held = None
    for layer in range(L):
        first, last = layer == 0, layer == L - 1
        size = P if first else T * P
        factor_u = factor(Phi[layer][:size, :size], jitter)
        xi = draws[0][layer][:size]
        u = product(factor_u, xi)
        u = jnp.concatenate([jnp.tile(u, (T, 1)) if first else u] * 2, 1)
        zeta = draws[1][layer][: 1 if last else T * P]
        if last:
            r = jnp.broadcast_to(zeta, (T * P, zeta.shape[1]))
        else:
            factor_r = factor(G[layer + 1], jitter)
            r = product(factor_r, zeta)
        r = jnp.concatenate([r, -r], 1)
        x, g, pulled = paths(
            settings, u, r,
            A[layer] - rate * before * Phi[layer] * chi,
            B[layer] - rate * before * G[layer + 1] * chi,
        )  # fmt: skip
        S, (plus, minus) = x.shape[1], (slice(0, xi.shape[1]), slice(xi.shape[1], None))
        new_Phi.append(product(x, x.T) / S)
        new_G.append(product(g, g.T) / S)
        solved = lambda c, L: jax.scipy.linalg.solve_triangular(L, c.T, lower=True, trans=1).T  # noqa: E731
        if not last:
            new_A.append(solved(before * product(x[:, plus] - x[:, minus], zeta.T) / S, factor_r))
        if not first:
            new_B.append(solved(until * product(g[:, plus] + g[:, minus], xi.T) / S, factor_u))
        held = x, pulled
    new_G.append(G[L])
    new_B.append(jnp.zeros_like(B[0]))
    found = (held[0] * held[1]).mean(1).reshape(T, P) / settings.richness
    Phi, G, A, B = (jnp.stack(k) for k in (new_Phi, new_G, new_A, new_B))
    rest = found[1:] - found[:-1]
    rest += settings.learning_rate * jnp.einsum("tpq,tq->tp", tangent(settings, Phi, G), (f[:-1] - y) / P)
    new = Kernels(Phi, G, A, B, predictions(settings, Phi, G, y, found[0], rest))
    new = jax.tree.map(lambda old, new: old + share * (new - old), kernels, new)
    size = lambda k: jnp.sqrt(jnp.square(k).mean(tuple(range(1, k.ndim))))  # noqa: E731
    changes = [(size(b - a) / size(a)).max() for a, b in ((kernels.Phi, new.Phi), (kernels.G, new.G))]
    moved = jnp.sqrt(jnp.square(new.f - kernels.f).mean() / jnp.square(new.f).mean())
    return new, moved, jnp.maximum(*changes)


@functools.partial(jax.jit, static_argnums=0)
def gaussians(shape, key):
    return jax.random.normal(key, shape, jnp.float64)


def solve(
    x, y, *, layers, activation, learning_rate, steps, neurons, seed, richness=1.0, jitter=1e-3, share=0.7,
    tolerance=2e-3, kernel_tolerance=3e-2, iterations=60,
):  # fmt: skip
    """Predictions (I, steps, P) of the start and of every iteration to the fixed point at S neurons.

    Args:
        x, y: (P, d), (P,); loss ½(f − y)², averaged over samples.
        steps: T, predictions from f_0 on.
        neurons: S, even.
        jitter: in the end; before, 0.1 times the square of the last change of the kernels.
        share: what part of the new kernels is taken in each iteration.
        tolerance, kernel_tolerance: on the relative changes of predictions and of every kernel, where
            iterations stop.
    Raises:
        RuntimeError: if `iterations` do not reach them.
    """
    P, d = x.shape
    settings = Settings(layers, steps, P, activation, learning_rate, richness)
    with jax.enable_x64(True):
        shape = (2, layers, steps * P, neurons // 2)
        draws, target = gaussians(shape, jax.random.key(seed)), jnp.asarray(y, jnp.float64)
        kernels = beginning(settings, jnp.asarray(x @ x.T / d, jnp.float64), target, draws)
        found, change = [np.asarray(kernels.f)], 1.0
        for _ in range(iterations):
            now = max(jitter, 0.1 * min(change, 1.0) ** 2)
            kernels, moved, change = iterate(settings, kernels, target, draws, share, now)
            moved, change = float(moved), float(change)
            found.append(np.asarray(kernels.f))
            if moved < tolerance and change < kernel_tolerance:
                return np.stack(found)
    raise RuntimeError(
        f"Kernels still change by {change:.2g} and predictions by {moved:.2g} after {iterations} iterations. "
        "The steps of the iteration are likely too large; lower `share`."
    )
