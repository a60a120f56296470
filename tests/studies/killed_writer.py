"""Writes results into the store given, each in a child that kills itself at a stated point, and prints what
is left as JSON: {point: [where nothing was before, where an older result was]}."""

import builtins
import json
import os
import pathlib
import signal
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from test_store import CELL, IDENTITY, result  # noqa: E402

from meanfield.studies.store import Store  # noqa: E402


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class Half:
    """A file that dies after half of what it is given."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()


def arm(point):
    """Kill this process when it gets to a point of writing."""
    if point == "half":
        plain = builtins.open
        builtins.open = lambda path, mode="r": Half(plain(path, mode)) if "w" in mode else plain(path, mode)
    elif point == "flush":
        os.fsync = die
    elif point == "rename":
        os.replace = die
    else:
        fsync, seen = os.fsync, []
        os.fsync = lambda descriptor: die() if seen else (seen.append(1), fsync(descriptor))


def left(store, description):
    found = store.read(description)
    if found is None:
        return "missing"
    (name,) = [name for seed, name in ((1, "old"), (2, "new")) if found.identical(result(seed))]
    return name


def main(folder):
    store = Store(folder)
    store.open(IDENTITY)
    outcomes = {}
    for point in ("half", "flush", "rename", "folder"):
        outcomes[point] = []
        for before in (False, True):
            description = {**CELL, "point": point, "before": before}
            if before:
                store.write(description, result(1))
            child = os.fork()
            if child == 0:
                try:
                    arm(point)
                    store.write(description, result(2))
                finally:
                    os._exit(9)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
            outcomes[point].append(left(store, description))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1])
