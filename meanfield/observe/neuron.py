"""One neuron θ = (a, w, b) as observables see it: shapes, coordinates with their labels, who is there."""

import dataclasses

import jax
import jax.numpy as jnp

from meanfield.base.checks import fail

ORDER = ("a", "w", "b")


def shapes(problem, system):
    """{name: shape} of one neuron's arrays: a (k,), w (d,) and, in a model with bias, b ()."""
    found = {"a": (problem.outputs,), "w": (problem.inputs,)}
    return {**found, "b": ()} if system.bias else found


def check_neurons(observable, system):
    """Whether the system consists of exchangeable neurons (a, w, b)."""
    if system is not None and not hasattr(getattr(system, "particles", None), "tangent_kernel"):
        fail(
            "observe",
            f"observables that {type(system).__name__} has: {type(observable).__name__} needs the neurons of "
            "a two-layer network or its limit",
            observable,
        )


def labels(shapes):
    """Labels of the coordinates of one neuron in the order of `flat`: a0, ..., w0, w1, ..., b."""
    found = []
    for name in ORDER:
        if name in shapes:
            found += [f"{name}{i}" for i in range(shapes[name][0])] if shapes[name] else [name]
    return found


def flat(points):
    """Coordinates of every neuron side by side, (M, D), labelled by `labels`."""
    columns = [points[name].reshape(points[name].shape[0], -1) for name in ORDER if name in points]
    return jnp.concatenate(columns, 1)


def column(points, label):
    """One coordinate of every neuron, (M,)."""
    if label == "b":
        return points["b"]
    return points[label[0]][:, int(label[1:])]


def masked(weights, values):
    """Values with 0 for neurons of weight 0: these stand for nobody and must not add 0 · ∞."""
    there = (weights != 0).reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(there, values, jnp.zeros_like(values))


def present(measure):
    """The same measure with all coordinates of absent neurons 0."""
    points = jax.tree.map(lambda leaf: masked(measure.weights, leaf), measure.points)
    return dataclasses.replace(measure, points=points)


def relative(change, scale):
    """change / scale; 0 where nothing changed, NaN where something does that was 0: no ratio exists."""
    ratio = change / jnp.where(scale > 0, scale, jnp.nan)
    return jnp.where(change == 0, jnp.zeros_like(ratio), ratio)
