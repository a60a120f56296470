"""abc-parametrizations: how weights, their initial law and their learning rates scale with the width."""

import dataclasses
import itertools
import math
from typing import NamedTuple

from meanfield.base.checks import fail, instance, integer, is_number, number

TOLERANCE = 1e-9  # exponents closer than this are equal: sums such as 0.1 + 0.2 are met


class Layers(NamedTuple):
    """Exponents (a, b, c) of the L + 1 weight matrices, input first; `first_c` those of the first step."""

    a: tuple
    b: tuple
    c: tuple
    first_c: tuple


class Sizes(NamedTuple):
    """Exponents p of sizes ∝ n^p: hidden fields h^1 … h^L and the output, at the start and their change."""

    hidden: tuple
    output: float
    hidden_change: tuple
    output_change: float


@dataclasses.dataclass(frozen=True, repr=False)
class Parametrization:
    """W^l = n^{−a_l} w^l,  w^l_{ij}(0) ~ N(0, σ_l² n^{−2b_l}),  learning rate η n^{−c_l},  width n.

    With L hidden layers l = 1 is the input layer (which carries a further fixed 1/√d), l = L + 1 the output.
    Layer by layer, (a_l, b_l, c_l) → (a_l + θ, b_l − θ, c_l − 2θ) is the same training by gradient descent,
    to rounding with the same draws (no weight decay): only a_l + b_l and 2a_l + c_l matter.

    Let g = min(a_{L+1} + b_{L+1}, 2a_{L+1} + c_{L+1}). The update of layer l moves its own h^l by n^{−r_l},

        r_l = g + c_l − 1 + 2a_l + 1(l = 1),    r = min_l r_l,

    and what layer m ≤ l moved stays of its size on the way up: h^l moves by n^{−min_{m≤l} r_m}. (In the very
    first step g is a_{L+1} + b_{L+1}: the readout has not moved yet.) For one common c this is Yang & Hu's r.
    Stable: a_1 + b_1 = 0, a_l + b_l = ½ (2 ≤ l ≤ L), a_{L+1} + b_{L+1} ≥ ½, r ≥ 0,
    a_{L+1} + b_{L+1} + r ≥ 1, 2a_{L+1} + c_{L+1} ≥ 1. Nontrivial: one of the last two is an equality. Then
    r = 0 is feature learning, r > 0 the kernel regime.

    Args:
        a, b: one exponent for each of the layers input, hidden, output, or one for each weight matrix. None
            for hidden: there is one hidden layer only.
        c: the same, or one number for all layers.
        first_c: c of the first step, where it differs.
        name: shown in place of the exponents; does not take part in equality.
    Raises:
        TypeError, ValueError: one sentence naming the argument; a method, if the exponents are not those of
            a network with that many hidden layers.
    Source: Yang & Hu (2021, definitions 3.1 and 3.2, theorem 3.3 and corollary 3.9); THEORY 3.
    """

    a: tuple
    b: tuple
    c: tuple | float
    first_c: tuple | float | None = None
    _: dataclasses.KW_ONLY
    name: str | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        for name in ("a", "b", "c", "first_c"):
            object.__setattr__(self, name, _exponents(name, getattr(self, name)))
        lengths = {len(v) for v in (self.a, self.b, self.c, self.first_c) if isinstance(v, tuple)}
        if len(lengths - {3}) > 1 or None in self.a[:1] + self.a[2:] + self.b[:1] + self.b[2:]:
            fail("b", "given for the same layers as `a`, with None for hidden layers only", (self.a, self.b))
        if self.name is not None:
            instance("name", self.name, str, "a string")

    def layers(self, hidden_layers):
        """(a, b, c, first_c), tuples with one exponent for each of the L + 1 weight matrices."""
        count = integer("hidden_layers", hidden_layers, 1)
        a, b, c = (self._spread(name, getattr(self, name), count) for name in ("a", "b", "c"))
        return Layers(a, b, c, c if self.first_c is None else self._spread("first_c", self.first_c, count))

    def _spread(self, name, values, hidden_layers):
        if isinstance(values, float):
            return (values,) * (hidden_layers + 1)
        if len(values) == 3:
            first, hidden, last = values
            values = (first, *(hidden,) * (hidden_layers - 1), last)
        if len(values) != hidden_layers + 1 or None in values:
            depth = 1 if None in values else len(values) - 1
            word = f"{depth} hidden layer{'s' if depth > 1 else ''}"
            raise ValueError(
                f"Argument `hidden_layers` must be {depth}, as {self!r} has exponents `{name}` for networks "
                f"with {word} only, but is {hidden_layers}."
            )
        return values

    def r_layers(self, hidden_layers):
        """r_l, l = 1 … L: the update of layer l itself moves h^l by n^{−r_l}."""
        a, b, c, _ = self.layers(hidden_layers)
        g = min(a[-1] + b[-1], 2 * a[-1] + c[-1])
        return tuple(g + c[i] - 1 + 2 * a[i] + (i == 0) for i in range(hidden_layers))

    def r(self, hidden_layers):
        """r = min_l r_l: the last hidden field moves by n^{−r}."""
        return min(self.r_layers(hidden_layers))

    def is_stable(self, hidden_layers):
        """Whether hidden fields start at order one and neither they nor the output ever grow with n."""
        grown = self.first_c is not None and _above(_largest(self._end(hidden_layers)), 0)
        return not grown and not self._instabilities(hidden_layers)

    def is_nontrivial(self, hidden_layers):
        """Whether training moves the output by order one as n → ∞, and by no more."""
        return self.regime(hidden_layers) in ("kernel", "feature learning")

    def is_feature_learning(self, hidden_layers):
        """Whether hidden fields move by order one as n → ∞, and by no more."""
        return self.regime(hidden_layers) == "feature learning"

    def regime(self, hidden_layers):
        """What is left at n → ∞: "unstable", "trivial", "kernel" or "feature learning".

        Stable exponents: by r, as above. Others are followed through 2L + 2 steps by `sizes`, for they need
        not grow: in the integrable parametrization hidden fields vanish instead, and two hidden layers still
        train. That part assumes φ(0) = 0, φ'(0) ≠ 0.
        """
        if self.first_c is None and self.is_stable(hidden_layers):
            a, b, c, _ = self.layers(hidden_layers)
            r = self.r(hidden_layers)
            if _above(a[-1] + b[-1] + r, 1) and _above(2 * a[-1] + c[-1], 1):
                return "trivial"
            return "kernel" if _above(r, 0) else "feature learning"
        end = self._end(hidden_layers)
        if _above(_largest(end), 0):
            return "unstable"
        if _above(0, end.output_change):
            return "trivial"
        return "kernel" if _above(0, end.hidden_change[-1]) else "feature learning"

    def _end(self, hidden_layers):
        """Sizes that no further step changes, if nothing grows."""
        return self.sizes(hidden_layers, 2 * hidden_layers + 2)

    def sizes(self, hidden_layers, steps=1):
        """Exponents p of sizes ∝ n^p before training, and of their change over the first `steps` steps.

        W_0 takes a vector to one n^{½ − a − b} times as large, and so does its transpose; an update, a
        multiple of g xᵀ, meets vectors aligned with x and g, which costs a factor n instead; v_0·x^L is a sum
        of n independent terms, v_0·Δx^L and Δv·x^L are sums of n terms of one sign. Of every sum the largest
        term counts. For φ(0) = 0, φ'(0) ≠ 0, of linear growth; a bounded φ keeps what grows below this.
        """
        a, b, c, first_c = self.layers(hidden_layers)
        L, steps = hidden_layers, integer("steps", steps, 1)
        gain, start, back = _sizes_at_start(a, b)
        x, readout, f_0 = list(start), back[L - 1], start[L] + back[L - 1] + 0.5
        f, update = f_0, [-math.inf] * (L + 1)  # exponents of the output, of the entries of W_t − W_0
        for step in range(steps):
            rate, chi = first_c if step == 0 else c, max(0.0, f)
            g = list(back)
            g[L - 1] = max(readout, update[L])
            for i in range(L - 2, -1, -1):
                g[i] = g[i + 1] + max(gain[i + 1], update[i + 1] + 1)
            for i in range(L + 1):
                update[i] = max(update[i], -2 * a[i] - rate[i] + chi + g[i] + x[i])
            moved = [-math.inf]
            for i in range(L):
                moved.append(max(update[i] + x[i] + (i > 0), gain[i] + moved[i]))
                x[i + 1] = max(start[i + 1], moved[i + 1])
            f_change = max(update[L] + x[L], readout + moved[L]) + 1
            f = max(f_0, f_change)
        return Sizes(tuple(start[1:]), f_0, tuple(moved[1:]), f_change)

    def shift(self, theta):
        """(a + θ, b − θ, c − 2θ): the same training. θ is one number, or one for each layer as in `a`."""
        theta = _exponents("theta", theta)
        size = max(len(v) for v in (self.a, self.c, theta) if isinstance(v, tuple))

        def moved(values, factor):
            if values is None:
                return None
            if isinstance(values, float) and isinstance(theta, float):
                return values + factor * theta
            values, by = ((v,) * size if isinstance(v, float) else v for v in (values, theta))
            if len(values) != len(by):
                fail("theta", f"one number or {len(values)} of them", theta)
            return tuple(None if v is None else v + factor * t for v, t in zip(values, by, strict=True))

        return Parametrization(
            moved(self.a, 1), moved(self.b, -1), moved(self.c, -2), moved(self.first_c, -2)
        )

    def is_equivalent(self, other, hidden_layers):
        """Whether both are the same training by gradient descent: equal a_l + b_l and 2a_l + c_l."""
        instance("other", other, Parametrization, "a Parametrization")

        def invariants(layers):
            a, b, c, first_c = layers
            for i in range(hidden_layers + 1):
                yield from (a[i] + b[i], 2 * a[i] + c[i], 2 * a[i] + first_c[i])

        pairs = zip(
            invariants(self.layers(hidden_layers)), invariants(other.layers(hidden_layers)), strict=True
        )
        return all(abs(mine - theirs) <= TOLERANCE for mine, theirs in pairs)

    def with_rates(self, c):
        """The same network with other learning-rate exponents: `standard.with_rates(1)` is stable."""
        return Parametrization(self.a, self.b, c)

    def adaptive_rates(self, hidden_layers):
        """c_l for Adam, RMSProp or sign descent, (L + 1,): every layer moves by n^{−r_l} as under descent.

        Such an update divides the gradient of w^l by its own size n^{−(a_l + d_l + s_l)}, n^{−d_l} the size
        of ∂f/∂h^l and n^{−s_l} that of what layer l acts on, so c_l + a_l + d_l + s_l takes the place of c_l.
        In the stable case s_l = 0, d_l = g for l ≤ L, d_{L+1} = 0. Adam's ε, to be neither lost nor all that
        counts, scales as the gradient: n^{c_l − adaptive c_l}. The invariance of such training is
        (a + θ, b − θ, c − θ).
        Source: Yang & Littwin (2023, section 3); Yang et al. (2022, table 3).
        """
        a, b, c, _ = self.layers(hidden_layers)
        _, x, g = _sizes_at_start(a, b)
        later = max(0.0, a[-1] + b[-1] - 2 * a[-1] - c[-1])  # by what the moved readout exceeds the first one
        g = [p + later * (i < hidden_layers) for i, p in enumerate(g)]
        return tuple(c[i] + a[i] - g[i] - x[i] for i in range(hidden_layers + 1))

    def with_large_first_step(self, hidden_layers):
        """The same with learning rates for the first step under which every hidden field moves by order one.

        n^{−s_l} the size of what layer l acts on at the start, n^{−d_l} that of ∂f/∂h^l:
        2a_l + c_l + d_l + s_l = 1(l ≥ 2). For the integrable parametrization this is IP-LLR,
        c_1 = c_{L+1} = −(L+1)/2, c_l = −(L+2)/2; it needs a positively homogeneous φ and no biases.
        Source: Hajjar, Chizat & Giraud (2021, section 4); THEORY 3.
        """
        a, b, c, _ = self.layers(hidden_layers)
        _, x, g = _sizes_at_start(a, b)
        first = tuple(x[i] + g[i] - 2 * a[i] + (i > 0) for i in range(hidden_layers + 1))
        return Parametrization(a, b, c, first, name=self.name and f"{self.name}.with_large_first_step()")

    def breaks(self, hidden_layers):
        """Which exponents break stability or leave nothing to train, one sentence each; () if none does."""
        found = self._instabilities(hidden_layers)
        if found or self.regime(hidden_layers) != "trivial":
            return found
        a, b, c, _ = self.layers(hidden_layers)
        through, rate = a[-1] + b[-1] + self.r(hidden_layers), 2 * a[-1] + c[-1]
        return (
            f"The output layer has 2a + c = {rate:g} and a + b + r = {through:g}, one of which must be 1: "
            f"the output moves by n^{1 - min(through, rate):g} only.",
        )

    def _instabilities(self, hidden_layers):
        a, b, c, _ = self.layers(hidden_layers)
        found = []
        for i in range(hidden_layers):
            scale, right = a[i] + b[i], 0.5 * (i > 0)
            if abs(scale - right) > TOLERANCE:
                found.append(
                    f"{_place(i)} has a + b = {scale:g}, which must be {right:g}: what enters leaves "
                    f"n^{right - scale:g} times as large."
                )
        scale, rate, r = a[-1] + b[-1], 2 * a[-1] + c[-1], self.r(hidden_layers)
        if _above(0.5, scale):
            found.append(
                f"The output layer has a + b = {scale:g}, which must be at least 0.5: the output starts at "
                f"n^{0.5 - scale:g}."
            )
        if _above(1, rate):
            found.append(
                f"The output layer has 2a + c = {rate:g}, which must be at least 1: its update moves the "
                f"output by n^{1 - rate:g}."
            )
        if _above(0, r):
            worst = self.r_layers(hidden_layers).index(r)
            found.append(
                f"{_place(worst)} has r = {r:g}, which must be at least 0: its update, with "
                f"2a + c = {2 * a[worst] + c[worst]:g}, moves hidden fields by n^{-r:g}."
            )
        elif _above(1, scale + r):
            found.append(
                f"The output layer has a + b + r = {scale + r:g}, which must be at least 1: what hidden "
                f"layers learn moves the output by n^{1 - scale - r:g}."
            )
        return tuple(found)

    def at_infinite_width(self, hidden_layers):
        """What happens as n → ∞, in words."""
        regime, (a, b, _, _) = self.regime(hidden_layers), self.layers(hidden_layers)
        reasons = " ".join(self.breaks(hidden_layers))
        if regime == "unstable":
            return f"Unstable: there is no limit. {reasons}"
        if regime == "trivial":
            return f"Trivial: the output keeps its initial value for ever. {reasons}"
        start = "The initial output vanishes, and all networks become the same function."
        if not _above(a[-1] + b[-1], 0.5):
            start = "The initial output is a Gaussian process, another function for every network."
        sizes = self.sizes(hidden_layers, 2)
        if regime == "kernel":
            parts = (a[-1] + b[-1] + r for r in self.r_layers(hidden_layers))
            frozen = [_place(i).lower() for i, part in enumerate(parts) if _above(part, 1)]
            without = f", in which {' and '.join(frozen)} has no part" if frozen else ""
            return (
                f"Kernel regime: hidden fields move by n^{sizes.hidden_change[-1]:g} only, and the output is "
                f"trained linearly, with a fixed kernel{without}. {start}"
            )
        if not self.is_stable(hidden_layers):
            return (
                "Feature learning: some hidden fields vanish before the first step and are of order one "
                f"after it. {start}"
            )
        still = sum(_above(0, p) for p in sizes.hidden_change)
        where = f"all layers above layer {still}" if still else "all layers"
        return f"Feature learning: hidden fields of {where} move by order one. {start}"

    def describe(self):
        return {"parametrization": [self.a, self.b, self.c, self.first_c]}

    def __repr__(self):
        if self.name is not None:
            return f"parametrizations.{self.name}"
        fields = {"a": self.a, "b": self.b, "c": self.c, "first_c": self.first_c}
        shown = (f"{name}={_shown(value)}" for name, value in fields.items() if value is not None)
        return f"Parametrization({', '.join(shown)})"


def _exponents(name, value):
    """A number as float, a sequence of numbers (None allowed) as a tuple, None where nothing was given."""
    if value is None and name == "first_c":
        return None
    if is_number(value) and name not in ("a", "b"):
        return number(name, value)
    rule = "exponents for the layers input, hidden, output, or one for each weight matrix"
    if isinstance(value, str) or not hasattr(value, "__len__"):
        fail(name, rule if name in ("a", "b") else f"a number or {rule}", value, TypeError)
    if len(value) < 2:
        fail(name, rule, value)
    return tuple(None if v is None else number(name, v) for v in value)


def _above(value, bound):
    return value > bound + TOLERANCE


def _largest(sizes):
    return max(*sizes.hidden, sizes.output, *sizes.hidden_change, sizes.output_change)


def _place(i):
    return "The input layer" if i == 0 else f"Layer {i + 1}"


def _sizes_at_start(a, b):
    """Exponents at initialisation: gain of layers 1 … L, x^0 … x^L, ∂f/∂h^1 … ∂f/∂h^L and ∂f/∂f = 1."""
    gain = [0.5 * (i > 0) - a[i] - b[i] for i in range(len(a) - 1)]
    x = [0.0, *itertools.accumulate(gain)]
    g = [-a[-1] - b[-1] + sum(gain[i + 1 :]) for i in range(len(gain))]
    return gain, x, [*g, 0.0]


def _shown(value):
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return "None" if value is None else f"{value:g}"


standard = Parametrization((0, 0, 0), (0, 0.5, 0.5), 0, name="standard")
ntk = Parametrization((0, 0.5, 0.5), (0, 0, 0), 0, name="ntk")
mean_field = Parametrization((0, None, 1), (0, None, 0), -1, name="mean_field")
mup = Parametrization((-0.5, 0, 0.5), (0.5, 0.5, 0.5), 0, name="mup")
integrable = Parametrization((0, 1, 1), (0, 0, 0), (-1, -2, -1), name="integrable")
