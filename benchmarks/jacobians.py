"""Kernels of finite networks against the structured derivatives of neural-tangents.

NNGP and NTK at the parameters of a ReLU network with three hidden layers in the NTK parametrization, inputs
of dimension 784, float32: averaged over outputs, and for ten outputs the whole (P, k, P, k) as well.
Contestants take turns as in kernels.py; neural-tangents' structured derivatives run up to jax 0.4.25.

Bound: with the vectors x, g of three hidden layers, P (1 + k) passes through the network, 2 n² operations a
matrix, and P² (1 + k²) products of length n a layer (k products where outputs are averaged).

python benchmarks/jacobians.py [--peer PYTHON] [--repeats 5]
    PYTHON: an interpreter with neural-tangents 0.6.5 and jax 0.4.25; without it one is made in a temporary
    environment. `--peer none` leaves it out.
"""

import argparse
import statistics
import sys

from kernels import Contestant, peer_python
from timing import record

PINS = ("neural-tangents==0.6.5", "jax==0.4.25", "jaxlib==0.4.25", "numpy<2", "scipy<1.13")
WIDTHS, OUTPUTS, SAMPLES = (512, 2048), (1, 10), (50, 200)
MEMORY = 2**28  # bytes that our blocks of factors may take

NETWORK = """
import json, resource, sys, time
import numpy as np
import jax
import jax.numpy as jnp

def network(width, outputs):
    rng, sizes = np.random.default_rng(0), (INPUTS, width, width, width, outputs)
    return [rng.standard_normal((m, n)).astype("float32") for m, n in zip(sizes, sizes[1:])]

def apply(params, x):
    for w in params[:-1]:
        x = jax.nn.relu(x @ w * (2 / w.shape[0]) ** 0.5)
    return x @ params[-1] / params[-1].shape[0] ** 0.5
""".replace("INPUTS", "784")
OURS = (
    NETWORK
    + """
import meanfield as mf

def kernel(params, x, whole):
    found = mf.kernels.empirical(apply, params, x, outputs=whole, memory=MEMORY)
    return found.nngp, found.ntk
""".replace("MEMORY", repr(MEMORY))
)
PEER = (
    NETWORK
    + """
import neural_tangents as nt

made = {}

def kernel(params, x, whole):
    if whole not in made:
        made[whole] = jax.jit(nt.empirical_kernel_fn(
            lambda params, x: apply(params, x), trace_axes=() if whole else (-1,), vmap_axes=0,
            implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES), static_argnums=(1, 2))
    # (P, P, k, k) to (P, k, P, k) is left out
    nngp, ntk = made[whole](x, None, ("nngp", "ntk"), params)
    return jax.block_until_ready((nngp, ntk))
"""
)
LOOP = """
for line in sys.stdin:
    width, outputs, samples, whole, dtype = json.loads(line)
    params = network(width, outputs)
    x = np.random.default_rng(1).standard_normal((samples, 784)).astype(dtype)
    start, begun = time.perf_counter(), time.process_time()
    nngp, ntk = kernel(params, x, whole)
    seconds = time.perf_counter() - start, time.process_time() - begun
    trace = np.asarray(ntk).sum() if not whole else np.asarray(ntk)[0].sum()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([seconds, [str(nngp.dtype), str(ntk.dtype)], [float(trace), peak]]), flush=True)
"""


def compare(python, repeats):
    cases = [
        (width, k, samples, whole, "float32")
        for width in WIDTHS
        for samples in SAMPLES
        for k in OUTPUTS
        for whole in ((False, True) if k > 1 else (False,))
    ]
    contestants = {"ours": Contestant(sys.executable, OURS, loop=LOOP)}
    if python:
        contestants["peer"] = Contestant(python, PEER, loop=LOOP)
    rows = []
    for case in cases:
        times, traces = {name: [] for name in contestants}, {}
        for contestant in contestants.values():
            contestant.run(*case)  # compiles
        row = dict(zip(("n", "outputs", "P", "whole"), case, strict=False))
        for _ in range(repeats):
            for name, contestant in contestants.items():
                seconds, (traces[name], row[f"{name}_peak_bytes"]) = contestant.run(*case)
                times[name].append(seconds)
        for name in contestants:
            row[f"{name}_s"], row[f"{name}_cores_s"] = map(statistics.median, zip(*times[name], strict=True))
        if python:
            row["times_faster"] = row["peer_s"] / row["ours_s"]
            row["times_less_work"] = row["peer_cores_s"] / row["ours_cores_s"]
            row["difference"] = abs(traces["ours"] / traces["peer"] - 1)
        rows.append(row)
    for contestant in contestants.values():
        contestant.close()
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with peer_python(arguments.peer, PINS) as python:
        record("jacobians", compare(python, arguments.repeats))


if __name__ == "__main__":
    main()
