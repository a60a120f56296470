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


def check_name(name):
    """A word that can begin the names of variables; `_error` at its end is kept for the limit's errors."""
    rule = "a word of letters, digits and underscores that does not end in _error"
    if not isinstance(name, str):
        fail("name", rule, name, TypeError)
    if not name.isidentifier() or name.endswith("_error"):
        fail("name", rule, name)
    return name


class Observable:
    """The interface of observables: frozen dataclasses with

    - `name`: one word that all its variables begin with; its dimension of looks is `name_step`;
    - `at`: None (first and last step), a number of evenly spaced looks, or the steps;
    - `average`: whether a limit gives the mean over its replicates, with its standard error, or, where a
      mean makes no sense, the first replicate (an axis over particles has none);
    - `variables`: {name: Variable}, dimensions of one look;
    - `check(problem, system)`: raise one sentence if it cannot be computed for them; `system` may be None
      where only the problem is known;
    - `compute(system, problem, measure, initial)`: {name: array} from the neurons now and at step 0, traced;
    - `coordinates(problem, system)`: {name: (dims, values) or (dims, values, attributes)} of dimensions of
      its own.

    Linear in ρ, an observable is unbiased in the limit; otherwise the mean over replicates has bias O(1/M).
    """

    name = "observable"
    at = None
    average = True
    variables = {}

    def settle(self, default):
        """Check the settings that all observables share; `default` is the name where none was given."""
        object.__setattr__(self, "at", check_at(self.at))
        object.__setattr__(self, "name", check_name(default if self.name is None else self.name))

    def steps(self, steps):
        return chosen_steps(self.at, steps)

    def check(self, problem, system=None):
        pass

    def compute(self, system, problem, measure, initial):
        raise NotImplementedError

    def coordinates(self, problem, system):
        return {}
