"""A plan names the cells, what they need and which are done, and computes none of them."""

import numpy as np
import pytest
import small
from small import counted, pieces, study

import meanfield as mf
from meanfield.studies import trajectory
from meanfield.studies.plan import COMPILE_SECONDS, operations_per_second, plan, plan_text
from meanfield.studies.study import Study


def made(**changes):
    options = small.settings(**changes)
    options.pop("progress")
    return Study(sizes={"width": options.pop("widths")}, **options)


def test_a_plan_lists_every_block_of_seeds_of_every_width_and_runs_nothing(monkeypatch):
    traced = trajectory.traces.copy()
    with counted(monkeypatch) as cells:
        planned = plan(made(seeds=13))
    assert not cells and trajectory.traces == traced
    expected = [({"width": w}, seeds) for w in small.WIDTHS for seeds in ((0, 7), (8, 11), (12, 12))]
    assert [(cell.size, cell.seeds) for cell in planned] == expected
    assert not any(cell.done for cell in planned)


def test_a_plan_marks_what_is_in_the_store(tmp_path):
    store = tmp_path / "store"
    study(store)
    planned = plan(made(widths=(4, 6, 8), seeds=8), store)
    listed = [(cell.size["width"], cell.seeds, cell.done) for cell in planned]
    first, second = (0, 3), (4, 7)
    assert [cell for cell in listed if cell[0] != 6] == [
        (width, seeds, seeds == first) for width in (4, 8) for seeds in (first, second)
    ]
    assert [cell for cell in listed if cell[0] == 6] == [(6, (0, 7), False)]
    assert all((cell.seconds == 0) == cell.done for cell in planned)


def test_what_is_planned_is_what_is_computed(tmp_path, monkeypatch):
    planned = plan(made(seeds=5), tmp_path / "store")
    with counted(monkeypatch) as cells:
        study(tmp_path / "store", seeds=5)
    assert [(w, first, first + count - 1) for w, first, count in pieces(cells)] == [
        (cell.size["width"], *cell.seeds) for cell in planned
    ]
    assert all(cell.done for cell in plan(made(seeds=5), tmp_path / "store"))


def test_time_and_memory_grow_with_the_work(tmp_path):
    """Time is proportional to width × steps × seeds, but for compiling."""
    narrow, wide = plan(made(widths=(2048, 4096), training=mf.GradientDescent(0.1, 1000), seeds=8))
    assert 1 < wide.memory / narrow.memory <= 2.1
    compute = [cell.seconds - COMPILE_SECONDS for cell in (narrow, wide)]
    assert compute[0] > 0
    np.testing.assert_allclose(compute[1] / compute[0], 2, rtol=0.3)  # rows are rounded up to whole chunks


@pytest.mark.parametrize("memory", [2e6, 4e9])
def test_a_plan_keeps_within_the_memory_given(memory):
    problem = mf.datasets.digits(samples=64, test_samples=200)
    planned = plan(made(widths=(64, 4096), problem=problem, memory=memory))
    assert all(cell.memory <= max(memory, 1.5 * least_bytes(cell)) for cell in planned)


def least_bytes(cell):
    """Four float32 copies of the parameters of one network on digits."""
    return 4 * 4 * cell.size["width"] * 65


def test_the_rate_of_the_machine_is_measured():
    """Anything that runs this makes between ten million and a million billion operations a second."""
    assert 1e7 < operations_per_second() < 1e15


def test_the_text_of_a_plan_sums_up(tmp_path):
    study(tmp_path / "store")
    text = plan_text("mine", made(widths=(4, 8, 16)), tmp_path / "store")
    lines = text.splitlines()
    assert lines[0] == f"mine: {small.MODEL!r}"
    rows = {line.split()[1]: line.split() for line in lines if line.startswith("width ")}
    assert set(rows) == {"4", "8", "16"}
    assert [rows[w][2:5] for w in ("4", "8", "16")] == [["4", "1", "1"], ["4", "1", "1"], ["4", "1", "0"]]
    assert "limit: 2 x 8 particles" in text
    assert lines[-1].startswith("1 of 3 cells to compute, about ")


def test_the_text_of_a_plan_says_how_the_limit_is_chosen():
    assert "particles double until the error is a quarter" in plan_text("mine", made(limit=None))
