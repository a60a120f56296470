"""The summary, the files, and what drawing must leave alone."""

import hashlib
import os
import pathlib
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import pytest
from drawn_studies import made_study, sentence

import meanfield as mf

HERE = pathlib.Path(__file__).parent


def digests(files):
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def texts_inside(figure):
    """Whether all that is written lies inside the figure."""
    figure.draw_without_rendering()
    page = figure.bbox
    for ax in figure.axes:
        box = ax.get_tightbbox()
        if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1):
            return False
    return True


@pytest.mark.parametrize("response", [False, True])
def test_the_summary_has_three_panels_side_by_side(response):
    figure = mf.plot.summary(made_study(response=response))
    labels = [ax.get_ylabel().partition("\n")[0] for ax in figure.axes]
    last = "spread of one network," if response else "network output $f(x)$,"
    assert labels == ["distance to the limit,", "training loss $R$", last]
    assert texts_inside(figure)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


@pytest.mark.parametrize("name", ["convergence", "training_curves", "predictions", "spread_ratio"])
def test_a_figure_of_its_own_is_one_figure_that_holds_all_its_text(responded, name):
    drawn = getattr(mf.plot, name)(responded)
    assert plt.get_fignums() == [drawn.figure.number]
    assert drawn.figure.get_layout_engine() is not None and texts_inside(drawn.figure)
    drawn.figure.draw_without_rendering()
    assert drawn["legend"].get_window_extent().y0 > drawn.ax.bbox.y1 - 1  # it hides no data


@pytest.mark.parametrize("name", ["convergence", "training_curves", "predictions", "spread_ratio"])
def test_given_axes_are_drawn_on_and_no_figure_is_made(responded, name):
    figure, (left, right) = plt.subplots(1, 2)
    drawn = getattr(mf.plot, name)(responded, ax=right)
    assert (
        drawn.ax is right
        and drawn.figure is figure
        and not left.lines
        and plt.get_fignums() == [figure.number]
    )
    part = plt.figure().subfigures(1, 2)[0]
    assert getattr(mf.plot, name)(responded, ax=part.subplots()).figure is part.figure


def test_ticks_drawn_later_have_the_sizes_of_the_paper(study):
    drawn = mf.plot.convergence(study)
    with matplotlib.rc_context({"xtick.labelsize": 30, "ytick.labelsize": 30}):
        drawn.figure.draw_without_rendering()
    sizes = {label.get_fontsize() for label in [*drawn.ax.get_xticklabels(), *drawn.ax.get_yticklabels()]}
    assert sizes == {7}


def test_files_are_png_and_pdf_and_always_the_same(responded, tmp_path):
    first = mf.plot.save(mf.plot.summary(responded), tmp_path / "study.v1")
    assert [file.name for file in first] == ["study.v1.png", "study.v1.pdf"]
    assert first[0].read_bytes()[:4] == b"\x89PNG" and first[1].read_bytes()[:4] == b"%PDF"
    figure = mf.plot.summary(responded)
    once = digests(mf.plot.save(figure, tmp_path / "a"))
    figure.draw_without_rendering()
    assert once == digests(first) == digests(mf.plot.save(figure, tmp_path / "a"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "a.pdf",
        "a.png",
        "study.v1.pdf",
        "study.v1.png",
    ]
    assert not any(word in first[1].read_bytes() for word in (b"CreationDate", b"ModDate"))


def test_files_are_the_same_in_another_process_on_another_day(tmp_path):
    """A process with an order of sets and a date of its own, and this one."""
    script = (
        "import sys, matplotlib; matplotlib.use('Agg'); sys.path.insert(0, sys.argv[1])\n"
        "import meanfield as mf; from drawn_studies import made_study\n"
        "mf.plot.save(mf.plot.convergence(made_study()), sys.argv[2])\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "100000000"}
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-c", script, str(HERE), str(other)], check=True, env=environment)
    here = mf.plot.save(mf.plot.convergence(made_study()), tmp_path / "here")
    assert digests([other.with_suffix(".png"), other.with_suffix(".pdf")]) == digests(here)


def test_what_a_function_returned_can_be_saved(study, tmp_path):
    assert all(
        file.stat().st_size > 5000 for file in mf.plot.save(mf.plot.convergence(study), str(tmp_path / "c"))
    )


def test_bad_paths_and_figures_are_one_sentence(study, tmp_path):
    figure = plt.figure()
    cases = [
        (lambda: mf.plot.save(figure, tmp_path / "a.png"), ValueError, "`path` must be without suffix"),
        (
            lambda: mf.plot.save(figure, tmp_path / "no" / "a"),
            ValueError,
            "`path` must lie in a folder that exists",
        ),
        (lambda: mf.plot.save(figure, 3), TypeError, "`path` must be a path without suffix, but is 3"),
        (lambda: mf.plot.save(study, tmp_path / "a"), TypeError, "`figure` must be a matplotlib figure"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind) as error:
            call()
        assert words in str(error.value)
    with pytest.raises(ValueError) as error:
        cases[0][0]()
    assert sentence(error) and not list(tmp_path.iterdir())


def test_a_drawing_that_fails_leaves_no_figure(study, monkeypatch):
    import meanfield.plot.distances
    import meanfield.plot.page

    def broken(*arguments, **options):
        raise RuntimeError("broken")

    monkeypatch.setattr(meanfield.plot.distances, "legend_above", broken)
    monkeypatch.setattr(meanfield.plot.page, "training_curves", broken)
    for function in (mf.plot.convergence, mf.plot.summary):
        with pytest.raises(RuntimeError, match="broken"):
            function(study)
    assert not plt.get_fignums()


def test_importing_the_library_and_its_plots_does_not_import_matplotlib():
    script = "import sys, meanfield as mf; dir(mf.plot); sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_functions_stay_functions_after_their_modules_are_imported():
    for name in mf.plot._NAMES:
        assert callable(getattr(mf.plot, name)) and name not in mf.plot._NAMES.values()
    with pytest.raises(AttributeError, match="has no attribute 'pie_chart'"):
        mf.plot.pie_chart  # noqa: B018
