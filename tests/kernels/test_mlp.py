"""Kernels of perceptrons at infinite width: exact truths, plain recursions, networks, derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from assertions import EPS, EPS32, assert_close, assert_mean, assert_one_sentence
from plain_kernels import inputs, plain_mlp

import meanfield as mf
from meanfield.base.precision import double

# Operations of a layer times layers times the condition of an arc-cosine of rounded correlations.
ROUNDINGS = 400


def kernel(x1, x2=None, *, hidden_layers=3, activation="relu", **options):
    phi = getattr(mf.activations, activation) if isinstance(activation, str) else activation
    return mf.kernels.mlp(x1, x2, hidden_layers=hidden_layers, activation=phi, **options)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "identity"])
@pytest.mark.parametrize("bias", [0.0, 0.2])
def test_kernels_are_the_plain_recursion(activation, bias):
    """Every layer, Σ and Θ, variances of each layer its own."""
    x = inputs()
    weights, biases = [1.2, 1.5, 0.9, 2.0], [bias, 2 * bias, 0.0, bias]
    found = kernel(x, activation=activation, weight_variance=weights, bias_variance=biases, layers=True)
    expected = plain_mlp(x, activation, weights, biases)
    assert found.nngp.dtype == found.ntk.dtype == np.float64
    assert isinstance(found.nngp, np.ndarray) and isinstance(found.ntk, np.ndarray)
    assert found.nngp_layers.shape == found.ntk_layers.shape == (4, 5, 5)
    np.testing.assert_array_equal(found.nngp_layers[-1], found.nngp)
    np.testing.assert_array_equal(found.ntk_layers[-1], found.ntk)
    off = ~np.eye(5, dtype=bool)  # the plain arc-cosine near 1 has √eps on the diagonal
    for k, (sigma, theta) in enumerate(expected):
        assert_close(found.nngp_layers[k], sigma, ROUNDINGS)
        assert_close(found.ntk_layers[k][off], theta[off], ROUNDINGS * 4)


# neural-tangents 0.6.5 with jax 0.5.3 in float64: three hidden layers, W_std² = 1.6, b_std² = 0.2, inputs
# cos(1 + i (1 + j)) (1 + i)/2, i < 4, j < 5; stax.Gelu(approximate=False); entries on and above the diagonal.
STORED = {
    "relu": (
        [0.650186563937573, 0.675196696944587, 0.751230772545324, 0.917256249594657, 1.01358307832907]
        + [0.900986218571157, 1.14447709491136, 1.49692112319858, 1.36713367971622, 2.84498976491037],
        [1.55274625575029, 1.18062302646994, 1.26720226908779, 1.50626923570351, 3.00633231331629]
        + [1.48079592498453, 1.86541928872781, 4.93968449279432, 2.2129968129668, 10.3319590596415],
    ),
    "erf": (
        [0.871543965551071, 0.551138362334781, 0.499268975702199, 0.468198276390662, 0.920581395125044]
        + [0.410829408089091, 0.397143502591819, 0.938087670740349, 0.372061203445644, 0.95288462118012],
        [2.79816940900847, 1.20648406359682, 1.00158376891876, 0.885614500066882, 3.42832620431844]
        + [0.671986629757142, 0.627964415751156, 3.81082396759455, 0.538538627302105, 4.4014110577095],
    ),
    "gelu": (
        [0.444593942780481, 0.445079569388658, 0.481420085210036, 0.564912615334907, 0.728903075659833]
        + [0.590383687920152, 0.759353105850177, 1.19227904349954, 0.980556884904505, 2.5663882147789],
        [0.926713565458435, 0.781996718955019, 0.811158221203851, 0.916993577655925, 2.13635393993315]
        + [0.974170590260925, 1.23838888552831, 4.12092268887651, 1.59578640865172, 9.93559055620009],
    ),
}


@pytest.mark.parametrize("activation", STORED)
def test_kernels_are_those_of_an_independent_library(activation):
    """Fifteen digits are stored; a layer takes some tens of operations in either program."""
    x = np.cos(1 + np.arange(4)[:, None] * (1 + np.arange(5))) * (1 + np.arange(4))[:, None] / 2
    found = kernel(x, activation=activation, weight_variance=1.6, bias_variance=0.2)
    above = np.triu_indices(4)
    for value, stored in zip((found.nngp, found.ntk), STORED[activation], strict=True):
        assert np.abs(value[above] / np.array(stored) - 1).max() <= ROUNDINGS * EPS


@pytest.mark.parametrize("depth", [1, 3, 10, 1000])
def test_relu_at_the_edge_of_chaos_keeps_its_diagonal(depth):
    """σ_w² = 2: Σ(x, x) = 2|x|²/d and Θ(x, x) = (L + 1) 2|x|²/d at every depth. THEORY 3.1."""
    x = inputs()
    found = kernel(x, hidden_layers=depth, weight_variance=2.0)
    square = 2 * (x * x).mean(1)
    assert_close(np.diag(found.nngp), square, 4 * (depth + 1))
    assert_close(np.diag(found.ntk), (depth + 1) * square, 4 * (depth + 1))


def test_identity_networks_are_linear():
    """Θ = (L + 1) x·x'/d, Σ = x·x'/d."""
    x = inputs()
    found = kernel(x, hidden_layers=7, activation="identity")
    assert_close(found.nngp, x @ x.T / 4, 100)
    assert_close(found.ntk, 8 * x @ x.T / 4, 100)


@pytest.mark.parametrize("activation, degree", [("relu", 1), ("absolute", 1), ("quadratic", 4)])
def test_homogeneous_activations_scale(activation, degree):
    """Θ(λx, μx') = (λμ)^p Θ(x, x'), p = 1, and 2^L at degree 2; powers of two are exact in every factor.

    For the quadratic Σ² scales as c⁴ of the inputs' c after two layers: Θ as well.
    """
    x = inputs()
    scale = np.array([0.5, 1, 2, 4, 1])[:, None]
    layers = 2
    found = kernel(scale * x, hidden_layers=layers, activation=activation)
    base = kernel(x, hidden_layers=layers, activation=activation)
    factor = (scale * scale.T) ** degree
    for value, original in ((found.nngp, base.nngp), (found.ntk, base.ntk)):
        assert_close(value / factor, original, ROUNDINGS)


def second_sets():
    x = inputs(7)
    y = np.concatenate([x[:2], inputs(3, seed=5), -x[2:3], np.zeros((1, 4)), 1.2 * x[3:4]])
    return x, y


RARE = [pytest.param(name, marks=pytest.mark.slow) for name in ("gelu", "sin", "cos", "gaussian")]


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", *RARE])
def test_a_block_is_part_of_the_kernel_of_both_sets(activation):
    """Equal inputs, opposite ones, multiples and zero among them: finite, symmetric, semidefinite."""
    x, y = second_sets()
    options = {"activation": activation, "weight_variance": 1.5, "bias_variance": 0.1}
    both = kernel(np.concatenate([x, y]), **options)
    block = kernel(x, y, **options)
    for whole, part in ((both.nngp, block.nngp), (both.ntk, block.ntk)):
        assert np.isfinite(whole).all()
        np.testing.assert_array_equal(whole, whole.T)
        largest = np.abs(whole).max()
        assert np.linalg.eigvalsh(whole).min() >= -ROUNDINGS * EPS * len(whole) * largest
        assert np.abs(part - whole[:7, 7:]).max() <= ROUNDINGS * EPS * largest


def test_zero_inputs_without_biases_have_zero_kernels():
    found = kernel(np.zeros((2, 3)), inputs(3, 3))
    assert not found.nngp.any() and not found.ntk.any()


def test_nearly_equal_inputs_are_told_apart():
    """Inputs of |x|² = d at an angle of 1e-9, one hidden ReLU layer, σ_w² = 2: Σ¹ = 2 cos θ, Σ² = 2 − O(θ²),
    Θ = Σ² + Σ¹(1 − θ/π) = 4 − 2θ/π + O(θ²). A correlation rounded to 1 would miss θ by 1e-8."""
    theta = 1e-9
    x = math.sqrt(2) * np.array([[1.0, 0.0], [math.cos(theta), math.sin(theta)]])
    ntk = kernel(x, hidden_layers=1, weight_variance=2.0).ntk
    assert abs((ntk[0, 0] - ntk[0, 1]) - 2 * theta / math.pi) <= 32 * EPS


def test_a_thousand_layers_keep_small_angles():
    """ReLU at σ_w² = 2: cos θ' = cos θ + (sin θ − θ cos θ)/π, in extended precision, and Θ from it."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("this machine has no extended precision")
    depth, theta = 1000, np.longdouble("0.5")
    sigma = tangent = np.longdouble(2) * np.cos(theta)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    delta = 2 * np.sin(theta / 2) ** 2
    for _ in range(depth):
        theta = 2 * np.arcsin(np.sqrt(delta / 2))
        slope = 1 - theta / pi
        delta = delta - (np.sin(theta) - theta * np.cos(theta)) / pi
        sigma = 2 * (1 - delta)
        tangent = sigma + tangent * slope
    x = math.sqrt(2) * np.array([[1.0, 0.0], [math.cos(0.5), math.sin(0.5)]])
    found = kernel(x, hidden_layers=depth, weight_variance=2.0)
    assert abs(found.nngp[0, 1] / float(sigma) - 1) <= 8 * EPS
    # Θ sums a thousand products of slopes: one rounding each
    assert abs(found.ntk[0, 1] / float(tangent) - 1) <= 4 * depth * EPS


def test_small_differences_grow_in_chaos_as_they_should():
    """tanh beyond the edge: Σ(x,x) − Σ(x,x') at a tiny angle grows by σ_w² E φ'² per layer, which the
    diagonals of Σ and Θ hold, Θ' = Σ' + Θ σ_w² E φ'²: nothing is subtracted there.

    One minus the correlation starts at θ²/2 = 5e-13 and is quadratic in itself at most: 1e-8 relative at its
    end; the difference of two kernels is rounded by eps.
    """
    theta, depth = 1e-6, 12
    x = math.sqrt(2) * np.array([[1.0, 0.0], [math.cos(theta), math.sin(theta)]])
    found = kernel(x, hidden_layers=depth, activation="tanh", weight_variance=4.0, layers=True)
    sigma, tangent = (v[:, 0, 0] for v in (found.nngp_layers, found.ntk_layers))
    growth = np.prod((tangent[1:] - sigma[1:]) / tangent[:-1])  # Π σ_w² E φ'²
    difference = found.nngp[0, 0] - found.nngp[0, 1]
    expected = sigma[0] * theta**2 / 2 * growth
    assert growth > 10
    assert abs(difference - expected) <= 1e-6 * expected + 8 * EPS * found.nngp[0, 0]


@pytest.mark.parametrize("depth", [3, 10])
def test_single_precision_relu_keeps_its_diagonal(depth):
    """1e-5 would do; a layer is a handful of roundings."""
    x = inputs(40, 16)
    found = kernel(x, hidden_layers=depth, weight_variance=2.0, dtype=np.float32)
    assert found.nngp.dtype == found.ntk.dtype == np.float32
    square = 2 * (x * x).mean(1)
    assert np.abs(np.diag(found.ntk) / ((depth + 1) * square) - 1).max() <= 8 * (depth + 1) * EPS32


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_single_precision_is_double_precision_rounded(activation):
    """θ of a δ rounded by EPS32 is off by EPS32/θ, θ ≥ 0.1 here; the rest is a few roundings a layer."""
    x = inputs(40, 16)
    options = {"activation": activation, "hidden_layers": 3, "weight_variance": 1.5, "bias_variance": 0.1}
    found, exact = (kernel(x, dtype=dtype, **options) for dtype in ("float32", "float64"))
    for left, right in ((found.nngp, exact.nngp), (found.ntk, exact.ntk)):
        assert np.abs(left - right).max() <= 100 * EPS32 * np.abs(right).max()


@pytest.mark.parametrize("name", ["sign", "step"])
def test_thresholds_have_a_covariance_and_no_tangent_kernel(name):
    """One hidden layer of sign: (2/π) arcsin ρ; of step: a quarter of that and ¼ of one."""
    x = inputs()
    found = kernel(x, hidden_layers=1, activation=name)
    length = np.linalg.norm(x, axis=1)
    arc = 2 / np.pi * np.arcsin(np.clip(x @ x.T / length[:, None] / length, -1, 1))
    off = ~np.eye(5, dtype=bool)
    expected = arc if name == "sign" else (1 + arc) / 4
    assert_close(found.nngp[off], expected[off], ROUNDINGS)
    assert_close(np.diag(found.nngp), np.full(5, 1 if name == "sign" else 0.5), 8)
    assert found.ntk is None and found.ntk_layers is None


@pytest.mark.slow
def test_a_user_activation_is_known_by_what_it_is():
    """Homogeneous: closed form. Smooth: the series. With kinks: quadrature of each pair."""
    x = inputs(3)
    steep = mf.Activation(lambda z: jnp.where(z > 0, 2 * z, 0.5 * z), homogeneity=1.0, kinks=((0.0, 1.5),))
    unnamed = mf.Activation(steep.function, kinks=((0.0, 1.5),))
    left, right = kernel(x, activation=steep), kernel(x, activation=unnamed)
    assert_close(left.nngp, right.nngp, 1e-11 / EPS)
    assert_close(left.ntk, right.ntk, 1e-11 / EPS)
    erf = mf.Activation(lambda z: jax.lax.erf(jnp.asarray(z)))
    left, right = kernel(x, activation=erf), kernel(x, activation="erf")
    assert_close(left.ntk, right.ntk, ROUNDINGS)


@pytest.mark.parametrize(
    "activation", ["relu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("erf", "gelu"))]
)
def test_gradients_are_finite_differences(activation):
    """In the inputs and in both variances, of a weighted sum of Σ and Θ. Central differences of step 1e-5:
    h² f''' and eps f/h are below 1e-9; a hundred entries are summed."""
    x, rng = inputs(4, 3), np.random.default_rng(2)
    weights = rng.standard_normal((2, 4, 4))
    phi = getattr(mf.activations, activation)

    def total(x, weight, bias):
        found = mf.kernels.mlp(x, hidden_layers=2, activation=phi, weight_variance=weight, bias_variance=bias)
        return (weights[0] * found.nngp).sum() + (weights[1] * found.ntk).sum()

    weight, bias = np.array([1.2, 0.8, 1.5]), np.array([0.1, 0.3, 0.2])
    with double():
        gradients = [np.asarray(g) for g in jax.jit(jax.grad(total, (0, 1, 2)))(x, weight, bias)]
    arguments, h = [x, weight, bias], 1e-5
    for k, gradient in enumerate(gradients):
        assert np.isfinite(gradient).all()
        direction = rng.standard_normal(gradient.shape)
        shifted = [[a + s * h * direction if i == k else a for i, a in enumerate(arguments)] for s in (1, -1)]
        difference = (total(*shifted[0]) - total(*shifted[1])) / (2 * h)
        assert abs((gradient * direction).sum() - difference) <= 1e-7 * max(abs(difference), 1)


def test_gradients_are_finite_at_degenerate_inputs():
    """Equal, opposite and zero inputs, with and without bias; the traced kernel is the one that is not."""
    x = inputs(5, 3)
    x[1], x[2], x[3] = x[0], -x[0], 0

    def total(x, bias):
        return mf.kernels.mlp(x, hidden_layers=2, activation=mf.activations.relu, bias_variance=bias)

    def entries(x, bias):
        found = total(x, bias)
        return found.nngp.sum() + (found.ntk**2).sum(), found

    traced = jax.jit(jax.value_and_grad(entries, has_aux=True))
    for bias in (0.0, 0.3):
        with double():
            (_, values), gradient = traced(x, bias)
        assert np.isfinite(np.asarray(gradient)).all()
        # traced δ is a difference: √eps of θ where inputs are equal or opposite, off the diagonal
        for left, right in zip(
            (values.nngp, values.ntk), (total(x, bias).nngp, total(x, bias).ntk), strict=True
        ):
            assert np.abs(np.asarray(left) - right).max() <= 10 * math.sqrt(EPS) * np.abs(right).max()


@pytest.mark.slow
def test_the_gradient_of_a_smooth_series_activation():
    """tanh, traced, goes by quadrature: against finite differences of the series."""
    x = inputs(2, 3)

    def entry(x):
        found = mf.kernels.mlp(x, hidden_layers=1, activation=mf.activations.tanh)
        return found.ntk[0, 1]

    with double():
        gradient = np.asarray(jax.grad(entry)(x))
    h, direction = 1e-5, np.random.default_rng(0).standard_normal(x.shape)
    difference = (entry(x + h * direction) - entry(x - h * direction)) / (2 * h)
    assert abs((gradient * direction).sum() - difference) <= 1e-8


def network_kernels(activation, x, width, networks, weight, bias, seed):
    """Empirical tangent kernels of finite networks, L = 1: (networks, P, P)."""
    f, slope = {
        "relu": (lambda z: np.maximum(z, 0), lambda z: z > 0),
        "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    }[activation]
    rng = np.random.default_rng(seed)
    d = x.shape[1]
    w, b, v = (rng.standard_normal((networks, width, *shape)) for shape in ((d,), (), ()))
    h = math.sqrt(weight / d) * w @ x.T + math.sqrt(bias) * b[..., None]  # (networks, n, P)
    readout = weight * np.einsum("knp,knq->kpq", f(h), f(h)) / width + bias
    back = slope(h) * v[..., None]
    hidden = np.einsum("knp,knq->kpq", back, back) * weight / width * (weight * x @ x.T / d + bias)
    return readout + hidden


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_mean_tangent_kernel_of_one_hidden_layer_is_exact_at_every_width(activation, key):
    """E Θ_n = Θ at n = 7 too. THEORY 3.1. False alarms ≤ 1e-6; a Σ counted twice is seen."""
    x = inputs(3, 4)
    samples = network_kernels(activation, x, 7, 20_000, 1.5, 0.2, key)
    found = kernel(x, hidden_layers=1, activation=activation, weight_variance=1.5, bias_variance=0.2)
    assert_mean(samples, found.ntk)
    with pytest.raises(AssertionError):
        assert_mean(samples, found.ntk + 0.1 * found.nngp)


def test_options_that_make_no_sense_are_told_in_one_sentence():
    x = inputs()
    phi = mf.activations.relu
    cases = [
        ({"x1": x[0]}, ValueError, "x1"),
        ({"x1": [[np.nan, 1.0]]}, ValueError, "x1"),
        ({"x2": x[:, :2]}, ValueError, "x2"),
        ({"hidden_layers": 0}, ValueError, "hidden_layers"),
        ({"hidden_layers": 2.0}, TypeError, "hidden_layers"),
        ({"activation": np.tanh}, TypeError, "activation"),
        ({"weight_variance": -1.0}, ValueError, "weight_variance"),
        ({"weight_variance": [1.0, 2.0]}, ValueError, "weight_variance"),
        ({"bias_variance": "a lot"}, TypeError, "bias_variance"),
        ({"dtype": "float16"}, ValueError, "dtype"),
        ({"dtype": 3.5}, TypeError, "dtype"),
        ({"layers": 1}, TypeError, "layers"),
    ]
    for options, kind, word in cases:
        with pytest.raises(kind) as error:
            mf.kernels.mlp(**{"x1": x, "hidden_layers": 2, "activation": phi, **options})
        assert_one_sentence(str(error.value), f"`{word}`")
    with pytest.raises(TypeError):
        kernel(x, weight_varience=1.0)


def test_the_kernel_is_a_pytree_that_says_what_it_holds():
    found = kernel(inputs(), hidden_layers=1)
    assert repr(found) == "Kernel(nngp (5, 5), ntk (5, 5))"
    doubled = jax.tree.map(lambda v: 2 * v, found)
    np.testing.assert_array_equal(doubled.ntk, 2 * found.ntk)
