"""Responses by differentiation along the path of every particle, against integration by parts and by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, assert_close, assert_mean, assert_one_sentence
from cases import problem
from revealed_runs import QUICK, planned, started, trained_runs
from shipped import task

import meanfield as mf
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.model.activation import Activation
from meanfield.model.parametrization import mup, ntk
from meanfield.programs import trained
from meanfield.programs.path import Path, along, numbered
from meanfield.programs.revealed import LEFT, RIGHT, Revealed
from meanfield.studies.trajectory import network_keys, traces

TANH, ERF, IDENTITY = mf.activations.tanh, mf.activations.erf, mf.activations.identity
TASK = task(3, samples=2)
MODEL = mf.MLP(2, TANH, mup)


def runs(model, given, training, responses, particles, key, count, reading=Revealed, **options):
    """(predictions (replicate, step, sample), the states after the last step); equal draws either way."""
    options = {"tolerance": 0, "responses": responses, **options}
    with double():
        system = planned(model.limit(particles, **options), given, training)
        states = started(system, given, training, key, count)
    found, states = trained_runs(system, given, training, states=states, reading=reading)
    return found.reshape(*found.shape[:2], -1), states


# -- affine: no sampling error -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tied_affine_network_is_solved_to_rounding_either_way(key):
    """Sums over 128 particles and at most 32 directions, one product each way, at three steps; a decay that
    differs by 1e-9 is seen."""
    model, problem = mf.programs.Recurrent(2, IDENTITY, 1.3, 0.8), task(4, 2)
    training, other = (mf.GradientDescent(0.4, 2, 0.3, decay) for decay in (0.1, 0.1 + 1e-9))
    truth = runs(model, problem, training, "parts", 128, key, 1)[0]
    assert_close(runs(model, problem, training, "path", 128, key, 1)[0], truth, 2 * (128 + 32) * 3)
    with pytest.raises(AssertionError, match="roundings"):
        assert_close(runs(model, problem, other, "path", 128, key, 1)[0], truth, 2 * (128 + 32) * 3)


# -- by hand: the law as it stands, one Gaussian of every particle moved -------------------------------------

ETA, STEPS, PARTICLES = 1.0, 2, 64
TRAINING = mf.GradientDescent(ETA, STEPS)


class ByHand:
    """Two hidden layers, tanh, γ = 1: the paths of particles in NumPy, from what they start from and the
    Gaussians ξ of Wx¹ and ζ of Wᵀg², at a law that is that of the run.

    The directions of step t are X T, X (M, ·) all x¹ up to then, and have the images ξ + U R. Every number
    in this, T, R, coefficients, averages, χ, is that of the run or of the first pass and stays.
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
        self.law = self.run(self.gaussian, {})[0]
        self.size = max(np.abs(number).max() for name, number in self.law.items() if name[-1] == "mix")

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
            other, image = (
                np.concatenate([np.zeros((len(u), 0)), *bases[1 - side]], 1),
                gaussian[side][:, new],
            )
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
            f = number(("f", t), lambda x2=x2, v=v: x2.T @ v / len(v))
            chi = (f - self.y) / batch
            g1 = (1 - x1**2) * product(LEFT, t, (v @ chi.T) * (1 - x2**2))
            u, v = u - ETA * g1 @ self.x / np.sqrt(self.x.shape[1]), v - ETA * x2 @ chi
        return found, [np.concatenate(side, 1) for side in bases]

    def same_step(self):
        """E[∂g²_0/∂u_0], (P, P), from the responses of directions."""
        inner, batch = self.response[LEFT], len(self.x)
        return self.law[RIGHT, 0, "mix"] @ inner[:batch, :batch] @ self.law[LEFT, 0]

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


@dataclasses.dataclass(frozen=True)
class Kept(mf.programs.Independent):
    """Independent particles whose Gaussians the state keeps."""

    matched = True

    def fits(self, rows, blocks, columns):
        return False


@functools.cache
def by_hand(responses, key):
    """(predictions, paths by hand) of every replicate, the system, its states at the start and at the end."""
    with double():
        system = dataclasses.replace(MODEL.limit(PARTICLES, tolerance=0, responses=responses), sampler=Kept())
        system = planned(system, TASK, TRAINING)
        start = started(system, TASK, TRAINING, key, 24)
    found, states = trained_runs(system, TASK, TRAINING, states=start)
    each = [jax.tree.map(lambda leaf, r=r: leaf[r : r + 1], (states, start)) for r in range(24)]
    return found, [ByHand(*pair, TASK) for pair in each], system, start, states


def assert_responses(hand):
    """Extrapolated differences are off by O(h⁴), less than halving h changes, and by roundings over h of
    directions put together from up to six vectors."""
    for side in (RIGHT, LEFT):
        one, half = (hand.difference(side, h) for h in (2e-3, 1e-3))
        allowed = np.abs(one - half).max() + 1000 * EPS * hand.size / 1e-3
        off = np.abs((4 * half - one) / 3 - hand.response[side]).max()
        assert np.abs(hand.response[side]).max() > 0.1 and allowed < 1e-4
        assert off <= allowed, f"responses are off by {off:.1e}, {allowed:.1e} allowed"


def test_responses_are_what_moving_a_gaussian_of_every_particle_does(key):
    """By hand the predictions are those of the run, and so are central differences, not those by parts."""
    found, hands, *_ = by_hand("path", key)
    law = np.stack([hands[0].law["f", t] for t in range(STEPS + 1)])
    assert_close(law, found[0], 100 * PARTICLES * hands[0].size)
    assert_responses(hands[0])
    with pytest.raises(AssertionError, match="responses are off"):
        assert_responses(by_hand("parts", key)[1][0])


def test_the_noise_of_responses_vanishes_with_them(key):
    """E[∂g²_0/∂u_0], u_0 the Gaussian part of Wx¹_0, is E[vφ''χ] = 0 for v independent of h², and between two
    samples nothing at all. By parts it has the noise of u vφ'χ over √M, along the path that of vφ''χ: none
    between samples, and on one sample 7 times less. By the F-distribution a ratio of variances of 50 is found
    below 4 once in 10⁷ tries, one of 1 above 4 once in 1000."""
    parts, path = (np.stack([hand.same_step() for hand in by_hand(r, key)[1]]) for r in ("parts", "path"))
    one = np.eye(2, dtype=bool)
    assert np.abs(path[:, ~one]).max() < 1e4 * EPS < 0.1 < np.abs(parts[:, ~one]).mean()
    for noise in np.square(parts[:, one]).sum(0) / np.square(path[:, one]).sum(0):
        assert noise > 4


def test_draws_do_not_move_with_what_they_are_matched_to(key):
    """Wᵀg = Σ_k ζ_k c_k for two blocks g in turn, as nothing has met W: ∂/∂ζ_k is c_k for every particle."""
    program = mf.programs.Recurrent(2, TANH)
    with double():
        system = planned(program.limit(64, tolerance=0, responses="path"), task(4, samples=2), TRAINING)
        state = jax.tree.map(lambda leaf: leaf[0], started(system, task(4, samples=2), TRAINING, key, 1))
        g = jnp.asarray(np.random.default_rng(key).standard_normal((2, 64, 2)))

        @functools.partial(jax.jit, compiler_options=QUICK)
        def derivatives(state):
            still = jnp.zeros((numbered(system.sizes)[1], 1))

            def images(_, moved):
                ops = system.reading(state, keep=True, path=Path(system.sizes, moved))
                found = [ops.transpose_matmul("w", g[0]), ops.transpose_matmul("w", g[1])]
                return jnp.concatenate(found, 1), ops.bases["w"][LEFT].basis

            return along(images, jnp.zeros(1), still)

        found, basis = jax.tree.map(np.asarray, derivatives(state))
    first, columns = numbered(system.sizes)[0]["w", LEFT]
    c = basis.T @ np.concatenate(list(g), 1) / 64
    truth = np.zeros((len(found), 1, 4))
    truth[first : first + columns, 0] = c
    assert np.abs(c[:2, 2:]).min() > 1e-3 and np.abs(c[2:4, 2:]).min() > 1e-3
    assert_close(found, np.broadcast_to(truth, found.shape), 1000)


# -- tanh: both routes -------------------------------------------------------------------------------------


class Unanswered(Revealed):
    """Without responses, by parts."""

    def _image(self, name, side, q, count, rank):
        noise = super()._image(name, side, q, count, rank)[1]
        return noise, noise


def assert_routes_agree(found, parts, unanswered, states, particles):
    """False alarms 1e-6. Equal draws; with responses off by O(rank/M) of themselves, so is what they do. That
    half of it is missing is seen."""
    found, whole = (found - parts)[:, 1:], (unanswered - parts)[:, 1:].mean(0)
    rank = max(int(side.rank.max()) for sides in states.bases.values() for side in sides)
    bias = rank / particles * np.abs(whole).max()
    assert_mean(found, 0.0, bias=bias)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(found + 0.5 * whole, 0.0, bias=bias)


@pytest.mark.slow
def test_both_routes_agree_on_a_tied_matrix(key):
    model, problem, training = mf.programs.Recurrent(2, TANH), task(4, samples=2), mf.GradientDescent(1.5, 2)
    setting = (model, problem, training)
    parts, states = runs(*setting, "parts", 256, key, 32)
    path = runs(*setting, "path", 256, key, 32)[0]
    assert_routes_agree(path, parts, runs(*setting, "parts", 256, key, 32, Unanswered)[0], states, 256)


REST = {"bias_variance": 0.3, "richness": 1.5}
SHORT = mf.GradientDescent(0.5, 2, 0.3)
FULL = mf.GradientDescent(1.0, 4, 0.4, 0.1, batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [TANH, ERF])
@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("sampler", [mf.programs.Antithetic(), mf.programs.Antithetic(False, False)])
def test_both_routes_agree(activation, layers, sampler, key):
    """Biases, richness, momentum, decay, mini-batches, five steps."""
    setting = (mf.MLP(layers, activation, mup, **REST), task(3), FULL)
    parts, states = runs(*setting, "parts", 256, key, 64, sampler=sampler)
    path = runs(*setting, "path", 256, key, 64, sampler=sampler)[0]
    unanswered = runs(*setting, "parts", 256, key, 64, Unanswered, sampler=sampler)[0]
    assert_routes_agree(path, parts, unanswered, states, 256)


# -- buffers, looks, doors -----------------------------------------------------------------------------------


def test_tangents_stay_with_their_gaussians_as_buffers_grow(key):
    """Gaussian (side, column) of every tangent, and every column of its array, keep their numbers."""
    training = mf.GradientDescent(0.6, 10, 0.5)
    with double():
        system = planned(MODEL.limit(8, responses="path"), TASK, training, ((("w2", 0), 16), (("w2", 1), 32)))
        state = system.start(TASK, training, network_keys(jax.random.key(key), [0])[0])
        rng = np.random.default_rng(key)
        tangents = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), state.tangents)
        right, left = state.bases["w2"]
        bases = {"w2": (right._replace(rank=np.int32(15)), left._replace(rank=np.int32(15)))}
        larger, wide = system.grow(state._replace(tangents=tangents, bases=bases))
        assert dict(larger.sizes) == {("w2", 0): 32, ("w2", 1): 32}
        pairs = zip(*(jax.tree.leaves(t) for t in (tangents, wide.tangents)), strict=True)
        widened = 0
        for old, new in pairs:
            columns = old.shape[2]
            widened += new.shape[2] == 2 * columns
            assert len(old) == 48 and len(new) == 64
            np.testing.assert_array_equal(new[:16, :, :columns], old[:16])
            np.testing.assert_array_equal(new[32:, :, :columns], old[16:])
            assert not new[16:32].any() and not new[..., columns:].any()
        assert widened == 4  # basis, image, C, its velocity
        again = larger.start(TASK, training, network_keys(jax.random.key(key), [0])[0]).tangents
        assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, wide.tangents)


AFFINE = Activation(lambda z: 0.3 + 0.9 * z, name="affine")
SEEN = problem(samples=3, inputs=3, test_samples=2)


@functools.partial(jax.jit, compiler_options=QUICK)
def one_look(system, problem, state):
    one = jax.tree.map(lambda leaf: leaf[0], state)
    return system.observe(problem, one)["test_prediction"]


@pytest.mark.slow
def test_unseen_inputs_have_equal_predictions_to_rounding_for_affine_maps(key):
    """Three of them, from a training on two; before training they are others."""
    model, given, found = mf.MLP(2, AFFINE, mup, **REST), problem(samples=2, inputs=3), []
    for responses in ("parts", "path"):
        with double():
            system = planned(model.limit(128, tolerance=0, responses=responses), given, SHORT)
            start = started(system, given, SHORT, key, 1)
        states = trained_runs(system, given, SHORT, states=start)[1]
        with double():
            found.append([one_look(system, given, state) for state in (states, start)])
    by_parts, by_path = found
    assert_close(by_path[0], by_parts[0], 4 * (128 + 40) * 4)
    with pytest.raises(AssertionError, match="roundings"):
        assert_close(by_path[0], by_parts[1], 4 * (128 + 40) * 4)


@functools.partial(jax.jit, compiler_options=QUICK)
def gradients(system, problem, state, chi):
    """What u would move along, from the state and from a look at it."""

    def gradient(ops, p):
        passed = system.program.forward(ops, p, problem.x)
        return system.program.gradient(ops, p, problem.x, passed, chi, 0)["u"]

    return system.read(state, gradient), system.look(lambda now, _: system.read(now, gradient), state, state)


@pytest.mark.slow
def test_a_look_sees_what_the_next_step_does(key):
    """Both reveal the same directions with the same draws, forward and then backward: there are responses to
    Gaussians of the look itself. By parts they are others."""
    seen, _, system, start, after = by_hand("path", key)
    before = trained_runs(system, TASK, dataclasses.replace(TRAINING, steps=STEPS - 1), states=start)[1]
    with double():
        before, after = (jax.tree.map(lambda leaf: leaf[0], states) for states in (before, after))
        truth = (before.parameters["u"] - after.parameters["u"]) / ETA
        given = TASK.astype("float64")
        chi = given.residual(jnp.asarray(seen[0, STEPS]))
        for found in gradients(system, given, before, chi):
            assert_close(found, truth, 1000 * PARTICLES)
        for found in gradients(dataclasses.replace(system, responses="parts"), given, before, chi):
            with pytest.raises(AssertionError, match="roundings"):
                assert_close(found, truth, 1000 * PARTICLES)


@pytest.mark.slow
def test_a_training_that_outgrows_its_buffers_is_the_same(key, monkeypatch):
    """Through `simulate`, with looks at a test set; rounding over the smallest direction kept, 1e-3."""
    setting = (MODEL.limit(64, 2, responses="path"), SEEN, mf.GradientDescent(0.6, 8))
    whole = mf.simulate(*setting, key=key)
    monkeypatch.setattr(trained, "SMALL_BUFFER", 0)
    before = traces["advance growing"]
    found = mf.simulate(*setting, key=key)
    assert traces["advance growing"] > before + 1 and found["rank"].values.max() > 13
    for name in ("prediction", "test_prediction"):
        assert_close(found[name].values, whole[name].values, 1e3 * 64)


def test_responses_are_part_of_what_identifies_a_result():
    one, other = (describe(MODEL.limit(8, responses=r)) for r in ("parts", "path"))
    assert one != other and one == describe(MODEL.limit(8))
    assert {**other, "responses": "parts"} == one
    system = MODEL.limit(64, responses="path")
    plain = MODEL.limit(64).memory_bytes(TASK, FULL)
    assert system.memory_bytes(TASK, FULL) > 20 * plain  # K + 1 times as much


@pytest.mark.parametrize("responses", ["paths", None, True, 1])
def test_other_words_meet_one_sentence(responses):
    for model in (MODEL, mf.programs.Recurrent(2, TANH), mf.MLP(2, TANH, ntk)):
        with pytest.raises(ValueError) as caught:
            model.limit(8, responses=responses)
        assert_one_sentence(str(caught.value), "`responses`", '"parts" or "path"', repr(responses))


def test_kinks_and_the_kernel_regime_meet_one_sentence():
    relu, leaky = mf.activations.relu, mf.activations.leaky_relu(0.1)
    kinked = [mf.MLP(2, relu, mup), mf.MLP(1, leaky, mup), mf.programs.Recurrent(2, relu)]
    for model in (*kinked, mf.programs.ResidualMLP(2, mf.activations.absolute)):
        with pytest.raises(ValueError) as caught:
            model.limit(8, responses="path")
        assert_one_sentence(str(caught.value), "`responses`", '"parts"', "kink")
        model.limit(8, responses="parts")
    mf.MLP(2, mf.activations.leaky_relu(1.0), mup).limit(8, responses="path")  # has none
    with pytest.raises(ValueError) as caught:
        mf.MLP(2, TANH, ntk).limit(8, responses="path")
    assert_one_sentence(str(caught.value), "`responses`", '"parts"', "kernel regime")
