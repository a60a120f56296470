"""The feature-learning limit of multilayer perceptrons, against what is known of it without sampling."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from affine_limit import AffineLimit
from assertions import EPS, assert_close, assert_mean, assert_variance_ratio
from revealed_runs import QUICK, planned, started, trained_runs

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.activation import Activation
from meanfield.model.parametrization import Parametrization, mup

RNG = np.random.default_rng(0)
AFFINE = Activation(lambda z: 0.3 + 0.9 * z, name="affine")


def batches_of(problem, training):
    """The samples that every step sees, told from their inputs."""
    if training.batch_size is None:
        return None
    found = []
    with double():
        for step in range(training.steps + 1):
            x = np.asarray(problem.batch(step, training.batch_size, training.batch_key)[0])
            found.append(np.array([int(np.flatnonzero((problem.x == row).all(1))[0]) for row in x]))
    return found


# -- affine activations: no sampling error at all ----------------------------------------------------------

AFFINE_TASK = mf.Problem(RNG.standard_normal((3, 4)), RNG.standard_normal((3, 2)))
AFFINE_MODEL = mf.MLP(3, AFFINE, mup, richness=1.4, weight_variance=1.2, bias_variance=0.5)
AFFINE_TRAINING = mf.GradientDescent(0.3, 4, 0.4, 0.2, batch_size=2)
CONSTANTS = {"richness": 1.4, "weight_variance": 1.2, "bias_variance": 0.5, "momentum": 0.4, "decay": 0.2}
# Layer 3 stays where it was: its rate vanishes with the width.
ONE_STAYS = Parametrization((-0.5, 0, 0, 0.5), (0.5, 0.5, 0.5, 0.5), (0, 0, 0.5, 0))


@functools.cache
def affine_runs(parametrization, particles=256):
    system = dataclasses.replace(AFFINE_MODEL, parametrization=parametrization).limit(particles, tolerance=0)
    return trained_runs(system, AFFINE_TASK, AFFINE_TRAINING)[0]


def affine_truth(**changes):
    batches = batches_of(AFFINE_TASK, AFFINE_TRAINING)
    settings = {"batches": batches, **CONSTANTS, **changes}
    truth = AffineLimit((0.3, 0.9), 3, AFFINE_TASK.x, AFFINE_TASK.y, 0.3, 4, **settings).predictions()
    return np.stack([f[rows] for f, rows in zip(truth, batches, strict=True)])


def assert_affine(found, truth):
    """Rounding: sums over 256 particles and at most 64 directions, in two layers, forward and backward, at
    every step."""
    for f in found:
        assert_close(f, truth, 4 * (256 + 64) * 5)


@pytest.mark.parametrize("parametrization, rates", [(mup, None), (ONE_STAYS, [1, 1, 0, 1])])
def test_an_affine_network_is_solved_to_rounding(parametrization, rates):
    """Three hidden layers, two outputs, biases, richness, variances, momentum, decay, mini-batches."""
    assert_affine(affine_runs(parametrization), affine_truth(rates=rates))


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.4 + 1e-9}, {"decay": 0.2 + 1e-9}, {"bias_variance": 0.5 + 1e-9}, {"rates": [1, 1, 0, 1]}],
)
def test_a_small_change_of_the_settings_is_seen(change):
    with pytest.raises(AssertionError, match="roundings"):
        assert_affine(affine_runs(mup), affine_truth(**change))


# -- tanh, two hidden layers -------------------------------------------------------------------------------

TASK = mf.Problem(RNG.standard_normal((3, 3)), RNG.standard_normal(3))
TRAINING = mf.GradientDescent(0.6, 3)
MODEL = mf.MLP(2, mf.activations.tanh, mup)
PARTICLES, REPLICATES = 256, 128


@functools.cache
def starts(particles, key):
    """What all runs of one key start from, whatever the targets and the richness."""
    with double():
        system = planned(MODEL.limit(particles, tolerance=0), TASK, TRAINING)
        return started(system, TASK, TRAINING, key, REPLICATES)


def runs(key, problem=TASK, richness=1.0, rate=0.6, particles=PARTICLES):
    """Predictions (replicate, step, sample); one compiled program for each number of particles."""
    training = mf.GradientDescent(rate, 3)
    system = dataclasses.replace(MODEL, richness=richness).limit(particles, tolerance=0)
    return trained_runs(system, problem, training, states=starts(particles, key))[0][..., 0]


def extrapolated(key, **options):
    """2f_M − f_{M/2}, whose bias is O(M⁻²) where that of f_M is O(1/M)."""
    half = runs(key + 1000, particles=PARTICLES // 2, **options)
    return 2 * runs(key, **options) - half


@functools.cache
def ntk():
    return np.asarray(mf.kernels.mlp(TASK.x, hidden_layers=2, activation=mf.activations.tanh).ntk)


def lazy(rate, steps):
    """f_{t+1} = f_t − ηΘχ, f_0 = 0."""
    f = [np.zeros(3)]
    for _ in range(steps):
        f.append(f[-1] - rate * ntk() @ (f[-1] - TASK.y[:, 0]) / 3)
    return np.stack(f)


@pytest.mark.slow
def test_the_lazy_limit_is_the_kernel_regime(key):
    """f = f_lazy + O(γ²): 4/3 f(γ/2) − 1/3 f(γ) has O(γ⁴), here with equal draws. γ = 1: the term that is
    left is at most the square of the one removed, over |f|. False alarms one in 10⁶."""
    gamma = 1.0
    wide, narrow = extrapolated(key, richness=gamma), extrapolated(key, richness=gamma / 2)
    removed = np.abs(wide.mean(0) - narrow.mean(0)).max()
    truth = lazy(0.6, 3)
    assert_mean((4 * narrow - wide)[:, 1:] / 3, truth[1:], bias=removed**2 / np.abs(truth).max())
    # What is at γ = 5 is another function.
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(extrapolated(key, richness=5.0)[:, 1:], truth[1:])


def test_the_distance_to_the_lazy_limit_falls_as_the_square_of_the_richness(key):
    """With equal draws f(2γ) − f(γ) is four times f(γ) − f(γ/2), to O(γ²)."""
    one, half, quarter = (runs(key, richness=g).mean(0) for g in (0.8, 0.4, 0.2))
    ratio = np.linalg.norm(one - half) / np.linalg.norm(half - quarter)
    assert abs(np.log2(ratio) - 2) < 0.1


@pytest.mark.parametrize("richness", [0.5, 2.0])
def test_the_first_step_goes_along_the_kernel_at_any_richness(richness, key):
    """∂f_1/∂η = −Θχ_0 at η = 0; f_1 is odd in η, so f_1/η is off by O(η²) = 1e-6. False alarms 1e-6."""
    slope = extrapolated(key, richness=richness, rate=1e-3)[:, 1] / 1e-3
    assert_mean(slope, ntk() @ TASK.y[:, 0] / 3, bias=1e-5)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(slope, 1.1 * ntk() @ TASK.y[:, 0] / 3, bias=1e-5)


def assert_rounding(found, desired):
    """Sums over 256 rows and at most 12 directions in two layers, forward and backward, at four steps, and
    directions as small as 50 roundings that are rounding themselves."""
    assert_close(found, desired, (4 * (256 + 12) + 12 * 50) * 4)


def test_opposite_targets_give_opposite_functions_with_the_same_draws(key):
    opposite = mf.Problem(TASK.x, -TASK.y)
    assert_rounding(runs(key, opposite), -runs(key))


def test_without_targets_nothing_happens(key):
    """But for roundings of E[vφ], v of order one."""
    assert np.abs(runs(key, mf.Problem(TASK.x, 0 * TASK.y))).max() < 256 * EPS


def test_only_the_inner_products_of_inputs_count(key):
    """Rotated inputs; independent draws; 1e-6 false alarms. Inputs 1.3 times as long are others."""
    rotation = np.linalg.qr(np.random.default_rng(key).standard_normal((3, 3)))[0]
    found = runs(key)[:, 1:]
    turned = runs(key + 1, mf.Problem(TASK.x @ rotation, TASK.y))[:, 1:]
    assert_mean(turned - found, 0.0)
    longer = runs(key + 1, mf.Problem(1.3 * TASK.x, TASK.y))[:, 1:]
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(longer - found, 0.0)


def test_the_stated_error_is_honest(key):
    """16 groups of 8 replicates: the spread of their means against the stated error, F-distributed for
    Gaussian replicates, per step and sample, 1e-6 for all. What halving adds never makes it smaller."""
    full = runs(key).reshape(16, 8, 4, 3, 1)
    half = runs(key + 1000, particles=PARTICLES // 2).reshape(16, 8, 4, 3, 1)
    truth = 2 * full.mean((0, 1)) - half.mean((0, 1))
    system = dataclasses.replace(MODEL.limit(PARTICLES, 8))
    stated, plain, means = [], [], []
    for f, h in zip(full, half, strict=True):
        found = system.summarise({"prediction": np.concatenate([f, h]).swapaxes(0, 1)})
        np.testing.assert_allclose(found["prediction"], f.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found["prediction_halving"], h.mean(0) - f.mean(0), rtol=1e-12)
        stated.append(found["prediction_error"])
        plain.append(f.std(0, ddof=1) / np.sqrt(8))
        means.append(f.mean(0))
    stated, plain, means = (np.stack(v)[:, 1:, :, 0] for v in (stated, plain, means))
    assert (stated >= (1 - 1e-12) * plain).all()
    center, count = means.mean(0), 9
    for t, p in np.ndindex(3, 3):
        spread = (np.square(means - center)[:, t, p].sum(), 15)
        assert_variance_ratio(spread, (7 * np.square(plain[:, t, p]).sum(), 7 * 16), alpha=1e-6 / count)
        off = np.square(means - truth[1:, :, 0])[:, t, p].sum() / 16
        allowed = scipy.stats.f.isf(1e-6 / count, 16, 7 * 16)
        assert off <= allowed * np.square(stated[:, t, p]).mean()
    with pytest.raises(AssertionError, match="ratio of variances"):
        assert_variance_ratio(spread, (7 * np.square(plain[:, -1, -1] / 4).sum(), 7 * 16))


# -- other networks ----------------------------------------------------------------------------------------


def test_one_hidden_layer_is_the_two_layer_limit(key):
    """On inputs x/√d, with the richness of the network; quadrature there, particles here."""
    x = np.array([[0.8], [-1.3], [0.4]])
    task = mf.Problem(x, TASK.y)
    truth = mf.simulate(
        mf.TwoLayer(mf.activations.tanh, richness=0.8).limit(sampler=mf.Quadrature(), particles=1600),
        *(task, TRAINING),
    ).prediction.values[..., 0]
    model = mf.MLP(1, mf.activations.tanh, mup, richness=0.8)
    full, half = (trained_runs(model.limit(m), task, TRAINING, key + m, 64)[0][..., 0] for m in (512, 256))
    assert_mean((2 * full - half)[:, 1:], truth[1:], bias=1e-5)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean((2 * full - half)[:, 1:], 1.05 * truth[1:], bias=1e-5)


@functools.partial(jax.jit, compiler_options=QUICK)
def kernels(system, problem, states):
    def one(state):
        network = system.look(lambda now, start: now, state, state)
        features = [system.feature_kernel(network, problem.x, layer) for layer in (1, 2)]
        return jnp.stack([*features, system.tangent_kernel(network, problem.x)[:, 0, :, 0]])

    return jax.vmap(one)(states)


def test_at_the_start_kernels_are_those_of_the_recursion(key):
    """Φ¹, Φ² and Θ of two hidden ReLU layers with biases, σ_w² Φ^l + σ_b² = Σ^{l+1}; 1e-6."""
    options = {"weight_variance": 1.5, "bias_variance": 0.3}
    model = mf.MLP(2, mf.activations.relu, mup, richness=0.7, **options)
    particles = 1024
    with double():
        system = planned(model.limit(particles), TASK, TRAINING)
        states = started(system, TASK, TRAINING, key, 64)
        samples = np.asarray(kernels(system, TASK, states))
    recursion = [
        mf.kernels.mlp(TASK.x, hidden_layers=n, activation=mf.activations.relu, **options) for n in (1, 2)
    ]
    truth = np.stack([*((k.nngp - 0.3) / 1.5 for k in recursion), recursion[-1].ntk])
    bias = 3 / particles * np.abs(truth).max()  # O(rank/M), three directions
    assert_mean(samples, truth, bias=bias)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(samples, 1.1 * truth, bias=bias)


def test_what_may_be_dropped_falls_with_the_richness():
    """f is divided by γ, and so is what is dropped."""
    for richness, tolerance in ((3.0, 1e-3), (1.0, 1e-3), (0.3, 1e-4), (0.1, 1e-4), (0.01, 1e-5)):
        model = dataclasses.replace(MODEL, richness=richness)
        assert model.limit(8).tolerance == pytest.approx(tolerance)
        assert model.finite(8, sampler=mf.MatrixFree()).tolerance == pytest.approx(tolerance)
        assert model.limit(8, tolerance=0).tolerance == 0


@pytest.mark.slow
def test_the_lazy_limit_is_reached_at_the_default_tolerance(key):
    """γ = 0.01: f_lazy + O(γ²). With a tolerance that does not fall with γ, changes of x¹ and x² by O(γ) were
    dropped, and with them the share of the lower layers."""
    system = dataclasses.replace(MODEL, richness=0.01).limit(1024)
    found = trained_runs(system, TASK, TRAINING, key, 64)[0][..., 0]
    assert_mean(found[:, 1:], lazy(0.6, 3)[1:], bias=12 / 1024 * np.abs(lazy(0.6, 3)).max())


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [mf.programs.Antithetic(matched=False), mf.programs.Independent()])
def test_particles_drawn_otherwise_have_the_same_limit(sampler, key):
    """2f_M − f_{M/2} against the matched pairs; 1e-6."""
    found = extrapolated(key)[:, 1:]
    other = [
        trained_runs(MODEL.limit(m, sampler=sampler, tolerance=0), TASK, TRAINING, key + m, 256)[0][..., 0]
        for m in (2 * PARTICLES, PARTICLES)
    ]
    other = (2 * other[0] - other[1])[:, 1:]
    se = found.std(0, ddof=1) / np.sqrt(len(found))
    assert_mean(other, found.mean(0), bias=6 * se)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(other, 0.7 * found.mean(0), bias=6 * se)
