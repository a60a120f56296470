"""Responses by differentiation along the path of every particle, against integration by parts and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, assert_close, assert_mean, assert_one_sentence, assert_variance_ratio
from revealed_runs import QUICK, planned, started, trained_runs
from shipped import task

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model.parametrization import mup, ntk
from meanfield.programs.revealed import LEFT, RIGHT, Revealed

TANH, ERF, IDENTITY = mf.activations.tanh, mf.activations.erf, mf.activations.identity
TASK = task(3, samples=2)
MODEL = mf.MLP(2, TANH, mup)


def runs(model, problem, training, responses, particles, key, count, reading=Revealed, **options):
    """(predictions (replicate, step, sample), the states after the last step), with equal draws either way."""
    options = {"tolerance": 0, "responses": responses, **options}
    with double():
        system = planned(model.limit(particles, **options), problem, training)
        states = started(system, problem, training, key, count)
    found, states = trained_runs(system, problem, training, states=states, reading=reading)
    return found.reshape(*found.shape[:2], -1), states


class Changed:
    """A path whose responses are not what they are."""

    def __init__(self, path, factor):
        self.path, self.factor = path, factor

    def __getattr__(self, name):
        return getattr(self.path, name)

    def responses(self, name, side, q):
        return self.factor * self.path.responses(name, side, q)


class Dropped(Revealed):
    def __init__(self, *arguments, path, **options):
        super().__init__(*arguments, path=Changed(path, 0.0), **options)


class Halved(Revealed):
    def __init__(self, *arguments, path, **options):
        super().__init__(*arguments, path=Changed(path, 0.5), **options)


# -- affine: no sampling error -----------------------------------------------------------------------------


def test_a_tied_affine_network_is_solved_to_rounding_either_way(key):
    """Sums over 256 particles and at most 40 directions, two products each way, at three steps; dropped
    responses are seen."""
    model, training = mf.programs.Recurrent(3, IDENTITY, 1.3, 0.8), mf.GradientDescent(0.4, 2, 0.3, 0.1)
    truth = runs(model, task(6, 2), training, "parts", 256, key, 1)[0]
    found = runs(model, task(6, 2), training, "path", 256, key, 1)[0]
    assert_close(found, truth, 4 * (256 + 40) * 3)
    with pytest.raises(AssertionError, match="roundings"):
        assert_close(runs(model, task(6, 2), training, "path", 256, key, 1, Dropped)[0], truth, 4 * 296 * 3)


@functools.partial(jax.jit, compiler_options=QUICK)
def looked(system, problem, state):
    """Kernels now and at the start, on inputs that training has not seen."""

    def both(now, start):
        return [system.tangent_kernel(network, problem.x_test) for network in (now, start)]

    return system.look(both, state, system.start(problem, mf.GradientDescent(0.5, 1), state.key[None]))


# -- by hand: the law as it stands, one Gaussian of every particle moved -------------------------------------

ETA, STEPS, PARTICLES = 1.0, 2, 64


class ByHand:
    """Two hidden layers, tanh, γ = 1: the paths of particles in NumPy, from what they start from and the
    Gaussians ξ of Wx¹ and ζ of Wᵀg², at a law that is that of the run.

    The directions of step t are X T, X (M, ·) all x¹ up to then, and have the images ξ + U R. Every number here,
    T, R, coefficients, averages, χ, is taken from the run or from the first pass and stays.
    """

    def __init__(self, state, start, problem):
        self.u, self.v = (np.asarray(start.parameters[name][0]) for name in "uv")
        self.x, self.y = problem.x, problem.y
        size = (STEPS + 1) * len(problem.x)
        sides = [jax.tree.map(lambda leaf: np.asarray(leaf[0]), side) for side in state.bases["w2"]]
        assert all(side.rank == size for side in sides)  # every vector has added a direction
        self.basis = [side.basis[:, :size] for side in sides]
        self.gaussian = [side.noise[:, :size] for side in sides]
        rest = [side.image[:, :size] - side.noise[:, :size] for side in sides]
        # Bases are orthonormal.
        self.response = [self.basis[1 - s].T @ rest[s] / PARTICLES for s in (RIGHT, LEFT)]
        self.law = None
        self.law = self.run(self.gaussian, {})[0]

    def run(self, gaussian, law):
        """(law, bases): with {} for the law it is found."""
        found, (u, v), batch = dict(law), (self.u, self.v), len(self.x)
        met, bases, images = ([], []), ([], []), ([], [])

        def number(name, make):
            if name not in found:
                found[name] = make()
            return found[name]

        def product(side, t, field):
            """W x¹ or Wᵀ g²."""
            met[side].append(field)
            every, new = np.concatenate(met[side], 1), slice(t * batch, (t + 1) * batch)
            mix = number((side, t, "mix"), lambda: np.linalg.lstsq(every, self.basis[side][:, new])[0])
            bases[side].append(every @ mix)
            other, image = np.concatenate([np.zeros((len(u), 0)), *bases[1 - side]], 1), gaussian[side][:, new]
            images[side].append(image + other @ self.response[side][: other.shape[1], new])
            basis = np.concatenate(bases[side], 1)
            total = np.concatenate(images[side], 1) @ number((side, t), lambda: basis.T @ field / len(u))
            for s in range(t):  # ΔW = −η Σ g² x¹ᵀ/n
                gram = number((side, t, s), lambda s=s: met[side][s].T @ field / len(u))
                total = total - ETA * met[1 - side][s] @ gram
            return total

        for t in range(STEPS + 1):
            x1 = np.tanh(u @ self.x.T / np.sqrt(self.x.shape[1]))
            x2 = np.tanh(product(RIGHT, t, x1))
            f = number(("f", t), lambda: x2.T @ v / len(u))
            chi = (f - self.y) / batch
            g1 = (1 - x1**2) * product(LEFT, t, (v @ chi.T) * (1 - x2**2))
            u, v = u - ETA * g1 @ self.x / np.sqrt(self.x.shape[1]), v - ETA * x2 @ chi
        return found, [np.concatenate(side, 1) for side in bases]

    def difference(self, side, h):
        """E[∂q/∂ζ_k] of the directions of that side for all k of the other, by central differences."""
        rows = []
        for k in range(self.gaussian[1 - side].shape[1]):
            moved = []
            for sign in (1, -1):
                gaussian = [g.copy() for g in self.gaussian]
                gaussian[1 - side][:, k] += sign * h
                moved.append(self.run(gaussian, self.law)[1][side])
            rows.append((moved[0] - moved[1]).mean(0) / (2 * h))
        return np.stack(rows)


@functools.cache
def by_hand(responses, key):
    training = mf.GradientDescent(ETA, STEPS)
    with double():
        system = planned(MODEL.limit(PARTICLES, tolerance=0, responses=responses), TASK, training)
        start = started(system, TASK, training, key, 1)
    found, state = trained_runs(system, TASK, training, states=start)
    return found[0], ByHand(state, start, TASK)


def assert_responses(hand):
    """Extrapolated differences are off by O(h⁴), less than halving h changes, and by roundings over h of
    directions put together from up to six vectors."""
    for side in (RIGHT, LEFT):
        one, half = (hand.difference(side, h) for h in (2e-3, 1e-3))
        size = max(np.abs(number).max() for name, number in hand.law.items() if name[-1] == "mix")
        allowed = np.abs(one - half).max() + 1000 * EPS * size / 1e-3
        off = np.abs((4 * half - one) / 3 - hand.response[side]).max()
        assert np.abs(hand.response[side]).max() > 0.1 and allowed < 1e-4
        assert off <= allowed, f"responses are off by {off:.1e}, {allowed:.1e} allowed"


def test_responses_are_what_moving_a_gaussian_of_every_particle_does(key):
    """By hand the predictions are those of the run, and so are central differences, not those by parts."""
    found, hand = by_hand("path", key)
    law = np.stack([hand.law["f", t] for t in range(STEPS + 1)])
    size = max(np.abs(number).max() for name, number in hand.law.items() if name[-1] == "mix")
    assert_close(law, found, 100 * PARTICLES * size)
    assert_responses(hand)
    with pytest.raises(AssertionError, match="responses are off"):
        assert_responses(by_hand("parts", key)[1])


# -- tanh: both routes -------------------------------------------------------------------------------------


def difference(model, problem, training, key, particles, count, reading=Revealed):
    """By path less by parts with equal draws, 2d_M − d_{M/2}, whose bias is O(M⁻²); steps from 1."""
    found = []
    for m in (particles, particles // 2):
        parts = runs(model, problem, training, "parts", m, key + m, count)[0]
        path = runs(model, problem, training, "path", m, key + m, count, reading)[0]
        found.append(path - parts)
    return (2 * found[0] - found[1])[:, 1:]


def test_both_routes_agree_on_a_tied_matrix(key):
    """False alarms 1e-6. Equal draws; half the response is another function."""
    model, training = mf.programs.Recurrent(2, TANH), mf.GradientDescent(1.5, 2)
    problem, parts = task(4, samples=2), None
    parts, state = runs(model, problem, training, "parts", 256, key, 48)
    rank = max(int(side.rank.max()) for side in state.bases["w"])
    bias = rank / 256 * np.abs(parts.mean(0)).max()
    path = runs(model, problem, training, "path", 256, key, 48)[0]
    assert_mean((path - parts)[:, 1:], 0.0, bias=bias)
    wrong = runs(model, problem, training, "path", 256, key, 48, Halved)[0]
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean((wrong - parts)[:, 1:], 0.0, bias=bias)
