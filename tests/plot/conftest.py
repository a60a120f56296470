"""Every test of a figure ends without open figures and with the user's settings as they were."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
from drawn_studies import made_study


@pytest.fixture(autouse=True)
def clean():
    before = dict(matplotlib.rcParams)
    plt.close("all")  # what tests elsewhere left open
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="session")
def study():
    return made_study()


@pytest.fixture(scope="session")
def responded():
    return made_study(response=True)
