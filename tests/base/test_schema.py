"""Labelled results: dimensions and attributes come from the declaration."""

import json

import numpy as np
import xarray as xr

from meanfield.base.schema import SCHEMA_VERSION, Variable, dataset, provenance

LOSS = Variable(("step",), "training loss R", source="THEORY 0")


def test_a_declaration_gains_leading_dimensions_and_keeps_the_rest():
    assert LOSS.prefixed("seed") == Variable(("seed", "step"), "training loss R", source="THEORY 0")
    assert LOSS.attributes() == {"long_name": "training loss R", "units": "1", "source": "THEORY 0"}


def test_a_dataset_has_what_was_declared():
    data = dataset(
        {"loss": np.arange(3.0)}, {"loss": LOSS}, {"step": ("step", [0, 5, 9])}, provenance({"a": 1}, key=3)
    )
    assert data["loss"].dims == ("step",) and data["loss"].attrs == LOSS.attributes()
    assert data["step"].attrs["long_name"] == "number of training steps taken"
    assert data["loss"].sel(step=5) == 1
    assert json.loads(data.attrs["settings"]) == {"a": 1}
    assert data.attrs["schema_version"] == SCHEMA_VERSION and data.attrs["key"] == 3
    assert all(isinstance(value, str | int | float) for value in data.attrs.values())


def test_a_coordinates_own_name_is_not_overwritten():
    coords = {"step": ("step", [0], {"long_name": "saved time", "units": "1"})}
    data = dataset({"loss": np.zeros(1)}, {"loss": LOSS}, coords, {})
    assert data["step"].attrs["long_name"] == "saved time"


def test_versions_are_those_installed():
    found = json.loads(provenance({})["versions"])
    assert found["numpy"] == np.__version__ and found["xarray"] == xr.__version__
    assert found["meanfield"] != "not installed"
