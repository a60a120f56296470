"""The limit's own error, its samplers, and the distance of finite networks to it."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats
from assertions import assert_close, assert_mean, assert_variance_ratio
from cases import Neurons, atoms, in_double, problem
from reference import NumpyTwoLayer

import meanfield as mf
from meanfield.base.precision import double
from meanfield.studies.trajectory import follow, limit_keys

LINE = mf.Problem([[-1.0], [0.5], [1.5]], [-1.0, 0.5, 1.0])
TRAINING = mf.GradientDescent(0.2, 5)
TANH = mf.TwoLayer(mf.activations.tanh)


def by_quadrature(nodes, training=TRAINING):
    return mf.simulate(TANH.limit(4, sampler=mf.Quadrature(nodes=nodes)), LINE, training)


@pytest.fixture(scope="module")
def truth():
    """Predictions of the limit on LINE, (step, 3), to 1e-5: e^{−1.1√100}."""
    return by_quadrature(100)["prediction"].values[..., 0]


def test_quadrature_converges_like_the_exponential_of_a_root(truth):
    """Error ∝ e^{−C√m}: equal steps in √m divide it by equal factors, faster than every power of m.

    The rule with m nodes is compared with that of 3m/4: where e^{C(√m − √(3m/4))} ≥ 2, m ≥ 22 at C = 1.1,
    the reported error is above the true one.
    """
    nodes = np.array([9, 25, 49])
    runs = [by_quadrature(int(m)) for m in nodes]
    errors = np.array([np.abs(run["prediction"].values[..., 0] - truth).max() for run in runs])
    rates = -np.diff(np.log(errors)) / np.diff(np.sqrt(nodes))
    assert abs(rates[1] / rates[0] - 1) < 0.2, rates
    powers = -np.diff(np.log(errors)) / np.diff(np.log(nodes))
    assert powers[1] > 1.2 * powers[0] > 2
    assert all(run["prediction_error"].max() > e for run, e in zip(runs[1:], errors[1:], strict=True))


def test_two_nodes_per_coordinate_are_rounded_up_from_the_particle_number():
    few = TANH.limit(4, sampler=mf.Quadrature())
    assert few.count == 2
    data = mf.simulate(few, LINE, TRAINING, observe=Neurons(at=(0, 5)))
    assert data.sizes["particle"] == 4 and set(np.round(data["a"].values[0, :, 0], 12)) == {-1.0, 1.0}


def replicates_of(system, training, key, record):
    """Predictions of every replicate, (step, R, P)."""
    with double():
        planned, _ = system.plan(LINE, training, 1, 4e9)
        trajectory = follow(planned, LINE, training, limit_keys(jax.random.key(key)), np.asarray(record))
    return trajectory.arrays["prediction"][..., 0]


def test_the_standard_error_of_a_limit_is_honest(truth, key):
    """200 groups of 8 replicates of 512 particles: mean of (error/standard error)², per sample and time.

    For Gaussian replicates Σ error² and Σ 7·se² are independent multiples of χ²; their ratio is
    F(200, 1400), false alarms 1e-6 each; a standard error wrong by a factor of two is always seen. The
    bias O(1/M) of a replicate, 1/512, adds (1/512)² to squares of size 1/4096: 2%, below the threshold.
    """
    system = TANH.limit(512, replicates=1600, sampler=mf.IID())
    values = replicates_of(system, TRAINING, key, [0, 5])
    groups = values.reshape(2, 200, 8, 3)
    summaries = [system.summarise({"prediction": groups[:, g]}) for g in range(200)]
    mean, error = (np.stack([s[n] for s in summaries]) for n in ("prediction", "prediction_error"))
    exact = truth[[0, 5]]
    for step in range(2):
        for sample in range(3):
            squares = ((mean[:, step, sample] - exact[step, sample]) ** 2).sum()
            estimates = (7 * error[:, step, sample] ** 2).sum()
            assert_variance_ratio((squares, 200), (estimates, 1400))
            with pytest.raises(AssertionError):
                assert_variance_ratio((squares, 200), (4 * estimates, 1400))
    data = mf.simulate(system, LINE, TRAINING, key=key, record=[0, 5])
    assert_close(data["prediction"].values[..., 0], values.mean(1), 1600)
    assert_close(data["prediction_error"].values[..., 0], values.std(1, ddof=1) / 40, 1600)


def test_sobol_particles_know_the_limit_better_than_independent_ones(truth, key):
    """Same particle number and key: a smaller error (24 times in truth), and consistent with the truth."""
    systems = [TANH.limit(2048, sampler=s) for s in (mf.IID(), mf.Sobol())]
    iid, sobol = (mf.simulate(system, LINE, TRAINING, key=key) for system in systems)
    assert (sobol["prediction_error"] ** 2).mean() < (iid["prediction_error"] ** 2).mean()
    allowed = scipy.stats.t.isf(1e-6 / (2 * 18), 7)
    for data in (iid, sobol):
        error = np.abs(data["prediction"].values[..., 0] - truth)
        assert (error <= allowed * data["prediction_error"].values[..., 0] + 1 / 2048).all()


@pytest.mark.parametrize("outputs, bias", [(1, False), (2, True)])
def test_the_limit_of_atoms_is_the_network_made_of_them(outputs, bias):
    """Weighted atoms against NumPy, with momentum and decay: nothing is sampled, the error is zero."""
    task = problem(outputs=outputs)
    law = atoms(20, 2, outputs, bias, weighted=True)
    model = mf.TwoLayer(mf.activations.tanh, bias=bias, richness=0.6, initial=law)
    training = mf.GradientDescent(0.1, 10, momentum=0.5, weight_decay=0.2)
    data = mf.simulate(model.limit(7), task, training)
    options = {"richness": 0.6, "weight_decay": 0.2, "momentum": 0.5}
    network = NumpyTwoLayer(law._points(), law.weights, "tanh", **options)
    for step in range(11):
        f, g = network.predict(task.x), network.predict(task.x_test)
        operations = 2 * (20 + 5 + 2 + 12) * (step + 1)
        assert_close(data["prediction"].values[step], f, operations)
        assert_close(data["test_prediction"].values[step], g, operations)
        for name, miss in (("loss", f - task.y), ("test_loss", g - task.y_test)):
            assert_close(data[name].values[step], 0.5 * np.square(miss).sum(1).mean(), 2 * operations)
        network.descend(task.x, task.y, 0.1)
    for name in ("prediction", "loss", "test_prediction", "test_loss"):
        assert (data[f"{name}_error"] == 0).all()
    assert "seed" not in data.dims and int(data["first_bad_step"]) == -1


def test_chunks_and_memory_do_not_change_a_limit(key):
    """4100 particles, no multiple of a chunk, times 8 samples: above 10⁶ bytes of work, so it is cut."""
    task = problem(samples=8)
    system = TANH.limit(4100, replicates=2)
    assert system.plan(task, TRAINING, 1, 1e6)[0].particles.chunk is not None
    assert system.plan(task, TRAINING, 1, 4e9)[0].particles.chunk is None
    whole, parts = (mf.simulate(system, task, TRAINING, key=key, memory=m) for m in (None, 1e6))
    for name in ("prediction", "prediction_error", "test_prediction", "loss"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-12)


def test_the_neurons_of_a_limit_weigh_one_and_are_all_replicates():
    with double():
        system = TANH.limit(16, replicates=3)
        state = system.init(LINE, TRAINING, jax.random.key(0))
        measure = in_double(system.measure, state)
    assert measure.particles == 48
    assert_close(measure.weights, np.full(48, 1 / 48), 3)


def finite_predictions(width, seeds, key, training=TRAINING):
    data = mf.simulate(TANH.finite(width), LINE, training, seeds=seeds, key=key, record=[0, training.steps])
    return data["prediction"].values[..., 0].astype(float)


@pytest.fixture(scope="module")
def networks(key):
    """Predictions of 256 networks of width 256 and of 512, the first half of whose neurons they share."""
    return {width: finite_predictions(width, 256, key) for width in (256, 512)}


def test_finite_networks_at_initialisation_have_exactly_the_variance_of_one_neuron_over_n(networks):
    """n Var f_0(x) = E φ(w·x)², as f_0 is a mean of n independent aφ(w·x); χ² with 256 degrees, 1e-6 each."""
    points, weights = mf.Quadrature().rule(60, 1)
    for width, f in networks.items():
        for sample, x in enumerate(LINE.x[:, 0]):
            expected = weights @ np.tanh(points[:, 0] * x) ** 2 / width
            statistic = (f[:, 0, sample] ** 2).sum() / expected
            low, high = scipy.stats.chi2.isf([1 - 5e-7, 5e-7], 256)
            assert low <= statistic <= high
            assert not low <= 4 * statistic <= high


def test_the_mean_of_finite_networks_approaches_the_limit(networks, truth):
    """2f_512 − f_256 network by network has a bias O(n^{−2}); 256 networks, false alarms 1e-6.

    Its spread is that of a network, some n^{−1/2}: the mean is known to 1/300.
    """
    extrapolated = 2 * networks[512] - networks[256]
    assert_mean(extrapolated[:, 1], truth[5], bias=1 / 256**2)
    wrong = by_quadrature(40, mf.GradientDescent(0.4, 5))["prediction"].values[5, :, 0]
    with pytest.raises(AssertionError):
        assert_mean(extrapolated[:, 1], wrong, bias=1 / 256**2)


def test_the_distance_of_one_network_to_the_limit_halves_its_square_from_256_to_512(networks, truth):
    """Mean square distances at time 1 ∝ 1/n: their ratio is 2 within sampling error.

    The networks are coupled (shared neurons), so the bootstrap over seeds gives the error of the logarithm;
    seven of them cover the skewness of a mean of squares.
    """
    squares = {w: ((f[:, 1] - truth[5]) ** 2).mean(1) for w, f in networks.items()}
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (400, 256))
    logs = np.log2(squares[256][rows].mean(1) / squares[512][rows].mean(1))
    assert abs(np.log2(squares[256].mean() / squares[512].mean()) - 1) < 7 * logs.std()
    assert 7 * logs.std() < 1  # a distance that does not shrink is excluded


def test_both_systems_come_from_one_model():
    system, limit = TANH.finite(8), TANH.limit(8)
    assert system.particles == limit.particles == TANH.particles()
    assert not system.is_limit and limit.is_limit
    assert {law.kind: law.exponent for law in TANH.laws()} == {"fluctuation": -0.5, "bias": -1.0}
    assert dataclasses.replace(limit, rows=9) == TANH.limit(9)
