"""The small study, run once for all files, and copies of its store to be spoiled."""

import shutil

import pytest
from small import study


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """(tree, store) of the small study, run in one go."""
    store = tmp_path_factory.mktemp("unbroken") / "store"
    return study(store), store


@pytest.fixture
def store(unbroken, tmp_path):
    """A copy of the finished store, to be spoiled."""
    return shutil.copytree(unbroken[1], tmp_path / "store")
