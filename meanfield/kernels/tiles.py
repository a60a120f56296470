"""Square pieces of a matrix of pairs, and where their values go."""

import dataclasses
import os
import pathlib
import uuid
import zlib

import numpy as np

from meanfield.base.checks import require
from meanfield.base.fingerprint import digest
from meanfield.base.schema import provenance

SIDE = 512  # found by timing: shorter ones cost more calls than they save memory traffic
PANELS, LEAST = 3, 250  # tiles along a side that keep some cores busy, unless they get shorter than this


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Tiles of a (P, Q) matrix of equal sizes; those at the far ends may stick out of it."""

    rows: int
    columns: int
    symmetric: bool

    @property
    def shape(self):
        return self.rows, self.columns

    @property
    def lengths(self):
        """Rows and columns of a tile."""
        return tuple(-(-n // max(-(-n // SIDE), min(PANELS, n // LEAST))) for n in self.shape)

    def __iter__(self):
        """Pairs of slices; of a symmetric matrix those on and above the diagonal."""
        m, n = self.lengths
        for i in range(0, self.rows, m):
            for j in range(i if self.symmetric else 0, self.columns, n):
                yield slice(i, i + m), slice(j, j + n)


def place(array, tile, values, symmetric):
    """Write the values of a tile into a matrix (…, P, Q), and mirrored if it is symmetric."""
    rows, columns = tile
    p, q = array.shape[-2:]
    values = values[..., : max(p - rows.start, 0), : max(q - columns.start, 0)]
    if symmetric and rows == columns:
        above = np.triu(values)
        values = above + np.swapaxes(np.triu(above, 1), -1, -2)
    array[..., rows, columns] = values
    if symmetric and rows != columns:
        array[..., columns, rows] = np.swapaxes(values, -1, -2)


class InMemory:
    """The matrices as arrays."""

    def __init__(self, shapes, dtype, tiles):
        size = sum(np.prod(shape) for shape in shapes.values()) * np.dtype(dtype).itemsize
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        rule = f"given where the kernels take {size / 1e9:.0f} GB of {memory / 1e9:.0f} GB of memory"
        require(size < 0.8 * memory, "path", rule, None)
        self.tiles = tiles
        self.found = {name: np.empty(shape, dtype) for name, shape in shapes.items()}

    def missing(self):
        return list(self.tiles)

    def write(self, tile, values):
        for name, array in self.found.items():
            place(array, tile, values[name], self.tiles.symmetric)

    def arrays(self):
        return self.found


DIMENSIONS = ("layer", "sample", "sample_2")
LONG_NAMES = {
    "nngp": "covariance of the outputs at initialisation",
    "ntk": "tangent kernel",
    "nngp_layers": "covariance of the preactivations of every layer",
    "ntk_layers": "tangent kernel of every layer",
}


class InFile:
    """The matrices in a netCDF file that is whole at any moment.

    Its frame is made first, under another name; tiles are then written in place, behind the back of HDF5,
    each followed by its checksum: a tile that was interrupted has none or a wrong one and is missing.

    Args:
        path: of the file; if it exists it must be one of the same settings.
        shapes: of the matrices by name, (P, Q) or (layers, P, Q).
        dtype: of the matrices.
        tiles: `Tiles`.
        settings: all that determines the values, as `describe` gives it.
    """

    def __init__(self, path, shapes, dtype, tiles, settings):
        self.path, self.tiles = pathlib.Path(path), tiles
        self.shapes, self.dtype = shapes, dtype
        if not self.path.exists():
            self._create(settings)
        self._check(settings)
        self.found, self.checksums = self._mapped("r+")

    def _create(self, settings):
        import h5netcdf

        sizes = {"sample": self.tiles.rows, "sample_2": self.tiles.columns, "tile": len(list(self.tiles))}
        for shape in self.shapes.values():
            sizes |= {"layer": shape[0]} if len(shape) == 3 else {}
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            with h5netcdf.File(temporary, "w") as file:
                file.dimensions = sizes
                for name, shape in self.shapes.items():
                    variable = file.create_variable(name, DIMENSIONS[-len(shape) :], self.dtype)
                    variable.attrs.update(long_name=LONG_NAMES[name], units="1", source="THEORY 3.1")
                    variable[(0,) * len(shape)] = 0  # takes its place in the file
                checksum = file.create_variable("checksum", ("tile",), "int64")
                checksum[:] = np.zeros(sizes["tile"], "int64")
                checksum.attrs["long_name"] = "1 + CRC-32 of a finished tile, 0 of another one"
                file.attrs.update(provenance(settings, identity=digest(settings)))
            os.replace(temporary, self.path)
        except OSError as error:
            raise OSError(f"File {self.path} cannot be written: {error.strerror or error}.") from None
        finally:
            temporary.unlink(missing_ok=True)

    def _check(self, settings):
        import h5netcdf

        try:
            with h5netcdf.File(self.path, "r") as file:
                identity = file.attrs.get("identity")
        except OSError:
            identity = None
        rule = "a new file or one that the same call has begun"
        require(identity == digest(settings), "path", rule, str(self.path))

    def _mapped(self, mode):
        """The matrices and the checksums, mapped from the file."""
        import h5py

        with h5py.File(self.path, "r") as file:
            places = {name: file[name].id.get_offset() for name in (*self.shapes, "checksum")}
        mapped = {
            name: np.memmap(self.path, self.dtype, mode, places[name], shape)
            for name, shape in self.shapes.items()
        }
        count = len(list(self.tiles))
        return mapped, np.memmap(self.path, "int64", mode, places["checksum"], (count,))

    def _checksum(self, tile):
        """1 + CRC-32 of what the file holds at a tile and opposite to it."""
        rows, columns = tile
        code = 0
        for array in self.found.values():
            for part in (array[..., rows, columns], array[..., columns, rows]):
                code = zlib.crc32(np.ascontiguousarray(part), code)
                if not self.tiles.symmetric:
                    break
        return 1 + code

    def missing(self):
        listed = enumerate(self.tiles)
        return [
            tile for k, tile in listed if not self.checksums[k] or self.checksums[k] != self._checksum(tile)
        ]

    def write(self, tile, values):
        for name, array in self.found.items():
            place(array, tile, values[name], self.tiles.symmetric)
        self.checksums[list(self.tiles).index(tile)] = self._checksum(tile)

    def arrays(self):
        for array in (*self.found.values(), self.checksums):
            array.flush()
        return self._mapped("r")[0]
