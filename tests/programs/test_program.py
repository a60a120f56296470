"""A program of one's own: a recurrent network with one matrix used again and again, in three readings."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from assertions import EPS, assert_close, assert_mean
from revealed_runs import dense_runs, planned, started, stored, trained_runs

import meanfield as mf
from meanfield.base.precision import double
from meanfield.programs import Matrix, Program, Vector
from meanfield.programs.revealed import Revealed
from meanfield.studies.trajectory import network_keys


class Passed(NamedTuple):
    inputs: object
    features: list
    output: object


@dataclasses.dataclass(frozen=True)
class Recurrent(Program):
    """x_0 = tanh(ux/√d),  x_{s+1} = tanh(Wx_s + ux/√d),  f = E[v x_S]."""

    uses: int
    deviation: float = 1.2

    def arrays(self, problem):
        d, k = problem.inputs, problem.outputs
        return {"u": Vector(d), "v": Vector(k, odd=True), "w": Matrix(self.deviation)}

    def forward(self, ops, p, x):
        i = p["u"] @ x.T / np.sqrt(x.shape[1])
        features = [jnp.tanh(i)]
        for _ in range(self.uses):
            features.append(jnp.tanh(ops.matmul("w", features[-1]) + i))
        return Passed(i, features, ops.moment(features[-1], p["v"]))

    def gradient(self, ops, p, x, passed, chi, step):
        g, fields = p["v"] @ chi.T, []
        for s in range(self.uses, -1, -1):
            fields.append(g * (1 - passed.features[s] ** 2))
            if s:
                ops.update("w", fields[-1], passed.features[s - 1])
                g = ops.transpose_matmul("w", fields[-1])
        u = sum(fields) @ x / np.sqrt(x.shape[1])
        return {"u": u, "v": passed.features[-1] @ chi}


RNG = np.random.default_rng(0)
TASK = mf.Problem(RNG.standard_normal((2, 2)), np.array([1.0, -0.7]))
TRAINING = mf.GradientDescent(0.4, 3)


@functools.cache
def dense(uses, width, key, count):
    return dense_runs(Recurrent(uses).finite(width, dtype="float64"), TASK, TRAINING, key, count)[..., 0]


def matrix_free(uses, width, key, count, reading=Revealed):
    system = Recurrent(uses).finite(width, sampler=mf.MatrixFree(0), dtype="float64")
    return trained_runs(system, TASK, TRAINING, key, count, reading=reading)[0][..., 0]


def assert_one_law(one, other, alpha=1e-6):
    """Fail if samples (R, …) have different laws; false alarms ≤ alpha.

    Means, second moments about the common mean, and 60 characteristic functions along random directions in
    units of the common spread: each a difference of averages of independent terms, Gaussian to O(1/√R) in
    its tails, Bonferroni over all.
    """
    one, other = (a.reshape(len(a), -1) for a in (one, other))
    both = np.concatenate([one, other])
    one, other = ((a - both.mean(0)) / both.std(0) for a in (one, other))
    rng, (i, j) = np.random.default_rng(1), np.triu_indices(one.shape[1])
    directions = rng.standard_normal((one.shape[1], 60)) / np.sqrt(one.shape[1])
    phases = rng.uniform(0, 2 * np.pi, 60)
    seen = [
        np.concatenate([a, a[:, i] * a[:, j], np.cos(2 * a @ directions + phases)], 1) for a in (one, other)
    ]
    z = seen[0].mean(0) - seen[1].mean(0)
    z = z / np.sqrt(sum(s.var(0, ddof=1) / len(s) for s in seen))
    worst, allowed = np.abs(z).max(), scipy.stats.norm.isf(alpha / (2 * z.size))
    assert worst <= allowed, f"off by {worst:.1f} standard errors, {allowed:.1f} allowed"


class Unprojected(Revealed):
    """Noise as in the limit: (I − UUᵀ) in front of ξ is missing."""

    def __init__(self, *arguments, finite, **options):
        super().__init__(*arguments, finite=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("width", [6, 64])
def test_without_its_matrix_a_network_has_the_law_of_the_dense_one(width, key):
    """At 6 neurons the noise of the limit, which is not orthogonal to what is known, is noticed."""
    count = 8192 if width == 6 else 1024
    truth = dense(3, width, key, count)
    assert_one_law(truth, matrix_free(3, width, key + 1, count))
    if width == 6:
        with pytest.raises(AssertionError, match="standard errors"):
            assert_one_law(truth, matrix_free(3, width, key + 1, count, Unprojected))


def test_two_samples_of_one_law_agree_and_of_two_laws_do_not(key):
    """The check itself: Gaussians, the same with a standard deviation of 1.15, and with a skewness of 0.8."""
    rng = np.random.default_rng(key)
    one, other = rng.standard_normal((2, 4096, 6))
    assert_one_law(one, other)
    for changed in (1.15 * other, (other + 0.15 * other**2 - 0.15) / np.sqrt(1.045)):
        with pytest.raises(AssertionError, match="standard errors"):
            assert_one_law(one, changed)


def test_with_a_stored_matrix_it_is_the_dense_network(key):
    """One network of 12 neurons. Rounding: sums over 12 neurons and directions, orthonormal to 100 roundings,
    in two products forward and two backward, at four steps."""
    n = 12
    with double():
        arrays = Recurrent(2).arrays(TASK)
        system = Recurrent(2).finite(n, dtype="float64")
        keys = network_keys(jax.random.key(key), [0])[0]
        p = system.start(TASK, TRAINING, keys).parameters
        free = planned(Recurrent(2).finite(n, sampler=mf.MatrixFree(0), dtype="float64"), TASK, TRAINING)
        states = started(free, TASK, TRAINING, key, 1)
        states = states._replace(parameters={**states.parameters, "u": p["u"], "v": p["v"]})
        matrix = np.asarray(p["w"][0]) / arrays["w"].deviation
    found, _ = trained_runs(free, TASK, TRAINING, states=states, reading=stored({"w": matrix}))
    truth = dense(2, n, key, 1)
    assert_close(found[..., 0], truth, 4 * 100 * n * 4)
    assert np.abs(truth[:, -1] - truth[:, 0]).max() > 0.01


@pytest.mark.slow
def test_its_limit_is_where_wide_networks_go(key):
    """2f_128 − f_64 of dense networks has a bias O(n⁻²), the limit one of order rank/M; false alarms 1e-6."""
    wide, narrow = dense(2, 128, key, 512), dense(2, 64, key + 1, 512)
    particles = 4096
    system = Recurrent(2).limit(particles)
    found, states = trained_runs(system, TASK, TRAINING, key, 8)
    rank = max(int(side.rank.max()) for side in states.bases["w"])
    found = found[..., 0]
    se = np.sqrt(found.var(0, ddof=1) / 8)
    assert (se[1:] < 0.005).all() and np.abs(found[:, 0]).max() < 100 * EPS
    samples = 2 * wide - narrow
    bias = rank / particles * np.abs(found).max() + 6 * se
    assert_mean(samples, found.mean(0), bias=bias)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(samples, found.mean(0) * 1.4, bias=bias)
