"""Descriptions: equal for equal settings, different for everything that changes a result."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanfield.base.fingerprint import array_digest, describe, digest, function_text
from meanfield.base.precision import double, to_numpy


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float
    sizes: tuple = (1, 2)


def text(function):
    return function_text(function, 0.5)


def test_descriptions_are_json_and_do_not_depend_on_the_order_of_a_dict():
    first = describe({"b": Settings(0.1), "a": [np.float64(2), None, "x", True]})
    assert json.loads(json.dumps(first)) == first
    assert digest(first) == digest(describe({"a": (2.0, None, "x", True), "b": Settings(0.1)}))


def test_arrays_are_told_apart_by_value_shape_and_type():
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.array([0.0, 0, 0, 5e-324])]
    assert len({array_digest(a) for a in arrays}) == 4
    assert array_digest(np.arange(6.0).reshape(2, 3)) == array_digest(
        np.asfortranarray(np.arange(6.0).reshape(2, 3))
    )


def test_functions_are_what_they_compute():
    assert text(lambda z: jnp.sin(z) + 1) == text(lambda u: jnp.sin(u) + 1)
    different = [lambda z: jnp.sin(z) + 1, lambda z: jnp.cos(z) + 1, lambda z: 1 + jnp.sin(z) * 2]
    assert len({json.dumps(text(f)) for f in different}) == 3


def test_numbers_count_to_their_last_digit():
    assert text(lambda z: z * 0.1234567890123456) != text(lambda z: z * 0.1234567890123457)


def closing_over(array, kind):
    body = lambda z: z * jnp.asarray(array)[1000]  # noqa: E731
    if kind == "compiled":
        return jax.jit(body)
    if kind == "loop":
        return lambda z: jax.lax.fori_loop(0, 3, lambda _, u: body(u), z)
    if kind == "branch":
        return lambda z: jax.lax.cond(z > 0, jax.jit(body), lambda u: u, z)
    return body


@pytest.mark.parametrize("kind", ["plain", "compiled", "loop", "branch"])
def test_arrays_that_a_function_closes_over_count_wherever_they_are_used(kind):
    first, second = np.linspace(0, 1, 2000), np.linspace(0, 1, 2000)
    second[1000] += 1e-12
    assert text(closing_over(first, kind)) == text(closing_over(first.copy(), kind))
    assert text(closing_over(first, kind)) != text(closing_over(second, kind))


def test_the_callers_precision_does_not_count():
    function = lambda z: jnp.sin(z) * jnp.ones(3).sum()  # noqa: E731
    with double():
        inside = text(function)
    with jax.enable_x64(False):
        assert text(function) == inside


def test_what_has_no_description_is_refused():
    with pytest.raises(TypeError, match="no description that could identify a stored result"):
        describe({"f": lambda: None})


def test_what_leaves_the_float64_context_is_numpy():
    with double():
        tree = to_numpy({"a": jnp.ones(2), "b": 3, "c": [jnp.zeros((), jnp.int32)]})
    assert isinstance(tree["a"], np.ndarray) and tree["a"].dtype == np.float64
    assert tree["b"] == 3 and tree["c"][0].dtype == np.int32


def test_the_context_is_left_as_it_was_also_after_an_error():
    before = jnp.ones(()).dtype
    with pytest.raises(RuntimeError), double():
        assert jnp.ones(()).dtype == jnp.float64
        raise RuntimeError
    assert jnp.ones(()).dtype == before
