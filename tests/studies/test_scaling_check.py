"""The verdict on a scaling: exact power laws, a training written out in numpy, networks of every kind."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import meanfield as mf
from meanfield.base.precision import double
from meanfield.model.parametrization import mean_field, mup, ntk, standard
from meanfield.numerics.statistics import student_interval
from meanfield.studies.scaling_check import exponents, scaling_check, scaling_report

WIDTHS = (16, 48, 144)
INPUTS, OUTPUTS, SAMPLES, SEEDS = 6, 8, 5, 32


def problem(seed=0):
    rng = np.random.default_rng(seed)
    return mf.Problem(rng.standard_normal((SAMPLES, INPUTS)), rng.standard_normal((SAMPLES, OUTPUTS)))


def network(parametrization, hidden_layers=2, learning_rate=0.3):
    """(init, apply, learning rates) of a ReLU network in a parametrization."""
    a, b, c, _ = parametrization.layers(hidden_layers)

    def init(key, width):
        sizes = [INPUTS, *[width] * hidden_layers, OUTPUTS]
        shapes = list(zip(sizes, sizes[1:], strict=False))
        z = jax.random.normal(key, (sum(m * n for m, n in shapes),))  # one draw: it is most of the compiling
        cuts = np.cumsum([m * n for m, n in shapes])[:-1]
        parts = zip(jnp.split(z, cuts), shapes, b, strict=True)
        return [part.reshape(shape) * float(width) ** -e for part, shape, e in parts]

    def apply(params, x):
        n, hidden = float(params[0].shape[1]), {}
        x = x / math.sqrt(INPUTS)
        for i, w in enumerate(params[:-1]):
            x = jnp.maximum(x @ (w * n ** -a[i]), 0)
            hidden[f"layer {i + 1}"] = x
        return x @ (params[-1] * n ** -a[-1]), hidden

    return init, apply, lambda width: [learning_rate * float(width) ** -e for e in c]


@functools.cache
def check(parametrization, hidden_layers=2, **options):
    init, apply, rates = network(parametrization, hidden_layers)
    options = {"widths": WIDTHS, "steps": 2, "seeds": SEEDS, **options}
    return scaling_check(init, apply, rates, problem=problem(), **options)


@pytest.mark.parametrize("centred", [False, True])
def test_sizes_are_those_of_a_training_in_numpy(centred):
    """The same parameters through descent by hand: rounding of sums of at most 10² terms in 3 steps."""
    init, apply, rates = network(mup, 2)
    found = scaling_check(
        init, apply, rates, (4, 8, 16), problem=problem(), steps=3, seeds=3, centred=centred, key=5
    )
    data = problem()
    with double():
        keys = jax.random.split(jax.random.key(5), 3)
        params = [np.asarray(w) for w in init(keys[1], 8)]
    a, _, c, _ = mup.layers(2)
    scales = [8.0**-e for e in a]
    scales[0] /= math.sqrt(INPUTS)

    def forward():
        h1 = data.x @ (scales[0] * params[0])
        x1 = np.maximum(h1, 0)
        h2 = x1 @ (scales[1] * params[1])
        x2 = np.maximum(h2, 0)
        return x1, x2, x2 @ (scales[2] * params[2])

    start, rows = forward(), []
    rows.append([math.sqrt(np.mean(v**2)) for v in start])
    for _ in range(3):
        x1, x2, f = forward()
        chi = (f - start[2] * centred - data.y) / SAMPLES
        g2 = (chi @ (scales[2] * params[2]).T) * (x2 > 0)
        g1 = (g2 @ (scales[1] * params[1]).T) * (x1 > 0)
        gradients = scales[0] * data.x.T @ g1, scales[1] * x1.T @ g2, scales[2] * x2.T @ chi
        params = [w - 0.3 * 8.0**-e * g for w, e, g in zip(params, c, gradients, strict=True)]
        rows.append([math.sqrt(np.mean((v - v_0) ** 2)) for v, v_0 in zip(forward(), start, strict=True)])
    at = found["size"].sel(seed=1, width=8)
    assert at.dims == ("quantity", "step") and list(at["quantity"].values) == ["layer 1", "layer 2", "output"]
    np.testing.assert_allclose(at, np.array(rows).T, rtol=1e-12)


def power_laws(p, seeds, rng, noise=0.1, bend=0.0):
    """Sizes n^p (1 + bend/n) with lognormal noise, independent for seeds and widths, (seed, width, 1, 1)."""
    n = np.asarray(WIDTHS, float)
    return (n**p * (1 + bend / n) * np.exp(noise * rng.standard_normal((seeds, len(n)))))[..., None, None]


def test_exact_power_laws_have_their_exponents():
    """Without noise to rounding; with it p is off by 0.1 √(1/Σ(log n − mean)²)/√seeds: a t-statistic."""
    rng = np.random.default_rng(0)
    p, error, _ = exponents(WIDTHS, power_laws(-0.5, 4, rng, noise=0.0))
    assert p.item() == pytest.approx(-0.5, abs=1e-14) and error.item() == pytest.approx(1e-6)


def test_intervals_hold_as_often_as_they_say(key):
    """4000 repetitions: misses of the 99.9% interval are binomial with at most 4 of them expected (the drift
    only widens it); more than 20 has odds of 10⁻⁸. Without the factor √seeds nearly all intervals are missed.
    """
    rng, seeds = np.random.default_rng([key, 2]), 8
    sizes = np.concatenate([power_laws(-0.5, seeds, rng)[:, :, 0] for _ in range(4000)], -1)[:, :, None]
    p, error, _ = exponents(WIDTHS, sizes)
    misses = np.abs(p + 0.5) > student_interval(seeds, 0.999) * error
    assert misses.sum() <= 20
    assert (np.abs(p + 0.5) > student_interval(seeds, 0.5) * error).mean() > 0.2  # and they are not too wide
    assert (np.abs(p + 0.5) > student_interval(seeds, 0.999) * error / 20).sum() > 1000


def test_a_law_that_is_not_reached_yet_is_not_held_against_it():
    """Sizes n^{−½}(1 + 20/n): slopes drift by more than the noise, and the error says so."""
    rng = np.random.default_rng(3)
    p, error, _ = exponents(WIDTHS, power_laws(-0.5, 50, rng, noise=0.01, bend=20.0))
    assert p.item() < -0.7 and abs(p.item() + 0.5) < student_interval(50, 0.999) * error.item()
    steady = exponents(WIDTHS, power_laws(-0.5, 50, rng, noise=0.01))[1]
    assert steady.item() < 0.01 < 0.05 < error.item()


def test_sizes_that_are_zero_or_not_finite_are_marked():
    sizes = np.ones((3, 3, 3, 1))
    sizes[:, :, 0] = 0
    sizes[1, 2, 1] = np.inf
    p, error, _ = exponents(WIDTHS, sizes)
    assert np.isnan(p[0, 0]) and p[1, 0] == np.inf and p[2, 0] == pytest.approx(0, abs=1e-15)
    assert np.isinf(error[:2]).all()


# Which named parametrizations a network of each must be told apart from, at these widths and seeds.
OTHERS = {"mup": {"ntk", "standard", "integrable"}, "ntk": {"mup", "standard", "integrable"}}
OTHERS["standard"] = {"ntk", "mup", "integrable"}


@pytest.mark.parametrize("p", [mup, ntk, standard], ids=["mup", "ntk", "standard"])
def test_named_parametrizations_are_recognised(p, key):
    """No line of its own is off by an interval that is missed once in 10⁶; all others fail."""
    found = check(p, key=key)
    words = dict(zip(found.parametrization.values, found.overall.values, strict=True))
    assert {name for name, word in words.items() if word == "fail"} >= OTHERS[p.name] - {p.name}
    own = found.predicted.sel(parametrization=p.name).values
    quiet = own <= 0
    far = abs(found.exponent - own).values[quiet] / found.exponent_error.values[quiet]
    assert far.max() < student_interval(SEEDS, 1 - 1e-6 / own.size)
    assert (found.exponent.values[own > 0] > 0).all()


def test_a_line_is_flat_where_it_should_be(key):
    """Movement of hidden layers: between −0.3 and 0.3 for μP, below −0.2 for NTK (errors of 0.03 seen)."""
    steps = {"step": [1, 2], "quantity": ["layer 1", "layer 2"]}
    assert abs(check(mup, key=key).exponent.sel(steps)).max() < 0.3
    assert check(ntk, key=key).exponent.sel(steps).max() < -0.2


@pytest.mark.slow
def test_adam_with_adaptive_rates_scales_as_descent(key):
    rates = mup.adaptive_rates(2)

    def transform(width):
        labels = ["0", "1", "2"]
        parts = {
            label: optax.adam(0.05 * float(width) ** -c, eps=0.0)
            for label, c in zip(labels, rates, strict=True)
        }
        return optax.transforms.partition(parts, labels)

    init, apply, _ = network(mup)
    right = scaling_check(
        init, apply, transform, (16, 64, 256), problem=problem(), steps=2, predicted=mup, key=key
    )
    wrong = scaling_check(
        init,
        apply,
        lambda n: optax.adam(0.05, eps=0.0),
        WIDTHS,
        problem=problem(),
        steps=2,
        predicted=mup,
        key=key,
    )
    far = abs(right.exponent - right.predicted[0]) / right.exponent_error
    assert far.max() < student_interval(16, 1 - 1e-6 / far.size)
    assert wrong.overall.item() == "fail"


def test_plain_networks_are_held_against_given_exponents():
    init, apply, rates = network(ntk, 1)
    options = {"problem": problem(), "steps": 1, "seeds": SEEDS}
    predicted = {"flat": {"output": [0.0, 0.0]}, "shrinking": {"output": [-1.0, math.nan]}}
    found = scaling_check(
        init, lambda p, x: apply(p, x)[0], rates, (8, 32, 128), predicted=predicted, **options
    )
    assert list(found["quantity"].values) == ["output"]
    assert found.verdict.sel(parametrization="shrinking").values.tolist() == [["fail", ""]]
    assert found.overall.sel(parametrization="shrinking") == "fail"
    assert found.overall.sel(parametrization="flat") != "fail"
    one = scaling_check(init, apply, 0.3, (8, 32, 128), predicted=[ntk.with_rates(0)], **options)
    assert one.parametrization.item() == "Parametrization(a=(0, 0.5, 0.5), b=(0, 0, 0), c=0)"
    np.testing.assert_allclose(one["size"].sel(quantity="output"), found["size"][:, :, 0], rtol=1e-13)


def test_exact_scalings_pass_and_lines_without_prediction_do_not_count():
    """f = n^{−½} a x_1, a = 1 for every seed: f_0 ∝ n^{−½}, and a step at rate n moves f by order one."""

    def apply(a, x):
        return (a / math.sqrt(apply.width)) * jnp.ones((1, OUTPUTS)) * x[:, :1]

    def init(key, width):
        apply.width = width
        return jnp.ones(()) + 0 * jax.random.normal(key)

    rows = {"right": [-0.5, 0.0], "partly": [-0.5, math.nan], "wrong": [-0.5, 0.1]}
    predicted = {name: {"output": row} for name, row in rows.items()}
    found = scaling_check(
        init, apply, float, (4, 8, 16), problem=problem(), steps=1, seeds=3, predicted=predicted, centred=True
    )
    np.testing.assert_allclose(found.exponent, [[-0.5, 0.0]], atol=1e-12)
    assert found.overall.values.tolist() == ["pass", "pass", "fail"]
    text = scaling_report(found)
    assert (
        "right: pass, every line is as predicted." in text
        and "wrong: fail: change of output, step 1." in text
    )


@pytest.mark.slow
def test_networks_with_one_hidden_layer_meet_mean_field_too():
    found = check(mean_field, 1, seeds=3, steps=1, widths=(4, 8, 16))
    assert "mean_field" in found.parametrization.values
    assert "mean_field" not in check(mup).parametrization.values


def test_the_report_has_a_line_for_every_exponent(tmp_path):
    found = check(mup)
    text = scaling_report(found)
    lines = text.splitlines()
    assert lines[0] == "size ∝ width^p at widths 16, 48, 144; 32 seeds; ± one standard error"
    for what in ("layer 1 at the start", "change of layer 2, step 2", "change of output, step 1"):
        row = next(line for line in lines if line.startswith(what))
        assert "±" in row and sum(row.count(word) for word in ("pass", "fail", "not resolved")) >= 2
    assert sum(line.split(":")[0] in found.parametrization.values for line in lines) == 4
    words = found.verdict.sel(parametrization="ntk")
    assert (
        words.sel(quantity="layer 1", step=1) == "fail"
        and "change of layer 1, step 1" in text.split("ntk: ")[1]
    )
    found.to_netcdf(tmp_path / "check.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "check.nc", engine="h5netcdf") as again:
        assert scaling_report(again) == text


def test_what_is_zero_or_diverges_is_said_in_the_report():
    def init(key, width):
        return {"w": jax.random.normal(key, (INPUTS, width)), "a": jnp.zeros((width, OUTPUTS))}

    def apply(p, x):
        hidden = x @ p["w"]
        return hidden @ p["a"], {"hidden": hidden}

    options = {"problem": problem(), "seeds": 3, "predicted": [mup, ntk, standard]}
    still = scaling_check(init, apply, 1e-3, (4, 8, 16), steps=1, **options)
    text = scaling_report(still)
    assert np.isnan(still.exponent.sel(quantity="output", step=0))
    assert "output at the start               no signal" in text
    assert still.verdict.sel(quantity="output", step=0, parametrization="mup") == "not resolved"
    wild = scaling_check(init, apply, 1e200, (4, 8, 16), steps=3, **options)
    at = {"quantity": "output", "step": 3}
    assert wild.exponent.sel(at) == np.inf and wild.verdict.sel(at | {"parametrization": "mup"}) == "fail"
    assert "diverged" in scaling_report(wild)


BAD = {
    "two widths": ({"widths": (8, 16)}, "`widths` must be three widths or more"),
    "widths that decrease": ({"widths": (16, 8, 4)}, "`widths` must be a sequence of strictly increasing"),
    "two seeds": ({"seeds": 2}, "`seeds` must be an integer of at least 3"),
    "no steps": ({"steps": 0}, "`steps` must be an integer of at least 1"),
    "no problem": ({"problem": (1, 2)}, "`problem` must be a Problem"),
    "init": ({"init": 3}, "`init` must be a function"),
    "apply": ({"apply": 3}, "`apply` must be a function"),
    "a string for a rate": ({"learning_rates": "big"}, "`learning_rates` must be a number, or a function"),
    "a prediction": ({"predicted": "mup"}, "`predicted` must be a Parametrization, a list"),
    "predictions": ({"predicted": ["mup"]}, "`predicted` must be a Parametrization, a list"),
    "a dictionary": (
        {"predicted": {"mine": {"output": [0, 0]}}},
        "`predicted['mine']` must be a Parametrization or",
    ),
    "outputs": ({"apply": lambda p, x: x}, "`apply` must be a function that gives outputs (5, 8)"),
    "no activations": ({"apply": lambda p, x: network(mup)[1](p, x)[0]}, "`predicted` must be given where"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    options, words = BAD[name]
    init, apply, rates = network(mup)
    good = {"init": init, "apply": apply, "learning_rates": rates, "widths": (4, 8, 16), "problem": problem()}
    good |= {"seeds": 3, "steps": 1}
    with pytest.raises((TypeError, ValueError)) as caught:
        scaling_check(**{**good, **options})
    assert words in str(caught.value), str(caught.value)


def test_unknown_keywords_are_type_errors():
    with pytest.raises(TypeError, match="unexpected keyword"):
        scaling_check(*network(mup), WIDTHS, problem=problem(), batch=3)
