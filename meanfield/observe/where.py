"""Where kernels and features are taken: inputs, dimensions, layer."""

import dataclasses

from meanfield.base.checks import boolean, fail, integer
from meanfield.observe.observable import Observable


def inputs(problem, test):
    """The inputs at which a kernel is taken."""
    return problem.x_test if test else problem.x


def sample_dims(test):
    """The dimensions of its two inputs."""
    return ("test_sample", "test_sample_2") if test else ("sample", "sample_2")


def check_where(observable, method, problem, system):
    """Whether there are such inputs and, if the system is known, whether it can answer."""
    if observable.test and problem.x_test is None:
        fail("test", "False for a problem without a test set", True)
    if system is not None and not hasattr(system, method):
        kind = type(observable).__name__
        fail("observe", f"observables that {type(system).__name__} has, but it has no {kind}", observable)


def check_layer(layer):
    return None if layer is None else integer("layer", layer, 1)


def layer_of(observable, system):
    """The hidden layer an observable looks at: the one given, or the last."""
    layer = system.layers if observable.layer is None else observable.layer
    if layer > system.layers:
        fail("layer", f"at most the number of hidden layers, {system.layers}", layer)
    return layer


@dataclasses.dataclass(frozen=True)
class OfLayer(Observable):
    """The interface of what is seen of one hidden layer: observables with these fields and no others, and

    - `names`: what they are called by default, at the training inputs and at the test inputs;
    - `method`: what of a system they are computed from.
    """

    at: int | tuple | None = None
    test: bool = False
    layer: int | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    method = "features"

    def __post_init__(self):
        object.__setattr__(self, "test", boolean("test", self.test))
        object.__setattr__(self, "layer", check_layer(self.layer))
        self.settle(self.names[self.test])

    def check(self, problem, system=None):
        check_where(self, self.method, problem, system)
        if system is not None:
            layer_of(self, system)
