"""A long training that was killed goes on from its checkpoint and ends with the bits of an unbroken one."""

import numpy as np
import pytest
import xarray as xr
from small import assert_same

import meanfield as mf
from meanfield.studies import checkpoint, growing
from meanfield.studies.checkpoint import Checkpoint, flattened, nested
from meanfield.studies.store import Store

STEPS = 11


class Killed(Exception):
    pass


@pytest.fixture
def often(monkeypatch):
    """Checkpoints after every block, blocks of three recorded steps."""
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(growing, "BLOCK", 3)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))
    problem = mf.Problem(x, np.sign(x[:, 0]), x_test=x[:2] + 0.1)
    model = mf.MLP(2, mf.activations.tanh, mf.parametrizations.mup)
    observe = [mf.observe.FeatureKernel(at=(0, 4, STEPS))]
    return model, problem, mf.GradientDescent(1.0, STEPS, momentum=0.5), observe


def killed_at(monkeypatch, number):
    """From now on the checkpoint of that number is the last thing that a run does."""
    count, save = [0], Checkpoint.save

    def save_and_die(self, arrays):
        save(self, arrays)
        count[0] += 1
        if count[0] == number:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)


@pytest.mark.parametrize(
    "kind", ["limit", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("networks", "path"))]
)
def test_a_killed_training_ends_with_the_bits_of_an_unbroken_one(kind, task, often, monkeypatch, tmp_path):
    """Two replicates (or seeds) of which the second is killed in the middle, then killed again."""
    model, problem, training, observe = task
    system = {
        "limit": model.limit(32, 2),
        "path": model.limit(32, 2, responses="path"),
        "networks": model.finite(32, sampler=mf.MatrixFree()),
    }[kind]
    options = {"seeds": 2} if kind == "networks" else {}
    run = lambda **more: mf.simulate(system, problem, training, observe=observe, **options, **more)  # noqa: E731
    unbroken = run()
    for number in (6, 1):
        with monkeypatch.context() as patched:
            killed_at(patched, number)
            with pytest.raises(Killed):
                run(store=tmp_path / "store")
        assert len(list((tmp_path / "store" / "cells").glob(".*.checkpoint"))) == 1
    resumed = counting(monkeypatch)
    assert_same(xr.DataTree(run(store=tmp_path / "store")), xr.DataTree(unbroken))
    assert 0 < resumed[0] < counted_whole(kind), "what was done before the kills was done again"
    assert not list((tmp_path / "store" / "cells").glob(".*.checkpoint"))


def counting(monkeypatch):
    """Counts blocks of steps from now on."""
    blocks = [0]
    advance = growing.advance_quickly

    def counted(*arguments):
        blocks[0] += 1
        return advance(*arguments)

    monkeypatch.setattr(growing, "advance_quickly", counted)
    return blocks


def counted_whole(kind):
    """Blocks of a whole run: looks at 0, 4 and the end cut 0 … 11 into 0–3, 3–4, 4–7, 7–10, 10–11 and the
    last look; two seeds, or two replicates of each of two particle numbers."""
    return 6 * (2 if kind == "networks" else 4)


def test_a_damaged_checkpoint_counts_as_none(task, tmp_path):
    store = Store(tmp_path / "store")
    store.open({})
    kept = Checkpoint(store, {"of": "something"})
    assert kept.load() is None
    kept.save({"a": np.arange(3)})
    assert np.array_equal(kept.load()["a"], np.arange(3))
    kept.path.write_bytes(kept.path.read_bytes()[:-70] + b"x" * 70)
    assert kept.load() is None
    kept.clear()
    kept.clear()


def test_nested_is_the_inverse_of_flattened():
    tree = {"a": np.arange(2), "b": {"c": np.array(1.5), "d": [np.array(1), np.array("w")]}}
    found = nested(flattened(tree, "part/1"), "part/1")
    assert found["b"]["d"]["1"] == "w" and found["b"]["c"] == 1.5
    assert np.array_equal(found["a"], tree["a"])
    assert nested(flattened(tree, "part/1"), "part/10") == {}
