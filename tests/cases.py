"""Small problems and helpers that several tests share; equal shapes share compiled programs."""

import dataclasses

import jax
import numpy as np

import meanfield as mf
from meanfield.base.precision import double
from meanfield.base.schema import Variable
from meanfield.observe.observable import Observable


def problem(samples=5, inputs=2, outputs=1, test_samples=3, scale=1.0, seed=0, **options):
    """Gaussian inputs and targets."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((samples, inputs)), scale * rng.standard_normal((samples, outputs))
    if test_samples:
        options["x_test"] = rng.standard_normal((test_samples, inputs))
        options["y_test"] = scale * rng.standard_normal((test_samples, outputs))
    return mf.Problem(x, y, **options)


def zero_problem(inputs=2):
    """One input at the origin: without bias and with φ(0) = 0 the data never act."""
    return mf.Problem(np.zeros((1, inputs)), np.ones(1))


@dataclasses.dataclass(frozen=True)
class Neurons(Observable):
    """The neurons themselves, θ_i and m_i, in their order."""

    bias: bool = False
    at: object = None
    name = "neurons"

    @property
    def variables(self):
        dims = {"a": ("particle", "output"), "w": ("particle", "input"), "mass": ("particle",)}
        if self.bias:
            dims["b"] = ("particle",)
        return {name: Variable(d, f"{name} of every neuron") for name, d in dims.items()}

    def compute(self, system, problem, measure, initial):
        return {**measure.points, "mass": measure.weights}


@dataclasses.dataclass(frozen=True)
class Together(Observable):
    """What several observables see, or those of their variables that are named, in one compiled program."""

    of: tuple
    names: tuple | None = None
    at: object = None
    name = "together"

    @property
    def variables(self):
        declared = {name: variable for o in self.of for name, variable in o.variables.items()}
        return declared if self.names is None else {name: declared[name] for name in self.names}

    def check(self, problem, system=None):
        for observable in self.of:
            observable.check(problem, system)

    def compute(self, system, problem, measure, initial):
        found = {}
        for observable in self.of:
            found |= observable.compute(system, problem, measure, initial)
        return {name: found[name] for name in self.variables}

    def coordinates(self, problem, system):
        return {n: c for o in self.of for n, c in o.coordinates(problem, system).items()}


def neurons_of(data, seed=0):
    """[({a, w, b}, weights) for every look], padding left out, from a dataset with `Neurons`."""
    data = data.isel(seed=seed) if "seed" in data.dims else data
    keep = data["mass"].values[0] > 0
    names = [n for n in ("a", "w", "b") if n in data]
    looks = range(data.sizes["neurons_step"])
    return [({n: data[n].values[t][keep] for n in names}, data["mass"].values[t][keep]) for t in looks]


def atoms(count, inputs=2, outputs=1, bias=False, weighted=False, seed=1, **changes):
    """A law of few particles."""
    rng = np.random.default_rng(seed)
    options = {"a": rng.standard_normal((count, outputs)), "w": rng.standard_normal((count, inputs))}
    if bias:
        options["b"] = rng.standard_normal(count)
    if weighted:
        m = rng.uniform(0.2, 1.0, count)
        options["weights"] = m / m.sum()
    return mf.initial.Atoms(**{**options, **changes})


def in_double(function, *arguments):
    """The value of a JAX function in float64, as numpy."""
    with double():
        return jax.tree.map(np.asarray, function(*arguments))
