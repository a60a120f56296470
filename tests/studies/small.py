"""A study of a second or two, and how to count and watch what it computes."""

import contextlib
import pathlib
import warnings

import cases
import numpy as np

import meanfield as mf
from meanfield.studies import study as module
from meanfield.studies.study import Study, cell_description

WIDTHS = (4, 8)
SEEDS = 4
MODEL = mf.TwoLayer(mf.activations.tanh)


def settings(**changes):
    """Keyword arguments of `mf.width_study`, tiny."""
    options = {
        "model": MODEL,
        "problem": cases.problem(samples=3, test_samples=2),
        "training": mf.GradientDescent(0.1, 4),
        "widths": WIDTHS,
        "seeds": SEEDS,
        "limit": MODEL.limit(8, 2),
        "progress": False,
    }
    return {**options, **changes}


def study(store=None, **changes):
    return mf.width_study(store=store, **settings(**changes))


def described(first=0, count=SEEDS, width=WIDTHS[0], **changes):
    """What names a cell of the small study, or of one with other settings."""
    options = settings(**changes)
    sizes = {"width": options.pop("widths")}
    options.pop("progress")
    made = Study(sizes=sizes, **options)
    return cell_description(made.identity(), {"width": width}, first, count)


def unfinish(store):
    """What a run leaves that was killed before its last file."""
    (store / "study.nc").unlink()


@contextlib.contextmanager
def counted(monkeypatch):
    """[(width, first seed, count, memory)] of the cells computed within."""
    cells, plain = [], module.compute_cell

    def compute(model, size, first, count, problem, training, key, record, observe, memory, *rest):
        cells.append((size["width"], first, count, memory))
        return plain(model, size, first, count, problem, training, key, record, observe, memory, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "compute_cell", compute)
        yield cells


def pieces(cells):
    """[(width, first seed, count)] in the order of the study; cells are computed widest first."""
    assert [cell[0] for cell in cells] == sorted((cell[0] for cell in cells), reverse=True)
    return sorted(cell[:3] for cell in cells)


@contextlib.contextmanager
def messages():
    """Texts of all warnings within."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        texts = []
        yield texts
    texts += [str(w.message) for w in caught]


def files(store):
    """{name: (time of change, bytes)} of the results."""
    paths = [*(pathlib.Path(store) / "cells").glob("*"), *pathlib.Path(store).glob("*.nc")]
    return {str(p.relative_to(store)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


def assert_same(one, other, *, attributes=True):
    """Fail unless two trees hold the same bits, under the same names, dimensions and attributes."""
    assert set(one.children) == set(other.children)
    for name in ("/", *one.children):
        a, b = one[name].to_dataset(), other[name].to_dataset()
        assert set(a.variables) == set(b.variables), name
        for variable in a.variables:
            assert a[variable].dims == b[variable].dims
            assert a[variable].dtype == b[variable].dtype or a[variable].dtype.kind in "UTO", variable
            left, right = a[variable].values, b[variable].values
            if left.dtype.kind == "f":
                left, right = (np.ascontiguousarray(v).view(f"u{v.itemsize}") for v in (left, right))
            assert np.array_equal(left, right), f"{name}/{variable} differs"
            assert a[variable].attrs == b[variable].attrs, variable
        if attributes:
            assert a.attrs == b.attrs, name
