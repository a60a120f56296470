"""Timing and the record of it."""

import json
import pathlib
import platform
import statistics
import subprocess
import time

RESULTS = pathlib.Path(__file__).parent / "results"


def seconds(function, repeats=7, warmup=1):
    """Wall times of `function()`, which must wait for its own result."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def interleaved(functions, repeats=7):
    """{name: median wall time}, the functions taking turns so that a drift of the machine meets all."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def machine():
    """The kind of machine: processor, cores, accelerator."""
    cpu = platform.processor() or platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    import jax

    device = jax.devices()[0]
    cores = int(subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout)
    return {
        "cpu": cpu,
        "cores": cores,
        "device": device.device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def record(name, figures):
    """Write the figures with the machine's kind, and print them."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    suffix = "" if about["device"] == "cpu" else "-gpu"
    path = RESULTS / f"{name}{suffix}.json"
    path.write_text(json.dumps({"machine": about, "figures": figures}, indent=1) + "\n")
    print(f"== {name}")
    for row in figures:
        print(
            "  " + "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        )
