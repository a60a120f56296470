"""A folder of results that survives what happens to programs.

Every result is one netCDF file, named by the hash of all that determines it, written under a temporary
name, flushed to disk and renamed; the SHA-256 of name and data stands in a trailer behind the netCDF data,
where readers of netCDF do not look. A result is done if and only if its file is there, whole and its own.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import time
import uuid
import warnings

import xarray as xr

from meanfield.base.errors import ForUsers
from meanfield.base.fingerprint import describe, digest
from meanfield.base.schema import SCHEMA_VERSION

TRAILER = b"\nsha256="
LENGTH = len(TRAILER) + 64
MANIFEST = {"identity", "memory", "request"}  # what every study.json holds
RUNS = "runs"  # where an experiment keeps its single runs


class StoreError(ForUsers, ValueError):
    """A store that cannot be used as asked; the message is one sentence."""


class StoreWriteError(OSError):
    """A result could not be written, on a full disk for example; the message is one sentence."""


class Store:
    """Results under one folder; `identity` is the description of what all of them belong to."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.manifest_path = self.path / "study.json"

    def open(self, identity):
        """Create the folder or check that it holds this study; keep the manifest's decided numbers."""
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"Store {self.path} cannot be made: {_reason(error)}.") from None
        if not os.access(self.path / "cells", os.W_OK):
            raise StoreError(f"Store {self.path} cannot be written to: permission denied.")
        self._sweep()
        manifest = self.manifest()
        if manifest is None:
            foreign = [
                p.name for p in self.path.iterdir() if p.name != "cells" and not p.name.startswith(".")
            ]
            if foreign:
                raise StoreError(
                    f"Argument `store` must be an empty folder or a store, but {self.path} "
                    f"holds {foreign[0]}."
                )
            return
        differing = [k for k in identity if manifest["identity"].get(k) != identity[k]]
        if differing:
            raise StoreError(
                f"Store {self.path} holds another study: its {' and '.join(differing)} "
                f"{'differs' if len(differing) == 1 else 'differ'}. Choose another folder."
            )

    def _sweep(self):
        """Remove temporary files that a killed run left an hour ago or earlier."""
        for path in [*self.path.glob(".*.tmp"), *(self.path / "cells").glob(".*.tmp")]:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()

    def manifest(self):
        """What the store says of itself, or None if it is new."""
        try:
            manifest = json.loads(self.manifest_path.read_text())
            good = isinstance(manifest, dict) and MANIFEST <= manifest.keys()
            if not (good and isinstance(manifest["identity"], dict)):
                raise ValueError("it is not what a study writes")
            return manifest
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"Store {self.path} has an unreadable study.json: {_reason(error)}.") from None

    def write_manifest(self, manifest):
        self.write_plain("study.json", json.dumps(manifest, indent=1, sort_keys=True).encode())

    def cell_path(self, description):
        return self.path / "cells" / f"{digest(description)}.nc"

    def has(self, description):
        return self.cell_path(description).exists()

    def read(self, description, path=None):
        """The dataset, or None if there is no such file or it is damaged (named in a warning)."""
        path = path or self.cell_path(description)
        try:
            return read_checked(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            warnings.warn(
                f"File {path} is damaged ({_reason(error)}): it is computed anew.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def write(self, description, dataset):
        """Write one result; when it returns, the result is on disk."""
        self.write_path(self.cell_path(description), to_bytes(dataset))

    def write_plain(self, name, data):
        """A small file beside the results."""
        self._write(self.path / name, data)

    def write_path(self, path, data):
        self._write(path, data + TRAILER + _checksum(path, data))

    def _write(self, path, data):
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreWriteError(
                f"Store {self.path} cannot be written to: {_reason(error)}. What was finished is kept; give "
                "the same command again to go on."
            ) from None
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def part_of(store, name=RUNS):
    """The folder of one part of an experiment's results; None where nothing is kept."""
    return None if store is None else os.path.join(store, name)


def kept(folder, about, compute):
    """The dataset that `compute()` gives, from a folder of results where it is there, else left in it.

    Args:
        folder: a path, or None to compute and keep nothing.
        about: all that determines the dataset, of numbers, words, lists and what `describe` takes.
        compute: a function without arguments.
    """
    if folder is None:
        return compute()
    store, about = Store(folder), {"kept": describe(about), "schema": SCHEMA_VERSION}
    store.open({})
    result = store.read(about)
    if result is None:
        result = compute()
        store.write(about, result)
    return result


def _checksum(path, data):
    return hashlib.sha256(path.name.encode() + b"\n" + data).hexdigest().encode()


def to_bytes(data):
    """A Dataset or DataTree as netCDF-4."""
    return bytes(data.to_netcdf(engine="h5netcdf"))


def read_bytes(path):
    """The netCDF part of a file, its checksum verified."""
    path = pathlib.Path(path)
    content = path.read_bytes()
    data, trailer = content[:-LENGTH], content[-LENGTH:]
    if len(content) <= LENGTH or not trailer.startswith(TRAILER):
        raise ValueError("it is cut short")
    if _checksum(path, data) != trailer[len(TRAILER) :]:
        raise ValueError("its checksum does not match")
    return data


def read_checked(path):
    """The dataset in a file, its checksum verified."""
    with xr.open_dataset(io.BytesIO(read_bytes(path)), engine="h5netcdf") as dataset:
        return dataset.load()


def read_checked_tree(path):
    """The tree in a file, its checksum verified."""
    return read_tree(read_bytes(path))


def read_tree(data):
    """The tree in netCDF-4."""
    with xr.open_datatree(io.BytesIO(data), engine="h5netcdf") as tree:
        for group in tree.subtree:
            for variable in group.variables.values():
                variable.load()  # DataTree.load passes over a variable that has the name of some group
        return tree


def _reason(error):
    """The system's own word for an error, without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__
