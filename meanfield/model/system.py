"""Models and systems: what every network and every limit can be asked.

A Model holds architecture and parametrization and no arrays. `model.finite(width, ...)` and
`model.limit(...)` each give a System, and `model.laws()` states the exponents that theory predicts for the
distance between the two.
"""

import dataclasses

from meanfield.base.schema import Variable
from meanfield.base.text import Concise


@dataclasses.dataclass(frozen=True)
class Law:
    """A predicted rate: error of `quantity` ∝ size^exponent for one kind of error.

    Args:
        kind: "fluctuation", the distance of one network from the limit, or "bias", that of their mean.
        size: the dimension that grows: "width", "depth".
        exponent: power of the size.
        source: where it is shown.
    """

    kind: str
    size: str
    exponent: float
    source: str


class Model(Concise):
    """The interface of models: `finite`, `limit`, `laws`. Subclasses are frozen dataclasses.

    `initial_kernel(problem)`: χ → K χ on the training set with the tangent kernel of the limit at
    initialisation, in the time of training, or None where there is none.

    `responds`: whether studies can take a `Response` of its limit. If so, `responding(particles, replicates,
    sampler)` gives what it is computed of (THEORY 1.1), with
    - `particles` of each replicate; `random`: whether replicates are independent draws; `sampled`: whether
      ρ_0 is not a list of neurons; `paired`: whether neurons are drawn in pairs, all first, then all second;
    - `check(problem, training)`: raise one sentence if they do not fit;
    - `draw(problem, key)`: ({name: neurons (R, M, ...)}, weights (R, M)) of all replicates;
    - `setting(problem, training, points)`: how such neurons move and what they contribute in float64, as
      `studies/linear_response.py` describes it;
    - `networks(network, problem, keys)`: (neurons (K, n', ...), weights (K, n'), how many of the K count)
      at step 0 of the finite networks with these keys, in batches of one shape.
    """

    responds = False

    def initial_kernel(self, problem):
        return None

    def finite(self, width, **options):
        raise NotImplementedError

    def limit(self, particles=None, **options):
        raise NotImplementedError

    def responding(self, particles, replicates, sampler):
        raise NotImplementedError

    def laws(self):
        raise NotImplementedError


def output_variables(source):
    """What every network and every limit records: outputs, their source given, and losses."""
    return {
        "prediction": Variable(("sample", "output"), "network output f(x)", source=source),
        "loss": Variable((), "training loss R", source="THEORY 0"),
        "test_prediction": Variable(
            ("test_sample", "output"), "network output f(x) on the test set", source=source
        ),
        "test_loss": Variable((), "test loss", source="THEORY 0"),
    }


class System:
    """The interface of stepped systems.

    A system is a pytree of settings. Its state is a tuple whose first entry is the parameters.

    - `is_limit`: whether it stands for the limit: no seeds, an error of its own.
    - `exact`: whether it is solved instead of stepped: a limit with `at(problem, training, steps, key)` →
      {name: array (step, ...)} in place of all that follows `core`.
    - `check(problem, training)`: raise one sentence if they do not fit.
    - `plan(problem, training, seeds, memory, looks)`: (system, seeds at a time) such that neither memory nor
      cache overflow; the system may come back with a chunk size, and in other coordinates unless it `looks`
      at the neurons themselves.
    - `init(problem, training, key)`: the state at step 0; `start(problem, training, keys)`: those of many
      networks at once, on the host (a limit's own, from its one key).
    - `core()`: the system without what only `init` needs, so that more settings share a compiled program;
      `step`, `observe` and `look` are called on it.
    - `step(problem, training, state, key)`: the next one; `state.finite` says whether the predictions that
      the step saw were finite.
    - `observe(problem, state)`: {name: array} for the names in `variables`.
    - `measure(state)`: the neurons as a `Measure`.
    - `initial_kernel(problem)`: as of the model, for this size.
    - `summarise(arrays)`: recorded arrays, on the host, to the variables of the dataset.
    - `growing`: whether the state has buffers that fill. Such a system runs one network, or one replicate
      of a limit, at a time, without a leading axis; `step(problem, training, state)` gives the predictions
      it saw as well, `full(state)` says that another step might not fit, and `grow(state)` gives system and
      state with larger buffers. `shared(problem, training)`: whether a step sees all training samples.
    """

    is_limit = False
    growing = False
    exact = False
    variables = {}

    def initial_kernel(self, problem):
        return None

    def coordinates(self, problem):
        """{name: (dims, values, attributes)} of dimensions that only this kind of system has."""
        return {}

    def settled(self, problem):
        """The system with every size that the problem determines."""
        return self
