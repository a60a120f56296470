"""What tests of experiments share."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a module's results are kept."""
    return tmp_path_factory.mktemp("store")
