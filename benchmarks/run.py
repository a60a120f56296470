"""All benchmarks, each in a process of its own; figures go to benchmarks/results.

python benchmarks/run.py          on the CPU
python benchmarks/run.py --gpu    the part that a GPU has an interest in; stops if there is none
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def main(gpu):
    environment = dict(os.environ)
    parts = [("step.py", "bound"), ("step.py", "million")]
    parts += [("matrix_free.py", "scaling"), ("matrix_free.py", "dense")]
    if gpu:
        seen = subprocess.run(
            [sys.executable, "-c", "import jax; print(jax.default_backend())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if seen != "gpu":
            print(f"JAX sees no GPU here (its backend is {seen}).", file=sys.stderr)
            return 1
    else:
        environment["JAX_PLATFORMS"] = "cpu"
        parts += [("study.py",), ("mlp.py",), ("kernels.py",), ("jacobians.py",), ("limit.py",)]
    for script, *arguments in parts:
        subprocess.run(
            [sys.executable, str(HERE / script), *arguments], check=True, env=environment, cwd=HERE
        )
    return 0


if __name__ == "__main__":
    sys.exit(main("--gpu" in sys.argv[1:]))
