"""The finite part of a width study: P = d = 64, widths 64 ... 4096, 32 seeds, 200 steps, tanh, float32.

Compared in one run: this library, compilation included (the first pass over the widths in a fresh process,
imports apart); its stepping alone (the second pass); a plain PyTorch loop and a plain NumPy loop that train
as many networks one after another, recording the predictions at every step as the study does. Every
contestant runs in a process of its own, as the threads of one slow the others down, and they take turns.
Aims: at most twice the stepping; never slower than a plain loop at any width; at least twice as fast as the
best of them over the study.
"""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
from timing import record

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
SEEDS, STEPS, SAMPLES, INPUTS, RATE, ROUNDS = 32, 200, 64, 64, 0.5, 3


def inputs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, INPUTS)) / np.sqrt(INPUTS)
    return x, np.sign(x[:, :1])


def library():
    """{"library": first pass, "stepping": second pass}, seconds for each width."""
    import jax  # noqa: F401
    import xarray  # noqa: F401

    import meanfield as mf
    from meanfield.studies.study import compute_cell

    data = mf.Problem(*inputs())
    model, training = mf.TwoLayer(mf.activations.tanh), mf.GradientDescent(RATE, STEPS)

    def one_pass(key):
        seconds = []
        for width in reversed(WIDTHS):  # as a study does
            start = time.perf_counter()
            for first in range(0, SEEDS, 8):
                steps = np.arange(STEPS + 1)
                compute_cell(model, {"width": width}, first, 8, data, training, key, steps, (), 4e9)
            seconds.append(time.perf_counter() - start)
        return seconds[::-1]

    return {"library": one_pass(0), "stepping": one_pass(1)}


def numpy_loop(width):
    """Plain NumPy in float32, one network after another."""
    x, y = (v.astype(np.float32) for v in inputs())
    start = time.perf_counter()
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((width, 1)).astype(np.float32)
        w = rng.standard_normal((width, INPUTS)).astype(np.float32)
        kept = np.empty((STEPS + 1, SAMPLES, 1), np.float32)
        for step in range(STEPS):
            phi = np.tanh(w @ x.T)
            f = phi.T @ a / np.float32(width)
            kept[step] = f
            chi = (f - y) / np.float32(SAMPLES)
            back = (1 - phi * phi) * (a @ chi.T)
            a, w = a - np.float32(RATE) * (phi @ chi), w - np.float32(RATE) * (back @ x)
        kept[STEPS] = np.tanh(w @ x.T).T @ a / np.float32(width)
    return time.perf_counter() - start


def torch_loop(width):
    """Plain PyTorch with autograd, one network after another."""
    import torch

    x, y = (torch.tensor(v, dtype=torch.float32) for v in inputs())
    start = time.perf_counter()
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(width, 1, generator=generator, requires_grad=True)
        w = torch.randn(width, INPUTS, generator=generator, requires_grad=True)
        kept = torch.empty(STEPS + 1, SAMPLES, 1)
        for step in range(STEPS):
            f = torch.tanh(x @ w.T) @ a / width
            loss = 0.5 * ((f - y) ** 2).mean()
            grad_a, grad_w = torch.autograd.grad(loss, (a, w))
            with torch.no_grad():
                kept[step] = f
                a -= RATE * width * grad_a
                w -= RATE * width * grad_w
        with torch.no_grad():
            kept[STEPS] = torch.tanh(x @ w.T) @ a / width
    return time.perf_counter() - start


CONTESTANTS = {
    "library": library,
    "numpy": lambda: {"numpy": [numpy_loop(width) for width in WIDTHS]},
    "torch": lambda: {"torch": [torch_loop(width) for width in WIDTHS]},
}


def main():
    times = {}
    for _ in range(ROUNDS):
        for name in CONTESTANTS:
            done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True)
            if done.returncode:
                print(f"{name} is left out: {done.stderr.strip().splitlines()[-1]}")
                continue
            for column, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                times.setdefault(column, []).append(seconds)
    table = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in times.items()
    }
    table = {name: [*column, sum(column)] for name, column in table.items()}
    rows = []
    for i, width in enumerate((*WIDTHS, "all")):
        row = {name: column[i] for name, column in table.items()}
        peer = min(value for name, value in row.items() if name not in ("library", "stepping"))
        rows.append(
            {"width": width, **{f"{name}_s": value for name, value in row.items()},
             "library_over_stepping": row["library"] / row["stepping"],
             "best_peer_over_library": peer / row["library"],
             "best_peer_over_stepping": peer / row["stepping"]}
        )  # fmt: skip
    record("study", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(CONTESTANTS[sys.argv[1]]()))
    else:
        main()
