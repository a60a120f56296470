"""Kernels of wide networks against their bound and against neural-tangents.

n × n NNGP and NTK of n random inputs of dimension 784, depth 3 and 10, σ_w² = 1.44, σ_b² = 0.09, in float64
and float32. Each contestant is a process of its own that stays alive; they take turns, so that a drift of the
machine meets all; beside the time stands the work, the time of all cores together, which other programs on
the machine disturb less. Every answer says its dtype, which must be the one asked for: neural-tangents with
x64 on answers float32 inputs in float64, so its float32 runs in a process with x64 off.

Bound, per pair and layer: ReLU some 90 floating-point operations (two polynomials of degree 18, 8 in float32,
and a square root), erf some 80 with two square roots and three divisions, half of it by symmetry; 32 bytes
between two layers, in cache; once 2 · 784 operations for the inner product and 16 bytes for the result.

python benchmarks/kernels.py [--peer PYTHON] [--sizes 500 1000 …] [--depths 3 10] [--repeats 5]
    PYTHON: an interpreter with neural-tangents 0.6.5 and jax 0.5.3; without it one is made in a temporary
    environment. `--peer none` leaves it out.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PINS = ("neural-tangents==0.6.5", "jax==0.5.3", "jaxlib==0.5.3")
ACTIVATIONS, DEPTHS, DTYPES = ("relu", "erf", "tanh"), (3, 10), ("float64", "float32")
WEIGHT, BIAS, INPUTS = 1.44, 0.09, 784

OURS = """
import json, sys, time
import numpy as np
import meanfield as mf

def kernel(x, activation, depth, dtype):
    phi = getattr(mf.activations, activation)
    found = mf.kernels.mlp(
        x, hidden_layers=depth, activation=phi, weight_variance=WEIGHT, bias_variance=BIAS, dtype=dtype
    )
    return found.nngp, found.ntk
"""
PEER = """
import json, sys, time
import numpy as np
import jax
jax.config.update("jax_enable_x64", sys.argv[1] == "float64")
import jax.numpy as jnp
from neural_tangents import stax

made = {}

def network(activation, depth):
    dense = lambda: stax.Dense(1, W_std=WEIGHT**0.5, b_std=BIAS**0.5, parameterization="ntk")
    layers = [part for _ in range(depth) for part in (dense(), getattr(stax, activation.capitalize())())]
    apply = stax.serial(*layers, dense())[2]
    return jax.jit(lambda x: tuple(apply(x, None, ("nngp", "ntk"))))

def kernel(x, activation, depth, dtype):
    if (activation, depth) not in made:
        made[activation, depth] = network(activation, depth)
    return jax.block_until_ready(made[activation, depth](jnp.asarray(x, dtype)))
"""
LOOP = """
for line in sys.stdin:
    n, activation, depth, dtype = json.loads(line)
    x = np.random.default_rng(0).standard_normal((n, INPUTS))
    start, begun = time.perf_counter(), time.process_time()
    nngp, ntk = kernel(x, activation, depth, dtype)
    seconds = time.perf_counter() - start, time.process_time() - begun
    rows = np.linspace(0, n - 1, 32).astype(int)
    part = [np.asarray(v)[rows][:, rows].astype(float).tolist() for v in (nngp, ntk)]
    print(json.dumps([seconds, [str(nngp.dtype), str(ntk.dtype)], part]), flush=True)
"""


class Contestant:
    """A process that computes kernels on demand."""

    def __init__(self, python, program, *arguments, loop=LOOP):
        text = program.replace("WEIGHT", repr(WEIGHT)).replace("BIAS", repr(BIAS))
        text += loop.replace("INPUTS", repr(INPUTS))
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [python, "-c", text, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *case):
        """((seconds, seconds of all cores), some entries of Σ and of Θ); the last of a case is the dtype."""
        dtype = case[-1]
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        seconds, found, part = json.loads(self.process.stdout.readline())
        if found != [dtype, dtype]:
            raise RuntimeError(f"A contestant answered in {found} where {dtype} was asked for.")
        return seconds, part

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def peer_python(given, pins=PINS):
    """The interpreter of the peer, in a temporary environment if none is given."""
    if given:
        yield None if given == "none" else given
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(pathlib.Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *pins], check=True)
        yield python


def error(part, exact, diagonal=False):
    """Largest error of Θ, relative to its diagonal."""
    import numpy as np

    found, exact = np.array(part[1]), np.array(exact[1])
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    errors = np.abs(found - exact) / scale
    return float((np.diag(errors) if diagonal else errors).max())


def compare(python, sizes, repeats, depths=DEPTHS):
    rows = []
    for dtype in DTYPES:
        contestants = {"ours": Contestant(sys.executable, OURS)}
        if python:
            contestants["peer"] = Contestant(python, PEER, dtype)
        exact = Contestant(sys.executable, OURS)
        for n in sizes:
            for depth in depths:
                for activation in ACTIVATIONS:
                    case = (n, activation, depth, dtype)
                    taking = [c for c in contestants if c == "ours" or activation != "tanh"]
                    times, parts = {name: [] for name in taking}, {}
                    for name in taking:
                        parts[name] = contestants[name].run(*case)[1]  # compiles
                    for _ in range(repeats):
                        for name in taking:
                            times[name].append(contestants[name].run(*case)[0])
                    truth = exact.run(n, activation, depth, "float64")[1]
                    row = {"n": n, "depth": depth, "activation": activation, "dtype": dtype}
                    for name in taking:
                        row[f"{name}_s"], row[f"{name}_cores_s"] = map(
                            statistics.median, zip(*times[name], strict=True)
                        )
                        row[f"{name}_error"] = error(parts[name], truth)
                        row[f"{name}_diagonal_error"] = error(parts[name], truth, diagonal=True)
                    row["ns_per_pair_and_layer"] = 1e9 * row["ours_s"] / (n * n * depth)
                    if "peer" in taking:
                        row["times_faster"] = row["peer_s"] / row["ours_s"]
                        row["times_less_work"] = row["peer_cores_s"] / row["ours_cores_s"]
                    if activation == "tanh":
                        row["over_erf"] = row["ours_s"] / rows[-1]["ours_s"]
                        row["work_over_erf"] = row["ours_cores_s"] / rows[-1]["ours_cores_s"]
                    rows.append(row)
        for contestant in (*contestants.values(), exact):
            contestant.close()
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    from timing import record

    with peer_python(arguments.peer) as python:
        record("kernels", compare(python, arguments.sizes, arguments.repeats, arguments.depths))


if __name__ == "__main__":
    main()
