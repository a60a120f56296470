"""Checks of arguments: the value that comes out, or one sentence with name, rule and what came."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from assertions import assert_one_sentence

from meanfield.base import checks


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3)], ids=repr)
def test_integers_of_every_kind_become_int(value):
    result = checks.integer("n", value, 1)
    assert result == 3 and type(result) is int


@pytest.mark.parametrize("value", [3.0, "3", None, True, np.bool_(True), [3], jnp.ones(())], ids=repr)
def test_what_is_no_integer_is_a_type_error(value):
    with pytest.raises(TypeError) as caught:
        checks.integer("n", value, 1)
    assert_one_sentence(str(caught.value), "Argument `n`", "an integer of at least 1")


@pytest.mark.parametrize("value", [2, 0.5, np.float32(0.5), np.int64(7)], ids=repr)
def test_numbers_of_every_kind_become_float(value):
    result = checks.number("h", value)
    assert result == value and type(result) is float


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0]], ids=repr)
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError) as caught:
        checks.number("h", value, above=0)
    assert_one_sentence(str(caught.value), "Argument `h`", "a finite number above 0")


@pytest.mark.parametrize(
    "value, bounds, rule",
    [
        (0, {"above": 0}, "a finite number above 0"),
        (-1, {"least": 0}, "a finite number of at least 0"),
        (2, {"most": 1}, "a finite number of at most 1"),
        (1, {"below": 1}, "a finite number below 1"),
        (2, {"least": 0, "below": 1}, "a finite number of at least 0 and below 1"),
        (np.nan, {}, "a finite number"),
        (np.inf, {"above": 0}, "a finite number above 0"),
    ],
)
def test_a_number_out_of_bounds_is_a_value_error_with_its_rule(value, bounds, rule):
    with pytest.raises(ValueError) as caught:
        checks.number("h", value, **bounds)
    assert_one_sentence(str(caught.value), f"Argument `h` must be {rule}, but is {float(value)}.")


def test_bounds_are_met_at_their_ends():
    for bounds in ({"least": 1}, {"most": 1}, {"above": 0, "below": 2}):
        assert checks.number("h", 1, **bounds) == 1
    assert checks.integer("n", 5, 1, 5) == 5
    with pytest.raises(ValueError, match="an integer from 1 to 5, but is 6"):
        checks.integer("n", 6, 1, 5)


def test_sequences_of_integers_become_tuples_of_int():
    for values in ([1, 2, 5], (1, 2, 5), np.array([1, 2, 5]), range(1, 10, 2), iter([1, 2])):
        result = checks.integers("widths", values)
        assert isinstance(result, tuple) and all(type(v) is int for v in result)


@pytest.mark.parametrize(
    "values, kind",
    [
        ([2, 1], ValueError),
        ([1, 1], ValueError),
        ([0, 1], ValueError),
        ([], ValueError),
        ([1.0, 2.0], TypeError),
        ([1, None], TypeError),
        ("12", TypeError),
        (3, TypeError),
        ([True, 2], TypeError),
    ],
    ids=repr,
)
def test_other_sequences_are_refused(values, kind):
    with pytest.raises(kind) as caught:
        checks.integers("widths", values)
    assert_one_sentence(str(caught.value), "Argument `widths`", "strictly increasing positive integers")


def test_an_array_becomes_float64_and_a_copy_of_its_own():
    given = np.ones((2, 2), np.float32)
    result = checks.array("x", given, (2,), "an array")
    given[0, 0] = 7
    assert result.dtype == np.float64 and result[0, 0] == 1


@pytest.mark.parametrize(
    "value",
    [np.array(["a"]), [None], [[1], [1, 2]], [1j], object()],
    ids=["text", "none", "ragged", "complex", "object"],
)
def test_what_is_no_real_array_is_a_type_error(value):
    with pytest.raises(TypeError) as caught:
        checks.array("x", value, (1,), "an array of shape (samples,)")
    assert_one_sentence(str(caught.value), "Argument `x`", "(samples,)")


def test_the_first_entry_that_is_not_finite_is_shown_with_its_place():
    with pytest.raises(ValueError) as caught:
        checks.array("x", [[1, 2], [np.inf, np.nan]], (2,), "an array")
    assert_one_sentence(str(caught.value), "Argument `x` must be finite, but is inf at index [1, 0].")


@dataclasses.dataclass
class Talkative:
    """Its repr has several lines."""

    def __repr__(self):
        return "first line\nsecond line"


def tanh(z):
    return z


@pytest.mark.parametrize(
    "value, text",
    [
        (np.ones((2, 3)), "an array of shape (2, 3) and type float64"),
        (jnp.ones(2, jnp.float32), "an array of shape (2,) and type float32"),
        (jnp.tanh, "<PjitFunction"),
        ("a" * 100, "'" + "a" * 76 + "..."),
        (Talkative(), "first line second line"),
        (np.float64(0.5), "0.5"),
    ],
    ids=["numpy", "jax", "compiled function", "long", "lines", "scalar"],
)
def test_anything_is_shown_in_one_short_line(value, text):
    shown = checks.shown(value)
    assert text in shown and len(shown) <= 80 and "\n" not in shown
    with pytest.raises(ValueError) as caught:
        checks.fail("x", "small", value)
    assert_one_sentence(str(caught.value), "Argument `x` must be small, but is")


def test_booleans_instances_and_functions():
    assert checks.boolean("flag", np.bool_(True)) is True
    assert checks.instance("value", 3, int, "an int") == 3
    assert checks.function("f", tanh) is tanh
    for call in (
        lambda: checks.boolean("flag", 1),
        lambda: checks.instance("value", "3", int, "an int"),
        lambda: checks.function("f", 3),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert_one_sentence(str(caught.value), "Argument `")
