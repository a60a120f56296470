"""Kernels of a stack of layers for given inputs: traced at once, otherwise tile by tile."""

import concurrent.futures
import dataclasses
import functools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.base.checks import boolean, instance
from meanfield.base.fingerprint import describe
from meanfield.base.precision import double
from meanfield.kernels import settings
from meanfield.kernels.duals import exact_dual, fast_dual
from meanfield.kernels.inputs import Directions, traced_angles
from meanfield.kernels.kernel import Kernel
from meanfield.kernels.layers import Network, ends, propagate, variances
from meanfield.kernels.tiles import InFile, InMemory, Tiles
from meanfield.model.activation import Activation
from meanfield.numerics.gaussian.homogeneous import Threshold
from meanfield.numerics.gaussian.quadrature import Quadrature

KEPT = 1 << 23  # numbers that belong to single inputs, held whatever the size of the kernel


@dataclasses.dataclass(frozen=True)
class Layers:
    """Numbers of a stack: σ_w², σ_b² of all S + 1 layers; keep (S,) and s of h ← keep · h + s dense(φ(h));
    the learning rates of weights and biases in Θ, numbers or (S + 1,)."""

    weight: Any
    bias: Any
    keep: Any
    scale: Any
    rate: Any = 1.0
    bias_rate: Any = 1.0

    def traced(self):
        return settings.is_traced((self.weight, self.bias, self.scale))

    def network(self, dual, dtype):
        xp = jnp if self.traced() else np  # numpy starts no program for each of these numbers
        array = functools.partial(xp.asarray, dtype=dtype)
        keep = self.keep
        square = xp.where(array(keep) > 0, self.scale * self.scale, 1).astype(dtype)
        weight, bias = array(self.weight), array(self.bias)
        rows = xp.stack([array(keep), square * weight[1:], square * bias[1:]], 1)
        biased = settings.is_traced(self.bias) or bool(np.any(self.bias))
        rates = [xp.broadcast_to(array(rate), weight.shape) for rate in (self.rate, self.bias_rate)]
        first, rates = xp.stack([weight[0], bias[0]]), xp.stack(rates, 1)
        return Network(dual, first, rows, rates, biased, bool(keep.any()))


def compute(x1, x2, activation, layers, dtype, every, path):
    """The `Kernel` of a stack of `Layers`; all arguments but these are checked here."""
    instance("activation", activation, Activation, "an activation")
    dtype = settings.kernel_dtype(dtype)
    every = boolean("layers", every)
    x1, x2 = settings.inputs(x1, x2)
    if settings.is_traced((x1, x2)) or layers.traced():
        return traced(x1, x2, activation, layers, every)
    return tiled(x1, x2, activation, layers, dtype, every, path)


def traced(x1, x2, activation, layers, every):
    numbers = (x1, x2, layers.weight, layers.bias, layers.scale)
    dtype = jnp.result_type(*(v for v in numbers if isinstance(v, jax.Array)), jnp.float32)
    x1, x2 = (None if x is None else jnp.asarray(x, dtype) for x in (x1, x2))
    network = layers.network(exact_dual(activation), dtype)
    a, b, delta = traced_angles(x1, x2)
    output, seen = propagate(network, ends(network, a), ends(network, b), delta, every)
    return Kernel(*output, *(seen or (None, None)))


_ends = jax.jit(ends)
# Roots and quotients take most of the time: wide vectors help where the processor has them.
_propagate = jax.jit(
    propagate, static_argnames=("every",), compiler_options={"xla_cpu_prefer_vector_width": 512}
)
_variances = jax.jit(variances)


def tiled(x1, x2, activation, layers, dtype, every, path):
    tiles = Tiles(len(x1), len(x1 if x2 is None else x2), x2 is None)
    # Matrix products and compiled loops let go of the interpreter, so that tiles overlap.
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        directions = Directions(x1, x2, dtype, tiles.lengths, workers.map)
        squares = directions.squares
        with double():
            dual = chosen_dual(activation, layers, np.concatenate(sum(squares, [])), dtype)
            network = jax.device_put(layers.network(dual, dtype))
        names = ["nngp"] + ["ntk"] * (not isinstance(network.dual, Threshold))
        shapes = {name: tiles.shape for name in names}
        if every:
            shapes |= {f"{name}_layers": (len(layers.weight), *tiles.shape) for name in names}
        if path is None:
            output = InMemory(shapes, dtype, tiles)
        else:
            numbers = [np.asarray(getattr(layers, field.name)) for field in dataclasses.fields(layers)]
            settled = describe([x1, x2, activation, numbers, dtype, every, tiles.lengths])
            output = InFile(path, shapes, dtype, tiles, settled)

        def end(square):
            with double():
                return _ends(network, jnp.asarray(square, dtype))

        # Once for each input where a quarter of a kernel holds it, else for every tile.
        first = end(squares[0][0])
        size = sum(v.size for v in jax.tree.leaves(first)) / len(squares[0][0])
        kept = size * sum(tiles.shape) <= max(math.prod(tiles.shape) / 4, KEPT)
        held = [list(workers.map(end, part)) for part in squares] if kept else None

        def job(tile):
            places = directions.panels(*tile)
            with double():
                if kept:
                    left, right = held[0][places[0]], held[-1][places[1]]
                else:
                    left, right = end(squares[0][places[0]]), end(squares[-1][places[1]])
                found, seen = _propagate(network, left, right, directions.tile(*tile), every=every)
                found, seen = jax.tree.map(np.asarray, (found, seen))
            values = dict(
                zip(("nngp", "ntk", "nngp_layers", "ntk_layers"), found + (seen or ()), strict=False)
            )
            output.write(tile, values)

        jobs = [workers.submit(job, tile) for tile in output.missing()]
        try:
            for done in concurrent.futures.as_completed(jobs):
                done.result()
        except BaseException:  # an interrupt too: leaving the block would wait for every tile
            workers.shutdown(cancel_futures=True)
            raise
    return Kernel(**output.arrays())


def chosen_dual(activation, layers, squares, dtype):
    """The dual that suits the variances the activation will meet, from inputs of mean squares (n,)."""
    exact = exact_dual(activation)
    if not isinstance(exact, Quadrature):
        return exact
    if exact.kinks:
        return fast_dual(activation, 0.0, math.inf, dtype)
    low, high = max(squares.min(), 1e-300), max(squares.max(), 1e-300)
    met = _variances(layers.network(exact, "float64"), jnp.asarray(np.geomspace(low, high, 65)))
    # In quarters of an octave: calls that differ little share a series and the program made for it.
    low, high = (4 * math.log2(max(float(v), 1e-300)) for v in (met.min(), met.max()))
    return fast_dual(activation, 2 ** (math.floor(low) / 4), 2 ** (math.ceil(high) / 4), dtype)
