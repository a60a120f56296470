"""Does a network scale with its width as its parametrization says? Exponents, and a verdict on each."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import boolean, fail, function, instance, integer, integers, is_number, require
from meanfield.base.precision import double, to_numpy
from meanfield.base.schema import Variable, dataset, provenance
from meanfield.model import parametrization as parametrizations
from meanfield.model.parametrization import Parametrization
from meanfield.model.problem import Problem
from meanfield.numerics.statistics import student_interval
from meanfield.studies.compare import LONGEST, verdict
from meanfield.studies.report import with_error

NAMED = ("standard", "ntk", "mean_field", "mup", "integrable")
ROUNDING = 1e-6  # of slopes, in single precision: without any spread over seeds it is all there is
WORDS = {"consistent": "pass", "inconsistent": "fail", "not resolved": "not resolved"}
SOURCE = "Yang & Hu 2021; Yang et al. 2022, coordinate check; THEORY 3"

VARIABLES = {
    "size": Variable(
        ("seed", "width", "quantity", "step"),
        "root mean square before training (step 0), of the change since then (later)",
        source=SOURCE,
    ),
    "exponent": Variable(("quantity", "step"), "exponent p of size ∝ width^p", source=SOURCE),
    "exponent_error": Variable(("quantity", "step"), "one standard error of the exponent"),
    "exponent_bias": Variable(
        ("quantity", "step"), "part of that error for narrow networks being off the law"
    ),
    "predicted": Variable(
        ("parametrization", "quantity", "step"), "exponent that theory predicts", source=SOURCE
    ),
    "verdict": Variable(("parametrization", "quantity", "step"), "measured against predicted exponent"),
    "overall": Variable(("parametrization",), "verdict on all lines together"),
}


def scaling_check(
    init,
    apply,
    learning_rates,
    widths,
    *,
    problem,
    steps=3,
    seeds=16,
    predicted=None,
    centred=False,
    key=0,
):
    """Exponents in the width of what a network computes and of what training changes, line by line.

    The network is trained for a few steps at every width. With v a hidden activation or the output,
    root mean squares over samples and neurons are followed,

        |v_0| ∝ n^p at step 0,    |v_t − v_0| ∝ n^p after t steps,

    and every p is held against those of parametrizations (`Parametrization.sizes`). A flat line is p = 0.

    p is the mean over seeds of least-squares slopes in log n; its standard error joins the spread over seeds
    and the bias of narrow networks, which are not yet on their power law: what leaving out the narrowest
    width changes, as far as that exceeds its own noise. A line passes if the prediction lies in the 95%
    interval and that is shorter than 0.3, it fails if the prediction is outside the 99.9% interval; else it
    is not resolved. What is predicted to grow (p > 0) has no firm exponent, as training is soon nonlinear: it
    passes if the 99.9% interval lies above 0, it fails if that lies below p/2. A parametrization that is not
    stable predicts the first step only: later ones reach their power law at widths that depend on the
    learning rate.

    Args:
        init: (key, width) → parameters.
        apply: (parameters, x (P, d)) → output (P, k) or (P,), or a pair of it and {name: activation (P, n)}
            with the hidden layers in their order, from the input.
        learning_rates: a number for all widths, or a function of the width that gives a number, a tree of
            numbers (one for each parameter, or for each subtree), or an optax transform.
        widths: increasing, three at least.
        problem: a `Problem`: samples, targets, loss. All of it is one batch.
        steps: number of steps.
        seeds: networks at each width, three at least.
        predicted: what to compare with: a Parametrization, a list of them, or {name: a Parametrization or
            {quantity: exponents at steps 0 … steps, NaN for none}}; by default the named ones that have as
            many hidden layers as there are activations.
        centred: whether f − f_0 is trained.
        key: integer from which all draws derive.
    Returns:
        xarray.Dataset: `size` (seed, width, quantity, step), `exponent`, `exponent_error` and the part of it
        that is `exponent_bias` (quantity, step), `predicted`, `verdict` (parametrization, quantity, step),
        `overall` (parametrization); quantities are the names of the activations, then "output". NaN where
        something is zero throughout (no signal), infinity where it stopped being finite. Its text:
        `scaling_report`.
    Raises:
        TypeError, ValueError: one sentence naming the argument.
    Accuracy: computed in float64 where `init` does not fix a type.
    Cost: seeds × steps gradients at each width, one compilation each.
    Source: Yang & Hu (2021, section 3); coordinate check: Yang et al. (2022, appendix D.1).
    """
    function("init", init, "a function of a key and a width")
    function("apply", apply, "a function of parameters and samples")
    widths, steps, seeds = integers("widths", widths), integer("steps", steps, 1), integer("seeds", seeds, 3)
    require(len(widths) >= 3, "widths", "three widths or more", list(widths))
    instance("problem", problem, Problem, "a Problem")
    centred, key = boolean("centred", centred), integer("key", key, 0, 2**63 - 1)
    with double():
        runs, names = [], None
        for width in widths:
            rate = learning_rates(width) if callable(learning_rates) else learning_rates
            one, found = _run(init, apply, _updater(rate), width, problem, steps, centred)
            require(
                names in (None, found), "apply", "a function with the same activations at every width", found
            )
            runs, names = [*runs, one], found
        predictions = _predictions(predicted, names, steps)
        keys = jax.random.split(jax.random.key(key), seeds)
        sizes = [to_numpy(jax.jit(functools.partial(jax.lax.map, one))(keys)) for one in runs]
    size = np.stack(sizes, 1)  # (seed, width, quantity, step)
    p, error, bias = exponents(widths, size)
    words = np.array([_verdicts(p, error, seeds, expected) for expected in predictions.values()])
    arrays = {
        "size": size,
        "exponent": p,
        "exponent_error": error,
        "exponent_bias": bias,
        "predicted": np.stack(list(predictions.values())),
        "verdict": words,
        "overall": np.array([_together(w) for w in words]),
    }
    coords = {
        "seed": np.arange(seeds),
        "width": list(widths),
        "quantity": names,
        "step": np.arange(steps + 1),
        "parametrization": list(predictions),
    }
    return dataset(arrays, VARIABLES, coords, provenance({"problem": problem.describe(), "key": key}))


def scaling_report(check):
    """What `scaling_check` found, as text: a line for every exponent, and a sentence for every prediction."""
    names = [str(name) for name in check.parametrization.values]
    widths = ", ".join(str(n) for n in check.width.values)
    lines = [
        f"size ∝ width^p at widths {widths}; {check.sizes['seed']} seeds; ± one standard error",
        "",
        f"{'':<34}{'measured p':<18}" + "".join(f"{name:<22}" for name in names),
    ]
    failed = {name: [] for name in names}
    for quantity in check["quantity"].values:
        for step in check.step.values:
            at = check.sel(quantity=quantity, step=step)
            what = f"{quantity} at the start" if step == 0 else f"change of {quantity}, step {step}"
            value, error = float(at["exponent"]), float(at["exponent_error"])
            row = f"{what:<34}{'diverged' if value == math.inf else with_error(value, error):<18}"
            for name in names:
                expected, word = float(at["predicted"].sel(parametrization=name)), _word(at, name)
                row += f"{expected:>5g}  {word:<15}" if word else f"{'-':>5}{'':17}"
                if word == "fail":
                    failed[name].append(what)
            lines.append(row.rstrip())
    lines.append("")
    for name in names:
        word = _word(check, name, "overall")
        text = {"pass": "pass, every line is as predicted", "fail": f"fail: {'; '.join(failed[name])}"}.get(
            word
        )
        lines.append(f"{name}: {text or _open(check, name)}.")
    return "\n".join(lines)


def _open(check, name):
    """What is not resolved, and what would make its 95% intervals shorter than 0.3."""
    at = check.sel(parametrization=name)
    lines = at["verdict"].values == "not resolved"
    error, bias = (at[f"exponent_{what}"].values[lines] for what in ("error", "bias"))
    worst, seeds = int(error.argmax()), check.sizes["seed"]
    share = 2 * student_interval(seeds) * error[worst] / LONGEST
    advice = "wider networks"
    if not math.isfinite(share):
        advice = "a quantity that is not zero"
    elif share >= 1 and bias[worst] < error[worst] / 2:
        advice = f"about {math.ceil(1.1 * seeds * share**2)} seeds"
    count = int(lines.sum())
    return (
        f"not resolved: no line fails, {count} {'is' if count == 1 else 'are'} uncertain; {advice} would tell"
    )


def exponents(widths, size):
    """(p, its standard error, the part of it that is bias), from sizes (seed, width, quantity, step)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(size)
        slope, without = (np.einsum("n,sn...->s...", *_centred(widths[i:], logs[:, i:])) for i in (0, 1))
        p = slope.mean(0)
        # A bias ∝ 1/n of the slope changes by this share of itself when the narrowest width is left out.
        drift = (without - slope) / (1 - widths[0] / widths[1])
        noise, own = (v.std(0, ddof=1) / math.sqrt(len(size)) for v in (slope, drift))
        bias = np.sqrt(np.maximum(drift.mean(0) ** 2 - own**2, 0))
        error = np.sqrt(noise**2 + bias**2 + ROUNDING**2)
    p = np.where((size == 0).all((0, 1)), np.nan, p)
    p = np.where(np.isfinite(size).all((0, 1)), p, np.inf)
    known = np.isfinite(p) & np.isfinite(error)
    p = np.where(known | (p == np.inf), p, np.nan)
    return p, np.where(known, error, np.inf), np.where(known, bias, 0.0)


def exponent_variables(dims, text, value, error, predicted, words):
    """{name: (dims, values, attributes)} of measured exponents, which `text` names, of the predicted ones and
    of the words of their verdicts."""
    return {
        "exponent": (dims, value, {"long_name": text, "units": "1"}),
        "exponent_error": (dims, error, {"long_name": f"one standard error of the {text}", "units": "1"}),
        "predicted": (dims, predicted, {"long_name": f"predicted {text}", "units": "1"}),
        "verdict": (dims, words, {"long_name": "measured against predicted exponent"}),
    }


def _centred(widths, logs):
    """Weights of a least-squares slope, and what they are applied to."""
    x = np.log(widths) - np.mean(np.log(widths))
    return x / (x @ x), logs


def _word(at, name, variable="verdict"):
    return str(at[variable].sel(parametrization=name).item())


def _verdicts(p, error, seeds, predicted):
    """A word for every line, "" where nothing is predicted."""
    found = np.empty(p.shape, dtype="<U12")
    for at in np.ndindex(p.shape):
        value, e, expected = p[at], error[at], predicted[at]
        if np.isnan(expected):
            found[at] = ""
        elif expected > 0:
            reach = student_interval(seeds, 0.999) * e if np.isfinite(value) else 0
            slow = value + reach < expected / 2
            found[at] = "pass" if value - reach > 0 else "fail" if slow else "not resolved"
        elif value == np.inf:
            found[at] = "fail"
        else:
            found[at] = WORDS[verdict(value, e, expected, seeds)]
    return found


def _together(words):
    words = words[words != ""]
    return "fail" if (words == "fail").any() else "pass" if (words == "pass").all() else "not resolved"


def _run(init, apply, update, width, problem, steps, centred):
    """(key → sizes (quantity, step), names of the quantities) at one width."""
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)

    def look(params):
        result = apply(params, x)
        f, hidden = result if isinstance(result, tuple) else (result, {})
        if not hasattr(hidden, "items") or jnp.size(f) != y.size:
            rule = f"a function that gives outputs {y.shape}, or them and a dictionary of activations"
            fail("apply", rule, jax.tree.map(jnp.shape, result))
        return jnp.reshape(f, y.shape), dict(hidden)

    def one(key):
        params = init(key, width)
        f_0, hidden_0 = look(params)
        start = [*hidden_0.values(), f_0]
        memory = update.init(params)

        def risk(params):
            return problem.risk(look(params)[0] - (f_0 if centred else 0), y)

        def step(carry, _):
            params, memory = update.step(jax.grad(risk)(carry[0]), carry[1], carry[0])
            f, hidden = look(params)
            pairs = zip([*hidden.values(), f], start, strict=True)
            return (params, memory), jnp.stack([_rms(v - v_0) for v, v_0 in pairs])

        _, changes = jax.lax.scan(step, (params, memory), length=steps)
        return jnp.concatenate([jnp.stack([_rms(v) for v in start])[:, None], changes.T], 1)

    names = []

    def note(key):
        names.extend([*look(init(key, width))[1], "output"])

    jax.eval_shape(note, jax.random.key(0))
    return one, names


def _rms(v):
    return jnp.sqrt(jnp.mean(jnp.asarray(v, jnp.float64) ** 2))


class _Descent:
    """w ← w − η ∇R, η a number for every parameter or subtree."""

    def __init__(self, rates):
        self.rates = rates

    def init(self, params):
        return None

    def step(self, gradient, memory, params):
        def move(rate, gradient, params):
            return jax.tree.map(lambda g, w: (w - rate * g).astype(w.dtype), gradient, params)

        return jax.tree.map(move, self.rates, gradient, params), None


class _Transform:
    """What an optax transform makes of the gradient."""

    def __init__(self, transform):
        self.init, self.update = transform.init, transform.update

    def step(self, gradient, memory, params):
        change, memory = self.update(gradient, memory, params)
        return jax.tree.map(lambda w, c: (w + c).astype(w.dtype), params, change), memory


def _updater(rates):
    if hasattr(rates, "init") and hasattr(rates, "update"):
        return _Transform(rates)
    rule = "a number, or a function of the width that gives a number, a tree of numbers or an optax transform"
    for rate in jax.tree.leaves(rates) or [None]:
        require(
            is_number(rate) or np.ndim(rate) == 0 and hasattr(rate, "dtype"),
            "learning_rates",
            rule,
            rate,
            TypeError,
        )
    return _Descent(rates)


def _predictions(predicted, names, steps):
    """{name: exponents (quantity, step)}."""
    hidden = len(names) - 1
    if predicted is None:
        require(hidden >= 1, "predicted", "given where `apply` gives no activations", predicted)
        predicted = [getattr(parametrizations, n) for n in NAMED if n != "mean_field" or hidden == 1]
    if isinstance(predicted, Parametrization):
        predicted = [predicted]
    if not hasattr(predicted, "items"):
        rule = "a Parametrization, a list of them or a dictionary"
        require(
            isinstance(predicted, list | tuple) and len(predicted) > 0,
            "predicted",
            rule,
            predicted,
            TypeError,
        )
        for p in predicted:
            instance("predicted", p, Parametrization, rule)
        predicted = {p.name or repr(p): p for p in predicted}
    return {str(name): _expected(name, value, names, steps) for name, value in predicted.items()}


def _expected(name, value, names, steps):
    if isinstance(value, Parametrization):
        hidden = len(names) - 1
        require(
            hidden >= 1, "predicted", "a dictionary of exponents where `apply` gives no activations", value
        )
        looks = [value.sizes(hidden, step) for step in range(1, steps + 1)]
        rows = [[*looks[0].hidden, looks[0].output], *([*s.hidden_change, s.output_change] for s in looks)]
        known = steps if value.is_stable(hidden) else 1
        return np.array(
            [row if step <= known else [math.nan] * len(names) for step, row in enumerate(rows)]
        ).T
    rule = f"a Parametrization or exponents at steps 0 to {steps} for each of {', '.join(names)}"
    good = hasattr(value, "items") and set(value) == set(names)
    good = good and all(np.shape(row) == (steps + 1,) for row in value.values())
    require(good, f"predicted[{name!r}]", rule, value)
    return np.array([np.asarray(value[n], float) for n in names])
