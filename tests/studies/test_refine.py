"""The limit's particles: enough for the comparison, no more than the bounds, and a reason that is true."""

import dataclasses
import math
import re

import numpy as np
import pytest
import small
import xarray as xr

import meanfield as mf
from meanfield.studies import refine as module

ARGUMENTS = {"key": 0, "record": np.arange(3), "observe": (), "memory": 4e9}


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A limit whose error is constant · M^rate exactly, and that needs 1000 bytes a particle."""

    constant: float = 1.0
    rate: float = -0.5
    rows: int | None = None
    diverges: int = -1
    count = 8

    def with_particles(self, rows):
        return dataclasses.replace(self, rows=rows)

    def settled(self, problem):
        return self

    def plan(self, problem, training, seeds, memory, looks=False):
        return self, 1

    def memory_bytes(self, problem, training):
        return 1000.0 * self.rows

    def result(self):
        error = np.full((3, 2, 1), self.constant * self.rows**self.rate)
        dims = ("step", "sample", "output")
        data = {"first_bad_step": ((), self.diverges)}
        for name, factor in (("prediction", 1), ("test_prediction", 2)):
            data[name] = (dims, np.full(error.shape, 2.0 * factor))
            data[f"{name}_error"] = (dims, factor * error)
        return xr.Dataset(data)


@pytest.fixture
def runs(monkeypatch):
    """Particle numbers that were computed, with `run` replaced."""
    numbers = []

    def run(system, *_):
        numbers.append(system.rows)
        return system.result()

    monkeypatch.setattr(module, "run", run)
    return numbers


def refined(system, **options):
    return module.refine(system, None, None, **{**ARGUMENTS, **options})


def test_the_particle_number_is_guessed_from_the_error_seen_and_its_rate(runs):
    """At M^{−1/2} from 512 to an error eight times smaller: 64 times as many, in steps of at most sixteen,
    ten percent above so that rounding does not cost another round."""
    target = 4 * 512**-0.5 / 8
    limit = refined(MadeUp(), smallest={"prediction": target})
    assert runs == [512, 8192, 65536]
    assert limit.attrs["particles"] == 65536 and limit.attrs["replicates"] == 8
    assert limit.attrs["refinement"].startswith("reached: rms error 0.0039 of the prediction")


@pytest.mark.parametrize("start", [256, 1024])
@pytest.mark.parametrize("rate", [-0.5, -1.0])
@pytest.mark.parametrize("smallest", [1e-1, 3e-2, 1.2e-2])
def test_when_reached_the_error_is_at_most_a_quarter(smallest, rate, start, runs):
    limit = refined(MadeUp(rate=rate), smallest={"prediction": smallest}, start=start)
    assert limit.attrs["refinement"].startswith("reached: ")
    assert module.own_errors(limit, ["prediction"])["prediction"] <= smallest / 4
    ratios = np.divide(runs[1:], runs[:-1])
    assert ((ratios >= 2) & (ratios <= 16) & (np.log2(ratios) % 1 == 0)).all()


def test_an_error_that_is_small_enough_is_not_made_smaller(runs):
    refined(MadeUp(constant=1e-9), smallest={"prediction": 1.0})
    assert runs == [512]


def test_the_quantity_that_is_worst_decides(runs):
    """The test set's error is twice that of the training set."""
    both = refined(MadeUp(), smallest={"prediction": 0.04, "test_prediction": 0.04})
    errors = module.own_errors(both, ["prediction", "test_prediction"])
    assert errors["test_prediction"] <= 0.01 < 2 * errors["test_prediction"]
    assert "of the test_prediction is below" in both.attrs["refinement"]


def test_without_a_comparison_the_error_is_one_percent_of_the_prediction(runs):
    limit = refined(MadeUp())
    assert runs == [512, 4096]  # 0.044 → 0.016 ≤ 0.01 · 2
    assert "1% of the rms prediction" in limit.attrs["refinement"]


@pytest.mark.parametrize("most", [1024, 3000, 2**15])
def test_the_bound_of_particles_is_used_up_and_named(most, runs, monkeypatch):
    monkeypatch.setattr(module, "MOST", most)
    limit = refined(MadeUp(), smallest={"prediction": 1e-6})
    assert most / 2 < limit.attrs["particles"] == runs[-1] <= most
    assert limit.attrs["refinement"].startswith(f"stopped at the bound of {most} particles: rms error ")
    assert "above a quarter of the smallest finite-width error, 2.5e-07" in limit.attrs["refinement"]


def test_the_bound_of_memory_is_used_up_and_named(runs):
    limit = refined(MadeUp(), smallest={"prediction": 1e-6}, memory=5e6)
    assert limit.attrs["particles"] == 4096
    assert limit.attrs["refinement"].startswith("stopped at the bound of 5e+06 bytes of memory: ")


def test_a_limit_that_diverges_is_not_refined(runs):
    """Its error, finite or not, says nothing."""
    limit = refined(MadeUp(diverges=2, constant=1e50), smallest={"prediction": 1e-6})
    assert runs == [512] and limit.attrs["refinement"] == "stopped: the limit diverged at step 2"


def test_rounds_that_are_stored_are_not_computed_again(runs):
    kept = {}
    options = {"smallest": {"prediction": 1e-2}, "load": lambda s: kept.get(s.rows),
               "save": lambda s, limit: kept.update({s.rows: limit})}  # fmt: skip
    first = refined(MadeUp(), **options)
    before = list(runs)
    assert list(kept) == before and len(before) > 1
    xr.testing.assert_identical(refined(MadeUp(), **options), first)
    assert runs == before


def test_a_given_particle_number_is_not_refined():
    limit = mf.simulate(small.MODEL.limit(8, 2), small.settings()["problem"], mf.GradientDescent(0.1, 2))
    assert "refinement" not in limit.attrs
    tree = small.study(seeds=3)
    assert tree["limit"].attrs["refinement"] == "not refined: the particle number was given"
    assert (tree["limit"].attrs["particles"], tree["limit"].attrs["replicates"]) == (8, 2)


def test_a_real_limit_reaches_its_target_or_stops_at_the_bound(monkeypatch):
    options = small.settings()
    problem, training = options["problem"], options["training"]
    limit = mf.simulate(small.MODEL.limit(), problem, training)
    error = math.sqrt(float((limit.prediction_error**2).mean()))
    assert limit.attrs["refinement"].startswith("reached: ")
    assert error <= 0.01 * math.sqrt(float((limit.prediction**2).mean()))
    monkeypatch.setattr(module, "MOST", 1024)
    monkeypatch.setattr(module, "ALONE", 1e-9)
    with_bound = mf.simulate(small.MODEL.limit(), problem, training)
    assert with_bound.attrs["particles"] == 1024
    assert re.match("stopped at the bound of 1024 particles: ", with_bound.attrs["refinement"])
