"""Figures of neurons and of the learned function, on small runs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn_studies import sentence

import meanfield as mf

OBSERVE = (
    mf.observe.Neurons(count=20, at=(0, 5)),
    mf.observe.Histogram("a0", bins=8, at=(0, 2, 5)),
    mf.observe.AngularDistribution(bins=12),
)
TRAINING = mf.GradientDescent(0.2, 5)
RELU = mf.TwoLayer(activation=mf.activations.relu)
TANH = mf.TwoLayer(activation=mf.activations.tanh, bias=True)


@pytest.fixture(scope="module")
def networks():
    return mf.simulate(RELU.finite(16), mf.datasets.xor(), TRAINING, seeds=3, observe=OBSERVE)


@pytest.fixture(scope="module")
def limit():
    return mf.simulate(RELU.limit(64, 2), mf.datasets.xor(), TRAINING, observe=OBSERVE)


@pytest.fixture(scope="module")
def sine():
    return mf.datasets.sine(samples=4, test_samples=9)


@pytest.fixture(scope="module")
def sine_study(sine):
    observe = mf.observe.Neurons(count=10)
    options = {
        "widths": [8, 16],
        "seeds": 3,
        "observe": observe,
        "limit": TANH.limit(64, 2),
        "progress": False,
    }
    return mf.width_study(TANH, sine, TRAINING, **options)


def test_neurons_are_where_they_are_with_the_sign_of_a(networks):
    drawn = mf.plot.particles(networks, seed=1)
    w, a = networks.neurons_w[1, -1].values[:16], networks.neurons_a[1, -1, :16, 0].values
    np.testing.assert_array_equal(drawn["positive"].get_offsets(), w[a > 0])
    np.testing.assert_array_equal(drawn["negative"].get_offsets(), w[a < 0])
    assert drawn["legend"].get_title().get_text() == "16 neurons at $t=1$"
    assert drawn.ax.get_aspect() == 1 and drawn.ax.get_xlabel() == "$w_1$"


def test_neurons_are_scaled_and_looked_at_when_asked(limit):
    drawn = mf.plot.particles(limit, step=0, scaled=True)
    w, a = limit.neurons_w[0].values, limit.neurons_a[0, :, 0].values
    np.testing.assert_allclose(drawn["negative"].get_offsets(), (np.abs(a)[:, None] * w)[a < 0], rtol=1e-15)
    assert drawn.ax.get_ylabel() == r"$|a|\,$$w_2$"


def test_neurons_of_one_input_are_seen_with_their_bias(sine_study):
    drawn = mf.plot.particles(sine_study["limit"])
    data = sine_study["limit"].dataset
    points = np.column_stack([data.neurons_w[-1, :, 0], data.neurons_b[-1]])
    np.testing.assert_array_equal(drawn["positive"].get_offsets(), points[data.neurons_a[-1, :, 0] > 0])
    assert (drawn.ax.get_xlabel(), drawn.ax.get_ylabel()) == ("$w$", "$b$")


def test_the_area_of_a_point_is_its_mass():
    model = mf.TwoLayer(activation=mf.activations.relu)
    system = model.limit(27, sampler=mf.Quadrature())
    data = mf.simulate(system, mf.datasets.xor(), TRAINING, observe=mf.observe.Neurons(count=27))
    drawn = mf.plot.particles(data)
    a, mass = data.neurons_a[-1, :, 0].values, data.neurons_weight[-1].values
    area = drawn["positive"].get_sizes()
    np.testing.assert_allclose(area / area[0], mass[a > 0] / mass[a > 0][0], rtol=1e-12)
    assert np.ptp(area) > 0


def test_the_learned_function_is_mean_spread_limit_and_target(sine_study, sine):
    drawn = mf.plot.learned_function(sine_study, sine, width=16, step=3)
    f = sine_study["finite"].dataset.test_prediction.sel(width=16, step=3)[..., 0].values.astype(float)
    np.testing.assert_array_equal(drawn["mean"].get_xdata(), sine.x_test[:, 0])
    np.testing.assert_allclose(drawn["mean"].get_ydata(), f.mean(0), rtol=1e-14)
    edge = drawn["band"].get_paths()[0].vertices
    assert edge[:, 1].max() == pytest.approx((f.mean(0) + 2 * f.std(0, ddof=1)).max(), rel=1e-12)
    limit = sine_study["limit"].dataset.test_prediction.sel(step=3)[:, 0]
    np.testing.assert_array_equal(drawn["limit"].get_ydata(), limit)
    np.testing.assert_array_equal(drawn["target"].get_ydata(), sine.y_test[:, 0])
    np.testing.assert_array_equal(drawn["training"].get_xydata(), np.column_stack([sine.x, sine.y]))


def test_the_learned_function_sorts_its_inputs_and_takes_one_run(sine):
    order = np.random.default_rng(0).permutation(9)
    problem = mf.Problem(sine.x, sine.y, x_test=sine.x_test[order], y_test=sine.y_test[order])
    data = mf.simulate(TANH.finite(8), problem, TRAINING)
    drawn = mf.plot.learned_function(
        data, np.asarray(sine.x_test)[order, 0], target=np.asarray(sine.y_test)[order, 0]
    )
    values = np.empty(9)
    values[order] = data.test_prediction[0, -1, :, 0]
    np.testing.assert_array_equal(drawn["mean"].get_ydata(), values)
    np.testing.assert_array_equal(drawn["target"].get_ydata(), sine.y_test[:, 0])
    assert "band" not in drawn and "limit" not in drawn and "training" not in drawn


def test_histograms_are_the_densities_at_every_look(networks, limit):
    drawn = mf.plot.histogram(networks)
    for position, step in enumerate((0, 2, 5)):
        values, edges, _ = drawn[f"step {step}"].get_data()
        density = networks.histogram_a0[:, position].values.astype(float)
        np.testing.assert_allclose(values, density.mean(0), rtol=1e-14)
        np.testing.assert_allclose(edges, np.linspace(-4, 4, 9), atol=1e-14)
        high, _, low = drawn[f"step {step} band"].get_data()
        half = 2 * density.std(0, ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(high, density.mean(0) + half, rtol=1e-12)
        np.testing.assert_allclose(low, np.maximum(density.mean(0) - half, 0), rtol=1e-12, atol=1e-15)
    drawn = mf.plot.histogram(limit, "histogram_a0")
    np.testing.assert_array_equal(drawn["step 5"].get_data().values, limit.histogram_a0[2])
    assert drawn.ax.get_xlabel() == "$a$" and drawn.ax.get_ylabel() == "density of $a$"


@pytest.mark.parametrize("projection", [None, "polar"])
def test_angular_distributions_are_drawn_on_both_kinds_of_axes(limit, projection):
    ax = plt.figure().add_subplot(projection=projection)
    drawn = mf.plot.angular_distribution(limit, step=0, ax=ax)
    assert drawn.ax is ax
    for word, sign in (("positive", 1), ("negative", -1)):
        values, edges, _ = drawn[word].get_data()
        np.testing.assert_array_equal(values, limit.angular_distribution[0].sel(sign=sign)[0])
        np.testing.assert_allclose(edges, np.linspace(-np.pi, np.pi, 13), atol=1e-14)
    assert mf.plot.angular_distribution(limit).ax.name == "polar"


def test_bad_input_is_one_sentence(networks, limit, sine_study, sine):
    bare = limit[["prediction", "loss"]]
    deep = mf.Problem(np.eye(3), np.ones(3))
    three = mf.simulate(RELU.finite(4), deep, TRAINING, observe=mf.observe.Neurons())
    plot = mf.plot
    several = networks.assign_coords(other_bin=("other_bin", np.arange(3.0)))
    cases = [
        (lambda: plot.particles(bare), ValueError, "`dataset` must have been observed with Neurons()"),
        (lambda: plot.particles(three), ValueError, "must have two inputs, or one and a bias"),
        (
            lambda: plot.particles(limit, step=3),
            ValueError,
            "`step` must be one of 0, 5, or -1 for the last one",
        ),
        (lambda: plot.particles(networks, seed=7), ValueError, "`seed` must be one of 0, 1, 2, but is 7"),
        (lambda: plot.particles(networks, scaled="yes"), TypeError, "`scaled` must be True or False"),
        (lambda: plot.particles(sine_study), TypeError, "`dataset` must be one run, but is a whole study"),
        (
            lambda: plot.particles(sine_study["finite"]),
            ValueError,
            "`dataset` must hold one width, but has 2",
        ),
        (lambda: plot.particles(np.ones(3)), TypeError, "`dataset` must be what meanfield.simulate returns"),
        (lambda: plot.histogram(bare), ValueError, "`dataset` must have been observed with Histogram(...)"),
        (lambda: plot.histogram(limit, "histogram_w0"), ValueError, "`name` must be one of histogram_a0"),
        (lambda: plot.histogram(several), ValueError, "`name` must be given where there are several"),
        (lambda: plot.angular_distribution(bare), ValueError, "observed with AngularDistribution()"),
        (lambda: plot.learned_function(limit, sine), ValueError, "`dataset` must have a test set"),
        (
            lambda: plot.learned_function(sine_study, np.ones(4)),
            ValueError,
            "`x` must be 9 test inputs of one",
        ),
        (
            lambda: plot.learned_function(sine_study, deep),
            ValueError,
            "`x` must be a problem with a test set",
        ),
        (
            lambda: plot.learned_function(sine_study, sine, np.ones(2)),
            ValueError,
            "`target` must be one value per",
        ),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind) as error:
            call()
        assert words in str(error.value) and sentence(error)
    assert not plt.get_fignums()
