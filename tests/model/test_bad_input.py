"""Bad input meets one sentence that names the argument, at the door and before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from assertions import assert_refused_in_one_sentence

import meanfield as mf
from meanfield.model.initial import Atoms, Gaussian

X, Y = np.eye(3), np.ones(3)
TASK = mf.Problem(X, Y)
MODEL = mf.TwoLayer(mf.activations.tanh)
SYSTEM = MODEL.finite(4)
TRAINING = mf.GradientDescent(0.1, 5)
NAN = np.array([[1.0, np.nan]])


def draw(key, size):
    return jax.random.normal(key, (size, 3)), jnp.ones(size)


def run(system=SYSTEM, problem=TASK, training=TRAINING, **options):
    return mf.simulate(system, problem, training, **options)


BAD = {
    # Problem
    "x is a vector": (lambda: mf.Problem(Y, Y), ValueError, "`x`", "shape (samples, inputs)"),
    "x is empty": (lambda: mf.Problem(np.ones((0, 2)), []), ValueError, "`x`", "(0, 2)"),
    "x is text": (lambda: mf.Problem([["a", "b"]], [1]), TypeError, "`x`", "real numbers"),
    "x is ragged": (lambda: mf.Problem([[1, 2], [3]], [1, 2]), TypeError, "`x`"),
    "x is complex": (lambda: mf.Problem(X + 1j, Y), TypeError, "`x`", "real numbers"),
    "x is None": (lambda: mf.Problem(None, Y), TypeError, "`x`", "None"),
    "x has NaN": (lambda: mf.Problem(NAN, [1]), ValueError, "`x`", "finite", "nan at index [0, 1]"),
    "x is infinite": (lambda: mf.Problem(np.full((3, 3), np.inf), Y), ValueError, "`x`", "finite", "inf"),
    "y has NaN": (lambda: mf.Problem(X, [1, np.nan, 1]), ValueError, "`y`", "finite", "[1]"),
    "y is too short": (lambda: mf.Problem(X, [1, 2]), ValueError, "`y`", "3 samples", "has 2"),
    "y is a cube": (lambda: mf.Problem(X, np.ones((3, 1, 1))), ValueError, "`y`", "(3, 1, 1)"),
    "y is text": (lambda: mf.Problem(X, ["a", "b", "c"]), TypeError, "`y`"),
    "loss is text": (lambda: mf.Problem(X, Y, loss="square"), TypeError, "`loss`", "losses", "'square'"),
    "loss is a class": (lambda: mf.Problem(X, Y, loss=mf.losses.Square), TypeError, "`loss`"),
    "x_test has other inputs": (
        lambda: mf.Problem(X, Y, x_test=np.ones((2, 2))),
        *(ValueError, "`x_test`", "3 inputs", "has 2"),
    ),
    "y_test has other outputs": (
        lambda: mf.Problem(X, Y, x_test=X, y_test=np.ones((3, 2))),
        *(ValueError, "`y_test`", "1 outputs", "has 2"),
    ),
    "y_test has other samples": (lambda: mf.Problem(X, Y, x_test=X, y_test=[1]), ValueError, "`y_test`", "3"),
    "y_test alone": (lambda: mf.Problem(X, Y, y_test=Y), ValueError, "`x_test`", "None"),
    "x_test has NaN": (
        lambda: mf.Problem(np.ones((1, 2)), [1], x_test=NAN),
        ValueError,
        "`x_test`",
        "finite",
    ),
    # Stream
    "draw is no function": (lambda: mf.Stream(3, 4), TypeError, "`draw`", "function"),
    "draw gives one array": (lambda: mf.Stream(lambda k, n: draw(k, n)[0], 4), TypeError, "`draw`", "(x, y)"),
    "draw takes no size": (lambda: mf.Stream(lambda k: draw(k, 4), 4), TypeError, "`draw`", "(key, size)"),
    "draw ignores the size": (
        lambda: mf.Stream(lambda k, n: draw(k, 3), 4),
        ValueError,
        "`draw`",
        "(4, inputs)",
    ),
    "draw gives NaN": (lambda: mf.Stream(lambda k, n: (jnp.nan * X, Y), 3), ValueError, "`draw`", "finite"),
    "draw gives y of another length": (lambda: mf.Stream(lambda k, n: (X, Y[:2]), 3), ValueError, "`draw`"),
    "stream batch_size": (lambda: mf.Stream(draw, 0), ValueError, "`batch_size`", "at least 1", "0"),
    "stream x given": (lambda: mf.Stream(draw, 3, x=X), TypeError, "`x`", "drawn"),
    "stream loss": (lambda: mf.Stream(draw, 3, "huber"), TypeError, "`loss`", "'huber'"),
    "stream test inputs": (
        lambda: mf.Stream(draw, 3, x_test=np.ones((1, 2))),
        ValueError,
        "`x_test`",
        "3 inputs",
    ),
    # Loss and activation
    "delta is zero": (lambda: mf.losses.Huber(0.0), ValueError, "`delta`", "above 0"),
    "delta is text": (lambda: mf.losses.Huber("1"), TypeError, "`delta`", "'1'"),
    "slope is text": (lambda: mf.activations.leaky_relu("0.1"), TypeError, "`slope`"),
    "slope is infinite": (lambda: mf.activations.leaky_relu(np.inf), ValueError, "`slope`", "finite"),
    "function is no function": (lambda: mf.Activation(3), TypeError, "`function`", "3"),
    "function is NumPy": (lambda: mf.Activation(np.tanh), TypeError, "`function`", "entry by entry"),
    "function sums": (
        lambda: mf.Activation(lambda z: z.sum()),
        ValueError,
        "`function`",
        "entry by entry",
        "()",
    ),
    "pair is one array": (lambda: mf.Activation(jnp.tanh, pair=jnp.sum), (TypeError, ValueError), "`pair`"),
    "pair is no function": (lambda: mf.Activation(jnp.tanh, pair=3), TypeError, "`pair`"),
    "name is no text": (lambda: mf.Activation(jnp.tanh, name=3), TypeError, "`name`", "string"),
    "homogeneity is text": (lambda: mf.Activation(jnp.tanh, homogeneity="one"), TypeError, "`homogeneity`"),
    "kinks are numbers": (lambda: mf.Activation(jnp.abs, kinks=(0.0,)), TypeError, "`kinks`", "pairs"),
    # Initial laws
    "negative deviation": (lambda: Gaussian(readout=-1.0), ValueError, "`readout`", "at least 0", "-1"),
    "deviation is text": (lambda: Gaussian(weights="1"), TypeError, "`weights`"),
    "paired is text": (lambda: Gaussian(paired="yes"), TypeError, "`paired`", "True or False"),
    "atoms of other lengths": (lambda: Atoms(a=[1.0], w=np.ones((2, 2))), ValueError, "`a`", "2 particles"),
    "atoms w is a vector": (lambda: Atoms(a=[1.0], w=[1.0]), ValueError, "`w`", "(particles, inputs)"),
    "atom weights do not sum to 1": (
        lambda: Atoms(a=Y, w=X, weights=[0.5, 0.5, 0.5]),
        *(ValueError, "`weights`", "sum 1"),
    ),
    "negative atom weights": (
        lambda: Atoms(a=Y, w=X, weights=[-1.0, 1.0, 1.0]),
        *(ValueError, "`weights`", "nonnegative"),
    ),
    # Model and systems
    "activation is text": (lambda: mf.TwoLayer("tanh"), TypeError, "`activation`", "'tanh'"),
    "activation is a function": (lambda: mf.TwoLayer(jnp.tanh), TypeError, "`activation`"),
    "bias is a number": (
        lambda: mf.TwoLayer(mf.activations.tanh, bias=1),
        TypeError,
        "`bias`",
        "True or False",
    ),
    "richness is zero": (
        lambda: mf.TwoLayer(mf.activations.tanh, richness=0),
        ValueError,
        "`richness`",
        "above 0",
    ),
    "richness is NaN": (lambda: mf.TwoLayer(mf.activations.tanh, richness=np.nan), ValueError, "`richness`"),
    "initial is a number": (lambda: mf.TwoLayer(mf.activations.tanh, initial=1.0), TypeError, "`initial`"),
    "train_readout": (
        lambda: mf.TwoLayer(mf.activations.tanh, train_readout=0),
        TypeError,
        "`train_readout`",
    ),
    "width is zero": (lambda: MODEL.finite(0), ValueError, "`width`", "at least 1", "0"),
    "width is a float": (lambda: MODEL.finite(64.0), TypeError, "`width`", "64.0"),
    "width is a boolean": (lambda: MODEL.finite(True), TypeError, "`width`", "True"),
    "odd width of pairs": (
        lambda: mf.TwoLayer(mf.activations.tanh, initial=Gaussian(paired=True)).finite(5),
        *(ValueError, "`width`", "even", "5"),
    ),
    "dtype": (
        lambda: MODEL.finite(4, dtype="float16"),
        ValueError,
        "`dtype`",
        "float32 or float64",
        "float16",
    ),
    "particles is one": (lambda: MODEL.limit(1), ValueError, "`particles`", "at least 2"),
    "particles is text": (lambda: MODEL.limit("many"), TypeError, "`particles`", "'many'"),
    "one replicate": (lambda: MODEL.limit(8, replicates=1), ValueError, "`replicates`", "at least 2"),
    "sampler is a class": (lambda: MODEL.limit(8, sampler=mf.Sobol), TypeError, "`sampler`", "Sobol"),
    "too many nodes": (lambda: mf.Quadrature(500), ValueError, "`nodes`", "from 2 to 180", "500"),
    "nodes is a float": (lambda: mf.Quadrature(5.0), TypeError, "`nodes`"),
    # Training
    "rate is zero": (lambda: mf.GradientDescent(0.0, 5), ValueError, "`learning_rate`", "above 0"),
    "rate is negative": (lambda: mf.GradientDescent(-0.1, 5), ValueError, "`learning_rate`", "-0.1"),
    "rate is text": (lambda: mf.GradientDescent("fast", 5), TypeError, "`learning_rate`", "'fast'"),
    "schedule is negative": (lambda: mf.GradientDescent(lambda s: -1.0, 5), ValueError, "`learning_rate`"),
    "schedule is a vector": (
        lambda: mf.GradientDescent(lambda s: Y, 5),
        TypeError,
        "`learning_rate`",
        "number",
    ),
    "schedule is Python": (
        lambda: mf.GradientDescent(lambda s: 0.1 if s > 3 else 0.2, 5),
        *(TypeError, "`learning_rate`", "JAX function"),
    ),
    "schedule turns negative": (
        lambda: run(training=mf.GradientDescent(lambda s: 0.1 - 0.05 * s, 5)),
        *(ValueError, "`learning_rate`", "every step", "step 3"),
    ),
    "steps is zero": (lambda: mf.GradientDescent(0.1, 0), ValueError, "`steps`", "at least 1"),
    "steps is a float": (lambda: mf.GradientDescent(0.1, 1e3), TypeError, "`steps`", "1000.0"),
    "momentum is one": (
        lambda: mf.GradientDescent(0.1, 5, momentum=1.0),
        ValueError,
        "`momentum`",
        "below 1",
    ),
    "negative decay": (lambda: mf.GradientDescent(0.1, 5, weight_decay=-1.0), ValueError, "`weight_decay`"),
    "batch_size is zero": (lambda: mf.GradientDescent(0.1, 5, batch_size=0), ValueError, "`batch_size`"),
    "batch_key is negative": (lambda: mf.GradientDescent(0.1, 5, batch_key=-1), ValueError, "`batch_key`"),
    "batch_key is too large": (lambda: mf.Langevin(0.1, 5, 0.1, batch_key=2**63), ValueError, "`batch_key`"),
    "time is zero": (lambda: mf.GradientFlow(0.0), ValueError, "`time`", "above 0"),
    "save is one": (lambda: mf.GradientFlow(1.0, save=1), ValueError, "`save`", "at least 2"),
    "tolerance is one": (lambda: mf.GradientFlow(1.0, tolerance=1.0), ValueError, "`tolerance`", "below 1"),
    "flow decay is text": (lambda: mf.GradientFlow(1.0, weight_decay="0"), TypeError, "`weight_decay`"),
    "temperature is negative": (lambda: mf.Langevin(0.1, 5, -1.0), ValueError, "`temperature`", "at least 0"),
    "transform is a function": (lambda: mf.Optax(optax.adam, 5), TypeError, "`transform`", "optax"),
    "optax steps": (lambda: mf.Optax(optax.sgd(0.1), -3), ValueError, "`steps`", "-3"),
    # simulate
    "system is a model": (lambda: run(MODEL), TypeError, "`system`", "finite"),
    "problem is an array": (lambda: run(problem=X), TypeError, "`problem`", "Problem"),
    "training is a number": (lambda: run(training=0.1), TypeError, "`training`", "GradientDescent"),
    "no seeds": (lambda: run(seeds=0), ValueError, "`seeds`", "at least 1"),
    "seeds are not increasing": (lambda: run(seeds=[2, 1]), ValueError, "`seeds`", "increasing", "[2, 1]"),
    "seeds are negative": (lambda: run(seeds=[-1, 1]), ValueError, "`seeds`"),
    "seeds are text": (lambda: run(seeds="three"), TypeError, "`seeds`", "'three'"),
    "seeds are too large": (lambda: run(seeds=[2**32]), ValueError, "`seeds`", "2^32"),
    "key is a float": (lambda: run(key=0.5), TypeError, "`key`", "0.5"),
    "key is negative": (lambda: run(key=-1), ValueError, "`key`"),
    "key is too large": (lambda: run(key=2**63), ValueError, "`key`"),
    "record goes beyond": (lambda: run(record=[0, 6]), ValueError, "`record`", "at most 5", "6"),
    "record is a number": (lambda: run(record=5), TypeError, "`record`", "5"),
    "record is empty": (lambda: run(record=[]), ValueError, "`record`", "[]"),
    "record has fractions": (lambda: run(record=[0, 1.5]), TypeError, "`record`", "1.5"),
    "observe is a number": (lambda: run(observe=3), TypeError, "`observe`", "observables"),
    "observe holds text": (lambda: run(observe=["kernel"]), TypeError, "`observe`", "'kernel'"),
    "memory is tiny": (lambda: run(memory=5), ValueError, "`memory`", "1e+06"),
    "memory is text": (lambda: run(memory="4GB"), TypeError, "`memory`", "'4GB'"),
    "batch is larger than the set": (
        lambda: run(training=mf.GradientDescent(0.1, 5, batch_size=4)),
        *(ValueError, "`batch_size`", "3", "4"),
    ),
    "batch of a stream": (
        lambda: run(problem=mf.Stream(draw, 4), training=mf.GradientDescent(0.1, 5, batch_size=2)),
        *(ValueError, "`batch_size`", "Stream"),
    ),
    "flow on a stream": (
        lambda: run(problem=mf.Stream(draw, 4), training=mf.GradientFlow(1.0)),
        *(TypeError, "`problem`", "Stream"),
    ),
    "atoms of other inputs": (
        lambda: run(mf.TwoLayer(mf.activations.tanh, initial=Atoms(a=[1.0], w=[[1.0]])).finite(4)),
        *(ValueError, "`initial`", "3 inputs", "1"),
    ),
    "atoms with a bias the model has not": (
        lambda: run(mf.TwoLayer(mf.activations.tanh, initial=Atoms(a=[1.0], w=X[:1], b=[0.0])).finite(4)),
        *(ValueError, "`initial`", "bias"),
    ),
    "a biased law for a model without": (
        lambda: run(mf.TwoLayer(mf.activations.tanh, initial=Gaussian(bias=1.0)).finite(4)),
        *(ValueError, "`bias`", "1"),
    ),
    "quadrature in four dimensions": (
        lambda: run(MODEL.limit(16, sampler=mf.Quadrature())),
        *(ValueError, "`sampler`", "3", "4"),
    ),
    "noise on a grid": (
        lambda: run(
            MODEL.limit(16, sampler=mf.Quadrature()), mf.Problem(X[:, :1], Y), mf.Langevin(0.1, 5, 0.1)
        ),
        *(ValueError, "`sampler`", "Quadrature"),
    ),
    # stability
    "stability of a system": (lambda: mf.stability(SYSTEM, TASK), TypeError, "`model`", "TwoLayer"),
    "stability of an array": (lambda: mf.stability(MODEL, X), TypeError, "`problem`"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_meets_one_sentence(name):
    assert_refused_in_one_sentence(*BAD[name])


def test_nothing_is_compiled_before_the_refusal():
    from meanfield.studies.trajectory import traces

    before = traces.copy()
    for name in ("record goes beyond", "noise on a grid", "batch is larger than the set"):
        with pytest.raises((TypeError, ValueError)):
            BAD[name][0]()
    assert traces == before


def test_good_input_of_other_kinds_is_taken():
    """Lists, NumPy integers, Python integers for floats: what a reader would expect to work."""
    data = mf.simulate(
        mf.TwoLayer(mf.activations.tanh, richness=1).finite(np.int64(4), dtype=np.float64),
        mf.Problem([[1, 2], [3, 4]], [0, 1]),
        mf.GradientDescent(1e-1, np.int32(5)),
        seeds=np.arange(2),
        record=range(0, 6, 5),
    )
    assert data.sizes["seed"] == 2 and data.sizes["step"] == 2
