"""What a study will compute, before anything runs."""

import time
from typing import NamedTuple

import numpy as np

from meanfield.studies.simulate import MEMORY
from meanfield.studies.store import Store
from meanfield.studies.study import _kept_memory

COMPILE_SECONDS = 0.7  # of one program of a two-layer system, measured on one core


class PlannedCell(NamedTuple):
    size: dict
    seeds: tuple
    done: bool
    memory: float
    seconds: float


def operations_per_second():
    """Rate of a small float32 matrix product with one pass of tanh, as a step has them, measured now."""
    w = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.tanh(w @ w[:64].T) @ w[:64]
        best = min(best, time.perf_counter() - start)
    return 4.0 * 4096 * 64 * 64 / best


def plan(study, store=None):
    """The cells of a study: [PlannedCell], what each needs, whether it is in the store."""
    store = Store(store) if store is not None else None
    memory = study.memory or (_kept_memory(store) if store is not None else None) or MEMORY
    rate = operations_per_second()
    problem, training = study.problem, study.training
    planned, seen = [], set()
    for size, first, count, done in study.cells(store):
        system = study.system(size)
        system, together = system.plan(problem, training, count, memory, bool(study.observe))
        work = system.operations(problem, training) * training.steps * count
        fresh = (system.rows, together) not in seen
        seen.add((system.rows, together))
        seconds = 0.0 if done else work / rate + COMPILE_SECONDS * fresh
        bytes_needed = system.memory_bytes(problem, training) * together
        planned.append(PlannedCell(size, (first, first + count - 1), done, bytes_needed, seconds))
    return planned


def plan_text(name, study, store=None):
    """The plan as text: one line a size, then the limit, then the sum."""
    cells = plan(study, store)
    lines = [f"{name}: {study.model!r}", f"  on {study.problem!r}", f"  by {study.training!r}", ""]
    lines.append(f"{'size':<16}{'seeds':>6}{'cells':>7}{'done':>6}{'memory':>10}{'time':>10}")
    for size in study.grid():
        mine = [c for c in cells if c.size == size]
        label = " ".join(f"{k} {v}" for k, v in size.items())
        memory = max(c.memory for c in mine)
        seconds = sum(c.seconds for c in mine)
        done = sum(c.done for c in mine)
        lines.append(
            f"{label:<16}{study.seeds:>6}{len(mine):>7}{done:>6}{memory / 1e6:>7.1f} MB{seconds:>8.1f} s"
        )
    total = sum(c.seconds for c in cells)
    if study.limit.exact:
        limit = "in closed form"
    elif study.limit.rows is None:
        limit = "particles double until the error is a quarter of the smallest finite-width error"
    else:
        limit = f"{study.limit.count} x {study.limit.rows} particles"
    left = sum(not c.done for c in cells)
    lines += [
        "",
        f"limit: {limit}",
        f"{left} of {len(cells)} cells to compute, about {total:.0f} s and the limit",
    ]
    return "\n".join(lines)
