"""A descent step of a multilayer perceptron against its bound.

Bound: the three products with each n × n matrix, W x, Wᵀ g and W − η g xᵀ in place, 6 n² P operations in all,
each timed as a compiled function of its own in the same run, taking turns with the step. Aim: 1.5 times. The
products of the input layer and the readout, activations and the loss come on top.
"""

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved, record

import meanfield as mf
from meanfield.studies.trajectory import _advance

STEPS, SAMPLES, INPUTS = 8, 32, 64
HIGHEST = jax.lax.Precision.HIGHEST


def stepper(hidden_layers, width):
    """A function that takes STEPS steps, compiled."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, INPUTS))
    problem, training = mf.Problem(x, np.sign(x[:, 0])), mf.GradientDescent(0.1, STEPS)
    model = mf.MLP(hidden_layers, mf.activations.tanh, mf.parametrizations.mup)
    system, _ = model.finite(width).plan(problem, training, 1, 4e9)
    keys = jax.random.split(jax.random.key(0), 1)
    held = [system.start(problem, training, keys)]
    core, counts = system.core(), jnp.full((1,), STEPS, jnp.int32)

    def run():
        bad = jnp.full((1,), -1, jnp.int32)
        held[0], _, seen = _advance(core, problem, training, held[0], bad, keys, counts, False)
        jax.block_until_ready((held[0], seen))

    return run


def pieces(matrices, width):
    """The bound's parts, each for as many matrices as the network has: they share the cache as there."""
    rng = np.random.default_rng(1)
    make = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    held, x, g = [make(width, width) for _ in range(matrices)], make(width, SAMPLES), make(width, SAMPLES)
    product = jax.jit(lambda w, x: jnp.matmul(w, x, precision=HIGHEST))
    # With the matrix as right factor: as the left one it would be transposed first.
    transposed = jax.jit(lambda w, g: jnp.matmul(g.T, w, precision=HIGHEST))
    update = jax.jit(lambda w, g, x: w - 1e-6 * jnp.matmul(g, x.T, precision=HIGHEST), donate_argnums=0)

    def in_place():
        held[:] = jax.block_until_ready([update(w, g, x) for w in held])

    return {
        "W x": lambda: jax.block_until_ready([product(w, x) for w in held]),
        "W' g": lambda: jax.block_until_ready([transposed(w, g) for w in held]),
        "update": in_place,
    }


def main():
    rows = []
    widths = (512, 1024, 2048) if jax.default_backend() == "cpu" else (2048, 4096, 8192)
    for hidden_layers in (2, 3):
        for width in widths:
            with jax.enable_x64(True):
                functions = pieces(hidden_layers - 1, width)
                functions["step"] = stepper(hidden_layers, width)
                times = interleaved(functions, repeats=15)
            step, bound = times.pop("step") / STEPS, sum(times.values())
            rows.append(
                {"L": hidden_layers, "n": width, "P": SAMPLES, "dtype": "float32",
                 **{f"{name}_ms": 1e3 * value for name, value in times.items()},
                 "step_ms": 1e3 * step, "bound_ms": 1e3 * bound, "ratio": step / bound}
            )  # fmt: skip
    record("mlp", rows)


if __name__ == "__main__":
    main()
