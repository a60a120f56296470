"""Checks of arguments at the public doors: one sentence with the argument, the rule and what came."""

import math
import numbers

import numpy as np


def shown(value):
    """A value in one short piece of text."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        return f"an array of shape {tuple(value.shape)} and type {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def fail(name, rule, value, kind=ValueError):
    raise kind(f"Argument `{name}` must be {rule}, but is {shown(value)}.")


def require(condition, name, rule, value, kind=ValueError):
    if not condition:
        fail(name, rule, value, kind)


def is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def integer(name, value, least=None, most=None, rule=None):
    """An integer in [least, most], as an int."""
    if rule is None:
        rule = "an integer" if least is None else f"an integer of at least {least}"
        if most is not None:
            rule = f"an integer from {least} to {most}"
    require(is_integer(value), name, rule, value, TypeError)
    require((least is None or value >= least) and (most is None or value <= most), name, rule, value)
    return int(value)


def number(name, value, least=None, above=None, most=None, below=None):
    """A finite real number within the bounds, as a float."""
    parts = [("of at least", least), ("above", above), ("of at most", most), ("below", below)]
    rule = " and ".join(
        ["a finite number"] + [f"{word} {bound:g}" for word, bound in parts if bound is not None]
    )
    rule = rule.replace("number and", "number", 1)
    require(is_number(value), name, rule, value, TypeError)
    value = float(value)
    good = math.isfinite(value)
    good = good and (least is None or value >= least) and (above is None or value > above)
    good = good and (most is None or value <= most) and (below is None or value < below)
    require(good, name, rule, value)
    return value


def boolean(name, value):
    require(isinstance(value, bool | np.bool_), name, "True or False", value, TypeError)
    return bool(value)


def instance(name, value, kinds, rule):
    require(isinstance(value, kinds), name, rule, value, TypeError)
    return value


def function(name, value, rule="a function"):
    require(callable(value), name, rule, value, TypeError)
    return value


def integers(name, values, least=1):
    """Strictly increasing integers of at least `least`, as a tuple."""
    word = "positive integers" if least == 1 else f"integers of at least {least}"
    rule = f"a sequence of strictly increasing {word}"
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        fail(name, rule, values, TypeError)
    values = list(values)
    shown_values = [v.item() if isinstance(v, np.generic) else v for v in values]
    require(all(is_integer(v) for v in values), name, rule, shown_values, TypeError)
    good = len(values) > 0 and values[0] >= least
    good = good and all(a < b for a, b in zip(values, values[1:], strict=False))
    require(good, name, rule, shown_values)
    return tuple(int(v) for v in values)


def array(name, value, dimensions, rule):
    """A finite numeric array with one of the given numbers of dimensions and no empty axis, as float64."""
    given = value
    try:
        value = np.asarray(value)
    except Exception:
        fail(name, rule, given, TypeError)
    if (
        value.dtype == object
        or not (np.issubdtype(value.dtype, np.number) or np.issubdtype(value.dtype, np.bool_))
        or np.issubdtype(value.dtype, np.complexfloating)
    ):
        fail(name, f"{rule} of real numbers", given, TypeError)
    if value.ndim not in dimensions or value.size == 0:
        fail(name, rule, value)
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise ValueError(
            f"Argument `{name}` must be finite, but is {value[position]} at index {list(position)}."
        )
    return value
