"""What can be looked at during training besides predictions."""

import numpy as np

from meanfield.base.checks import fail, integer, integers, is_integer


def chosen_steps(at, steps):
    """The steps an observable looks at: those given, an even number of them, or first and last."""
    if at is None:
        return np.array([0, steps])
    if is_integer(at):
        return np.unique(np.round(np.linspace(0, steps, at)).astype(int))
    if at[-1] > steps:
        fail("at", f"steps of at most {steps}, the length of training", at[-1])
    return np.asarray(at)


def check_at(at):
    """None, a number of evenly spaced looks, or increasing steps."""
    if at is None:
        return None
    if is_integer(at):
        return integer("at", at, 2)
    return integers("at", at, least=0)


class Observable:
    """The interface of observables: frozen dataclasses with

    - `name`: one word; its dimension of looks is `name_step`;
    - `at`: None (first and last step), a number of evenly spaced looks, or the steps;
    - `variables`: {name: Variable}, dimensions of one look;
    - `compute(system, problem, measure, initial)`: {name: array} from the neurons now and at step 0, traced;
    - `coordinates(problem)`: {name: (dims, values)} of dimensions of its own.
    """

    name = "observable"
    variables = {}

    def steps(self, steps):
        return chosen_steps(self.at, steps)

    def compute(self, system, problem, measure, initial):
        raise NotImplementedError

    def coordinates(self, problem):
        return {}
