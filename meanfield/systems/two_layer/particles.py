"""The dynamics shared by a two-layer network and its mean-field limit.  THEORY 1.

    f(x; ρ) = (1/γ) ∫ a φ(w·x + b) dρ(θ),      θ = (a, w, b),
    Ψ(θ; ρ) = γ Σ_p χ_p · a φ(w·x_p + b) + γ² (λ/2)|θ|²,      χ_p = (1/P) ∂ℓ/∂f(x_p),
    dθ_i/dt = −∇Ψ(θ_i; ρ_t),

with ρ = Σ_i m_i δ_{θ_i}: weights 1/n for a network of width n, those of the sampler for the limit.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from meanfield.base.precision import HIGHEST
from meanfield.base.pytree import pytree, static
from meanfield.model.activation import Activation
from meanfield.model.measure import Measure

# Entries of one (neurons, samples) array that a step works on at a time where there is a cache to keep
# them in: found by timing, flat from 2^17 to 2^20.
CACHE_ENTRIES = 2**18


class State(NamedTuple):
    """Trained arrays, the training's memory, those that stay fixed, the weights m, and whether what the
    last step saw was finite: predictions and loss, or parameters where the training gives no predictions."""

    parameters: dict
    memory: Any
    fixed: dict
    weights: jax.Array
    finite: jax.Array


@pytree
class Particles:
    """Equations of motion of weighted neurons; `chunk` neurons at a time, all at once if None."""

    activation: Activation = static()
    train_readout: bool = static()
    richness: float
    chunk: int | None = static(default=None)

    def split(self, points):
        """(trained, fixed) arrays of the neurons."""
        if self.train_readout:
            return points, {}
        return {k: v for k, v in points.items() if k != "a"}, {"a": points["a"]}

    def start(self, training, points, weights):
        parameters, fixed = self.split(points)
        return State(parameters, training.init(parameters), fixed, weights, jnp.array(True))

    def training_samples(self, problem, x):
        """What `features` and `pull` take as their samples: here the inputs themselves."""
        return x

    def test_samples(self, problem):
        return problem.x_test

    def preactivations(self, points, x):
        """h = w·x + b, (n, P)."""
        h = jnp.einsum("nd,pd->np", points["w"], x, precision=HIGHEST)
        return h + points["b"][:, None] if "b" in points else h

    def features(self, points, x):
        """φ and φ' of the preactivations, (n, P) each."""
        return self.activation.value_and_derivative(self.preactivations(points, x))

    def readout(self, points, weights, phi):
        """f on all samples, (P, k). Contracting the leading axis of both keeps the rows of φ contiguous."""
        f = jnp.einsum("nk,np->kp", weights[:, None] * points["a"], phi, precision=HIGHEST)
        return f.T / self.richness

    def pull(self, points, phi, slope, x, chi):
        """∇_θ of γ Σ_p χ_p · ψ(θ; x_p) for every neuron, alike to `points`."""
        chi = self.richness * chi
        a = points["a"]
        if chi.shape[1] == 1:  # an outer product of vectors is cheaper fused than as a matrix product
            back = slope * (a * chi.T)
        else:
            back = slope * jnp.einsum("nk,pk->np", a, chi, precision=HIGHEST)  # (n, P)
        gradient = {"a": jnp.einsum("np,pk->nk", phi, chi, precision=HIGHEST)}
        return {**gradient, **self.pull_back(points, back, x)}

    def pull_back(self, points, back, x):
        """Gradients of all but the readout from those of the preactivations, (n, P)."""
        gradient = {"w": jnp.einsum("np,pd->nd", back, x, precision=HIGHEST)}
        if "b" in points:
            gradient["b"] = back.sum(1)
        return gradient

    def numbers(self, problem, bias):
        """Trained and fixed numbers a neuron has."""
        return problem.inputs + problem.outputs + int(bias)

    def operations(self, problem, training):
        """Multiplications and additions of one step for one neuron; in chunks features are computed twice."""
        samples = training.batch_size or problem.samples
        forward = samples * (problem.inputs + problem.outputs)
        return 2.0 * forward * (3 if self.chunk else 2)

    def chunks(self, tree):
        return jax.tree.map(lambda leaf: leaf.reshape(-1, self.chunk, *leaf.shape[1:]), tree)

    def predict(self, points, weights, x):
        """f(x; ρ) on all rows of x, (P, k)."""
        if self.chunk is None or weights.shape[0] <= self.chunk:
            return self.readout(points, weights, self.features(points, x)[0])

        def add(total, part):
            points, weights = part
            return total + self.readout(points, weights, self.features(points, x)[0]), None

        parts = self.chunks((points, weights))
        shape = jax.eval_shape(add, 0.0, jax.tree.map(lambda leaf: leaf[0], parts))[0]
        return jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), parts)[0]

    def gradient(self, points, weights, problem, batch, decay):
        """(∇Ψ for every neuron, alike to `points`; f on the batch).

        In chunks the features are computed twice, once for f and once for the gradient: keeping them would
        need memory for neurons × samples numbers.
        """
        x, y, weight = batch
        if self.chunk is None or weights.shape[0] <= self.chunk:
            phi, slope = self.features(points, x)
            f = self.readout(points, weights, phi)
            gradient = self.pull(points, phi, slope, x, problem.residual(f, y, weight))
        else:
            f = self.predict(points, weights, x)
            chi = problem.residual(f, y, weight)

            def part(points):
                return self.pull(points, *self.features(points, x), x, chi)

            parts = jax.lax.map(part, self.chunks(points))
            gradient = jax.tree.map(lambda g, p: g.reshape(p.shape), parts, points)
        penalty = self.richness**2 * decay
        return jax.tree.map(lambda g, p: g + penalty * p, gradient, points), f

    def step(self, problem, training, state, key):
        """One step of training."""
        count = training.count(state.memory)
        x, y, weight = problem.batch(count, training.batch_size, training.batch_key)
        batch = (self.training_samples(problem, x), y, weight)

        def gradient(parameters):
            points = {**parameters, **state.fixed}
            gradient, f = self.gradient(points, state.weights, problem, batch, training.weight_decay)
            return self.split(gradient)[0], f

        def norm(displacement):
            squares = [jnp.square(d.reshape(d.shape[0], -1)).sum(1) for d in jax.tree.leaves(displacement)]
            return jnp.sqrt(jnp.sum(state.weights * sum(squares)))

        parameters, memory, f = training.advance(gradient, state.memory, state.parameters, key, norm)
        if f is None:
            leaves = jax.tree.leaves(state.parameters)
            finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        else:
            # The loss can overflow where predictions do not yet.
            finite = jnp.isfinite(f).all() & jnp.isfinite(problem.risk(f, batch[1]))
        return State(parameters, memory, state.fixed, state.weights, finite)

    def measure(self, state):
        return Measure({**state.parameters, **state.fixed}, state.weights)

    def outputs(self, problem, state):
        """prediction (P, k) and loss, and those on the test set where there is one."""
        points = {**state.parameters, **state.fixed}
        f = self.predict(points, state.weights, self.training_samples(problem, problem.x))
        seen = {"prediction": f, "loss": problem.risk(f, problem.y)}
        if problem.x_test is not None:
            f = self.predict(points, state.weights, self.test_samples(problem))
            seen["test_prediction"] = f
            if problem.y_test is not None:
                seen["test_loss"] = problem.risk(f, problem.y_test)
        return seen

    def tangent_kernel(self, measure, x1, x2):
        """K(x, x') = E[∇ψ(x) · ∇ψ(x')], (P1, k, P2, k): the NTK of the network at ρ, at any richness."""
        points, weights = measure.points, measure.weights
        phi1, slope1 = self.features(points, x1)
        phi2, slope2 = self.features(points, x2)
        outputs = points["a"].shape[1]
        inner = jnp.einsum("pd,qd->pq", x1, x2, precision=HIGHEST) + (1.0 if "b" in points else 0.0)
        a = points["a"]
        moved = jnp.einsum("n,nk,nc,np,nq->pkqc", weights, a, a, slope1, slope2, precision=HIGHEST)
        kernel = moved * inner[:, None, :, None]
        if self.train_readout:
            phi = jnp.einsum("n,np,nq->pq", weights, phi1, phi2, precision=HIGHEST)
            kernel = kernel + phi[:, None, :, None] * jnp.eye(outputs, dtype=phi.dtype)[None, :, None, :]
        return kernel

    def feature_kernel(self, measure, x1, x2):
        """Φ(x, x') = E[φ(w·x + b) φ(w·x' + b)], (P1, P2)."""
        phi1 = self.features(measure.points, x1)[0]
        phi2 = self.features(measure.points, x2)[0]
        return jnp.einsum("n,np,nq->pq", measure.weights, phi1, phi2, precision=HIGHEST)


def plan_rows(neurons, batches, samples, itemsize, memory):
    """How to cut (batches, neurons, samples) work: (chunk or None, batches at a time).

    On the CPU the cut keeps one (neurons, samples) array in cache; elsewhere eight of them in `memory`.
    """
    budget = max(1, int(memory / (8 * itemsize)))
    if jax.default_backend() == "cpu":
        budget = min(budget, CACHE_ENTRIES)
    together = max(1, min(batches, budget // max(1, neurons * samples)))
    if neurons * samples <= 2 * budget:
        return None, together
    pieces = -(-neurons * samples // budget)
    chunk = -(-neurons // pieces)
    return max(8, -(-chunk // 8) * 8), 1


def with_chunk(particles, chunk):
    return dataclasses.replace(particles, chunk=chunk)
