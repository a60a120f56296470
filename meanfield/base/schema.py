"""The schema of results: named variables with dimensions, units and source, as xarray datasets."""

import dataclasses
import functools
import json
import platform

import numpy as np

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Variable:
    """Declaration of one result: its dimensions, what it is, its unit, its source."""

    dims: tuple
    long_name: str
    units: str = "1"
    source: str = "THEORY"

    def attributes(self):
        return {"long_name": self.long_name, "units": self.units, "source": self.source}

    def prefixed(self, *dims):
        """The same variable with further leading dimensions."""
        return dataclasses.replace(self, dims=(*dims, *self.dims))

    def own_error(self):
        """The standard error of this variable that a limit states."""
        long_name = f"one standard error of the limit's own {self.long_name}"
        return dataclasses.replace(self, long_name=long_name)


@functools.cache
def versions():
    """Versions of what computed a result, as text."""
    import importlib.metadata

    names = ("meanfield", "jax", "jaxlib", "numpy", "scipy", "xarray")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["python"] = platform.python_version()
    return found


def provenance(settings, **attributes):
    """Attributes of a dataset: settings as one JSON string, versions, schema version; strings and numbers."""
    import jax

    device = jax.devices()[0]
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "versions": json.dumps(versions(), sort_keys=True),
        "device": f"{device.platform}: {device.device_kind}",
        "schema_version": SCHEMA_VERSION,
        **attributes,
    }


COORDINATES = {
    "seed": "seed of a network's own randomness",
    "step": "number of training steps taken",
    "time": "training time t = learning rate x step",
    "sample": "training sample",
    "test_sample": "test sample",
    "output": "output component",
    "width": "number of hidden neurons n",
    "particle": "particle of the limit",
}


def dataset(arrays, variables, coords, attrs):
    """A labelled dataset: every array with the dimensions and attributes its variable declares."""
    import xarray as xr

    data = {
        name: (variables[name].dims, np.asarray(value), variables[name].attributes())
        for name, value in arrays.items()
    }
    result = xr.Dataset(data, attrs=attrs)
    result = result.assign_coords(coords)
    for name in result.coords:
        base = name.removesuffix("_2")
        if base in COORDINATES and "long_name" not in result[name].attrs:
            result[name].attrs.update(long_name=COORDINATES[base], units="1")
    return result
