"""Names of cells: no study can read a result of another, and equal ones share theirs."""

import cases
import numpy as np
import pytest
from small import described, files, study

import meanfield as mf
from meanfield.studies.store import Store, StoreError

OTHERS = {
    "model": {"model": mf.TwoLayer(mf.activations.sin)},
    "problem": {"problem": cases.problem(samples=3, test_samples=2, seed=1)},
    "training": {"training": mf.GradientDescent(0.2, 4)},
    "key": {"key": 1},
    "record": {"record": [0, 4]},
    "observe": {"observe": mf.observe.Moments()},
}


@pytest.mark.parametrize("part", OTHERS)
def test_a_store_of_another_study_is_refused_and_the_part_named(part, store):
    before = files(store)
    with pytest.raises(StoreError) as caught:
        study(store, **OTHERS[part])
    message = str(caught.value)
    assert f"holds another study: its {part} differs." in message and str(store) in message
    assert files(store) == before


@pytest.mark.parametrize("part", OTHERS)
def test_the_name_of_a_cell_depends_on_everything_that_determines_it(part):
    """Whatever the manifest says, no study can read a cell of another."""
    path = Store("s").cell_path
    assert path(described(**OTHERS[part])) != path(described())
    assert path(described()) == path(described())
    assert len({path(described(first, count)) for first, count in ((0, 4), (0, 8), (4, 4))}) == 3
    assert path(described(width=4)) != path(described(width=8))


CHANGES = {
    "dtype of x": lambda p: mf.Problem(p.x.astype("float32").astype(float), p.y),
    "one entry of x": lambda p: mf.Problem(np.where(p.x == p.x.max(), p.x + 1e-12, p.x), p.y),
    "loss": lambda p: mf.Problem(p.x, p.y, loss=mf.losses.huber),
    "delta": lambda p: mf.Problem(p.x, p.y, loss=mf.losses.Huber(0.5)),
    "test set": lambda p: mf.Problem(p.x, p.y, x_test=p.x),
}


def test_the_smallest_change_of_a_setting_changes_the_name_of_a_cell():
    base = cases.problem(samples=3, test_samples=0)
    variants = [base, *(change(base) for change in CHANGES.values())]
    names = {Store("s").cell_path(described(problem=p)) for p in variants}
    trainings = [
        mf.GradientDescent(0.1, 5), mf.GradientDescent(np.nextafter(0.1, 1), 4),
        mf.GradientDescent(0.1, 4, momentum=0.1), mf.GradientDescent(0.1, 4, weight_decay=0.1),
        mf.GradientDescent(0.1, 4, batch_size=2), mf.GradientDescent(0.1, 4, batch_size=2, batch_key=1),
        mf.GradientDescent(lambda step: 0.1 + 0 * step, 4), mf.Langevin(0.1, 4, 0.1),
        mf.GradientDescent(lambda step: 0.2 + 0 * step, 4),
    ]  # fmt: skip
    names |= {Store("s").cell_path(described(problem=base, training=t)) for t in trainings}
    models = [
        mf.TwoLayer(mf.activations.tanh, bias=True), mf.TwoLayer(mf.activations.tanh, richness=0.5),
        mf.TwoLayer(mf.activations.tanh, train_readout=False), mf.TwoLayer(mf.activations.leaky_relu(0.1)),
        mf.TwoLayer(mf.activations.leaky_relu(0.2)),
    ]  # fmt: skip
    names |= {Store("s").cell_path(described(problem=base, model=m, limit=m.limit(8))) for m in models}
    assert len(names) == len(variants) + len(trainings) + len(models)


def test_two_functions_that_compute_the_same_share_their_cells():
    one = described(training=mf.GradientDescent(lambda step: 0.1 / (1 + step), 4))
    other = described(training=mf.GradientDescent(lambda t: 0.1 / (1 + t), 4))
    assert Store("s").cell_path(one) == Store("s").cell_path(other)
