"""The command line: what it prints, what it keeps, how it fails."""

import io
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import xarray as xr
from matplotlib.figure import Figure
from meanfield.experiments import margin

import meanfield as mf
from meanfield import cli
from meanfield.base.errors import ComputationError
from meanfield.studies import study as studies
from meanfield.studies.store import part_of

TINY = "--widths 4 8 --seeds 3 --steps 3 --samples 4 --test-samples 3".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Store of a tiny digits run."""
    store = tmp_path_factory.mktemp("cli") / "store"
    assert cli.main(["run", "digits", *TINY, "--store", str(store)]) == 0
    return store


@pytest.fixture
def store(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "store")


def said(capsys, *words):
    """(exit code, standard output, standard error) of a command."""
    capsys.readouterr()
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


# Processes of a script's background ignore Ctrl-C unless they ask for it.
PROGRAM = """
import signal, sys
from meanfield.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def started(*words, **options):
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


# --- light answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["list"], ["cite", "digits"], ["--version"], ["nonsense"], []])
def test_what_needs_no_computing_imports_neither_jax_nor_numpy_nor_xarray(words):
    code = (
        "import sys; from meanfield.cli import main; main(sys.argv[1:]);"
        "heavy = {'jax', 'numpy', 'xarray', 'scipy', 'matplotlib', 'h5py', 'tyro'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_check_of_imports_can_fail():
    code = "import sys, meanfield; meanfield.activations; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 1


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["run", "--help"], ["report", "-h"]])
def test_help_names_every_command(words, capsys):
    code, out, err = said(capsys, *words)
    assert code == 0 and err == ""
    assert all(f"  {command} " in out for command in cli.COMMANDS)


def test_no_command_is_help_and_a_mistake(capsys):
    assert said(capsys)[:2] == (2, cli.USAGE)


def test_the_version_is_that_of_the_package(capsys):
    import importlib.metadata

    assert said(capsys, "--version")[:2] == (0, f"meanfield {importlib.metadata.version('meanfield')}\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_the_signs_of_a_report_is_no_error(encoding, finished, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        assert cli.main(["report", str(finished)]) == 0
    out, err = (stream.detach().getvalue() for stream in (out, err))
    assert err == b""
    assert ("±".encode() if encoding == "utf-8" else b"\xb1" if encoding == "latin-1" else b"?") in out


@pytest.mark.parametrize("signs", ["utf-8", "ascii"])
def test_mistakes_in_options_are_read_from_a_box_in_either_hand(signs):
    rule = "─" if signs == "utf-8" else "-"
    title = ["╭─ Bad ───╮"] if signs == "utf-8" else [" Bad     ", " --------- "]
    bar = "│" if signs == "utf-8" else " "
    box = [*title, f"{bar} It is {bar}", f"{bar} wrong  {bar}", f"{bar} {9 * rule} {bar}", f"{bar} Or {bar}",
           f"{bar}   --seeds INT {bar}", "╰───────╯" if signs == "utf-8" else ""]  # fmt: skip
    assert cli.one_sentence("\n".join(box)) == "It is wrong."
    box[len(title)] = f"{bar} Unrecognized {bar}"
    assert cli.one_sentence("\n".join(box)) == "Unrecognized wrong; did you mean --seeds?"


def test_every_experiment_is_listed_with_its_question(capsys):
    code, out, _ = said(capsys, "list")
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    files = pathlib.Path(cli.__file__).parents[1].joinpath("experiments").glob("[!_]*.py")
    assert set(rows) == {path.stem for path in files} >= {"digits"}
    assert all(question.rstrip().endswith("?") for question in rows.values())


@pytest.mark.parametrize("name", cli.experiments())
def test_every_experiment_cites_its_sources(name, capsys):
    code, out, _ = said(capsys, "cite", name)
    assert code == 0 and out.strip()
    assert all(any(c.isdigit() for c in line) for line in out.splitlines())  # a year each


def test_the_installed_command_is_this_one():
    command = pathlib.Path(sys.executable).with_name("meanfield")
    if not command.exists():
        pytest.skip("the package is not installed with its command")
    run = subprocess.run([command, "cite", "nonsense"], capture_output=True, text=True)
    assert run.returncode == 2 and "nonsense" in run.stderr and run.stdout == ""


@pytest.mark.parametrize("name", cli.experiments())
def test_every_experiment_shows_its_options(name, capsys):
    code, out, _ = said(capsys, "run", name, "--help")
    assert code == 0 and "--store" in out and "--key" in out and f"meanfield run {name}" in out


# --- a whole life -----------------------------------------------------------------------------------------


def test_a_run_prints_the_report_and_keeps_it(finished, capsys):
    code, out, err = said(capsys, "report", finished)
    assert code == 0 and err == ""
    assert out.rstrip("\n") == mf.report(mf.open_study(finished))
    about = json.loads((finished / "experiment.json").read_text())
    assert about["experiment"] == "digits" and about["options"]["widths"] == [4, 8]


def test_the_same_command_again_computes_nothing_and_prints_the_same(store, capsys, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(studies, "compute_cell", refuse)
    before = (store / "study.nc").stat().st_mtime_ns
    code, out, err = said(capsys, "run", "digits", *TINY, "--store", store)
    assert code == 0 and err == ""
    assert out.startswith(mf.report(mf.open_study(store)))
    assert (store / "study.nc").stat().st_mtime_ns == before


def test_more_seeds_on_the_same_store_go_on(store, capsys):
    words = [*TINY[:4], "4", *TINY[5:]]
    code, out, _ = said(capsys, "run", "digits", *words, "--store", store)
    assert code == 0 and "; 4 seeds" in out
    assert json.loads((store / "experiment.json").read_text())["options"]["seeds"] == 4


def test_figures_are_written_as_png_and_pdf(store, capsys):
    shutil.rmtree(store / "figures")
    code, out, err = said(capsys, "plot", store)
    assert code == 0 and err == ""
    paths = [pathlib.Path(line) for line in out.splitlines()]
    assert [p.suffix for p in paths] == [".png", ".pdf"] and all(p.parent == store / "figures" for p in paths)
    assert paths[0].read_bytes()[:4] == b"\x89PNG" and paths[1].read_bytes()[:4] == b"%PDF"


def test_the_figure_of_a_study_is_a_figure_and_saved_twice(finished, tmp_path):
    """summary(study) → Figure; save(figure, path without suffix) → [png, pdf]."""
    import matplotlib.figure

    figure = mf.plot.summary(mf.open_study(finished))
    assert isinstance(figure, matplotlib.figure.Figure)
    paths = mf.plot.save(figure, tmp_path / "study")
    assert paths == [tmp_path / "study.png", tmp_path / "study.pdf"] and all(p.stat().st_size for p in paths)


def test_a_study_that_no_experiment_made_is_reported_and_plotted(finished, tmp_path, capsys):
    store = shutil.copytree(finished, tmp_path / "store")
    (store / "experiment.json").unlink()
    shutil.rmtree(store / "figures")
    assert said(capsys, "report", store)[1] == said(capsys, "report", finished)[1]
    code, out, _ = said(capsys, "plot", store)
    assert code == 0 and out.splitlines() == [f"{store}/figures/study.png", f"{store}/figures/study.pdf"]


def test_a_plan_says_which_cells_are_done(finished, capsys):
    words = ["--widths", "4", "8", "16", *TINY[3:]]
    code, out, err = said(capsys, "plan", "digits", *words, "--store", finished)
    assert code == 0 and err == ""
    rows = [line.split() for line in out.splitlines() if line.startswith("width ")]
    assert [(row[1], row[3], row[4]) for row in rows] == [("4", "2", "2"), ("8", "2", "2"), ("16", "2", "0")]
    assert "2 of 6 cells to compute" in out


def test_a_plan_leaves_no_trace(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "plan", "digits", *TINY)[0] == 0
    assert list(tmp_path.iterdir()) == []


# --- folders of experiments that are no single study ------------------------------------------------------


@pytest.fixture
def quick_margin(monkeypatch):
    """The experiment `margin` with a result at once, kept in parts like any other; [stores it was given]."""
    calls = []

    def compute(*, key: int = 0, store: str | None = None, progress: bool = True):
        calls.append(store)
        part = pathlib.Path(part_of(store), "cells")
        part.mkdir(parents=True, exist_ok=True)
        (part / "a.nc").touch()
        loss = ("step", [1.0, 2.0 + key], {"long_name": "loss", "units": "1"})
        return xr.DataTree.from_dict({"loss": xr.Dataset({"loss": loss})})

    monkeypatch.setattr(margin, "compute", compute)
    monkeypatch.setattr(margin, "summary", lambda data: f"last {float(data['loss/loss'][-1])}")
    monkeypatch.setattr(margin, "draw", lambda data: Figure())
    return calls


MARGIN = ["run", "margin", "--store"]


def test_a_result_is_kept_with_its_experiment_and_replaced_by_a_later_one(quick_margin, tmp_path, capsys):
    store = tmp_path / "store"
    for key in (0, 1):
        code, out, err = said(capsys, *MARGIN, store, "--key", key)
        assert code == 0 and err == "" and out.startswith(f"last {2.0 + key}\n")
        assert said(capsys, "report", store) == (0, f"last {2.0 + key}\n", "")
    assert quick_margin == 2 * [str(store)]


def test_a_run_that_was_killed_before_its_result_is_gone_on_with(quick_margin, tmp_path, capsys):
    store = tmp_path / "store"
    said(capsys, *MARGIN, store)
    for name in ("experiment.json", "result.nc"):
        (store / name).unlink()
    shutil.rmtree(store / "figures")
    (store / ".nobody").touch()
    assert said(capsys, *MARGIN, store)[0] == 0
    assert (store / "result.nc").exists()


def test_without_a_store_given_the_results_go_beside(quick_margin, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "run", "margin")[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["margin-study"] == quick_margin
    assert said(capsys, "report", "margin-study")[0] == 0


def its_thesis(folder):
    (folder / "thesis.tex").write_text("chapter 1")


def its_result(folder):
    (folder / "result.nc").write_text("of something else")


def its_studies(folder):
    (folder / "digits-study" / "cells").mkdir(parents=True)


def its_file(folder):
    (folder / "runs").touch()


def its_study(folder):
    (folder / "study.json").write_text(json.dumps({"identity": {}, "memory": 1.0, "request": "r"}))


def its_experiment(folder):
    (folder / "experiment.json").write_text('{"experiment": "transfer"}')
    (folder / "result.nc").touch()


def its_riddle(folder):
    (folder / "experiment.json").write_text("{")


OCCUPIED = [
    (its_thesis, "thesis.tex"),
    (its_result, "holds result.nc"),
    (its_studies, "holds digits-study"),
    (its_file, "holds runs"),
    (its_study, "holds study.json"),
    (its_experiment, "holds another experiment, transfer"),
    (its_riddle, "unreadable experiment.json"),
]


@pytest.mark.parametrize(("prepare", "part"), OCCUPIED, ids=[f.__name__ for f, _ in OCCUPIED])
def test_no_result_is_written_where_something_else_lies(prepare, part, quick_margin, tmp_path, capsys):
    prepare(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    code, out, err = said(capsys, *MARGIN, tmp_path)
    assert code == 2 and out == "" and quick_margin == []
    assert_one_line(err.replace(": choose", ", choose"), str(tmp_path), part)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_store_of_another_experiment_is_refused_to_a_study_too(tmp_path, capsys):
    its_experiment(tmp_path)
    code, out, err = said(capsys, *RUN, "--store", tmp_path)
    assert code == 2 and "holds another experiment, transfer" in err


def test_a_study_made_by_the_library_is_gone_on_with_by_the_command(finished, store, capsys):
    (store / "experiment.json").unlink()
    shutil.rmtree(store / "figures")
    assert said(capsys, *RUN, "--store", store)[0] == 0
    assert (store / "study.nc").read_bytes() == (finished / "study.nc").read_bytes()


# --- interrupted, killed, full ----------------------------------------------------------------------------


def test_ctrl_c_leaves_a_store_to_go_on_with_and_says_so(tmp_path, capsys):
    store = tmp_path / "store"
    words = ["digits", "--widths", *map(str, range(1, 17)), "--seeds", "2", *TINY[5:], "--store", store]
    run = started("run", *words)
    deadline = time.monotonic() + 300
    while not list(store.glob("cells/[!.]*.nc")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    assert "Interrupted" in err and str(store) in err and "same command again" in err
    assert "Traceback" not in err and out == ""
    left = {p.name: p.stat().st_mtime_ns for p in store.glob("cells/*")}
    assert 1 <= len(left) < 16 and not any(name.endswith(".tmp") for name in left)
    code, _, err = said(capsys, "report", store)
    assert code == 2 and f"not finished ({len(left)} results are there)" in err
    assert said(capsys, "run", *words)[0] == 0
    assert all((store / "cells" / name).stat().st_mtime_ns == left[name] for name in left)
    assert len(list(store.glob("cells/*.nc"))) > 16


def test_ctrl_c_anywhere_else_is_no_traceback(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "show_list", interrupt)
    code, out, err = said(capsys, "list")
    assert code == 130 and out == "" and err.strip() == "meanfield: interrupted"


def test_a_reader_that_goes_away_is_no_error():
    run = started("list", stdout=subprocess.PIPE)
    run.stdout.close()
    assert "Traceback" not in run.stderr.read()
    run.stderr.close()
    run.wait(60)


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(tmp_path, capsys):
    """No file may grow beyond four kilobytes: study.json does not, a cell does."""
    words = ["run", "digits", *TINY, "--store", tmp_path / "store"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        code, out, err = said(capsys, *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1 and out == ""
    assert_one_line(err, "cannot be written to", "file too large", "same command again")
    code, out, err = said(capsys, *words)
    assert code == 0 and err == ""


# --- mistakes ---------------------------------------------------------------------------------------------


def assert_one_line(err, *parts):
    assert err.startswith("meanfield: ") and err.count("\n") == 1 and err.endswith((".\n", "?\n")), err
    assert "Traceback" not in err and "---" not in err and not set(err) & set("╭│─╰")
    for part in parts:
        assert part in err, err


RUN = ["run", "digits", *TINY]
WRONG = [
    (["nonsense"], "nonsense"),
    (["lst"], "did you mean list?"),
    (["Run", "digits"], "did you mean run?"),
    (["--verbose"], "--verbose"),
    (["list", "digits"], "takes no argument"),
    (["run"], "NAME"),
    (["plan"], "NAME"),
    (["cite"], "NAME"),
    (["report"], "STORE"),
    (["plot"], "STORE"),
    (["run", "nonsense"], "nonsense"),
    (["run", "digit"], "did you mean digits?"),
    (["run", "../experiments/digits"], "no experiment named"),
    (["plan", "nonsense"], "nonsense"),
    (["cite", "nonsense"], "nonsense"),
    (["cite", "digits", "margin"], "margin"),
    ([*RUN, "--widht", "4"], "did you mean --widths?"),
    ([*RUN, "--nonsense"], "--nonsense"),
    ([*RUN, "extra"], "extra"),
    ([*RUN, "--widths", "8", "4"], "`widths`"),
    ([*RUN, "--widths", "4", "4"], "`widths`"),
    ([*RUN, "--widths", "0", "4"], "`widths`"),
    ([*RUN, "--widths", "-4", "4"], "`widths`"),
    ([*RUN, "--widths"], "`widths`"),
    ([*RUN, "--widths", "four"], "--widths"),
    ([*RUN, "--widths", "4.5"], "--widths"),
    ([*RUN, "--widths", "4,8"], "--widths"),
    ([*RUN, "--seeds", "0"], "`seeds`"),
    ([*RUN, "--seeds", "-3"], "`seeds`"),
    ([*RUN, "--seeds", "1.5"], "--seeds"),
    ([*RUN, "--seeds", "1" + 30 * "0"], "`seeds`"),
    ([*RUN, "--seeds"], "--seeds"),
    ([*RUN, "--steps", "0"], "`steps`"),
    ([*RUN, "--steps", "many"], "--steps"),
    ([*RUN, "--learning-rate", "0"], "`learning_rate`"),
    ([*RUN, "--learning-rate", "-0.1"], "`learning_rate`"),
    ([*RUN, "--learning-rate", "nan"], "`learning_rate`"),
    ([*RUN, "--learning-rate", "inf"], "`learning_rate`"),
    ([*RUN, "--learning-rate", "fast"], "--learning-rate"),
    ([*RUN, "--samples", "1"], "`samples`"),
    ([*RUN, "--samples", "1000"], "`samples`"),
    ([*RUN, "--test-samples", "-1"], "`test_samples`"),
    ([*RUN, "--key", "-1"], "`key`"),
    ([*RUN, "--key", str(2**63)], "`key`"),
    ([*RUN, "--key", "secret"], "--key"),
    ([*RUN, "--progress", "maybe"], "maybe"),
    ([*RUN, "--store"], "--store"),
    (["plan", "digits", "--widths", "8", "4"], "`widths`"),
    (["plan", "digits", "--seeds", "0"], "`seeds`"),
    (["report", "nowhere"], "no store nowhere"),
    (["report", "."], "holds none"),
    (["report", ".", "again"], "again"),
    (["plot", "nowhere"], "no store nowhere"),
    (["plot", "."], "holds none"),
]


@pytest.mark.parametrize(("words", "part"), WRONG, ids=[" ".join(words)[-60:] for words, _ in WRONG])
def test_a_mistake_on_the_command_line_is_one_sentence_and_leaves_no_trace(
    words, part, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert code == 2 and out == ""
    assert_one_line(err, part)
    assert list(tmp_path.iterdir()) == []


def a_file(folder):
    (folder / "store").touch()


def a_file_above(folder):
    (folder / "above").touch()
    return folder / "above" / "store"


def foreign(folder):
    (folder / "store").mkdir()
    (folder / "store" / "thesis.tex").touch()


def another_study(folder):
    (folder / "store").mkdir()
    manifest = {"identity": {"key": 7}, "memory": 1.0, "request": "r"}
    (folder / "store" / "study.json").write_text(json.dumps(manifest))


def unreadable(folder):
    (folder / "store").mkdir()
    (folder / "store" / "study.json").write_text("{")


BLOCKED = [
    (a_file, "not a directory"),
    (a_file_above, "not a directory"),
    (foreign, "thesis.tex"),
    (another_study, "holds another study"),
    (unreadable, "unreadable study.json"),
]


@pytest.mark.parametrize(("prepare", "part"), BLOCKED, ids=[f.__name__ for f, _ in BLOCKED])
def test_a_store_that_cannot_be_used_is_one_sentence(prepare, part, tmp_path, capsys):
    store = prepare(tmp_path) or tmp_path / "store"
    code, out, err = said(capsys, *RUN, "--store", store)
    assert code == 2 and out == "" and str(store) in err
    assert_one_line(err.replace(". Choose", ", choose"), part)


def test_a_store_that_may_not_be_written_to_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    code, _, err = said(capsys, *RUN, "--store", tmp_path / "store")
    assert code == 2
    assert_one_line(err, "permission denied")


def cut(store, name):
    path = store / name
    path.write_bytes(path.read_bytes()[:-10])


def written(text):
    def spoil(store):
        (store / "experiment.json").write_bytes(text)

    return spoil


def as_folder(store):
    (store / "experiment.json").unlink()
    (store / "experiment.json").mkdir()


def no_study(store):
    (store / "study.json").unlink()


def junk_study(store):
    (store / "study.json").write_text("[]")


def damaged_result(store):
    (store / "result.nc").write_bytes(b"half a result")


SPOILED = [
    (written(b"{"), "experiment.json"),
    (written(b"[1]"), "experiment.json"),
    (written(b"{}"), "experiment.json"),
    (written(b"\xff\xfe"), "experiment.json"),
    (written(b'{"experiment": "gone"}'), "gone"),
    (written(b'{"experiment": 3}'), "experiment"),
    (as_folder, "experiment.json"),
    (no_study, "holds none"),
    (junk_study, "study.json"),
    (damaged_result, "result.nc"),
]


@pytest.mark.parametrize("command", ["report", "plot"])
@pytest.mark.parametrize("spoil", [s for s, _ in SPOILED], ids=range(len(SPOILED)))
def test_a_store_that_was_spoiled_is_one_sentence(command, spoil, store, capsys):
    spoil(store)
    code, out, err = said(capsys, command, store)
    assert code == 2 and out == ""
    assert_one_line(err.replace(": give", ", give"), dict(SPOILED)[spoil])


def test_a_damaged_study_is_named_and_the_same_command_repairs_it(store):
    """As a person sees it, warnings included."""
    cut(store, "study.nc")
    run = started("report", store)
    out, err = run.communicate(timeout=120)
    lines = err.splitlines()
    assert run.returncode == 2 and out == "" and len(lines) == 2
    assert all(line.startswith("meanfield: ") for line in lines)
    assert "study.nc is damaged" in lines[0] and "not finished" in lines[1]


def failing(monkeypatch, error):
    """From now on every cell fails."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(studies, "compute_cell", fail)


def test_a_failure_while_computing_is_exit_code_1(capsys, monkeypatch, tmp_path):
    failing(monkeypatch, ComputationError("The file digits.nc is damaged."))
    code, out, err = said(capsys, *RUN, "--store", tmp_path / "store")
    assert code == 1 and out == ""
    assert_one_line(err, "digits.nc is damaged")


FAULTS = [
    RuntimeError("dictionary changed size during iteration"),
    ValueError("operands could not be broadcast together with shapes (3,) (4,)"),
    TypeError("unsupported operand type(s)"),
    KeyError("width"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[type(f).__name__ for f in FAULTS])
def test_a_fault_of_the_program_keeps_its_traceback(fault, capsys, monkeypatch, tmp_path):
    """One sentence would hide where it happened."""
    failing(monkeypatch, fault)
    with pytest.raises(type(fault)) as caught:
        cli.main([*RUN, "--store", str(tmp_path / "store")])
    assert caught.value is fault and capsys.readouterr().err == ""
    assert "fail" in [entry.name for entry in caught.traceback]


def test_results_of_an_experiment_are_plain_netcdf(finished):
    with xr.open_datatree(finished / "study.nc", engine="h5netcdf") as tree:
        assert set(tree.children) == {"finite", "limit", "fit"}
