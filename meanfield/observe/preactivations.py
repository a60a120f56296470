"""The law of the preactivations of a layer over its neurons."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import boolean, fail, integer, is_number
from meanfield.base.schema import Variable
from meanfield.observe.histogram import binned, check_range
from meanfield.observe.observable import Observable
from meanfield.observe.where import check_layer, check_where, inputs, layer_of, sample_dims

SOURCE = "Bordelon & Pehlevan 2022; THEORY 3.2"
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True)
class Preactivations(Observable):
    """Density and quantiles of h^l(x) over the neurons of a layer, for every sample x.

    At infinite width a Gaussian before training, with the variance of THEORY 3.1; what features learn makes
    it another law. Variables: `preactivations (sample, preactivations_bin)`, per unit of h, with the centres
    of the bins as values; `preactivations_outside (sample)`, the mass outside the range;
    `preactivations_quantile (sample, preactivations_level)`.

    Args:
        bins: number of bins of equal width.
        range: (low, high), where the first bin begins and the last one ends.
        levels: of the quantiles, increasing, between 0 and 1.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        test: at the test inputs, with `test_sample` for `sample`.
        layer: l of an MLP, by default its last hidden layer.
        name: another word for `preactivations`, where one run has two of them.
    Accuracy: the density averaged over a bin, linear in ρ, hence unbiased in a limit; quantiles have bias
        O(1/M) there.
    Cost: a forward pass and n P log n operations a look.
    Source: Bordelon & Pehlevan 2022. THEORY 3.2.
    """

    bins: int = 50
    range: tuple = (-4.0, 4.0)
    levels: tuple = LEVELS
    at: int | tuple | None = None
    test: bool = False
    layer: int | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_("bins", integer("bins", self.bins, 1))
        set_("range", check_range(self.range))
        set_("levels", check_levels(self.levels))
        set_("test", boolean("test", self.test))
        set_("layer", check_layer(self.layer))
        self.settle("preactivations")

    @property
    def variables(self):
        sample, _ = sample_dims(self.test)
        head = "of the preactivations over neurons"
        return {
            self.name: Variable((sample, f"{self.name}_bin"), f"density {head}", "1 / unit of h", SOURCE),
            f"{self.name}_outside": Variable((sample,), f"mass {head} outside the range", source=SOURCE),
            f"{self.name}_quantile": Variable(
                (sample, f"{self.name}_level"), f"quantile {head}", source=SOURCE
            ),
        }

    def edges(self):
        """Edges of the bins, (bins + 1,)."""
        return np.linspace(*self.range, self.bins + 1)

    def check(self, problem, system=None):
        check_where(self, "preactivations", problem, system)
        if system is not None:
            layer_of(self, system)

    def compute(self, system, problem, measure, initial):
        h = system.preactivations(measure, inputs(problem, self.test), layer_of(self, system))  # (n, P)
        weights = jnp.full(h.shape[0], 1 / h.shape[0], h.dtype)
        mass, outside = jax.vmap(lambda values: binned(values, weights, self.edges()), 1)(h)
        width = (self.range[1] - self.range[0]) / self.bins
        quantiles = jnp.quantile(h, jnp.asarray(self.levels, h.dtype), axis=0).T  # (P, levels)
        return {
            self.name: mass / width,
            f"{self.name}_outside": outside,
            f"{self.name}_quantile": quantiles,
        }

    def coordinates(self, problem, system):
        edges, axis, level = self.edges(), f"{self.name}_bin", f"{self.name}_level"
        about = {"long_name": "centre of a bin of preactivations", "units": "1"}
        return {
            axis: (axis, (edges[1:] + edges[:-1]) / 2, about),
            level: (level, np.array(self.levels), {"long_name": "level of a quantile", "units": "1"}),
        }


def check_levels(value):
    rule = "increasing numbers between 0 and 1"
    if not isinstance(value, tuple | list | np.ndarray) or not all(is_number(v) for v in value):
        fail("levels", rule, value, TypeError)
    value = tuple(float(v) for v in value)
    if not value or not all(0 < v < 1 for v in value) or any(np.diff(value) <= 0):
        fail("levels", rule, value)
    return value
