"""Programs and settings that no reading can take meet one clear sentence before anything is computed."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from assertions import assert_one_sentence, assert_refused_in_one_sentence
from cases import problem

import meanfield as mf
from meanfield.model.parametrization import mup
from meanfield.programs import Matrix, Program, Scalar, Vector

TASK = problem(samples=3, outputs=2)
TRAINING = mf.GradientDescent(0.1, 2)


class Passed(NamedTuple):
    h: object
    x: object
    output: object


@dataclasses.dataclass(frozen=True)
class Good(Program):
    """f = E[v tanh(W tanh(ux))] + c; what is `changed` is computed in another way."""

    changed: tuple = ()

    def arrays(self, task):
        found = {"u": Vector(task.inputs), "v": Vector(task.outputs, odd=True), "w": Matrix()}
        return {**found, "c": Scalar((task.outputs,))}

    def own(self, name, *arguments, otherwise):
        return dict(self.changed)[name](*arguments) if name in dict(self.changed) else otherwise()

    def forward(self, ops, p, x):
        h = jnp.tanh(p["u"] @ x.T)
        h = self.own("first", h, otherwise=lambda: h)
        y = jnp.tanh(self.own("matmul", ops, h, otherwise=lambda: ops.matmul("w", h)))
        f = self.own("moment", ops, y, p, otherwise=lambda: ops.moment(y, p["v"]))
        return Passed(h, y, self.own("output", f, otherwise=lambda: f + p["c"][None]))

    def gradient(self, ops, p, x, passed, chi, step):
        g = (p["v"] @ chi.T) * (1 - passed.x**2)
        self.own("update", ops, g, passed, otherwise=lambda: ops.update("w", g, passed.h))
        g = ops.transpose_matmul("w", g) * (1 - passed.h**2)
        moved = {"u": g @ x, "v": passed.x @ chi, "c": chi.sum(0)}
        return {**moved, **self.own("gradient", moved, otherwise=dict)}


def bad(**changed):
    return Good(tuple(changed.items()))


BAD = {
    "centred over neurons": (bad(first=lambda h: h - h.mean(0, keepdims=True)), "every neuron by itself"),
    "neurons in another order": (bad(first=lambda h: h[::-1]), "every neuron by itself", "ops.matmul"),
    "normalised over neurons": (
        bad(first=lambda h: h / jnp.sqrt((h**2).mean(0, keepdims=True))),
        "every neuron by itself",
    ),
    "an average that is not a moment": (
        bad(moment=lambda ops, y, p: y.T @ p["v"] / len(y)),
        "every neuron by itself",
    ),
    "a gradient that mixes": (
        bad(gradient=lambda moved: {"u": moved["u"] - moved["u"].mean(0, keepdims=True)}),
        *("every neuron by itself", "gradient 'u'"),
    ),
    "a moment of one column": (
        bad(moment=lambda ops, y, p: ops.moment(y[:, 0], p["v"])),
        *("ops.moment", "one row for every neuron"),
    ),
    "a moment of samples": (bad(moment=lambda ops, y, p: ops.moment(y.T, p["v"])), "ops.moment", "(3, 6)"),
    "a product with a number": (bad(matmul=lambda ops, h: ops.matmul("w", 1.0)), "ops.matmul", "1.0"),
    "an unknown matrix": (bad(matmul=lambda ops, h: ops.matmul("w2", h)), "ops.matmul", "'w'", "'w2'"),
    "a vector as a matrix": (bad(matmul=lambda ops, h: ops.matmul("u", h)), "ops.matmul", "'u'"),
    "an update of two shapes": (
        bad(update=lambda ops, g, passed: ops.update("w", g, passed.h[:, :1])),
        *("ops.update", "one shape"),
    ),
    "a gradient of wrong shape": (
        bad(gradient=lambda moved: {"u": moved["u"][:, 0]}),
        *("`gradient`", "'u'", "(6,)"),
    ),
    "a gradient of nothing known": (bad(gradient=lambda moved: {"z": moved["u"]}), "`gradient`", "'z'"),
    "an output of wrong shape": (bad(output=lambda f: f[:, :1]), "output", "(3, 2)", "(3, 1)"),
}
SYSTEMS = {
    "dense": lambda model: model.finite(4),
    "matrix-free": lambda model: model.finite(4, sampler=mf.MatrixFree()),
    "limit": lambda model: model.limit(8),
}


def assert_refused(system, training, *words, task=TASK):
    with pytest.raises(ValueError) as caught:
        mf.simulate(system, task, training)
    assert_one_sentence(str(caught.value), *words)


@pytest.mark.parametrize("name", BAD)
def test_a_program_no_reading_can_take_meets_one_sentence(name):
    program, *words = BAD[name]
    assert_refused(SYSTEMS["matrix-free"](program), TRAINING, *words)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_reading_checks(name):
    program, *words = BAD["an unknown matrix"]
    assert_refused(SYSTEMS[name](program), TRAINING, *words)


def test_a_good_program_passes_the_check():
    SYSTEMS["limit"](Good()).check(TASK, mf.GradientDescent(0.1, 2, batch_size=2))
    SYSTEMS["dense"](Good()).check(TASK, mf.Optax(optax.adam(0.1), 2))


@pytest.mark.parametrize("name", ["matrix-free", "limit"])
def test_training_that_is_not_of_low_rank_meets_one_sentence(name):
    for model in (Good(), mf.MLP(2, mf.activations.tanh, mup)):
        for training in (mf.Optax(optax.adam(0.1), 2), mf.GradientFlow(1.0)):
            word = type(training).__name__
            assert_refused(SYSTEMS[name](model), training, "`training`", "GradientDescent", word)


def test_a_centred_network_needs_its_matrices():
    model = mf.MLP(2, mf.activations.tanh, mup, centred=True)
    with pytest.raises(ValueError) as caught:
        model.finite(8, sampler=mf.MatrixFree())
    assert_one_sentence(str(caught.value), "`sampler`", "Dense()", "centred")
    assert model.finite(8, sampler=mf.MatrixFree(above=8)).width == 8  # dense up to there


SETTINGS = {
    "tolerance of one": (lambda: mf.MatrixFree(1.0), ValueError, "`tolerance`", "below 1"),
    "tolerance is negative": (lambda: mf.MatrixFree(-1e-3), ValueError, "`tolerance`", "at least 0"),
    "above is a float": (lambda: mf.MatrixFree(above=0.5), TypeError, "`above`", "0.5"),
    "matched is a number": (lambda: mf.programs.Antithetic(matched=1), TypeError, "`matched`"),
    "sampler is text": (lambda: Good().finite(4, sampler="dense"), TypeError, "`sampler`", "MatrixFree"),
    "sampler is a class": (lambda: Good().finite(4, sampler=mf.MatrixFree), TypeError, "`sampler`"),
    "dtype is half": (lambda: Good().finite(4, dtype="float16"), ValueError, "`dtype`", "float32"),
    "one particle": (lambda: Good().limit(1), ValueError, "`particles`", "at least 2"),
    "one replicate": (lambda: Good().limit(8, 1), ValueError, "`replicates`", "at least 2"),
    "a sampler of neurons": (lambda: Good().limit(8, sampler=mf.IID()), TypeError, "`sampler`", "Antithetic"),
    "limit tolerance": (lambda: Good().limit(8, tolerance=2), ValueError, "`tolerance`", "below 1"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_settings_meet_one_sentence(name):
    assert_refused_in_one_sentence(*SETTINGS[name])


def test_a_field_with_as_many_samples_as_the_check_has_rows_is_not_taken_for_one():
    """Six samples, handed over with samples as rows."""
    program, *words = BAD["a moment of samples"]
    assert_refused(SYSTEMS["limit"](program), TRAINING, words[0], task=problem(samples=6, outputs=2))


def test_good_programs_are_taken_with_any_number_of_samples():
    for samples in (1, 6):
        SYSTEMS["limit"](Good()).check(problem(samples=samples, outputs=2), TRAINING)
    assert np.isfinite(TASK.x).all()
