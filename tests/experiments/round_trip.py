"""What every experiment promises: its data survive a file, its figure and summary need nothing else."""

import contextlib
import inspect
import io

import pytest

from meanfield.studies.store import read_tree, to_bytes


@contextlib.contextmanager
def no_advice():
    """Whether a learning rate is stable is not asked inside: the kernels it takes cost more than training."""
    from meanfield.studies import simulate, study

    with pytest.MonkeyPatch.context() as patch:
        for module in (simulate, study):
            patch.setattr(module, "warn_above_edge", lambda *_: None)
        yield


def computed(module, options, within=contextlib.nullcontext):
    """The fixture `data`: what an experiment gives at these options, once for all tests of a file, and keeps
    in `folder`; computed inside of `within()`."""

    @pytest.fixture(scope="module")
    def data(key, folder):
        with within():
            return module.compute(**options, key=key, store=str(folder))

    return data


def check_protocol(module, data, axes):
    """Data → netCDF → data: the same summary, and a figure with that many axes; returns what was read."""
    again = read_tree(to_bytes(data))
    assert module.summary(again) == module.summary(data)
    assert "theory" in module.summary(data)
    figure = module.draw(again)
    assert len(figure.axes) == axes
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=40)
    assert picture.tell() > 1000
    assert module.__doc__.split("\n")[0].endswith("?")
    assert all(isinstance(source, str) for source in module.SOURCES)
    computed = inspect.signature(module.compute).parameters
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in computed.values())
    assert all(p.annotation is not p.empty for p in computed.values())
    assert {"store", "progress", "key"} <= set(computed)
    return again


def check_resumption(module, options, folder, monkeypatch):
    """A second call finds everything in the store: nothing is trained."""
    from meanfield.studies import simulate, study

    first = module.compute(**options, store=str(folder))

    def no(*_, **__):
        pytest.fail("a stored part was computed again")

    monkeypatch.setattr(simulate, "run", no)
    monkeypatch.setattr(study, "run", no)
    again = module.compute(**options, store=str(folder))
    assert module.summary(first) == module.summary(again)
    return first
