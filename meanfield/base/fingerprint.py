"""What determines a result, as JSON and as a hash.

Settings are described by class name and fields, arrays by the hash of their bytes, functions without a
name of their own by the text of their jaxpr: two lambdas that compute the same are the same.
"""

import dataclasses
import hashlib
import json
import re

import jax
import numpy as np


def digest(value, length=32):
    """Hexadecimal SHA-256 of a JSON-able value, cut to `length` characters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def array_digest(value):
    value = np.ascontiguousarray(value)
    head = f"{value.dtype.str}{value.shape}".encode()
    return hashlib.sha256(head + value.tobytes()).hexdigest()[:32]


def function_text(function, *arguments):
    """The jaxpr of `function` at example arguments, with the constants it closes over."""
    with jax.enable_x64(True):  # the text names types: it must not depend on the caller's precision
        closed = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r"0x[0-9a-f]+", "0x", str(closed))
    return {"jaxpr": digest(text), "constants": [array_digest(c) for c in _constants(closed)]}


def _constants(program):
    """Arrays that a program closes over, and those of the programs within it, whose text leaves them out."""
    found = list(getattr(program, "consts", ()))
    for equation in getattr(program, "jaxpr", program).eqns:
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "eqns") or hasattr(inner, "consts"):
                    found += _constants(inner)
    return found


def describe(value):
    """A JSON-able description of settings: equal descriptions mean equal results."""
    if hasattr(value, "describe"):
        return value.describe()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, np.ndarray | jax.Array):
        value = np.asarray(value)
        return {"array": array_digest(value), "shape": list(value.shape), "dtype": value.dtype.name}
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, tuple | list | range):
        return [describe(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"Settings hold {value!r}, which has no description that could identify a stored result.")
