"""The feature-learning limit of a deep network against the alternating fixed-point solver.

Three hidden layers under the maximal update parametrization, φ(h) = tanh(0.8 h)/0.8, d = 25, P = 10 random
inputs with random targets ±1, square loss, γ = 1, time η T = 10 in T steps. `meanfield` computes the limit in
one causal pass over particles; the baseline, fixed_point.py, iterates kernels over all steps.

The error is the root mean square over steps and samples of the deviation from a reference, the limit with
many particles, whose own variance is subtracted; relative to the predictions. Times leave out compilation;
`seconds` are what passed on the clock, `cpu` what both cores together worked, which says more where other
work shares them. Each method is fitted with error = c/√size and time = a + b · size, M or S. Aim: 20 times
faster at a relative error of 1%. Before times are reported, the baseline must agree with the reference and
with networks of width 2048, and its error must fall with S.

python benchmarks/limit.py [--steps 20]
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from fixed_point import solve
from timing import record

import meanfield as mf

INPUTS, SAMPLES, TIME, LAYERS, TARGET = 25, 10, 10.0, 3, 0.01
PARTICLES, NEURONS, REPLICATES, REPEATS = (256, 1024), (2000, 8000), 2, 4
REFERENCE, WIDTH, NETWORKS = (4096, 4), 2048, 8
LAW_STEPS, LAW_SIZE = (10, 20, 40), 1000
FALSE_ALARMS = 1e-3

phi = mf.Activation(lambda z: jnp.tanh(0.8 * z) / 0.8, name="tanh(0.8 z)/0.8")
model = mf.MLP(LAYERS, phi, mf.parametrizations.mup)
rng = np.random.default_rng(0)
x = rng.standard_normal((SAMPLES, INPUTS))
y = rng.choice([-1.0, 1.0], SAMPLES)
problem = mf.Problem(x, y)
compiling = [0.0]


def heard(name, seconds, **_):
    if name.endswith("backend_compile_duration"):
        compiling[0] += seconds


jax.monitoring.register_event_duration_secs_listener(heard)


def timed(function, warm):
    """(result, seconds, seconds of both cores) after a call that compiles, without compilation."""
    warm()
    compiling[0] = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, wall - compiling[0], cpu - compiling[0]


def descent(steps):
    """T predictions take one step less."""
    return mf.GradientDescent(TIME / steps, steps - 1)


def limit(particles, replicates, steps, key):
    return mf.simulate(model.limit(particles, replicates), problem, descent(steps), key=key)


def baseline(neurons, steps, seed, **options):
    return solve(
        x, y, layers=LAYERS, activation=phi, learning_rate=TIME / steps, steps=steps, neurons=neurons,
        seed=seed, **options,
    )  # fmt: skip


def one_iteration(neurons, steps):
    """What compiles the baseline."""
    baseline(neurons, steps, 0, tolerance=np.inf, kernel_tolerance=np.inf)


def rms(values):
    return float(np.sqrt(np.square(values).mean()))


def agree(found, other, other_variance):
    """Whether means over seeds differ by no more than their standard errors explain, at the false-alarm rate
    if all entries moved together, the least favourable case: F with 1 and R − 1 degrees of freedom."""
    square = np.square(found.mean(0) - other).mean()
    own = (found.var(0, ddof=1) / len(found)).mean()
    bound = scipy.stats.f.isf(FALSE_ALARMS, 1, len(found) - 1) * (own + other_variance)
    assert square <= bound, f"off by {square**0.5:.3g}, {bound**0.5:.3g} allowed"
    return float(np.sqrt(square)), float(np.sqrt(own + other_variance))


def curve(run, warm, sizes, reference, variance):
    """Rows of {size, error, seconds, cpu, iterations}, and the predictions at the largest size."""
    scale, rows = rms(reference), []
    for size in sizes:
        found, walls, cpus, early = [], [], [], []
        for seed in range(REPEATS):
            result, wall, cpu = timed(lambda: run(size, seed), lambda: warm(size, seed))  # noqa: B023
            found.append(result[-1])
            walls.append(wall)
            cpus.append(cpu)
            early.append(settled(result, reference, scale) / max(1, len(result) - 1))
        found = np.stack(found)
        error = np.sqrt(max(np.square(found - reference).mean() - variance, 0)) / scale
        rows.append(
            {"size": size, "error": float(error), "seconds": float(np.median(walls)),
             "cpu": float(np.median(cpus)), "iterations": len(result) - 1, "settled": float(np.mean(early))}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows, found


def settled(iterates, reference, scale):
    """The iteration from which on the error stays within a tenth of a percent of its last."""
    errors = np.sqrt(np.square(iterates - reference).mean((1, 2))) / scale
    far = np.flatnonzero(np.abs(errors - errors[-1]) > 0.1 * TARGET)
    return int(far[-1]) + 1 if far.size else 0


def at_target(rows):
    """(size, seconds, cpu) at the target, from error = c/√size and time = a + b · size."""
    sizes = np.array([row["size"] for row in rows], float)
    c = np.exp(np.mean([np.log(row["error"]) + np.log(row["size"]) / 2 for row in rows]))
    size = (c / TARGET) ** 2
    line = lambda name: float(np.polyval(np.polyfit(sizes, [row[name] for row in rows], 1), size))  # noqa: E731
    return float(size), line("seconds"), line("cpu")


def law(steps):
    """Times at T steps, one run of each."""
    iterates, wall, cpu = timed(lambda: baseline(LAW_SIZE, steps, 0), lambda: one_iteration(LAW_SIZE, steps))
    own = lambda: limit(LAW_SIZE, REPLICATES, steps, 0)  # noqa: E731
    found, own_wall, own_cpu = timed(own, own)
    return {
        "part": "law in T", "T": steps, "size": LAW_SIZE, "rank": int(found["rank"].max()),
        "baseline_iterations": len(iterates) - 1, "baseline_seconds": wall, "baseline_cpu": cpu,
        "seconds": own_wall, "cpu": own_cpu,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    reference = limit(*REFERENCE, steps, 10**6)
    variance = float(np.square(reference.prediction_error.values).mean())
    reference = reference.prediction.values[..., 0]
    scale = rms(reference)
    print(f"reference: relative error {variance**0.5 / scale:.4f}", flush=True)

    theirs, found = curve(
        lambda size, seed: baseline(size, steps, seed), lambda size, seed: one_iteration(size, steps),
        NEURONS, reference, variance,
    )  # fmt: skip
    assert theirs[-1]["error"] < theirs[0]["error"], f"the baseline's error does not fall with S: {theirs}"
    off, allowed = agree(found, reference, variance)
    networks = mf.simulate(model.finite(WIDTH), problem, descent(steps), seeds=NETWORKS)
    networks = networks.prediction.values[..., 0]
    spread = float((networks.var(0, ddof=1) / NETWORKS).mean())
    off_networks, allowed_networks = agree(found, networks.mean(0), spread)
    checks = {
        "part": "agreement", "T": steps, "reference_error": variance**0.5 / scale,
        "baseline_off": off / scale, "baseline_off_se": allowed / scale,
        "networks_off": off_networks / scale, "networks_off_se": allowed_networks / scale,
    }  # fmt: skip
    print(checks, flush=True)
    own = lambda size, seed: limit(size, REPLICATES, steps, seed).prediction.values[None, ..., 0]  # noqa: E731
    ours, _ = curve(own, own, PARTICLES, reference, variance)
    (M, seconds, cpu), (S, their_seconds, their_cpu) = at_target(ours), at_target(theirs)
    rows = [checks]
    rows += [{"part": "limit", "T": steps, **row} for row in ours]
    rows += [{"part": "baseline", "T": steps, **row} for row in theirs]
    rows.append(
        {"part": "at 1%", "T": steps, "M": M, "S": S, "seconds": seconds, "baseline_seconds": their_seconds,
         "ratio": their_seconds / seconds, "ratio_cpu": their_cpu / cpu}
    )  # fmt: skip
    record("limit", rows)
    record("limit", rows + [law(steps) for steps in LAW_STEPS])


if __name__ == "__main__":
    main()
