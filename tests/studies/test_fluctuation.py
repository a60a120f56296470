"""Asymptotic spread and bias of finite widths, and the control variate.  THEORY 1.1."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import meanfield as mf
from meanfield.base.precision import double
from meanfield.studies import response as response_module
from meanfield.studies.linear_response import segments
from meanfield.studies.report import spread_ratios
from meanfield.systems.two_layer import response as linear

ACTIVATIONS = {"tanh": mf.activations.tanh, "erf": mf.activations.erf, "relu": mf.activations.relu}


def small_problem(loss=mf.losses.square, outputs=1, inputs=2, tests=0):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, inputs))
    y = np.where(rng.normal(size=(4, outputs)) > 0, 1.0, -1.0)
    x_test = rng.normal(size=(tests, inputs)) if tests else None
    return mf.Problem(x, y, loss=loss, x_test=x_test)


def atoms(count, inputs=2, outputs=1, bias=False, weights=None):
    rng = np.random.default_rng(5)
    b = rng.normal(size=count) if bias else None
    return mf.initial.Atoms(rng.normal(size=(count, outputs)), rng.normal(size=(count, inputs)), b, weights)


def limit_of(model, weights, problem, training):
    """The limit from the same atoms with other weights: the independent route, no derivative in it."""
    stored = model.initial
    changed = mf.initial.Atoms(stored.a, stored.w, stored.b, weights)
    data = mf.simulate(dataclasses.replace(model, initial=changed).limit(), problem, training)
    return np.concatenate([data.prediction.values, *_test(data)], 1)


def _test(data):
    return [data.test_prediction.values] if "test_prediction" in data else []


CASES = {
    "erf, logistic, decay": {"activation": "erf", "loss": mf.losses.logistic, "weight_decay": 0.3},
    "tanh, two outputs, bias, momentum": {"outputs": 2, "bias": True, "momentum": 0.6},
    "erf, exponential, fixed readout, richness 2, unequal weights, test set": {
        "activation": "erf", "loss": mf.losses.exponential, "fixed": True, "richness": 2.0, "unequal": True,
        "tests": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_covariance_and_bias_on_atoms_equal_differences_of_limits(case):
    """C = Σ_i m_i D_i D_iᵀ and bias = ½ Σ_i m_i D_i², D_i the derivatives of the limit from
    (1−ε)ρ_0 + εδ_i: central differences of whole runs, extrapolated once (error O(ε⁴)).

    With ε = 2^-6 and 2^-7 the extrapolation leaves the fourth-order term, bounded by a tenth of the change
    that the extrapolation itself made, and rounding, 1e-15/ε² ≈ 2e-11 for second differences.
    """
    options = CASES[case]
    outputs, bias, tests = options.get("outputs", 1), options.get("bias", False), options.get("tests", 0)
    problem = small_problem(options.get("loss", mf.losses.square), outputs, tests=tests)
    weights = np.array([0.1, 0.25, 0.15, 0.3, 0.2]) if options.get("unequal") else np.full(5, 0.2)
    model = mf.TwoLayer(
        ACTIVATIONS[options.get("activation", "tanh")],
        bias,
        options.get("richness", 1.0),
        initial=atoms(5, outputs=outputs, bias=bias, weights=weights),
        train_readout=not options.get("fixed", False),
    )
    decay, momentum = options.get("weight_decay", 0.0), options.get("momentum", 0.0)
    training = mf.GradientDescent(0.15, 6, weight_decay=decay, momentum=momentum)
    found = mf.fluctuation(model, problem, training)
    middle = limit_of(model, weights, problem, training)

    def differences(epsilon):
        first, second = [], []
        for i in range(5):
            toward = (np.arange(5) == i) - weights
            plus = limit_of(model, weights + epsilon * toward, problem, training)
            minus = limit_of(model, weights - epsilon * toward, problem, training)
            first.append((plus - minus) / (2 * epsilon))
            second.append((plus - 2 * middle + minus) / epsilon**2)
        return np.stack(first), np.stack(second)

    coarse, fine = differences(2.0**-6), differences(2.0**-7)
    d1, d2 = (f + (f - c) / 3 for c, f in zip(coarse, fine, strict=True))
    left1, left2 = (0.1 * np.abs(f - c).max() + 1e-10 for c, f in zip(coarse, fine, strict=True))
    std = np.sqrt(np.einsum("i,i...->...", weights, d1**2))
    whole = found.prediction_std.values
    half = 0.5 * np.einsum("i,i...->...", weights, d2)
    bias_found = found.prediction_bias.values
    if tests:
        whole = np.concatenate([whole, found.test_prediction_std.values], 1)
        bias_found = np.concatenate([bias_found, found.test_prediction_bias.values], 1)
    np.testing.assert_allclose(whole, std, rtol=0, atol=left1)
    np.testing.assert_allclose(bias_found, half, rtol=0, atol=left2)
    inside = d1[:, :, :4].reshape(5, -1)
    covariance = np.einsum("i,ia,ib->ab", weights, inside, inside)
    size = inside.shape[1]
    allowed = 3 * left1 * np.abs(inside).max()
    np.testing.assert_allclose(
        found.prediction_covariance.values.reshape(size, size), covariance, rtol=0, atol=allowed
    )
    assert left1 < 1e-3 * np.abs(d1).max() and left2 < 0.02 * np.abs(d2).max()  # the check is sharp


def test_the_matrix_and_the_random_directions_agree(monkeypatch):
    """Two routes to the same variance: (I + R)(H − f) over all particles, and multipliers. Over K draws the
    ratio of variances averaged over outputs has relative error at most √(2/K); false alarms ≤ 1e-6."""
    problem, training = small_problem(tests=3), mf.GradientDescent(0.2, 8)
    model = mf.TwoLayer(mf.activations.tanh)
    options = {"particles": 256, "draws": 800, "bias_draws": 0, "replicates": 2}
    matrix = mf.fluctuation(model, problem, training, **options)
    assert matrix.attrs["method"] == "matrix"
    monkeypatch.setattr(response_module, "MATRIX", 0)
    drawn = mf.fluctuation(model, problem, training, **options)
    assert drawn.attrs["method"] == "directions"
    for name in ("prediction_std", "test_prediction_std"):
        ratio = float((drawn[name] ** 2).mean() / (matrix[name] ** 2).mean())
        assert abs(ratio - 1) < scipy.stats.norm.isf(5e-7) * np.sqrt(2 / 800)


@pytest.mark.slow
def test_control_variate_on_atoms_leaves_deviations_of_order_one_over_n():
    """f_n − f − (first order) is O(1/n): its rms over networks of widths 64 and 1024 falls sixteenfold. With
    R networks each rms is known to 1/√(2R)·κ, κ² ≤ 8 for a quadratic form in Gaussians: the ratio lies within
    5 standard errors of 1/16 up to the next order, a relative O(n^{−1/2}) bounded by 4/√64 here."""
    problem, training = small_problem(), mf.GradientDescent(0.2, 8)
    model = mf.TwoLayer(mf.activations.tanh, initial=atoms(6))
    study = mf.width_study(
        model, problem, training, widths=[64, 1024], seeds=256, response=mf.Response(), progress=False
    )
    left = study["finite"].prediction - study["finite"].prediction_control - study["limit"].prediction
    left = left.isel(step=slice(1, None))
    rms = np.sqrt((left**2).mean(("seed", "step", "sample", "output"))).values
    plain = study["finite"].prediction - study["limit"].prediction
    plain_rms = np.sqrt((plain**2).mean(("seed", "step", "sample", "output"))).values
    slope = np.log(rms[1] / rms[0]) / np.log(16)
    error = 5 * np.sqrt(2 * 8 / (2 * 256)) / np.log(16)
    assert abs(slope + 1) < error + np.log(1 + 4 / 8) / np.log(16)
    assert rms[1] < 0.3 * plain_rms[1]
    # mean zero exactly: of the first-order part itself, at any width
    control = study["finite"].prediction_control.values.reshape(2, 256, -1)
    z = control.mean(1) / (control.std(1, ddof=1) / np.sqrt(256) + 1e-300)
    assert np.abs(z[:, 4:]).max() < scipy.stats.t.isf(1e-6 / z.size, 255)


@pytest.mark.slow
def test_bias_measured_with_the_control_variate_is_the_predicted_one():
    """Mean over R networks of n (f_n − f − first order), against ½ E D², on atoms: standard errors from the
    networks, Bonferroni over entries, false alarms ≤ 1e-6; the next order is bounded by Richardson from two
    widths. Negative control: half and twice the predicted bias are refused."""
    problem, training = small_problem(), mf.GradientDescent(0.2, 8)
    model = mf.TwoLayer(mf.activations.tanh, initial=atoms(6))
    predicted = mf.fluctuation(model, problem, training).prediction_bias.values.ravel()
    study = mf.width_study(
        model, problem, training, widths=[128, 512], seeds=1024, response=mf.Response(), progress=False
    )
    finite = study["finite"]
    left = (finite.prediction - finite.prediction_control - study["limit"].prediction).values.astype(float)
    left = left.reshape(2, 1024, -1) * np.array([128.0, 512.0])[:, None, None]
    keep = np.abs(predicted) > 1e-12
    predicted, left = predicted[keep], left[:, :, keep]
    means, errors = left.mean(1), left.std(1, ddof=1) / 32
    # c/n is common to both: what is left at 512 is a third of the difference seen between the widths
    allowed = (
        scipy.stats.t.isf(1e-6 / predicted.size, 1023) * errors[1] + np.abs(means[0] - means[1]) / 3 + 1e-4
    )
    assert (np.abs(means[1] - predicted) < allowed).all()
    for wrong in (0.5, 2.0, -1.0):
        assert (np.abs(means[1] - wrong * predicted) > allowed).any()


def ratio_intercept(study):
    """Fit measured/predicted = 1 + c/n: (intercept, its standard error). Widths share their seeds' keys but
    a network of width n uses n neurons of which the narrower has a part, so that neighbours are correlated;
    the error is from a jackknife over seeds of the whole fit."""
    finite, std = study["finite"].dataset, study["fluctuation"].prediction_std.values
    widths = finite.width.values.astype(float)
    values = finite.prediction.transpose("seed", "width", ...).values.astype(float)
    repeats = values.shape[0]
    values = values - values.mean(0)
    squares = np.mean(values.reshape(*values.shape[:2], -1) ** 2, 2)  # (seed, width)
    reference = np.sqrt(np.mean(std**2))
    total = squares.sum(0)

    def intercept(variance):
        ratio = np.sqrt(widths * variance) / reference
        return np.polyfit(1 / widths, ratio, 1)[1]

    left_out = np.array([intercept((total - s * repeats / (repeats - 1)) / (repeats - 2)) for s in squares])
    own = np.sqrt((repeats - 1) / repeats * np.sum((left_out - left_out.mean()) ** 2))
    predicted = study["fluctuation"].prediction_std_error.values
    return intercept(total / (repeats - 1)), float(np.hypot(own, np.mean(std * predicted) / reference**2))


def spread_task(activation, loss, steps):
    """(model, problem, training), η λ_max = 0.4, well below 1."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    problem = mf.Problem(x, y, loss=loss)
    model = mf.TwoLayer(ACTIVATIONS[activation])
    return model, problem, mf.GradientDescent(0.4 * mf.stability(model, problem) / 2, steps)


def spread_study(activation, loss, seeds, widths, steps=20, particles=4096):
    task = spread_task(activation, loss, steps)
    return mf.width_study(
        *task, widths=widths, seeds=seeds, limit=task[0].limit(1024), record=[2, 5, 10, steps],
        progress=False, response=mf.Response(particles=particles, bias_draws=0),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu", "erf"])
@pytest.mark.parametrize("loss", [mf.losses.square, mf.losses.logistic], ids=["square", "logistic"])
def test_spread_of_1250_networks_is_the_predicted_one(activation, loss):
    """Intercept of measured/predicted = 1 + c/n over widths 64 ... 4096 within 3 standard errors of 1, those
    at most 0.02."""
    study = spread_study(activation, loss, 1256, [64, 128, 256, 512, 1024, 2048, 4096])
    value, error = ratio_intercept(study)
    assert error <= 0.02
    assert abs(value - 1) <= 3 * error


SMALL = {"tanh": ("tanh", mf.losses.square), "relu": ("relu", mf.losses.logistic)}


@pytest.fixture(scope="module", params=["tanh", pytest.param("relu", marks=pytest.mark.slow)])
def small_spread(request):
    """(its task, the study): three widths, 200 networks."""
    case = SMALL[request.param]
    return spread_task(*case, 12), spread_study(*case, 200, [64, 256, 1024], steps=12, particles=1024)


def test_spread_of_200_networks_is_the_predicted_one(small_spread):
    """The small sibling: 4.9 standard errors, false alarms ≤ 1e-6. Negative control: a prediction that is off
    by √2 is refused."""
    _, study = small_spread
    value, error = ratio_intercept(study)
    assert error < 0.06
    assert abs(value - 1) <= scipy.stats.t.isf(5e-7, 199) * error
    assert abs(value * np.sqrt(2) - 1) > scipy.stats.t.isf(5e-7, 199) * error * np.sqrt(2)
    rows = spread_ratios(study)["prediction"]
    assert [row[0] for row in rows] == [64, 256, 1024]


@pytest.mark.parametrize("small_spread", ["tanh"], indirect=True)
def test_forgetting_the_response_of_the_limit_is_caught(small_spread, monkeypatch):
    """Negative control: with R = 0 the same networks have another spread than the one predicted."""
    task, study = small_spread
    monkeypatch.setattr(
        response_module.Prepared,
        "operator",
        lambda self, replicate, counts: np.zeros((counts.size * self.problem.samples, self.steps * 5)),
    )
    wrong = mf.fluctuation(*task, particles=1024, bias_draws=0, record=[2, 5, 10, 12])
    study = xr.DataTree.from_dict({"finite": study["finite"].dataset, "fluctuation": wrong})
    value, error = ratio_intercept(study)
    assert abs(value - 1) > scipy.stats.t.isf(5e-7, 199) * error


@pytest.mark.slow
def test_differentiating_relu_particle_by_particle_drops_the_kink(monkeypatch):
    """THEORY 1.1 asks to check this. At t = 18 (η λ_max ≈ 0.2) the spread without the kink's term is low by
    6 %; halving or doubling the mollifier moves the one with it by less than 1.5 %."""
    rng = np.random.default_rng(0)
    problem = mf.Problem(rng.normal(size=(5, 2)), np.array([1.0, -1.0, 1.0, -1.0, 1.0]))
    model, training = mf.TwoLayer(mf.activations.relu), mf.GradientDescent(0.3, 60)
    width = linear.bandwidth_of

    def spread():
        """Of one replicate, the same particles each time."""
        prepared = mf.Response(2048, bias_draws=0).prepare(model, problem, training, 0, 4e9)
        with double():
            variance, _ = response_module._spread(prepared, 0, segments(np.array([60])))
        return np.sqrt(variance.mean())

    with_kink = spread()
    monkeypatch.setattr(linear, "bandwidth_of", lambda *a: 2 * width(*a))
    wider = spread()
    monkeypatch.setattr(linear, "mollified", lambda activation, bandwidth: activation)
    without = spread()
    assert abs(wider / with_kink - 1) < 0.025
    assert without / with_kink < 0.975


@pytest.mark.slow
def test_pairs_of_neurons_have_the_spread_of_pairs():
    """Neurons ±a: f_0 = 0 exactly, so the spread vanishes at step 0 and the prediction knows it."""
    problem = small_problem()
    model = mf.TwoLayer(mf.activations.tanh, initial=mf.initial.Gaussian(paired=True))
    training = mf.GradientDescent(0.3, 8)
    study = mf.width_study(
        model, problem, training, widths=[64, 256], seeds=256, limit=model.limit(1024), progress=False,
        response=mf.Response(particles=512, draws=2048, bias_draws=0),
    )  # fmt: skip
    std = study["fluctuation"].prediction_std.values
    assert np.abs(std[0]).max() < 1e-12
    value = np.sqrt(np.mean(256 * study["finite"].prediction.sel(width=256).var("seed", ddof=1).values))
    ratio = value / np.sqrt(np.mean(std**2))
    error = np.hypot(np.sqrt(0.5 / 255), np.sqrt(0.5 / 2048))
    assert abs(ratio - 1) < 4.9 * error + 0.02  # 4.9: false alarms ≤ 1e-6; 0.02: the 1/n term at 256


@pytest.mark.parametrize(
    "training, kind, words",
    [
        (mf.GradientDescent(0.1, 5, batch_size=2), ValueError, "batch_size"),
        (mf.Langevin(0.1, 5, temperature=0.1), TypeError, "training"),
        (mf.GradientFlow(1.0), TypeError, "training"),
    ],
)
def test_training_without_a_derived_response_is_refused_in_one_sentence(training, kind, words):
    with pytest.raises(kind, match=f"Argument `{words}` must be"):
        mf.fluctuation(mf.TwoLayer(mf.activations.tanh), small_problem(), training)


def bias_study(widths, seeds):
    """One input, four samples of modest size, smooth targets: neurons are two-dimensional, the limit is a
    tensor quadrature with error below 1e-8, and the bias lies ten standard errors above the noise of 200
    networks. (Where targets pull hard, training makes the integrand rough at large a: at twice these inputs
    and alternating targets 150 nodes leave 1e-3.)"""
    x = 0.6 * np.array([[-1.0], [-0.3], [0.5], [1.2]])
    problem = mf.Problem(x, np.array([-1.0, -0.3, 0.5, 1.0]))
    model = mf.TwoLayer(mf.activations.tanh)
    rule = mf.Quadrature(nodes=64)
    return mf.width_study(
        model, problem, mf.GradientDescent(0.5, 10), widths=widths, seeds=seeds, record=[5, 10],
        limit=model.limit(sampler=rule), response=mf.Response(sampler=rule, bias_draws=0), progress=False,
    )  # fmt: skip


def test_the_bias_exponent_is_minus_one_with_the_control_variate():
    """200 networks, widths 32 ... 1024, limit by quadrature: −1 within 3.3 standard errors (false alarms
    1e-3), those at most 0.08; without the control variate the same networks resolve nothing."""
    study = bias_study([32, 64, 128, 256, 512, 1024], 200)
    at = study["fit"].sel(quantity="prediction", kind="bias")
    assert float(at["exponent_error"]) <= 0.08
    assert abs(float(at["exponent"]) + 1) <= 3.3 * float(at["exponent_error"])
    assert str(at["verdict"].item()) == "consistent"
    bare = study["finite"].dataset.drop_vars("prediction_control")
    fit = mf.compare(bare, study["limit"].dataset)
    assert str(fit.verdict.sel(quantity="prediction", kind="bias").item()) == "not resolved"
