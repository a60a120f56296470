"""The average of any function of one neuron."""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable

import jax
import numpy as np

from meanfield.base.checks import fail, function
from meanfield.base.fingerprint import describe, digest
from meanfield.base.schema import Variable
from meanfield.observe.neuron import check_neurons, masked, shapes
from meanfield.observe.observable import Observable


@dataclasses.dataclass(frozen=True)
class TestFunction(Observable):
    """E_ρ[g(θ)] for a function g of one neuron, as a variable of the given name without dimensions.

    Args:
        function: g, from the arrays of one neuron, {"a": (k,), "w": (d,)} and "b": () in a model with bias,
            to a number; JAX code.
        name: the variable; by default the function's own name. Needed for a lambda.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
    Accuracy: linear in ρ, hence unbiased in a limit.
    Cost: n evaluations of g a look. A store knows g by its code and the values it refers to; another version
        of Python may compile the same text to other code and computes anew.
    Source: weak convergence of ρ_n to ρ is that of these averages, THEORY 9.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    function: Callable
    name: str | None = None
    at: int | tuple | None = None

    def __post_init__(self):
        function("function", self.function, "a function of the arrays of one neuron")
        own = getattr(self.function, "__name__", "")
        if self.name is None and not own.isidentifier():
            raise ValueError("Argument `name` must be given for a function that has none, but is None.")
        self.settle(own)

    @property
    def variables(self):
        return {self.name: Variable((), f"{self.name}, average over neurons", source="THEORY 9")}

    def check(self, problem, system=None):
        check_neurons(self, system)
        if system is None:
            return
        example = {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in shapes(problem, system).items()}
        arrays = ", ".join(f"{name} {shape.shape}" for name, shape in example.items())
        rule = f"a function of the arrays {arrays} of one neuron to a number"
        try:
            result = jax.eval_shape(self.function, example)
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ValueError(f"Argument `function` must be {rule}, but fails with {reason}") from None
        if getattr(result, "shape", None) != ():
            fail("function", rule, jax.tree.map(lambda leaf: leaf.shape, result))

    def compute(self, system, problem, measure, initial):
        values = jax.vmap(self.function)(measure.points).astype(measure.weights.dtype)
        return {self.name: measure.mean(masked(measure.weights, values))}

    def describe(self):
        names = {"class": "TestFunction", "name": self.name, "at": describe(self.at)}
        return {**names, "function": digest(_program(self.function, ()))}


LIBRARIES = ("jax", "jaxlib", "numpy", "math", "builtins")


def _program(value, above):
    """What a function does, as far as its code and the values it refers to show it.

    The jaxpr would say more but needs the sizes of a neuron, which settings do not know. Functions of `above`
    refer to this one: a circle ends there.
    """
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), list(value.co_names), [_program(c, above) for c in value.co_consts]]
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, functools.partial):
        return [_program(v, above) for v in (value.func, *value.args, *sorted(value.keywords.items()))]
    if isinstance(value, tuple | list):
        return [_program(v, above) for v in value]
    plain = inspect.unwrap(value) if callable(value) else value
    module = getattr(plain, "__module__", None) or ""
    if callable(plain) and (plain in above or module.partition(".")[0] in LIBRARIES):
        return f"{module}.{getattr(plain, '__qualname__', getattr(plain, '__name__', repr(plain)))}"
    if isinstance(plain, types.FunctionType):
        bound = [cell.cell_contents for cell in plain.__closure__ or ()]
        bound += [plain.__globals__[n] for n in _names(plain.__code__) if n in plain.__globals__]
        bound += [plain.__defaults__, sorted((plain.__kwdefaults__ or {}).items())]
        return [_program(plain.__code__, above), [_program(v, (*above, plain)) for v in bound]]
    return describe(value)


def _names(code):
    """Global names that a code object and those within it refer to."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted({*code.co_names, *(name for names in inner for name in names)})
