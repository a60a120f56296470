"""The kernel regime of an MLP: its law against closed forms, against finite networks, and what has none."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from assertions import EPS, assert_close, assert_mean, assert_one_sentence

import meanfield as mf

P = mf.parametrizations
RNG = np.random.default_rng(5)
X, X_TEST = RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3))
Y = RNG.standard_normal((5, 1))
PROBLEM = mf.Problem(X, Y, x_test=X_TEST, y_test=RNG.standard_normal((4, 1)))
DESCENT = mf.GradientDescent(0.4, 12)


def model(parametrization=P.ntk, hidden_layers=2, **options):
    return mf.MLP(hidden_layers, mf.activations.relu, parametrization, weight_variance=2.0, **options)


def by_hand(kernel, test, within, rate, steps, y=Y):
    """Ψ = Θ_xX Θ⁻¹(I − (I − ηΘ/P)^t); mean Ψy, covariance Σ + ΨΣΨᵀ − ΨΣ_Xx − Σ_xXΨᵀ, by dense solves."""
    theta, sigma = kernel
    power = np.linalg.matrix_power(np.eye(len(theta)) - rate * theta / len(theta), steps)
    psi = test[0] @ np.linalg.solve(theta, np.eye(len(theta)) - power)
    covariance = within + psi @ sigma @ psi.T - psi @ test[1].T - test[1] @ psi.T
    return psi @ y, np.sqrt(np.diag(covariance))


def kernels_of(x1, x2=None, **options):
    options = {"hidden_layers": 2, "activation": mf.activations.relu, "weight_variance": 2.0} | options
    found = mf.kernels.mlp(x1, x2, **options)
    return found.ntk, found.nngp


@pytest.mark.parametrize("richness", [1.0, 0.5])
def test_the_law_is_that_of_the_closed_form(richness):
    """Kernels of condition about 10² lose two digits in the solve."""
    limit = mf.simulate(model(richness=richness).limit(), PROBLEM, DESCENT)
    theta, sigma = kernels_of(X)
    test, within = kernels_of(X_TEST, X), kernels_of(X_TEST)[1]
    scale = 1 / richness**2  # of Σ
    for step in (0, 1, 5, 12):
        mean, spread = by_hand((theta, scale * sigma), (test[0], scale * test[1]), scale * within, 0.4, step)
        at = limit.sel(step=step)
        np.testing.assert_allclose(at.test_prediction.values, mean, rtol=0, atol=1e4 * EPS)
        np.testing.assert_allclose(at.test_prediction_spread.values[:, 0], spread, rtol=0, atol=1e4 * EPS)
        loss = 0.5 * np.mean((mean - PROBLEM.y_test) ** 2) + 0.5 * np.mean(spread**2)
        np.testing.assert_allclose(float(at.test_loss), loss, rtol=0, atol=1e5 * EPS)
    assert "seed" not in limit.dims and int(limit.first_bad_step) == -1
    assert limit.prediction.dims == ("step", "sample", "output")


def test_recording_less_is_recording_all_and_cutting():
    system = model().limit()
    everything = mf.simulate(system, PROBLEM, DESCENT)
    some = mf.simulate(system, PROBLEM, DESCENT, record=[0, 3, 12])
    for name in ("prediction", "prediction_spread", "test_prediction", "loss"):
        assert_close(some[name].values, everything[name].sel(step=[0, 3, 12]).values, 1e4)


def test_a_centred_network_has_a_trajectory_and_no_spread():
    limit = mf.simulate(model(centred=True).limit(), PROBLEM, DESCENT)
    assert "prediction_spread" not in limit and "test_prediction_spread" not in limit
    np.testing.assert_array_equal(limit.prediction.sel(step=0), 0.0)
    theta = kernels_of(X)[0]
    power = np.linalg.matrix_power(np.eye(5) - 0.4 * theta / 5, 12)
    np.testing.assert_allclose(limit.prediction.values[-1], Y - power @ Y, rtol=0, atol=1e4 * EPS)
    assert [law.exponent for law in model(centred=True).laws()] == [-0.5, -1.0]
    assert {law.kind for law in model().laws()} == {"bias", "spread", "distribution"}


def test_layers_add_up_in_proportion_to_their_rates():
    """Θ is linear in the rates; all but one at 0 is the part of one layer; the readout's part is Σ."""
    options = {"bias_variance": 0.3}
    parts = [kernels_of(X, X_TEST, rates=row, **options)[0] for row in np.eye(3)]
    whole, sigma = kernels_of(X, X_TEST, **options)
    assert_close(sum(parts), whole, 100)
    assert_close(parts[2], sigma, 10)
    mixed = kernels_of(X, X_TEST, rates=(0.5, 0.0, 2.0), **options)[0]
    assert_close(mixed, 0.5 * parts[0] + 2 * parts[2], 100)
    weights = kernels_of(X, X_TEST, bias_rates=0.0, **options)[0]
    assert np.abs(weights - whole).max() > 0.1  # biases have their part
    biases = kernels_of(X, X_TEST, rates=0.0, bias_rates=1.0, **options)[0]
    assert_close(weights + biases, whole, 100)


@pytest.mark.parametrize("parametrization", [P.ntk, P.standard.with_rates(1), P.mup, P.standard])
def test_the_kernel_at_one_width_is_the_mean_of_the_networks_own(parametrization, key):
    """One hidden layer: E Θ̂ = Θ exactly at every n, learning rates of all layers included, those that fall
    or grow with the width too; 400 networks of width 6, false alarms 1e-6."""
    wide = model(parametrization, 1, bias_variance=0.5)
    looks = [mf.observe.Kernel(at=(0,))]
    training = mf.GradientDescent(1e-6, 1)
    networks = mf.simulate(
        wide.finite(6, dtype="float64"), PROBLEM, training, seeds=400, key=key, observe=looks
    )
    measured = networks.kernel.values[:, 0, :, 0, :, 0]
    kernel = wide.finite(6).initial_kernel(PROBLEM)
    assert_mean(measured, kernel(np.eye(5)))


def test_input_weights_that_stand_still_have_no_part_at_infinite_width():
    """standard at c = 1: Θ without the first layer and without hidden biases."""
    limit = model(P.standard.with_rates(1), 2, bias_variance=0.5).limit()
    expected = kernels_of(X, bias_variance=0.5, rates=(0, 1, 1), bias_rates=(0, 0, 1))[0]
    assert_close(limit.kernels(X).ntk, expected, 10)


@pytest.mark.parametrize("parametrization", [P.ntk, P.standard.with_rates(1)])
def test_wide_networks_follow_the_law(parametrization, key):
    """64 networks of width 512, in units of the spread: means and second moments about its mean, false
    alarms 1e-6, after a bias of 12/n, twice the largest among 4000 networks of width 32."""
    wide = model(parametrization)
    training = mf.GradientDescent(0.2 * mf.stability(wide, PROBLEM), 8)
    options = {"record": [0, 2, 8]}
    networks = mf.simulate(wide.finite(512), PROBLEM, training, seeds=64, key=key, **options)
    law = mf.simulate(wide.limit(), PROBLEM, training, **options)
    mean, spread = law.test_prediction.values, law.test_prediction_spread.values
    deviation = networks.test_prediction.values - mean
    allowed = 12 / 512
    assert_mean(deviation / spread, 0.0, bias=allowed)
    assert_mean((deviation / spread) ** 2, 1.0, bias=allowed)
    with pytest.raises(AssertionError):  # control: a law twice as wide is found out
        assert_mean((deviation / (2 * spread)) ** 2, 1.0, bias=allowed)


@pytest.mark.slow
def test_five_hundred_networks_of_width_2048_have_the_law(key):
    """Trained until 7e-4 of the loss is left. Means, second moments and products of pairs of test outputs in
    units of the spread, false alarms 1e-6 each after a bias of 12/n: among 4000 networks of width 32 and 64
    the largest is 9/n. Every output is Gaussian, and 1.3 times the spread is found out.

    Seven minutes of processor time; `test_wide_networks_follow_the_law` is the small sibling.
    """
    wide, steps = model(), [0, 2, 8, 40]
    training = mf.GradientDescent(0.2 * mf.stability(wide, PROBLEM), steps[-1])
    networks = mf.simulate(wide.finite(2048), PROBLEM, training, seeds=500, key=key, record=steps)
    options = {"hidden_layers": 2, "activation": mf.activations.relu, "weight_variance": 2.0}
    law = mf.kernels.predict(
        mf.kernels.mlp(X, **options), Y, training, test=mf.kernels.mlp(X_TEST, X, **options),
        test_test=mf.kernels.mlp(X_TEST, **options), times=training.times()[steps], covariance=True,
    )  # fmt: skip
    limit = mf.simulate(wide.limit(), PROBLEM, training, record=steps)
    spread = limit.test_prediction_spread.values
    np.testing.assert_allclose(law.test_prediction_spread.values, spread, rtol=1e-9)
    z = ((networks.test_prediction.values - limit.test_prediction.values) / spread)[..., 0]
    correlation = law.test_covariance.values / (spread * spread[..., 0][:, None])
    products, allowed = z[..., :, None] * z[..., None, :], 12 / 2048
    assert_mean(z, 0.0, bias=allowed)
    assert_mean(products, correlation, bias=allowed)
    with pytest.raises(AssertionError):
        assert_mean(products / 1.3**2, correlation, bias=allowed)
    for entry in z.reshape(len(z), -1).T:
        assert scipy.stats.kstest(entry, "norm").pvalue > 1e-6 / z[0].size


@pytest.mark.slow
def test_networks_in_mini_batches_follow_the_law_of_their_order(key):
    """64 networks of width 512 in units of the spread, false alarms 1e-6, after biases of 24/n of means and
    80/n of second moments, twice the largest among 4000 networks of widths 32 and 64. The law of another
    order, 1.6 spreads away after the first batch, is found out."""
    wide, steps = model(), [0, 1, 3, 9]
    training = mf.GradientDescent(0.2 * mf.stability(wide, PROBLEM), steps[-1], batch_size=2, batch_key=5)
    networks = mf.simulate(wide.finite(512), PROBLEM, training, seeds=64, key=key, record=steps)

    def deviation(training):
        law = mf.simulate(wide.limit(), PROBLEM, training, record=steps)
        off = networks.test_prediction.values - law.test_prediction.values
        return off / law.test_prediction_spread.values

    own = deviation(training)
    assert_mean(own, 0.0, bias=24 / 512)
    assert_mean(own**2, 1.0, bias=80 / 512)
    with pytest.raises(AssertionError):
        assert_mean(deviation(dataclasses.replace(training, batch_key=6)), 0.0, bias=24 / 512)


def test_descent_tends_to_the_flow():
    """First order in the rate: half the rate, half the distance."""
    law = mf.simulate(model().limit(), PROBLEM, mf.GradientFlow(4.0, save=3)).prediction.values[-1]
    off = []
    for steps in (40, 80, 160):
        descent = mf.GradientDescent(4.0 / steps, steps)
        end = mf.simulate(model().limit(), PROBLEM, descent, record=[0, steps]).prediction.values[-1]
        off.append(np.abs(end - law).max())
    ratios = np.array(off[:-1]) / off[1:]
    assert (np.abs(ratios - 2) < 0.15).all()


def test_a_study_compares_laws(tmp_path):
    """The kinds are those of laws; it resumes; its report prints every kind."""
    options = {"widths": [4, 8], "seeds": 8, "record": [0, 12], "progress": False}
    first = mf.width_study(model(), PROBLEM, DESCENT, store=tmp_path / "store", **options)
    assert list(first["fit"].kind.values) == ["bias", "spread", "distribution"]
    again = mf.width_study(model(), PROBLEM, DESCENT, store=tmp_path / "store", **options)
    assert again.identical(first)
    text = mf.report(first)
    assert "law of predictions" in text and "exact: nothing to refine" in text and "one network" not in text


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda: model(P.standard).limit(), ("`parametrization`", "unstable")),
        (lambda: model(P.integrable, 3).limit(), ("`parametrization`", "trivial")),
        (
            lambda: mf.simulate(model().limit(), PROBLEM, mf.GradientDescent(0.1, 3, weight_decay=0.1)),
            ("`training`", "weight decay"),
        ),
        (
            lambda: mf.simulate(model().limit(), PROBLEM, DESCENT, observe=[mf.observe.Moments()]),
            ("`observe`", "Moments"),
        ),
    ],
    ids=["unstable", "trivial", "decay", "observables"],
)
def test_what_has_no_kernel_limit_is_refused_in_one_sentence(bad, words):
    with pytest.raises(ValueError) as caught:
        bad()
    assert_one_sentence(str(caught.value).split(": Layer")[0].split(": The")[0].rstrip(".") + ".", *words)


@pytest.mark.slow
def test_the_mean_loss_is_that_of_networks_for_a_loss_that_is_not_square(key):
    """Logistic: means of losses and of predictions over 200 networks of width 256 against 2000 draws; their
    difference within false alarms of 1e-6, after the bias of a width, 2/256."""
    task = mf.Problem(X, np.sign(Y), loss=mf.losses.logistic, x_test=X_TEST, y_test=np.sign(PROBLEM.y_test))
    narrow = mf.MLP(1, mf.activations.tanh, P.ntk, richness=0.4)
    law = mf.simulate(narrow.limit(2000), task, DESCENT, key=key)
    other = mf.simulate(
        mf.MLP(1, mf.activations.tanh, P.ntk, richness=0.2).limit(2000), task, DESCENT, key=key
    )
    networks = mf.simulate(narrow.finite(256), task, DESCENT, seeds=200, key=key)
    for name in ("loss", "test_loss"):
        measured, own = networks[name].values, law[f"{name}_error"].values
        assert (own > 0).all() and own.max() < 0.02
        assert_mean(measured, law[name].values, bias=2 / 256 + 5.5 * own)
        with pytest.raises(AssertionError):  # control: the law of another richness
            assert_mean(measured, other[name].values, bias=2 / 256 + 5.5 * own)
