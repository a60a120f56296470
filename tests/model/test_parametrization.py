"""abc-parametrizations against the formulas of THEORY 3 and against networks written out in numpy.

Slopes in the width come from SEEDS networks at WIDTHS, one slope for each seed, so that they are independent
and near Gaussian: the mean must be the exponent up to a t-interval that is missed in one of 10⁶ cases (all
slopes of a test together) and up to the bias of the narrow networks. For that, mean squares are
C n^{2p} (1 + c/n + …): c is 5 a layer for the fourth moments of a ReLU network (E q² = (1 + 5/n)^l q_0²,
THEORY 3.1) and k for k outputs that share n neurons, so the slope is off by at most `finite_width_bias`.
"""

import dataclasses
import fractions
import itertools
import pickle

import numpy as np
import pytest
from assertions import assert_mean, assert_one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfield.model.parametrization import (
    Parametrization,
    integrable,
    mean_field,
    mup,
    ntk,
    standard,
)

WIDTHS, SEEDS = (32, 64, 128, 256), 24
SAMPLES, INPUTS, OUTPUTS = 3, 6, 4
stable_standard = standard.with_rates(1)
NAMED = [standard, stable_standard, ntk, mup, integrable]


class NumpyNetwork:
    """W^l = n^{−a_l} w^l, no biases, square loss on centred outputs f − f_0, gradients by hand."""

    def __init__(self, layers, width, rng, phi="relu"):
        sizes = [INPUTS, *[width] * (len(layers.a) - 1), OUTPUTS]
        self.width, self.layers, self.phi = float(width), layers, phi
        self.w = [rng.standard_normal((m, n)) for n, m in itertools.pairwise(sizes)]
        self.w = [w * self.width**-b for w, b in zip(self.w, layers.b, strict=True)]
        self.scales = [self.width**-a for a in layers.a]
        self.scales[0] /= np.sqrt(INPUTS)
        data = np.random.default_rng(5)
        self.x = data.standard_normal((SAMPLES, INPUTS))
        self.y = data.standard_normal((SAMPLES, OUTPUTS))
        self.start = self.weights()
        self.f_0, self.h_0, self.x_0, _ = self.forward()

    def weights(self):
        return [s * w for s, w in zip(self.scales, self.w, strict=True)]

    def forward(self):
        W, x = self.weights(), self.x
        h, xs, slopes = [], [x], []
        for matrix in W[:-1]:
            h.append(x @ matrix.T)
            relu = self.phi == "relu"
            x = np.maximum(h[-1], 0) if relu else np.tanh(h[-1])
            slopes.append((h[-1] > 0).astype(float) if relu else 1 - x * x)
            xs.append(x)
        return x @ W[-1].T, h, xs, slopes

    def step(self, learning_rate, c, update=lambda g: g):
        f, _, xs, slopes = self.forward()
        g, W = (f - self.f_0 - self.y) / SAMPLES, self.weights()
        for i in reversed(range(len(W))):
            gradient = self.scales[i] * g.T @ xs[i]
            if i:
                g = (g @ W[i]) * slopes[i - 1]
            self.w[i] = self.w[i] - learning_rate * self.width ** -c[i] * update(gradient)

    def train(self, learning_rate, steps, rates=None, **options):
        for step in range(steps):
            c = self.layers.first_c if step == 0 else self.layers.c
            self.step(learning_rate, rates or c, **options)
        return self

    def sizes(self):
        """Root mean squares of h^1 … h^L, f before training, then of their change."""
        f, h, _, _ = self.forward()
        change = [b - a for a, b in zip(self.h_0, h, strict=True)]
        return [rms(v) for v in (*self.h_0, self.f_0, *change, f - self.f_0)]

    def own_updates(self):
        """Root mean squares of (W_t^l − W_0^l) x^{l−1}_0, l = 1 … L: what layer l alone does to h^l."""
        zipped = zip(self.weights()[:-1], self.start, self.x_0, strict=False)
        return [rms(x @ (now - then).T) for now, then, x in zipped]


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def slopes(layers, look, key, widths=WIDTHS):
    """Slopes of log look(network) in log n, (SEEDS, quantities)."""
    networks = [
        [look(NumpyNetwork(layers, n, np.random.default_rng([key, seed, n]))) for n in widths]
        for seed in range(SEEDS)
    ]
    return np.einsum("n,snq->sq", weights_of_slope(widths), np.log(networks))


def weights_of_slope(widths):
    x = np.log(widths) - np.mean(np.log(widths))
    return x / (x @ x)


def finite_width_bias(hidden_layers, widths=WIDTHS):
    """Slope of ½ log(1 + c/n), c = 5L + k: how far narrow networks are from the exponent."""
    c = 5 * hidden_layers + OUTPUTS
    return abs(weights_of_slope(widths) @ (0.5 * np.log1p(c / np.asarray(widths))))


def flat(sizes):
    return np.array([*sizes.hidden, sizes.output, *sizes.hidden_change, sizes.output_change])


# The table of THEORY 3, with L = 1, 2, 3.
REGIMES = {
    standard: ("unstable",) * 3,
    stable_standard: ("kernel",) * 3,
    ntk: ("kernel",) * 3,
    mup: ("feature learning",) * 3,
    integrable: ("feature learning", "feature learning", "trivial"),
}


@pytest.mark.parametrize("parametrization", NAMED, ids=repr)
def test_the_table_has_the_regimes_of_the_theory(parametrization):
    for hidden_layers, regime in enumerate(REGIMES[parametrization], 1):
        assert parametrization.regime(hidden_layers) == regime
        assert parametrization.is_nontrivial(hidden_layers) == (regime in ("kernel", "feature learning"))
        assert parametrization.is_feature_learning(hidden_layers) == (regime == "feature learning")
        healthy = parametrization.is_stable(hidden_layers) and regime != "trivial"
        assert healthy == (parametrization.breaks(hidden_layers) == ())
    assert mean_field.regime(1) == "feature learning" and mean_field.is_stable(1)


def test_r_of_the_table_is_what_its_formula_gives():
    """One common c: r = min(a+b, 2a+c)_{L+1} + c − 1 + min_l (2a_l + 1(l=1)), by hand."""
    assert ntk.r(3) == 0.5 and mup.r(3) == 0.0 and mean_field.r(1) == 0.0
    assert standard.r(3) == -1.0 and standard.r(1) == 0.0
    assert stable_standard.r_layers(3) == (1.5, 0.5, 0.5) and stable_standard.r(1) == 1.5


halves = st.integers(-3, 3).map(lambda k: k / 2)


@st.composite
def parametrizations(draw, stable_start=True, common=False):
    """Any exponents in halves, one for each layer, with L; by choice those of a stable start."""
    L = draw(st.integers(1, 4))
    a = [draw(halves) for _ in range(L + 1)]
    c = [draw(halves)] * (L + 1) if common else [draw(halves) for _ in range(L + 1)]
    right = [0.0, *[0.5] * (L - 1), draw(st.integers(1, 4)) / 2]
    b = [s - v for s, v in zip(right, a, strict=True)] if stable_start else [draw(halves) for _ in a]
    return Parametrization(a, b, c), L


@given(parametrizations())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_formulas_and_the_calculus_of_sizes_agree(drawn):
    """Two derivations: closed conditions, and exponents carried through forward and backward passes.

    With a stable start, instability by formula is growth within the first 2L + 2 steps, and if nothing grows
    h^l has moved by n^{−min_{m≤l} r_m} from the second step on.
    """
    p, L = drawn
    end = p.sizes(L, 2 * L + 2)
    assert p.is_stable(L) == (max(flat(end)) <= 1e-9)
    if p.is_stable(L):
        movement = -np.minimum.accumulate(p.r_layers(L))
        np.testing.assert_allclose(p.sizes(L, 2).hidden_change, movement, atol=1e-12)
        np.testing.assert_allclose(end.hidden_change, movement, atol=1e-12)
        a, b, c, _ = p.layers(L)
        nontrivial = min(a[-1] + b[-1] + p.r(L), 2 * a[-1] + c[-1]) == 1
        assert (end.output_change == 0) == nontrivial == p.is_nontrivial(L)
        assert (p.regime(L) == "feature learning") == (nontrivial and p.r(L) == 0)


@given(parametrizations(common=True))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_with_one_learning_rate_r_is_that_of_yang_and_hu(drawn):
    p, L = drawn
    a, b, c, _ = p.layers(L)
    expected = min(a[L] + b[L], 2 * a[L] + c[0]) + c[0] - 1 + min(2 * a[i] + (i == 0) for i in range(L))
    assert p.r(L) == expected


@given(parametrizations(stable_start=False), halves)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_the_shift_keeps_everything(drawn, theta):
    p, L = drawn
    moved = p.shift([theta + i for i in range(L + 1)])  # another θ for every layer
    for other in (moved, p.shift(theta)):
        assert p.is_equivalent(other, L) and other.is_equivalent(p, L)
        assert other.regime(L) == p.regime(L) and other.r_layers(L) == p.r_layers(L)
        assert flat(other.sizes(L, 3)).tolist() == flat(p.sizes(L, 3)).tolist()
    faster = Parametrization(p.a, p.b, [p.layers(L).c[0] - 0.5, *p.layers(L).c[1:]])
    assert not p.is_equivalent(faster, L)


MEASURED = {
    "standard, rate 1/n": (stable_standard, 2, 1),
    "ntk, 1 step": (ntk, 2, 1),
    "ntk, 4 steps": (ntk, 2, 4),
    "mup, 1 step": (mup, 2, 1),
    "mup, 4 steps": (mup, 2, 4),
    "mup, 3 layers": (mup, 3, 2),
    "mean field": (mean_field, 1, 3),
    "integrable, 3 layers": (integrable, 3, 3),
}


@pytest.mark.parametrize("name", MEASURED)
def test_networks_have_the_sizes_of_the_table(name, key):
    """Hidden fields and output at the start, and their movement: slopes in the width."""
    p, L, steps = MEASURED[name]
    measured = slopes(p.layers(L), lambda net: net.train(0.3, steps).sizes(), key)
    assert_mean(measured, flat(p.sizes(L, steps)), bias=finite_width_bias(L))


def test_measured_slopes_tell_parametrizations_apart(key):
    """Negative control: the same measurement on μP rejects the exponents of NTK."""
    measured = slopes(mup.layers(2), lambda net: net.train(0.3, 1).sizes(), key)
    with pytest.raises(AssertionError):
        assert_mean(measured, flat(ntk.sizes(2, 1)), bias=finite_width_bias(2))


def test_the_standard_network_blows_up_as_predicted(key):
    """c = 0: one step moves h² by n^{½}, h¹ by n^{−½}. The output has not settled at these widths."""
    measured = slopes(standard.layers(2), lambda net: net.train(0.3, 1).sizes()[3:5], key)
    assert_mean(measured, standard.sizes(2, 1).hidden_change, bias=finite_width_bias(2))
    assert standard.sizes(2, 1).hidden_change == (-0.5, 0.5)


def random_exponents(count, seed=5):
    """Stable starts with any learning rates, one for each layer; 2a + c and a + b of the readout free."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        L = int(rng.integers(1, 4))
        a = rng.integers(-2, 3, L + 1) / 2
        b = np.array([0.0, *[0.5] * (L - 1), rng.integers(1, 4) / 2]) - a
        c = rng.integers(0, 5, L + 1) / 2 - 2 * a
        c[-1] = rng.integers(2, 5) / 2 - 2 * a[-1]
        found.append((Parametrization(a, b, c), L))
    return found


@pytest.mark.parametrize("case", range(6))
def test_random_exponents_give_r_layers_by_direct_measurement(case, key):
    """(W_t − W_0)^l x^{l−1} of every layer, for learning rates of every layer, first and later steps apart.

    After one step g is a_{L+1} + b_{L+1}, the readout has not moved; the second step, with everything below
    the readout put back so that nothing unstable builds up, sees it moved: g = min(a+b, 2a+c). Of the sum of
    both readouts, a ratio n^{−½} apart at least, the smaller one adds 1/n to mean squares: c/n again.
    """
    p, L = random_exponents(6)[case]
    layers = p.layers(L)
    a, b, c, _ = layers

    def look(net):
        first = net.train(0.3, 1).own_updates()
        net.w[:-1] = [w / s for w, s in zip(net.start[:-1], net.scales[:-1], strict=True)]
        return first + net.train(0.3, 1).own_updates()

    measured = slopes(layers, look, key)
    later = min(a[-1] + b[-1], 2 * a[-1] + c[-1])
    after_one_step = [-(r - later + a[-1] + b[-1]) for r in p.r_layers(L)]
    expected = np.array([*after_one_step, *(-r for r in p.r_layers(L))])
    # Once the readout is of order one it has also moved the output, which the residual f − f_0 − y holds.
    assert_mean(measured, expected, bias=finite_width_bias(L))


def test_random_exponents_hold_every_order_of_readout_and_layers():
    """The cases above are worth something: both readouts lead somewhere, both signs of r occur."""
    cases = random_exponents(6)
    gaps = {np.sign(np.round(p.layers(L).b[-1] - p.layers(L).a[-1] - p.layers(L).c[-1], 9)) for p, L in cases}
    assert gaps >= {-1.0, 1.0}
    rs = [r for p, L in cases for r in p.r_layers(L)]
    assert min(rs) < 0 < max(rs) and {L for _, L in cases} == {1, 2, 3}


@pytest.mark.parametrize("case", range(3))
def test_measured_regimes_of_random_stable_exponents(case, key):
    """Read off the slopes, halfway between multiples of ½: does the output move, does the last layer move.

    Twice the width of the other tests: bias below 0.06, standard errors of 0.04 seen, so ¼ is
    4.5 of them away: false alarms of 10⁻⁵.
    """
    stable = [(p, L) for p, L in random_exponents(400, 3) if p.is_stable(L)]
    picked = [
        next(x for x in stable if x[0].regime(x[1]) == r) for r in ("trivial", "kernel", "feature learning")
    ]
    p, L = picked[case]
    wide = tuple(2 * n for n in WIDTHS)
    measured = slopes(p.layers(L), lambda net: net.train(1.0, 3).sizes(), key, wide).mean(0)
    assert finite_width_bias(3, wide) < 0.06
    assert abs(measured[: L + 1] - flat(p.sizes(L, 2))[: L + 1]).max() < 0.25
    regime = "trivial" if measured[-1] < -0.25 else "kernel" if measured[-2] < -0.25 else "feature learning"
    assert regime == p.regime(L)


def trained_outputs(p, width=32, steps=5, phi="tanh", first_rates=None):
    net = NumpyNetwork(p.layers(2), width, np.random.default_rng(0), phi)
    return net.train(0.3, steps, first_rates).forward()[0]


@pytest.mark.parametrize("theta", [0.5, -1.25, (0.5, -1.0, 0.75)], ids=str)
def test_a_shift_is_the_same_training_to_rounding(theta):
    """Same draws, five steps: n^{±θ} costs one rounding an entry, and sums of n = 32 terms another n."""
    for p in (ntk, mup, integrable.with_large_first_step(2)):
        reference, moved = trained_outputs(p), trained_outputs(p.shift(theta))
        np.testing.assert_allclose(
            moved, reference, rtol=0, atol=5 * 3 * 32 * 2.3e-16 * abs(reference).max() * 4
        )
        wrong = Parametrization(p.shift(theta).a, p.shift(theta).b, p.c)  # learning rate left as it was
        assert abs(trained_outputs(wrong) - reference).max() > 1e-3 * abs(reference).max()


def test_mean_field_is_maximal_update_with_one_hidden_layer():
    assert mean_field.shift(-0.5).is_equivalent(mup, 1) and not ntk.is_equivalent(mup, 1)


@pytest.mark.parametrize("name", ["standard, rate 1/n", "ntk", "mup", "integrable"])
def test_sign_descent_with_its_own_rates_moves_layers_as_descent_does(name, key):
    """Two steps of w ← w − η n^{−c} sign(gradient), c = `adaptive_rates`: the movement is n^{−r_l} again."""
    p = {"standard, rate 1/n": stable_standard, "ntk": ntk, "mup": mup, "integrable": integrable}[name]
    L = 3 if name == "integrable" else 2
    rates = p.adaptive_rates(L)
    measured = slopes(p.layers(L), lambda net: net.train(0.05, 2, rates, update=np.sign).sizes(), key)
    assert_mean(measured, flat(p.sizes(L, 2)), bias=finite_width_bias(L))


def test_sign_descent_with_the_rates_of_descent_is_told_apart(key):
    """Negative control: without their own rates the layers of μP blow up."""
    measured = slopes(
        mup.layers(2), lambda net: net.train(0.05, 1, mup.layers(2).c, update=np.sign).sizes(), key
    )
    with pytest.raises(AssertionError):
        assert_mean(measured, flat(mup.sizes(2, 1)), bias=finite_width_bias(2))


def test_adaptive_rates_are_those_of_tensor_programs():
    """Yang & Littwin 2023: entries of W move by n^{−(a + c)}: μP 1, 1/n, 1/n; NTK n^{−½}, n^{−3/2}, 1/n."""
    for p, expected in ((mup, (0, 1, 1)), (ntk, (0.5, 1.5, 1.0)), (stable_standard, (1.5, 1.5, 1.0))):
        moves = [a + c for a, c in zip(p.layers(2).a, p.adaptive_rates(2), strict=True)]
        assert moves == list(expected)


def test_adaptive_rates_of_a_shift_are_shifted_once():
    """(a + θ, b − θ, c − θ) is the invariance of updates that do not see the gradient's size."""
    for theta in (0.5, (1.0, -0.5, 0.25)):
        by = (theta,) * 3 if isinstance(theta, float) else theta
        expected = [c - t for c, t in zip(mup.adaptive_rates(2), by, strict=True)]
        np.testing.assert_allclose(mup.shift(theta).adaptive_rates(2), expected, atol=1e-12)


@pytest.mark.parametrize("hidden_layers", [2, 3, 5])
def test_the_large_first_step_of_the_integrable_network_is_ip_llr(hidden_layers):
    """Hajjar, Chizat & Giraud 2021: −(L+1)/2 outside, −(L+2)/2 inside, then the ordinary rates."""
    L, layers = hidden_layers, integrable.with_large_first_step(hidden_layers).layers(hidden_layers)
    assert layers.first_c == (-(L + 1) / 2, *[-(L + 2) / 2] * (L - 1), -(L + 1) / 2)
    assert layers.c == integrable.layers(L).c
    assert integrable.with_large_first_step(L).regime(L) == "feature learning"


def test_a_first_step_that_is_too_large_is_unstable():
    p = Parametrization(ntk.a, ntk.b, ntk.c, -1)
    assert p.regime(2) == "unstable" and not p.is_stable(2) and not p.is_equivalent(ntk, 2)
    assert Parametrization(ntk.a, ntk.b, ntk.c, ntk.c).regime(2) == "kernel"


def test_ip_llr_moves_every_layer_by_order_one(key):
    """ReLU, L = 3. η is large so that what moves exceeds what was there, of size n^{−(l−1)/2}: a ratio
    n^{−½} to n^{−1}, hence 1/n in mean squares. The plain integrable network (above) stays where it is."""
    p = integrable.with_large_first_step(3)
    measured = slopes(p.layers(3), lambda net: net.train(1e3, 1).sizes(), key)
    assert_mean(measured, flat(p.sizes(3, 1)), bias=finite_width_bias(3))
    assert p.sizes(3, 1).hidden_change == (0, 0, 0)


def test_what_breaks_is_said_in_one_sentence_each():
    cases = [
        (standard, 2, ("2a + c = 0", "Layer 2", "r = -1")),
        (integrable, 3, ("Layer 2", "Layer 3", "a + b = 1")),
        (mup.with_rates(1), 2, ("one of which must be 1", "n^-1")),
        (Parametrization((0, 0, 0.25), (1, 0.5, 0), 1), 2, ("The input layer has a + b = 1", "a + b = 0.25")),
        (Parametrization((0, 0, 0.5), (0, 0.5, 0), (-0.5, 0, 0)), 1, ("a + b + r = 0.5",)),
    ]
    for p, L, words in cases:
        sentences = p.breaks(L)
        for sentence in sentences:
            assert_one_sentence(sentence.replace("0.", "0").replace("1.", "1").rstrip(".") + ".")
        for word in words:
            assert word in " ".join(sentences)
    assert ntk.breaks(3) == mup.breaks(3) == mean_field.breaks(1) == ()


def test_infinite_width_in_words():
    words = {
        (standard, 3): ("Unstable", "no limit"),
        (stable_standard, 3): ("Kernel regime", "the input layer has no part", "Gaussian process"),
        (ntk, 3): ("Kernel regime", "n^-0.5", "Gaussian process"),
        (mup, 3): ("Feature learning", "all layers move", "vanishes"),
        (mup.with_rates((1, 0, 0)), 2): ("above layer 1",),
        (mean_field, 1): ("Feature learning", "all layers move", "vanishes"),
        (integrable, 3): ("Trivial", "initial value"),
        (integrable, 2): ("Feature learning", "vanish before the first step"),
    }
    for (p, L), parts in words.items():
        text = p.at_infinite_width(L)
        assert all(part in text for part in parts), text
    assert "no part" not in ntk.at_infinite_width(3)


def test_per_layer_exponents_and_triples_are_the_same():
    full = Parametrization((0, 0.5, 0.5, 0.5), (0, 0, 0, 0), (0, 0, 0, 0))
    assert full.layers(3) == ntk.layers(3)
    assert full.is_equivalent(ntk, 3) and full.regime(3) == "kernel"
    with pytest.raises(ValueError, match="must be 3.*but is 2") as caught:
        full.layers(2)
    assert_one_sentence(str(caught.value).replace(".5", ""))


def test_settings_are_equal_hashable_short_and_can_be_pickled():
    assert Parametrization([0, 0.5, 0.5], (0, 0, 0), np.float64(0)) == ntk
    assert hash(Parametrization((0, 0.5, 0.5), (0, 0, 0), 0)) == hash(ntk)
    assert len({standard, ntk, mup, mean_field, integrable}) == 5
    assert pickle.loads(pickle.dumps(mup)) == mup
    assert repr(mup) == "parametrizations.mup"
    assert repr(ntk.with_rates(1)) == "Parametrization(a=(0, 0.5, 0.5), b=(0, 0, 0), c=1)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        mup.c = 1.0


def test_exponents_that_differ_by_rounding_are_equal():
    p = Parametrization((0, 0.1 + 0.2, 0.5), (0, 0.2, 0), 0.0)
    assert p.regime(1) == "kernel" and p.layers(2).a[1] != 0.3
    assert Parametrization((0, fractions.Fraction(1, 2), 0.5), (0, 0, 0), 0) == ntk


@pytest.mark.parametrize("hidden_layers", [0, -1, 1.5, "2", True, None], ids=str)
def test_a_wrong_number_of_hidden_layers_is_named(hidden_layers):
    with pytest.raises((TypeError, ValueError), match="`hidden_layers` must be an integer of at least 1"):
        ntk.regime(hidden_layers)


def test_the_mean_field_parametrization_has_one_hidden_layer():
    for method in ("layers", "r", "regime", "at_infinite_width"):
        with pytest.raises(ValueError, match="mean_field.*1 hidden layer only, but is 2") as caught:
            getattr(mean_field, method)(2)
        assert_one_sentence(str(caught.value).replace("parametrizations.mean_field", "it"))


@pytest.mark.parametrize(
    "exponents, word",
    [
        ({"a": 1, "b": (0, 0), "c": 0}, "`a`"),
        ({"a": (0,), "b": (0,), "c": 0}, "`a`"),
        ({"a": "abc", "b": (0, 0, 0), "c": 0}, "`a`"),
        ({"a": (0, 0, 0), "b": (0, 0, "x"), "c": 0}, "`b`"),
        ({"a": (0, 0, 0), "b": (0, float("nan"), 0), "c": 0}, "`b`"),
        ({"a": (0, 0, 0), "b": (0, 0, None), "c": 0}, "`b`"),
        ({"a": (0, 0, 0, 0), "b": (0, 0, 0, 0, 0), "c": 0}, "`b`"),
        ({"a": (0, 0), "b": (0, 0), "c": None}, "`c`"),
        ({"a": (0, 0), "b": (0, 0), "c": float("inf")}, "`c`"),
        ({"a": (0, 0), "b": (0, 0), "c": 0, "first_c": "x"}, "`first_c`"),
        ({"a": (0, 0), "b": (0, 0), "c": 0, "name": 3}, "`name`"),
    ],
    ids=range(11),
)
def test_wrong_exponents_are_named(exponents, word):
    with pytest.raises((TypeError, ValueError)) as caught:
        Parametrization(**exponents)
    assert word in str(caught.value) and str(caught.value).startswith("Argument")


def test_an_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="unexpected keyword"):
        Parametrization((0, 0), (0, 0), 0, d=1)
