"""Networks without their matrices against the traffic they cannot avoid, and against dense ones.

L = 2, tanh, maximal update parametrization, P = 8, d = 10, 200 steps, tolerance 1e-3, float32. A step has to
pass over the right basis V three times (coefficients, remainder, Cᵀg back), over its images once and over C
three times (product, Cᵀg, update), over the left basis U and its images once each: nine passes over n × rank
numbers. Bound: these bytes at the speed at which one such array is read in the same run. Aims: 3 times the
bound; time ∝ n^1.1 at most from 10⁴ to 10⁶; ten times faster than dense at n = 16 384; n = 10⁶ in five
minutes and 24 GB; a minute of compilation.

python matrix_free.py scaling      n = 10⁴ … 10⁶, on a GPU up to 10⁷
python matrix_free.py dense        n = 16 384 against dense training
"""

import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from timing import record, seconds

import meanfield as mf

STEPS, SAMPLES, INPUTS = 200, 8, 10
LOOKS = (0, 1, 2, 5, 10, 20, 50, 100, 150, STEPS)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, duration, **_: compiled.append(duration) if "compile" in name else None
)


def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, INPUTS))
    return mf.Problem(x, np.sign(x[:, 0]))


def trained(width, sampler, steps=STEPS):
    """(seconds of wall time, seconds of compilation in them, dataset)."""
    model = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup)
    looks = [step for step in LOOKS if step <= steps]
    compiled.clear()
    start = time.perf_counter()
    run = mf.simulate(
        model.finite(width, sampler=sampler), problem(), mf.GradientDescent(1.0, steps), record=looks
    )
    return time.perf_counter() - start, sum(compiled), run


def bandwidth():
    """Bytes a second at which an array that fits no cache is read, or read and written if that is faster."""
    array = jnp.ones((1_000_000 if jax.default_backend() == "cpu" else 10_000_000, 128), jnp.float32)
    read, copy = jax.jit(lambda a: a.max()), jax.jit(lambda a: a + 1)
    reading, copying = (
        min(seconds(lambda f=f: f(array).block_until_ready(), repeats=5)) for f in (read, copy)
    )
    return max(array.nbytes / reading, 2 * array.nbytes / copying)


def scaling():
    widths = (10_000, 100_000, 1_000_000)
    if jax.default_backend() != "cpu":
        widths += (10_000_000,)
    rows = []
    for width in widths:
        speed = bandwidth()
        wall, compiling, run = trained(width, mf.MatrixFree(1e-3))
        alone = width >= 1_000_000 and jax.default_backend() == "cpu"  # once is long enough
        again, _, _ = (wall - compiling, 0, 0) if alone else trained(width, mf.MatrixFree(1e-3))
        on_device = jax.devices()[0].memory_stats() or {}
        ranks = run["rank"].values[0, :, 0].astype(float)  # (look, side)
        passes = np.interp(np.arange(STEPS), LOOKS, 7 * ranks[:, 0] + 2 * ranks[:, 1])
        bound = 4 * width * passes.sum() / speed
        rows.append(
            {"n": width, "seconds": wall, "compilation": compiling, "stepping": again, "bound": bound,
             "ratio": again / bound, "rank_right": int(ranks[-1, 0]), "rank_left": int(ranks[-1, 1]),
             "loss": float(run.loss[0, -1]), "read_GB_s": speed / 1e9,
             "peak_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
             "device_peak_GB": on_device.get("peak_bytes_in_use", 0) / 1e9}
        )  # fmt: skip
        print(rows[-1], flush=True)
    for one, two in zip(rows, rows[1:], strict=False):
        two["exponent"] = float(np.log(two["stepping"] / one["stepping"]) / np.log(two["n"] / one["n"]))
    record("matrix_free", rows)


def against_dense(steps=20):
    """A step of the dense network costs the same throughout: `steps` of them are timed, then scaled."""
    widths = (16_384,) if jax.default_backend() == "cpu" else (16_384, 65_536)
    record("matrix_free_dense", [ratio(width, steps) for width in widths])


def ratio(width, steps):
    lengths = (1, 1 + steps) * 3
    dense = [trained(width, mf.Dense(), count)[0] for count in lengths]
    each = min(dense[3] - dense[2], dense[5] - dense[4]) / steps  # the first two compile
    trained(width, mf.MatrixFree(1e-3))
    free, _, run = trained(width, mf.MatrixFree(1e-3))
    return {"n": width, "dense_step_s": each, "dense_s": STEPS * each, "matrix_free_s": free,
            "ratio": STEPS * each / free, "loss": float(run.loss[0, -1])}  # fmt: skip


if __name__ == "__main__":
    {"scaling": scaling, "dense": against_dense}[sys.argv[1]]()
