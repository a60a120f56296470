"""simulate with a store: the same call finds its result, another one does not."""

import pathlib

import numpy as np
import pytest
import xarray as xr
from cases import problem

import meanfield as mf
from meanfield.studies import simulate as module

MODEL = mf.TwoLayer(mf.activations.tanh)
TASK = problem()
TRAINING = mf.GradientDescent(0.1, 6)


@pytest.fixture
def computed(monkeypatch):
    """Counts what is computed."""
    calls = []
    original = module.run

    def run(*arguments, **options):
        calls.append(arguments[0])
        return original(*arguments, **options)

    monkeypatch.setattr(module, "run", run)
    return calls


def files(folder):
    return sorted(p.name for p in (pathlib.Path(folder) / "cells").iterdir())


def test_the_same_call_finds_the_same_result(tmp_path, computed):
    observe = (mf.observe.Kernel(), mf.observe.Displacement(at=3))
    for system in (MODEL.finite(8), MODEL.limit(16, 2)):
        options = {"observe": observe, "record": [0, 2, 6], "store": tmp_path / "runs"}
        first = mf.simulate(system, TASK, TRAINING, **options)
        count = len(computed)
        again = mf.simulate(system, TASK, TRAINING, **options)
        assert len(computed) == count
        xr.testing.assert_identical(first, again)
        plain = mf.simulate(system, TASK, TRAINING, observe=observe, record=[0, 2, 6])
        xr.testing.assert_identical(first, plain)


def test_every_setting_has_a_result_of_its_own(tmp_path, monkeypatch):
    """It is their names that must differ: nothing is trained."""
    monkeypatch.setattr(module, "_computed", lambda *_: xr.Dataset({"first_bad_step": -1}))
    runs = [
        (MODEL.finite(8), TASK, TRAINING, {}),
        (MODEL.finite(8, dtype="float64"), TASK, TRAINING, {}),
        (MODEL.finite(9), TASK, TRAINING, {}),
        (MODEL.finite(8), problem(seed=1), TRAINING, {}),
        (MODEL.finite(8), TASK, mf.GradientDescent(0.2, 6), {}),
        (MODEL.finite(8), TASK, TRAINING, {"seeds": 2}),
        (MODEL.finite(8), TASK, TRAINING, {"seeds": [1]}),
        (MODEL.finite(8), TASK, TRAINING, {"key": 1}),
        (MODEL.finite(8), TASK, TRAINING, {"record": [0, 6]}),
        (MODEL.finite(8), TASK, TRAINING, {"observe": (mf.observe.Moments(),)}),
        (mf.TwoLayer(mf.activations.tanh, richness=0.5).finite(8), TASK, TRAINING, {}),
        (MODEL.limit(16, 2), TASK, TRAINING, {}),
        (MODEL.limit(16, 2, sampler=mf.IID()), TASK, TRAINING, {}),
    ]
    for count, (system, task, training, options) in enumerate(runs, 1):
        mf.simulate(system, task, training, store=tmp_path, **options)
        assert len(files(tmp_path)) == count


def test_settings_that_change_no_number_share_a_result(tmp_path):
    mf.simulate(MODEL.finite(8), TASK, TRAINING, store=tmp_path)
    mf.simulate(MODEL.finite(8), TASK, TRAINING, store=str(tmp_path), memory=1e7, progress=True, seeds=[0])
    assert len(files(tmp_path)) == 1


def test_a_damaged_file_is_computed_anew(tmp_path, computed):
    first = mf.simulate(MODEL.finite(8), TASK, TRAINING, store=tmp_path)
    (name,) = files(tmp_path)
    path = tmp_path / "cells" / name
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = mf.simulate(MODEL.finite(8), TASK, TRAINING, store=tmp_path)
    assert len(computed) == 2
    xr.testing.assert_identical(first, again)


def test_divergence_is_told_each_time(tmp_path):
    hot = mf.GradientDescent(1e200, 6)
    for _ in range(2):
        with pytest.warns(RuntimeWarning) as told:
            data = mf.simulate(MODEL.limit(16, 2), TASK, hot, store=tmp_path)
        assert any("diverged" in str(w.message) for w in told)
        assert int(data["first_bad_step"]) >= 0 and np.isnan(data["prediction"].values[-1]).all()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(ValueError, match="letter.txt"):
        mf.simulate(MODEL.finite(8), TASK, TRAINING, store=tmp_path)
