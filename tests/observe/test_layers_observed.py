"""Observables of the layers of a perceptron against plain numpy on its own weights, and against the kernels
of infinite width; the same relations in every reading."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from assertions import EPS, assert_close, assert_mean, assert_one_sentence
from cases import Together, problem
from numpy_network import assert_mean_and_error

import meanfield as mf
from meanfield.base.schema import Variable
from meanfield.observe.alignment import alignment
from meanfield.observe.observable import Observable
from meanfield.studies import simulate

o = mf.observe
WIDTH, LAYER, INPUTS, OUTPUTS, SAMPLES = 9, 1, 3, 2, 4
TASK = problem(samples=SAMPLES, inputs=INPUTS, outputs=OUTPUTS, test_samples=3)
MODEL = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup, richness=1.3)
TRAINING = mf.GradientDescent(0.4, 5)
EDGES = np.linspace(-1.5, 1.5, 13)
LOOKS = (
    *(o.FeatureKernel(layer=i, name=f"phi_{i}") for i in (1, 2)),
    *(o.GradientKernel(layer=i, name=f"gradient_{i}") for i in (1, 2)),
    o.GradientKernel(test=True, layer=1),
    o.LayerKernels(),
    o.Kernel(),
    o.TwoTimeKernel(layer=LAYER),
    o.TwoTimeKernel(test=True, layer=LAYER),
    o.FeatureMovement(layer=LAYER),
    o.Alignment(o.FeatureKernel(layer=LAYER), name="alignment_features"),
    o.Alignment(o.Kernel(), name="alignment_tangent"),
    o.Alignment(o.FeatureKernel(test=True), centred=True, name="alignment_centred"),
    o.Independence(layer=LAYER),
    o.Preactivations(12, (-1.5, 1.5), (0.1, 0.5, 0.8), layer=LAYER),
)
NAMED = tuple(name for look in LOOKS for name in look.variables)


@pytest.fixture(scope="module", autouse=True)
def no_advice():
    """Whether the learning rate is stable is not asked here; the kernels it takes cost more than training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "warn_above_edge", lambda *_: None)
        yield


@dataclasses.dataclass(frozen=True)
class Weights(Observable):
    """All parameters."""

    at: object = None
    name = "weights"

    @property
    def variables(self):
        return {
            "weights_u": Variable(("row", "input"), "input weights"),
            "weights_w2": Variable(("row", "column"), "matrix"),
            "weights_v": Variable(("row", "output"), "readout weights"),
        }

    def compute(self, system, problem, measure, initial):
        return {f"weights_{name}": value for name, value in measure.items()}


@pytest.fixture(scope="module")
def dense(key):
    system = MODEL.finite(WIDTH, dtype="float64")
    return mf.simulate(system, TASK, TRAINING, seeds=2, observe=(Weights(), Together(LOOKS)), key=key)


def numpy_passes(run, seed, look, x):
    """([h¹, h²], [[g¹, g²] of every output]): h¹ = u x/√d, h² = W tanh h¹, f = E[v tanh h²]/γ,
    g^l = nγ ∂f_c/∂h^l by the chain rule."""
    u, w, v = (run[f"weights_{name}"].values[seed, look] for name in ("u", "w2", "v"))
    first = u @ x.T / math.sqrt(x.shape[1])
    second = w @ np.tanh(first)
    fields = []
    for c in range(v.shape[1]):
        g = v[:, c, None] * (1 - np.tanh(second) ** 2)
        fields.append([(1 - np.tanh(first) ** 2) * (w.T @ g), g])
    return [first, second], fields


def mean(a, b):
    return a.T @ b / len(a)


def numpy_alignment(kernel, y, centred=False):
    """Frobenius cosine of K and yyᵀ, with H K H and H y if centred."""
    target = y @ y.T
    if centred:
        h = np.eye(len(y)) - 1 / len(y)
        kernel, target = h @ kernel @ h, h @ target @ h
    return np.sum(kernel * target) / np.linalg.norm(kernel) / np.linalg.norm(target)


def test_they_are_those_of_plain_numpy(dense):
    """Before and after training, two networks. Some 1e3 · n roundings each; eigenvalues of a matrix are as
    accurate as its norm."""
    for seed in (0, 1):
        start, _ = numpy_passes(dense, seed, 0, TASK.x)
        start_test, _ = numpy_passes(dense, seed, 0, TASK.x_test)
        before = {}
        for look in (0, 1):
            at = {name: dense[name].values[seed, look] for name in NAMED}
            h, fields = numpy_passes(dense, seed, look, TASK.x)
            h_test, fields_test = numpy_passes(dense, seed, look, TASK.x_test)
            x = [np.tanh(field) for field in h]
            x_test, truth = np.tanh(h_test[LAYER - 1]), {}
            for layer in (1, 2):
                truth[f"phi_{layer}"] = mean(x[layer - 1], x[layer - 1])
                gram = [[mean(a[layer - 1], b[layer - 1]) for b in fields] for a in fields]
                truth[f"gradient_{layer}"] = np.array(gram).transpose(2, 0, 3, 1)
            truth["layer_kernels_feature"] = np.stack([truth[f"phi_{i}"] for i in (1, 2)])
            truth["layer_kernels_gradient"] = np.stack([truth[f"gradient_{i}"] for i in (1, 2)])
            gram = [[mean(a[0], b[0]) for b in fields_test] for a in fields_test]
            truth["test_gradient_kernel"] = np.array(gram).transpose(2, 0, 3, 1)
            truth["two_time_kernel"] = mean(x[LAYER - 1], np.tanh(start[LAYER - 1]))
            truth["test_two_time_kernel"] = mean(x_test, np.tanh(start_test[LAYER - 1]))
            gram = truth[f"phi_{LAYER}"]
            truth["alignment_features"] = numpy_alignment(gram, TASK.y)
            flat = at["kernel"].reshape(TASK.y.size, -1)
            truth["alignment_tangent"] = numpy_alignment(flat, TASK.y.reshape(-1, 1))
            last = np.tanh(h_test[-1])
            truth["alignment_centred"] = numpy_alignment(mean(last, last), TASK.y_test, centred=True)
            values = np.linalg.svd(x[LAYER - 1], compute_uv=False) ** 2 / WIDTH
            share = values / values.sum()
            truth["independence_smallest"] = values[-1]
            truth["independence_relative"] = values[-1] / values.mean()
            truth["independence_rank"] = np.exp(scipy.stats.entropy(share))
            counts = np.array([np.histogram(column, EDGES)[0] for column in h[LAYER - 1].T])
            truth["preactivations"] = counts / WIDTH / 0.25
            truth["preactivations_outside"] = 1 - counts.sum(1) / WIDTH
            truth["preactivations_quantile"] = np.quantile(h[LAYER - 1], (0.1, 0.5, 0.8), axis=0).T
            for name in ("alignment_features", "alignment_tangent", "alignment_centred"):
                before.setdefault(name, truth[name])
                truth[f"{name}_change"] = truth[name] - before[name]
            for name, value in truth.items():
                assert_close(at[name], value, 1e3 * WIDTH, scale=max(1.0, np.abs(value).max()))


def test_what_moves_is_seen_to_move(dense):
    """So that looks at the start and at the end are not the same."""
    for name in NAMED:
        values = dense[name].values
        if "outside" not in name:
            assert np.abs(values[:, 1] - values[:, 0]).max() > 1e-6, name


def related(run, atol, layer=2):
    """K = Σ_l G^{l+1} Φ^l with G^{L+1} = δ_ce, at σ_w = 1 under μP, neuron by neuron whatever the fields are,
    and E[x_0 x_0] = Φ_00."""
    phi, gradient = (
        [run[f"layer_kernels_{name}"].isel(layer=i).values for i in (0, 1)]
        for name in ("feature", "gradient")
    )
    inner = np.broadcast_to(TASK.x @ TASK.x.T / INPUTS, phi[0].shape)
    kernel = phi[-1][..., :, None, :, None] * np.eye(OUTPUTS)[:, None]
    for g, below in zip(gradient, [inner, *phi[:-1]], strict=True):
        kernel = kernel + g * below[..., :, None, :, None]
    np.testing.assert_allclose(run["kernel"].values, kernel, atol=atol * np.abs(kernel).max())
    two_time = run["two_time_kernel"].values
    np.testing.assert_allclose(two_time[..., 0, :, :], phi[layer - 1][..., 0, :, :], atol=atol)


def test_the_tangent_kernel_is_made_of_both_kernels(dense):
    related(dense, 1e3 * WIDTH * EPS, LAYER)


TOLERANCE = 1e-6
SEEN = ("layer_kernels_feature", "layer_kernels_gradient", "kernel", "two_time_kernel")
RELATED = Together((o.LayerKernels(), o.Kernel(), o.TwoTimeKernel()), SEEN)
SHORT = mf.GradientDescent(0.4, 2)


@pytest.fixture(scope="module")
def limit(key):
    return mf.simulate(MODEL.limit(2048, 16, tolerance=TOLERANCE), TASK, SHORT, observe=RELATED, key=key)


@pytest.mark.slow
def test_the_same_holds_without_matrices(key):
    """What is skipped, at most the tolerance in every field, is not the same in every observable."""
    system = MODEL.finite(16, sampler=mf.MatrixFree(TOLERANCE), dtype="float64")
    related(mf.simulate(system, TASK, SHORT, observe=RELATED, key=key), 100 * TOLERANCE)


@pytest.mark.slow
def test_the_same_holds_in_the_limit(limit):
    """All are linear in the law, so that means over replicates obey the relation as well."""
    related(limit, 100 * TOLERANCE)


def initial_kernels(layer, layers=2):
    """Φ^l and G^l of infinite width: the first from a kernel of l hidden layers, the second from the part of
    Θ that layer l alone has, Θ = r_l G^l Φ^{l−1} + …."""

    def features(depth):
        if depth == 0:
            return TASK.x @ TASK.x.T / INPUTS
        return mf.kernels.mlp(TASK.x, hidden_layers=depth, activation=mf.activations.tanh).nngp

    rates = tuple(float(i == layer - 1) for i in range(layers + 1))
    part = mf.kernels.mlp(TASK.x, hidden_layers=layers, activation=mf.activations.tanh, rates=rates).ntk
    return features(layer), (part / features(layer - 1))[:, None, :, None] * np.eye(OUTPUTS)[:, None]


def test_kernels_of_one_layer_are_on_average_those_of_infinite_width(key):
    """With one hidden layer they are so at every n, exactly: 400 networks of 6 neurons, false alarms 1e-6."""
    run = mf.simulate(
        mf.MLP(1, mf.activations.tanh, mf.parametrizations.mup).finite(6), TASK, mf.GradientDescent(0.1, 1),
        seeds=400, record=[0], observe=o.LayerKernels((0,)), key=key,
    )  # fmt: skip
    for name, truth in zip(("feature", "gradient"), initial_kernels(1, 1), strict=True):
        found = run[f"layer_kernels_{name}"].values[:, 0, 0]
        assert_mean(found, truth)
        with pytest.raises(AssertionError):
            assert_mean(found, 1.5 * truth)


@pytest.mark.slow
def test_kernels_at_initialisation_are_those_of_infinite_width(limit):
    """16 replicates of 2048 particles: Student's t at 1e-6; the bias O(P/M) is a tenth of the standard error
    0.6/√(16 M)."""
    for layer in (1, 2):
        for name, truth in zip(("feature", "gradient"), initial_kernels(layer), strict=True):
            own = (limit[f"layer_kernels_{name}{end}"].isel(layer=layer - 1) for end in ("", "_error"))
            found, error = (values.values[0] for values in own)
            seen = error > 1e-12  # pairs of particles agree exactly on some entries
            assert np.abs(found - truth)[~seen].max(initial=0) < 1e-9
            assert_mean_and_error(found[seen], error[seen], truth[seen], 16)
            with pytest.raises(AssertionError):
                assert_mean_and_error(found[seen], error[seen], 1.2 * truth[seen], 16)


def test_a_kernel_of_the_labels_is_aligned_and_another_is_not():
    y = np.random.default_rng(0).standard_normal((5, 2))
    assert abs(float(alignment(y @ y.T, y)) - 1) < 1e-6
    other = np.linalg.qr(np.concatenate([y, np.eye(5)], 1))[0][:, 2:]  # orthogonal to the labels
    assert abs(float(alignment(other @ other.T, y))) < 1e-6
    assert float(alignment(np.eye(5), np.zeros((5, 2)))) == 0
    flat = y.reshape(-1, 1)
    assert abs(float(alignment((flat @ flat.T).reshape(5, 2, 5, 2), y)) - 1) < 1e-6


def test_features_that_agree_are_not_independent(key):
    """Two equal samples leave eigenvalue 0, at most eps times the trace; one hidden layer of the identity on
    orthonormal inputs has Φ = E[u uᵀ]/d → 1/d: effective rank and relative eigenvalue are those of a Wishart
    matrix, above (1 − √(P/n))² (1 − 0.3)."""
    x = np.eye(3)[[0, 1, 2, 2]]
    model = mf.MLP(1, mf.activations.identity, mf.parametrizations.mup)
    for inputs, low, high in ((x, 0.0, 1e2 * EPS), (x[:3], 0.7 * (1 - math.sqrt(3 / 400)) ** 2, 1.0)):
        run = mf.simulate(
            model.finite(400, dtype="float64"), mf.Problem(inputs, np.ones(len(inputs))),
            mf.GradientDescent(0.1, 1), observe=o.Independence(at=(0,)), key=key,
        )  # fmt: skip
        assert low <= run["independence_relative"].item() <= high
        assert 2.5 < run["independence_rank"].item() <= 3 + 1e-9


def test_settings_that_make_no_sense_are_named():
    for wrong, words in (
        (lambda: o.Alignment(o.Displacement()), ("`of`",)),
        (lambda: o.Preactivations(levels=(0.5, 0.2)), ("`levels`", "increasing")),
        (lambda: o.Preactivations(levels="median"), ("`levels`",)),
        (lambda: o.GradientKernel(layer=0), ("`layer`",)),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            wrong()
        assert_one_sentence(str(raised.value), *words)
    task = mf.Problem(TASK.x, TASK.y, x_test=TASK.x_test)
    with pytest.raises(ValueError, match="`of` must be on the training set"):
        mf.simulate(MODEL.finite(4), task, TRAINING, observe=o.Alignment(o.Kernel(test=True)))
    two_layer = mf.TwoLayer(mf.activations.tanh).finite(4)
    for look in (
        o.GradientKernel(),
        o.LayerKernels(),
        o.TwoTimeKernel(),
        o.Independence(),
        o.Preactivations(),
    ):
        with pytest.raises(ValueError, match=f"no {type(look).__name__}"):
            mf.simulate(two_layer, TASK, TRAINING, observe=look)
