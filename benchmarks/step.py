"""A descent step of a two-layer network against its bound.

Bound: the four matrix products of a step (preactivations, readout, both gradients; 4 n P (d + k) operations)
and one pass of the activation, each timed as a compiled function of its own in the same run. Aim: 1.5 times.
Also a step of two million neurons on a thousand samples, whose features do not fit in memory: peak memory
of the process, and time per neuron against that of a tenth as many.
"""

import itertools
import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved, record, seconds

import meanfield as mf
from meanfield.studies.trajectory import _advance

STEPS = 4


def problem_of(samples, inputs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, inputs)) / np.sqrt(inputs)
    return mf.Problem(x, np.sign(x[:, 0]))


def stepper(activation, neurons, samples, inputs, dtype, memory=4e9):
    """A function that takes STEPS steps, compiled."""
    model = mf.TwoLayer(getattr(mf.activations, activation))
    problem, training = problem_of(samples, inputs), mf.GradientDescent(0.1, STEPS)
    system, _ = model.finite(neurons, dtype=dtype).plan(problem, training, 1, memory)
    keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(0), s))(jnp.arange(1, dtype=jnp.uint32))
    held = [system.start(problem, training, keys)]
    core = system.core()
    counts = jnp.full((1,), STEPS, jnp.int32)

    def run():
        bad = jnp.full((1,), -1, jnp.int32)
        held[0], _, seen = _advance(core, problem, training, held[0], bad, keys, counts, False)
        jax.block_until_ready((held[0], seen))

    return run


def pieces(activation, neurons, samples, inputs, dtype):
    """The bound's parts, each a compiled function that waits."""
    numbers = itertools.count()
    make = lambda *shape: jax.random.normal(jax.random.key(next(numbers)), shape, dtype)  # noqa: E731
    w, x, a = make(neurons, inputs), make(samples, inputs), make(neurons, 1)
    chi, g = make(samples, 1), make(neurons, samples)
    phi = {"tanh": jnp.tanh, "relu": lambda z: jnp.maximum(z, 0)}[activation]
    highest = jax.lax.Precision.HIGHEST
    compiled = {
        "preactivations": (jax.jit(lambda w, x: jnp.matmul(w, x.T, precision=highest)), (w, x)),
        "activation": (jax.jit(phi), (g,)),
        "readout": (jax.jit(lambda a, g: jnp.matmul(a.T, g, precision=highest)), (a, g)),
        "gradient of a": (jax.jit(lambda g, chi: jnp.matmul(g, chi, precision=highest)), (g, chi)),
        "gradient of w": (jax.jit(lambda g, x: jnp.matmul(g, x, precision=highest)), (g, x)),
    }
    return {n: (lambda f=f, args=args: jax.block_until_ready(f(*args))) for n, (f, args) in compiled.items()}


def against_bound():
    rows = []
    big = jax.default_backend() != "cpu"
    shapes = ((163_840, 64, 64), (100_000, 100, 64), (10_240, 1000, 64), (16_384, 1000, 64))
    if big:
        shapes = ((2_000_000, 100, 64), (1_000_000, 1000, 64))
    for activation in ("tanh", "relu"):
        for dtype in ("float32", "float64"):
            for neurons, samples, inputs in shapes:
                with jax.enable_x64(True):
                    functions = pieces(activation, neurons, samples, inputs, dtype)
                    functions["step"] = stepper(activation, neurons, samples, inputs, dtype)
                    times = interleaved(functions)
                # one look of the time loop comes with STEPS steps; it shares its forward pass or costs one
                step = times.pop("step") / STEPS
                rows.append(
                    {"activation": activation, "dtype": dtype, "n": neurons, "P": samples, "d": inputs,
                     "step_ms": 1e3 * step, "bound_ms": 1e3 * sum(times.values()),
                     "ratio": step / sum(times.values())}
                )  # fmt: skip
                print(rows[-1], flush=True)
    record("step", rows)


def two_million():
    rows = []
    with jax.enable_x64(True):
        for neurons in (10_000, 200_000, 2_000_000):
            run = stepper("tanh", neurons, 1000, 64, "float32")
            times = seconds(run, repeats=3)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            rows.append(
                {"n": neurons, "P": 1000, "d": 64, "step_s": min(times) / STEPS,
                 "ns_per_neuron_and_step": 1e9 * min(times) / STEPS / neurons, "peak_GB": peak}
            )  # fmt: skip
    for row in rows:
        row["relative"] = row["ns_per_neuron_and_step"] / rows[0]["ns_per_neuron_and_step"]
    record("two_million", rows)


if __name__ == "__main__":
    {"bound": against_bound, "million": two_million}[sys.argv[1]]()
