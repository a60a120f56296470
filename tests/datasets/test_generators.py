"""Generators: the target is the formula, the law is the law, the stream and the finite set agree."""

import itertools
import math
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats

from meanfield import datasets
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.datasets import sources
from meanfield.model.activation import erf, identity, relu, tanh
from meanfield.model.loss import exponential, huber, logistic, softmax, square
from meanfield.model.stream import Stream

ALPHA = 1e-6  # false alarms of each statistical test, for any key
EPS = np.finfo(float).eps

GENERATORS = {
    "sphere_teacher": lambda **o: datasets.sphere_teacher(6, 3, **o),
    "noisy sphere_teacher": lambda **o: datasets.sphere_teacher(6, 3, noise=0.5, **o),
    "staircase": lambda **o: datasets.staircase(30, **o),
    "parity": lambda **o: datasets.parity(30, 3, **o),
    "xor": lambda **o: datasets.xor(dimension=3, spread=0.3, **o),
    "isotropic_gaussians": lambda **o: datasets.isotropic_gaussians(5, **o),
    "gaussian_clusters": lambda **o: datasets.gaussian_clusters(5, **o),
    "sine": lambda **o: datasets.sine(noise=0.1, **o),
}
LABELLED = ("parity", "xor", "isotropic_gaussians", "gaussian_clusters")
DRAWS = {
    "sphere_teacher": lambda: datasets.sphere_teacher_draw(6, 3, activation=tanh, noise=0.5),
    "staircase": lambda: datasets.staircase_draw(7, coefficients=(1.0, 0.5, 0.25)),
    "parity": lambda: datasets.parity_draw(7, 3),
    "isotropic_gaussians": lambda: datasets.isotropic_gaussians_draw(5),
    "gaussian_clusters": lambda: datasets.gaussian_clusters_draw(5),
}


def drawn(draw, size, key=0):
    """x, y of a stream's draw in float64."""
    with double():
        return tuple(np.asarray(part) for part in jax.jit(draw, static_argnums=1)(jax.random.key(key), size))


def two_sided(statistic, law):
    """Probability of a statistic at least as far out on its side, both sides counted."""
    return 2 * min(law.cdf(statistic), law.sf(statistic))


# The laws, each as p-values that are exactly uniform (continuous) or conservative (counts) if the law holds.


def signs_law(x):
    """Each coordinate of {±1}^d and each product of two is a fair coin."""
    pairs = [x[:, i] * x[:, j] for i, j in itertools.combinations(range(x.shape[1]), 2)]
    columns = [*x.T, *pairs]
    p = [scipy.stats.binomtest(int((c > 0).sum()), len(c)).pvalue for c in columns]
    return min(p) * len(columns)


def sphere_law(x, radius):
    """x_i²/r² ~ Beta(½, (d−1)/2) for each coordinate, and its sign is a fair coin."""
    beta = scipy.stats.beta(0.5, (x.shape[1] - 1) / 2)
    p = [scipy.stats.kstest((column / radius) ** 2, beta.cdf).pvalue for column in x.T]
    p += [scipy.stats.binomtest(int((column > 0).sum()), len(column)).pvalue for column in x.T]
    return min(p) * len(p)


def gaussian_law(x, y, distance, spread):
    """Labels are fair coins; in each class Σ|x − yμ|²/σ² ~ χ²(nd), √n(mean − yμ)/σ ~ N(0, I)."""
    p = [scipy.stats.binomtest(int((y > 0).sum()), len(y)).pvalue]
    for sign in (-1, 1):
        part = x[y[:, 0] == sign]
        deviation = 1 + sign * spread
        centre = np.zeros(x.shape[1])
        centre[0] = sign * distance / 2
        z = (part - centre) / deviation
        p.append(two_sided((z**2).sum(), scipy.stats.chi2(z.size)))
        p += [two_sided(math.sqrt(len(z)) * mean, scipy.stats.norm) for mean in z.mean(0)]
    return min(p) * len(p)


SIZE = 4000


@pytest.mark.parametrize("name", GENERATORS)
def test_the_shapes_are_samples_by_inputs_and_samples_by_outputs(name):
    problem = GENERATORS[name](samples=12, test_samples=7)
    assert problem.x.shape[0] == 12 and problem.y.shape == (12, 1)
    assert problem.x_test.shape == (7, problem.x.shape[1]) and problem.y_test.shape == (7, 1)
    arrays = (problem.x, problem.y, problem.x_test, problem.y_test)
    assert all(type(part) is np.ndarray and part.dtype == np.float64 for part in arrays)
    assert problem.loss == square
    assert GENERATORS[name](samples=12, test_samples=0).x_test is None


@pytest.mark.parametrize("name", GENERATORS)
def test_the_key_alone_determines_the_samples(name):
    one, same, other = (GENERATORS[name](samples=12, test_samples=7, key=key) for key in (1, 1, 2))
    assert describe(one) == describe(same) != describe(other)
    assert not np.array_equal(one.x, other.x)
    np.random.seed(0)  # noqa: NPY002  the global generator must play no part
    assert describe(GENERATORS[name](samples=12, test_samples=7, key=1)) == describe(one)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_training_set_does_not_depend_on_the_test_set(name):
    one, other = (GENERATORS[name](samples=12, test_samples=size) for size in (0, 7))
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.y, other.y)


@pytest.mark.parametrize("name", [n for n in GENERATORS if n != "sine"])
def test_training_and_test_samples_differ(name):
    """In the discrete cube of 2³⁰ points, 40 by 40 draws meet with probability below 2·10⁻⁶."""
    problem = GENERATORS[name](samples=40, test_samples=40)
    assert not (problem.x[:, None] == problem.x_test[None]).all(-1).any()


@pytest.mark.parametrize("name", LABELLED)
def test_labels_take_the_form_of_the_loss(name):
    for loss in (square, huber, logistic, exponential):
        problem = GENERATORS[name](samples=12, test_samples=7, loss=loss)
        assert problem.loss == loss and set(np.unique(problem.y)) == {-1.0, 1.0}
    classes = GENERATORS[name](samples=12, test_samples=7, loss=softmax)
    assert classes.y.shape == (12, 2) and classes.y_test.shape == (7, 2)
    np.testing.assert_array_equal(classes.y @ [-1, 1], problem.y[:, 0])


def test_a_staircase_is_a_sum_of_products_of_signs():
    monomials, coefficients = ((0,), (4, 1), (0, 1, 2)), (1.0, -2.0, 0.5)
    problem = datasets.staircase(6, monomials, 50, 20, coefficients=coefficients)
    for x, y in ((problem.x, problem.y), (problem.x_test, problem.y_test)):
        assert set(np.unique(x)) == {-1.0, 1.0}
        formula = x[:, 0] - 2 * x[:, 1] * x[:, 4] + 0.5 * x[:, 0] * x[:, 1] * x[:, 2]
        np.testing.assert_array_equal(y[:, 0], formula)  # sums of powers of two: no rounding


def test_the_products_are_orthonormal_on_the_whole_cube():
    """Mean of y · Π_{i∈S} x_i over all 2^d points is c_S, of y² it is Σ c_S²."""
    draw = datasets.staircase_draw(5, ((0,), (0, 1), (2, 3, 4)), (1.0, 0.5, -2.0))
    cube = np.array(list(itertools.product((-1.0, 1.0), repeat=5)))
    y = draw.target(cube)[:, 0]
    for size in range(6):
        for s in itertools.combinations(range(5), size):
            expected = dict(zip(draw.monomials, draw.coefficients, strict=True)).get(s, 0.0)
            assert np.mean(y * cube[:, list(s)].prod(1)) == expected
    assert np.mean(y**2) == 1 + 0.25 + 4


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_a_parity_is_the_product_of_the_first_coordinates(degree):
    problem = datasets.parity(6, degree, 50, 20)
    np.testing.assert_array_equal(problem.y[:, 0], problem.x[:, :degree].prod(1))
    np.testing.assert_array_equal(problem.y_test[:, 0], problem.x_test[:, :degree].prod(1))


def test_xor_is_the_truth_table():
    problem = datasets.xor()
    np.testing.assert_array_equal(problem.x, [[-1, -1], [-1, 1], [1, -1], [1, 1]])
    np.testing.assert_array_equal(problem.y[:, 0], problem.x[:, 0] * problem.x[:, 1])
    assert problem.x_test is None


def test_noisy_xor_keeps_every_corner_equally_often():
    problem = datasets.xor(samples=400, test_samples=40, dimension=5, spread=0.01)
    corners = np.round(problem.x)  # noise of 0.01 does not reach the middle
    np.testing.assert_array_equal(corners[:, 2:], 0)
    np.testing.assert_array_equal(corners[:, 0] * corners[:, 1], problem.y[:, 0])
    np.testing.assert_array_equal(np.unique(corners, axis=0, return_counts=True)[1], np.full(4, 100))
    noise = ((problem.x - corners) / 0.01) ** 2
    assert two_sided(noise.sum(), scipy.stats.chi2(noise.size)) > ALPHA


@pytest.mark.parametrize("activation", [relu, tanh, erf, identity], ids=lambda a: a.name)
def test_a_teacher_is_the_mean_of_its_neurons(activation):
    d, k, radius = 7, 4, 2.5
    draw = datasets.sphere_teacher_draw(d, k, activation=activation, radius=radius, key=3)
    problem = datasets.sphere_teacher(d, k, 40, 9, activation=activation, radius=radius, key=3)
    numpy_activation = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "erf": scipy.special.erf,
        "identity": lambda z: z,
    }
    for x, y in ((problem.x, problem.y), (problem.x_test, problem.y_test)):
        z = math.sqrt(d) * (x / radius) @ draw.directions().T
        truth = numpy_activation[activation.name](z).mean(1)
        np.testing.assert_allclose(y[:, 0], truth, rtol=0, atol=100 * EPS)


def test_a_wide_student_of_the_teachers_neurons_is_the_teacher():
    """f(x; ρ) = ∫ a φ(w·x) dρ of THEORY 1, with a = 1 and w = √d v_j: no factor is left over."""
    draw = datasets.sphere_teacher_draw(5, 3)
    problem = datasets.sphere_teacher(5, 3, 20, 0)
    a, w = np.ones(3), math.sqrt(5) * draw.directions()
    f = (a * np.maximum(problem.x @ w.T, 0)).mean(1)
    np.testing.assert_allclose(problem.y[:, 0], f, rtol=0, atol=100 * EPS)


def test_directions_are_orthonormal_while_they_fit():
    for d, k in ((6, 6), (6, 2), (1, 1)):
        v = datasets.sphere_teacher_draw(d, k).directions()
        np.testing.assert_allclose(v @ v.T, np.eye(k), atol=10 * d * EPS)
    v = datasets.sphere_teacher_draw(3, 8).directions()
    np.testing.assert_allclose((v**2).sum(1), 1, atol=10 * EPS)


@pytest.mark.parametrize("neurons", [2, 5])
def test_directions_are_uniform_on_the_sphere(neurons):
    """Over 2000 keys each v_j is uniform; QR without the signs of R, which fixes one sign, would fail."""
    v = np.array([datasets.sphere_teacher_draw(4, neurons, key=key).directions() for key in range(2000)])
    assert sphere_law(v[:, 0], 1.0) > ALPHA and sphere_law(v[:, 1], 1.0) > ALPHA
    with pytest.raises(AssertionError):
        assert sphere_law(v[:, 0] * np.sign(v[:, 0, :1]), 1.0) > ALPHA


def test_noise_is_on_the_training_targets_only():
    d, k = 5, 3
    exact, noisy = (datasets.sphere_teacher(d, k, SIZE, 50, noise=noise) for noise in (0.0, 0.5))
    np.testing.assert_array_equal(exact.x, noisy.x)
    np.testing.assert_array_equal(exact.y_test, noisy.y_test)
    residual = (noisy.y - exact.y) / 0.5
    assert two_sided((residual**2).sum(), scipy.stats.chi2(SIZE)) > ALPHA
    assert two_sided(math.sqrt(SIZE) * residual.mean(), scipy.stats.norm) > ALPHA


def test_a_sine_is_a_sine_on_an_even_grid():
    problem = datasets.sine(30, 11, frequency=3.0, interval=(-1, 2))
    np.testing.assert_array_equal(problem.y, np.sin(3 * problem.x))
    np.testing.assert_array_equal(problem.x_test[:, 0], np.linspace(-1, 2, 11))
    np.testing.assert_array_equal(problem.y_test, np.sin(3 * problem.x_test))
    many = datasets.sine(SIZE, 11, frequency=3.0, interval=(-1, 2), noise=0.1)
    assert scipy.stats.kstest(many.x[:, 0], scipy.stats.uniform(-1, 3).cdf).pvalue > ALPHA
    residual = (many.y - np.sin(3 * many.x)) / 0.1
    assert two_sided((residual**2).sum(), scipy.stats.chi2(SIZE)) > ALPHA
    np.testing.assert_array_equal(many.y_test, problem.y_test)


@pytest.mark.parametrize("source", ["finite", "stream"])
def test_signs_are_fair_and_independent(source):
    x = datasets.parity(6, 2, SIZE, 0).x if source == "finite" else drawn(datasets.parity_draw(6), SIZE)[0]
    assert set(np.unique(x)) == {-1.0, 1.0}
    assert signs_law(x) > ALPHA


@pytest.mark.parametrize("source", ["finite", "stream"])
def test_sphere_inputs_are_uniform(source):
    draw = datasets.sphere_teacher_draw(4, radius=2.0)
    x = datasets.sphere_teacher(4, samples=SIZE, radius=2.0).x if source == "finite" else drawn(draw, SIZE)[0]
    np.testing.assert_allclose((x**2).sum(1), 4, rtol=10 * EPS)
    assert sphere_law(x, 2.0) > ALPHA


@pytest.mark.parametrize("source", ["finite", "stream"])
def test_isotropic_gaussians_have_the_two_variances(source):
    if source == "finite":
        problem = datasets.isotropic_gaussians(5, SIZE, 0, spread=0.4)
        x, y = problem.x, problem.y
    else:
        x, y = drawn(datasets.isotropic_gaussians_draw(5, spread=0.4), SIZE)
    assert gaussian_law(x, y, distance=0.0, spread=0.4) > ALPHA


@pytest.mark.parametrize("source", ["finite", "stream"])
def test_gaussian_clusters_stand_at_the_two_centres(source):
    if source == "finite":
        problem = datasets.gaussian_clusters(5, 3.0, SIZE, 0)
        x, y = problem.x, problem.y
    else:
        x, y = drawn(datasets.gaussian_clusters_draw(5, 3.0), SIZE)
    assert gaussian_law(x, y, distance=3.0, spread=0.0) > ALPHA
    errors = int((np.sign(x[:, 0]) != y[:, 0]).sum())
    assert scipy.stats.binomtest(errors, SIZE, scipy.stats.norm.sf(1.5)).pvalue > ALPHA


def test_the_checks_of_laws_can_fail():
    """Negative controls: a wrong law is caught at this size (p below 1e-15 for 40 keys tried)."""
    rng = np.random.default_rng(11)
    x = datasets.parity(6, 2, SIZE, 0).x
    biased = np.where(rng.random(x.shape) < 0.2, 1.0, x)
    paired = x.copy()
    paired[:, 1] = np.where(rng.random(SIZE) < 0.2, x[:, 0], x[:, 1])
    ball = datasets.sphere_teacher(4, samples=SIZE).x
    stretched = ball * [1.3, 1, 1, 1]
    stretched /= np.linalg.norm(stretched, axis=1, keepdims=True)
    mixture = datasets.isotropic_gaussians(5, SIZE, 0, spread=0.4)
    clusters = datasets.gaussian_clusters(5, 3.0, SIZE, 0)
    for p in (
        signs_law(biased),
        signs_law(paired),
        sphere_law(stretched, 1.0),
        sphere_law(0.9 * ball, 1.0),
        gaussian_law(mixture.x, mixture.y, 0.0, 0.35),
        gaussian_law(clusters.x, clusters.y, 3.5, 0.0),
        gaussian_law(clusters.x + 0.2, clusters.y, 3.0, 0.0),
    ):
        assert p < ALPHA


@pytest.mark.parametrize("name", DRAWS)
def test_a_stream_and_a_finite_set_have_one_formula(name):
    """What JAX computes from a source's numbers is what numpy computes from them."""
    draw = DRAWS[name]()

    class Fixed:
        normal = staticmethod(lambda name, shape: sources.NumpySource((7,)).normal(name, shape))
        signs = staticmethod(lambda name, shape: sources.NumpySource((7,)).signs(name, shape))

    with double():
        traced = jax.jit(lambda: draw.sample(Fixed, 20))()
        x, y = draw.sample(Fixed, 20)
        np.testing.assert_allclose(traced[0], x, rtol=10 * EPS)
        np.testing.assert_allclose(traced[1], y, rtol=10 * EPS, atol=10 * EPS)


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_depends_on_its_key_only_and_passes_through_transformations(name):
    draw = DRAWS[name]()
    x, y = drawn(draw, 20)
    assert x.shape[0] == 20 and y.shape == (20, 1) and x.dtype == y.dtype == np.float64
    for part, again in zip((x, y), drawn(draw, 20), strict=True):
        np.testing.assert_array_equal(part, again)
    assert not np.array_equal(x, drawn(draw, 20, key=1)[0])
    keys = jax.vmap(jax.random.key)(np.arange(3))
    with double():
        many = jax.jit(jax.vmap(lambda key: draw(key, 20)))(keys)
        many = [np.asarray(part) for part in many]
    for key in range(3):
        for part, alone in zip(many, drawn(draw, 20, key=key), strict=True):
            np.testing.assert_allclose(part[key], alone, rtol=100 * EPS, atol=100 * EPS)
    with jax.enable_x64(False):
        single = jax.jit(draw, static_argnums=1)(jax.random.key(0), 20)
    assert single[0].dtype == single[1].dtype == np.float32


@pytest.mark.parametrize("name", DRAWS)
def test_equal_draws_share_one_compiled_program(name):
    traces = []

    def counted(draw, key):
        traces.append(draw)
        return draw(key, 4)

    compiled = jax.jit(counted, static_argnums=0)
    one, same = DRAWS[name](), DRAWS[name]()
    assert one == same and hash(one) == hash(same) and describe(one) == describe(same)
    compiled(one, jax.random.key(0))
    compiled(same, jax.random.key(1))
    assert len(traces) == 1


@pytest.mark.parametrize("name", DRAWS)
def test_a_stream_takes_the_draw(name):
    stream = Stream(DRAWS[name](), batch_size=6)
    with double():
        x, y, weight = stream.batch(3)
        assert x.shape == (6, stream.inputs) and y.shape == (6, 1) and weight.shape == (6,)
        assert not np.array_equal(x, stream.batch(4)[0])


def test_streams_with_different_teachers_are_told_apart():
    one, same, other = (Stream(datasets.sphere_teacher_draw(4, key=key), batch_size=6) for key in (0, 0, 1))
    assert describe(one) == describe(same) != describe(other)


def test_the_teacher_of_the_stream_is_that_of_the_finite_set():
    problem = datasets.sphere_teacher(6, 3, 20, 10, key=5)
    x, y = problem.x, problem.y
    with double():
        np.testing.assert_array_equal(datasets.sphere_teacher_draw(6, 3, key=5).target(x), y)
        assert not np.allclose(datasets.sphere_teacher_draw(6, 3, key=6).target(x), y)


def test_the_order_within_a_monomial_does_not_matter():
    swapped, sorted_ = datasets.staircase_draw(3, [[1, 0]]), datasets.staircase_draw(3, ((0, 1),))
    assert swapped == sorted_ == datasets.parity_draw(3)


MONOMIALS = "Argument `monomials` must be a sequence of tuples of distinct coordinates from 0 to 4, but is "


@pytest.mark.parametrize(
    "call, kind, sentence",
    [
        (lambda: datasets.staircase(5, 3), TypeError, MONOMIALS + "3."),
        (lambda: datasets.staircase(5, ()), ValueError, MONOMIALS + "()."),
        (lambda: datasets.staircase(5, (0, 1)), TypeError, MONOMIALS + "(0, 1)."),
        (lambda: datasets.staircase(5, ((),)), ValueError, MONOMIALS + "((),)."),
        (lambda: datasets.staircase(5, ((0, 0),)), ValueError, MONOMIALS + "((0, 0),)."),
        (lambda: datasets.staircase(5, ((5,),)), ValueError, MONOMIALS + "((5,),)."),
        (lambda: datasets.staircase(5, "01"), TypeError, MONOMIALS + "('0', '1')."),
        (
            lambda: datasets.staircase(5, ((0, 1), (1, 0))),
            ValueError,
            "distinct as products, but is ((0, 1), (1, 0)).",
        ),
        (
            lambda: datasets.staircase(5, coefficients=(1, 2)),
            ValueError,
            "Argument `coefficients` must be one number for each of the 3 monomials, but is [1.0, 2.0].",
        ),
        (
            lambda: datasets.staircase(2),
            ValueError,
            "coordinates from 0 to 1, but is ((0,), (0, 1), (0, 1, 2)).",
        ),
        (
            lambda: datasets.parity(5, 6),
            ValueError,
            "Argument `degree` must be an integer from 1 to 5, but is 6.",
        ),
        (
            lambda: datasets.parity(5, samples=0),
            ValueError,
            "`samples` must be an integer of at least 1, but is 0.",
        ),
        (
            lambda: datasets.parity(5, key=1.5),
            TypeError,
            "`key` must be an integer of at least 0, but is 1.5.",
        ),
        (
            lambda: datasets.xor(dimension=1),
            ValueError,
            "`dimension` must be an integer of at least 2, but is 1.",
        ),
        (
            lambda: datasets.xor(spread=-1.0),
            ValueError,
            "`spread` must be a finite number of at least 0, but is -1.0.",
        ),
        (lambda: datasets.isotropic_gaussians(5, spread=1.0), ValueError, "above 0 and below 1, but is 1.0."),
        (
            lambda: datasets.gaussian_clusters(5, -1.0),
            ValueError,
            "`distance` must be a finite number of at least 0",
        ),
        (
            lambda: datasets.sphere_teacher(5, activation=np.tanh),
            TypeError,
            "Argument `activation` must be an Activation, but is <ufunc 'tanh'>.",
        ),
        (
            lambda: datasets.sphere_teacher(5, 0),
            ValueError,
            "`neurons` must be an integer of at least 1, but is 0.",
        ),
        (
            lambda: datasets.sphere_teacher(5, radius=0.0),
            ValueError,
            "`radius` must be a finite number above 0",
        ),
        (
            lambda: datasets.sphere_teacher(5, noise=math.nan),
            ValueError,
            "`noise` must be a finite number of at least",
        ),
        (
            lambda: datasets.sine(interval=(1, 0)),
            ValueError,
            "`interval` must be two increasing numbers, but is (1, 0).",
        ),
        (lambda: datasets.sine(interval=3), ValueError, "Argument `interval` must be two increasing numbers"),
        (
            lambda: datasets.sine(frequency=0.0),
            ValueError,
            "`frequency` must be a finite number above 0, but is 0.0.",
        ),
        (lambda: datasets.sine(loss="square"), TypeError, "Argument `loss` must be one of meanfield.losses"),
        (lambda: datasets.staircase(5, loss=logistic), ValueError, "labels -1 and 1 for the logistic loss"),
    ],
)
def test_bad_arguments_give_one_sentence(call, kind, sentence):
    with pytest.raises(kind, match=re.escape(sentence)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_importing_the_datasets_imports_neither_jax_nor_the_file():
    program = (
        "import sys, meanfield.datasets as d\n"
        "assert 'digits' in dir(d) and 'jax' not in sys.modules and 'xarray' not in sys.modules\n"
        "assert callable(d.digits) and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("module", sorted({m for m in datasets._NAMES.values()}))
def test_importing_a_module_does_not_hide_a_function(module):
    program = (
        f"import meanfield.datasets.{module}\n"
        "from meanfield import datasets\n"
        "assert all(type(getattr(datasets, n)).__name__ == 'function' for n in datasets._NAMES)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'mnist'"):
        datasets.mnist  # noqa: B018
