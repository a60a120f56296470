"""Where a long training stands, so that a killed one goes on from there, bit for bit."""

import io
import time

import numpy as np

from meanfield.base.fingerprint import digest
from meanfield.studies.store import read_bytes

EVERY = 30.0  # seconds between two checkpoints
LARGEST = 2e9  # bytes of a state that is still worth writing


class Checkpoint:
    """Arrays of an unfinished result, kept beside the results of a store until it is finished.

    The file is checksummed and replaced at once, as results are; a damaged one counts as none.
    """

    def __init__(self, store, description):
        self.store = store
        self.path = store.path / "cells" / f".{digest(description)}.checkpoint"
        self._last = time.monotonic()

    def due(self):
        """Whether the last one is long enough ago."""
        return time.monotonic() - self._last >= EVERY

    def load(self):
        """{name: array} of the last save, or None."""
        try:
            with np.load(io.BytesIO(read_bytes(self.path))) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError):
            return None

    def save(self, arrays):
        data = io.BytesIO()
        np.savez(data, **arrays)
        self.store.write_path(self.path, data.getvalue())
        self._last = time.monotonic()

    def clear(self):
        self.path.unlink(missing_ok=True)


def flattened(tree, prefix):
    """{prefix/key/...: array} of nested dictionaries and lists."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return {prefix: np.asarray(tree)}
    found = {}
    for key, value in items:
        found |= flattened(value, f"{prefix}/{key}")
    return found


def nested(arrays, prefix):
    """Nested dictionaries, keys as words, of what `flattened` made."""
    found = {}
    for name, value in arrays.items():
        if not name.startswith(prefix + "/"):
            continue
        *path, last = name[len(prefix) + 1 :].split("/")
        place = found
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return found
