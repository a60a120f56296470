"""The finite part of a width study: P = d = 64, widths 64 ... 4096, 32 seeds, 200 steps, tanh, float32.

Compared in one run: this library, compilation included; its stepping alone (the same cells again, compiled);
a plain PyTorch loop and a plain NumPy loop that train the same networks one after another, recording the
predictions at every step as the study does. Aims: at most twice the stepping; never slower than a plain
loop at any width; at least twice as fast as the best of them over the study.
"""

import statistics
import time

import numpy as np
from timing import record

import meanfield as mf
from meanfield.studies.study import compute_cell

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
SEEDS, STEPS, SAMPLES, INPUTS, RATE = 32, 200, 64, 64, 0.5


def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, INPUTS)) / np.sqrt(INPUTS)
    return mf.Problem(x, np.sign(x[:, 0]))


def library(data, width, key):
    """Seconds for 32 networks of one width, four cells of eight."""
    model, training, steps = mf.TwoLayer(mf.activations.tanh), mf.GradientDescent(RATE, STEPS), np.arange(STEPS + 1)
    start = time.perf_counter()
    for first in range(0, SEEDS, 8):
        compute_cell(model, {"width": width}, first, 8, data, training, key, steps, (), 4e9)
    return time.perf_counter() - start


def numpy_loop(data, width, seeds):
    """Plain NumPy in float32, one network after another."""
    x, y = data.x.astype(np.float32), data.y.astype(np.float32)
    start = time.perf_counter()
    for seed in range(seeds):
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
    return (time.perf_counter() - start) * SEEDS / seeds


def torch_loop(data, width, seeds):
    """Plain PyTorch with autograd, one network after another."""
    import torch

    x, y = (torch.tensor(v, dtype=torch.float32) for v in (data.x, data.y))
    start = time.perf_counter()
    for seed in range(seeds):
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
    return (time.perf_counter() - start) * SEEDS / seeds


def main():
    data = problem()
    library(data, 16, 5)  # imports and the first use of the compiler are not what is measured
    peers = {"numpy": numpy_loop}
    try:
        import torch

        torch.set_num_threads(2)
        peers["torch"] = torch_loop
    except ImportError:
        print("PyTorch is not installed: its loop is left out")
    rows, sums = [], {}
    for width in WIDTHS:
        row = {"width": width, "with_compilation_s": library(data, width, 1)}
        again, times = [], {name: [] for name in peers}
        for repeat in range(3):
            again.append(library(data, width, 2 + repeat))
            for name, loop in peers.items():
                times[name].append(loop(data, width, 4))
        row["stepping_s"] = statistics.median(again)
        row |= {f"{name}_s": statistics.median(values) for name, values in times.items()}
        best = min(row[f"{name}_s"] for name in peers)
        row["best_peer_over_stepping"] = best / row["stepping_s"]
        row["best_peer_over_library"] = best / row["with_compilation_s"]
        rows.append(row)
        for name, value in row.items():
            if name.endswith("_s"):
                sums[name] = sums.get(name, 0.0) + value
    best = min(sums[f"{name}_s"] for name in peers)
    rows.append(
        {"width": "all", **sums, "with_compilation_over_stepping": sums["with_compilation_s"] / sums["stepping_s"],
         "best_peer_over_library": best / sums["with_compilation_s"]}
    )  # fmt: skip
    record("study", rows)


if __name__ == "__main__":
    main()
