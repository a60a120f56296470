"""The density of one coordinate of the neurons."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import fail, integer, is_number, number
from meanfield.base.schema import Variable
from meanfield.observe.neuron import check_neurons, column, labels, shapes
from meanfield.observe.observable import Observable


def binned(values, weights, edges):
    """(mass in each bin, (bins,); mass in none): bins closed to the left, the last one on both sides."""
    edges = jnp.asarray(edges, values.dtype)
    bins = edges.shape[0] - 1
    place = jnp.searchsorted(edges, values, side="right") - 1  # −1 below the range, `bins` above it
    place = jnp.where(values == edges[-1], bins - 1, place)
    place = jnp.where((place < 0) | (place >= bins), bins, place)
    mass = jnp.zeros(bins + 1, weights.dtype).at[place].add(weights)
    return mass[:-1], mass[-1]


@dataclasses.dataclass(frozen=True)
class Histogram(Observable):
    """Density of one coordinate of θ under ρ_t: mass in a bin divided by the bin's width.

    Variables, for coordinate w0: `histogram_w0 (histogram_w0_bin)`, per unit of the coordinate, with the
    centres of the bins as values of `histogram_w0_bin`, and `histogram_w0_outside`, the mass outside the
    range: the sum of density times width and of the mass outside is 1.

    Args:
        coordinate: label as in `Moments`: a0, a1, ..., w0, w1, ..., or b.
        bins: number of bins of equal width.
        range: (low, high), where the first bin begins and the last one ends.
        at: None (first and last step), a number of evenly spaced looks, or the steps.
        name: another word for `histogram_w0`, where one run has two of one coordinate.
    Accuracy: the density averaged over a bin, O(width²) from that at its centre; linear in ρ, hence
        unbiased in a limit.
    Cost: n log(bins) operations a look.
    Source: THEORY 1.
    """

    coordinate: str = "a0"
    bins: int = 50
    range: tuple = (-4.0, 4.0)
    at: int | tuple | None = None
    _: dataclasses.KW_ONLY
    name: str | None = None

    def __post_init__(self):
        rule = "the label of one coordinate of a neuron, such as a0, w1 or b"
        if not isinstance(self.coordinate, str):
            fail("coordinate", rule, self.coordinate, TypeError)
        if not re.fullmatch(r"[aw](0|[1-9][0-9]*)|b", self.coordinate):
            fail("coordinate", rule, self.coordinate)
        object.__setattr__(self, "bins", integer("bins", self.bins, 1))
        object.__setattr__(self, "range", check_range(self.range))
        self.settle(f"histogram_{self.coordinate}")

    @property
    def variables(self):
        label = self.coordinate
        source = "THEORY 1"
        density = Variable((f"{self.name}_bin",), f"density of {label}", f"1 / unit of {label}", source)
        outside = Variable((), f"mass of {label} outside the range of its histogram", source=source)
        return {self.name: density, f"{self.name}_outside": outside}

    def edges(self):
        """Edges of the bins, (bins + 1,)."""
        return np.linspace(*self.range, self.bins + 1)

    def check(self, problem, system=None):
        check_neurons(self, system)
        if system is None:  # whether the model has a bias is not known yet
            known = labels({"a": (problem.outputs,), "w": (problem.inputs,), "b": ()})
        else:
            known = labels(shapes(problem, system))
        if self.coordinate not in known:
            listed = ", ".join(known if len(known) <= 8 else [*known[:3], "...", known[-1]])
            fail("coordinate", f"one of {listed}", self.coordinate)

    def compute(self, system, problem, measure, initial):
        mass, outside = binned(column(measure.points, self.coordinate), measure.weights, self.edges())
        width = (self.range[1] - self.range[0]) / self.bins
        return {self.name: mass / width, f"{self.name}_outside": outside}

    def coordinates(self, problem, system):
        edges = self.edges()
        axis = f"{self.name}_bin"
        attributes = {"long_name": f"centre of a bin of {self.coordinate}", "units": "1"}
        return {axis: (axis, (edges[1:] + edges[:-1]) / 2, attributes)}


def check_range(value):
    rule = "a pair of finite numbers (low, high) with low < high"
    try:
        value = tuple(value)
    except TypeError:
        fail("range", rule, value, TypeError)
    if len(value) != 2 or not all(is_number(v) for v in value):
        fail("range", rule, value, TypeError)
    low, high = (number("range", v) for v in value)
    if not low < high:
        fail("range", rule, value)
    return low, high
