"""The command line: meanfield list | plan | run | report | plot | cite.

Nothing heavy is imported before a command is known to need it, so that --help answers at once.
Exit codes: 0 done, 1 failed while computing, 2 bad arguments, 130 interrupted.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import pathlib
import sys
import warnings

USAGE = """\
usage: meanfield COMMAND ...

  list                 the experiments: name and question
  plan NAME [options]  cells, memory and time of an experiment; nothing is run
  run NAME [options]   run it, or go on where it stopped; report and figures go to the store
  report STORE         what the study or experiment in a store found
  plot STORE           its figures, as PNG and PDF in STORE/figures
  cite NAME            the papers behind an experiment

  meanfield run NAME --help shows an experiment's options, such as --widths 64 256 --seeds 8 --store DIR.
  meanfield --version
"""

COMMANDS = {"list": 0, "plan": 1, "run": 1, "report": 1, "plot": 1, "cite": 1}


class UsageError(Exception):
    """Wrong words on the command line; the message is one sentence."""


def experiments():
    """{name: path} of the experiments that come with the package."""
    from importlib.resources import files

    folder = pathlib.Path(str(files("meanfield.experiments")))
    return {p.stem: p for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")}


def literal(path, name):
    """A module-level literal of an experiment, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def question(path):
    """First line of an experiment's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def closest(word, known):
    import difflib

    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}."


def experiment_path(name):
    known = experiments()
    if name not in known:
        raise UsageError(f"There is no experiment named {name!r}{closest(name, list(known))}")
    return known[name]


def load(name):
    experiment_path(name)
    return importlib.import_module(f"meanfield.experiments.{name}")


def options_of(name, module, words, plan=False):
    """Keyword arguments of `compute`, from the words after the name."""
    import tyro

    function = module.compute
    described = (inspect.getdoc(module) or "").split("\n")[0]

    def collect(**options):
        return options

    collect.__signature__ = inspect.signature(function)
    collect.__doc__ = (
        f"{described}\n\n{(inspect.getdoc(function) or '').partition('Args:')[1]}"
        + ((inspect.getdoc(function) or "").partition("Args:")[2])
    )
    collect.__annotations__ = function.__annotations__
    prog = f"meanfield {'plan' if plan else 'run'} {name}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(collect, prog=prog, args=list(words))
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UsageError(f"{one_sentence(said.getvalue())} See {prog} --help.") from None


def one_sentence(box):
    """The first message in a box drawn with lines, or with dashes below its title where there is no UTF-8."""
    lines = [line.strip("│ ").strip() for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if not line.strip("-") or line[0] in "╭╰─"] + [len(lines)]
    start, stop = rules[0] + 1, rules[1] if len(rules) > 1 else len(lines)
    text = " ".join(lines[start:stop])
    near = next((line for line in lines[stop:] if line.startswith("--") and line.strip("-")), None)
    if "Unrecognized" in text and near:
        text += f"; did you mean {near.split()[0]}?"
    return text if text.endswith(("?", ".")) else text + "."


def store_of(name, options):
    return options.get("store") or f"{name}-study"


def run(name, words):
    module = load(name)
    options = options_of(name, module, words)
    store = pathlib.Path(store_of(name, options))
    options["store"] = str(store)
    again = "Give the same command again to go on."
    check_folder(name, module, options, store)
    try:
        data = module.compute(**options)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What was finished is in {store}. {again}", file=sys.stderr)
        return 130
    keep(name, options, data, store)
    print(module.summary(data))
    figure_files = draw(module, data, store)
    print("\nfigures: " + ", ".join(str(p) for p in figure_files))
    return 0


def check_folder(name, module, options, store):
    """Refuse, before anything is computed, a folder that holds something else than this experiment."""
    if not store.is_dir():
        return
    from meanfield.studies.store import RUNS, StoreError

    began = began_by(store)
    if began not in (None, name):
        raise StoreError(f"Store {store} holds another experiment, {began}: choose another folder.")
    parts = parts_of(module, options)
    one = list(parts) == [name]  # the folder is the store of a study, which knows what is its own
    if began == name or one and (store / "study.json").exists():
        return
    # What a run leaves that was killed before its end.
    own = {"cells"} if one else {RUNS, *parts}
    found = (p for p in sorted(store.iterdir()) if not p.name.startswith("."))
    foreign = [p.name for p in found if p.name not in own or not p.is_dir()]
    if foreign:
        raise StoreError(
            f"Argument `store` must be an empty folder or a store, but {store} holds {foreign[0]}."
        )


def began_by(store):
    """The experiment that a folder belongs to by its own word, or None."""
    about = store / "experiment.json"
    if not about.exists():
        return None
    try:
        name = json.loads(about.read_text())["experiment"]
        if isinstance(name, str):
            return name
    except (ValueError, KeyError, TypeError, OSError):
        pass
    raise UsageError(f"Store {store} has an unreadable experiment.json.")


def parts_of(module, options):
    """{name: the `Study` behind a part of an experiment}."""
    parameters = inspect.signature(module.studies).parameters
    return module.studies(**{k: v for k, v in options.items() if k in parameters})


def keep(name, options, data, store):
    """Write down which experiment the store belongs to, and its result if it is no study of its own."""
    from meanfield.studies.store import Store, to_bytes

    kept = Store(store)
    store.mkdir(parents=True, exist_ok=True)
    plain = {k: v for k, v in options.items() if k not in ("store", "progress")}
    about = json.dumps({"experiment": name, "options": plain}, indent=1, sort_keys=True, default=list)
    kept.write_plain("experiment.json", about.encode())
    if not (store / "study.nc").exists():
        kept.write_path(store / "result.nc", to_bytes(data))


def draw(module, data, store):
    from meanfield.plot import save

    folder = store / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    return save(module.draw(data), folder / module.__name__.rpartition(".")[2])


def opened(store):
    """(module, data) of a store: an experiment's, or a plain study with no experiment."""
    store = pathlib.Path(store)
    if not store.is_dir():
        raise UsageError(f"There is no store {store}.")
    from meanfield.studies.store import StoreError, read_checked_tree
    from meanfield.studies.study import open_study

    name = began_by(store)
    module = None if name is None else load(name)
    if module is not None and (store / "result.nc").exists():
        try:
            return module, read_checked_tree(store / "result.nc")
        except ValueError as error:
            raise StoreError(
                f"File {store / 'result.nc'} is damaged ({error}): run the experiment again."
            ) from None
    return module, open_study(store)


def report(store, words):
    no_more("report", words)
    module, data = opened(store)
    if module is None:
        import meanfield

        print(meanfield.report(data))
    else:
        print(module.summary(data))
    return 0


def plot(store, words):
    no_more("plot", words)
    module, data = opened(store)
    if module is None:
        from meanfield.plot import save, summary

        folder = pathlib.Path(store) / "figures"
        folder.mkdir(exist_ok=True)
        files = save(summary(data), folder / "study")
    else:
        files = draw(module, data, pathlib.Path(store))
    print("\n".join(str(p) for p in files))
    return 0


def plan(name, words):
    module = load(name)
    options = options_of(name, module, words, plan=True)
    store = pathlib.Path(store_of(name, options))
    from meanfield.studies.plan import plan_text

    parts = parts_of(module, options)
    if not parts:
        print(f"{name}: one computation without cells. {inspect.getdoc(module).splitlines()[-1]}")
        return 0
    for part, study in parts.items():
        folder = store if len(parts) == 1 and part == name else store / part
        print(plan_text(part, study, folder if folder.exists() else None))
    return 0


def show_list():
    known = experiments()
    longest = max(map(len, known))
    for name, path in known.items():
        print(f"{name:<{longest + 2}}{question(path)}")
    return 0


def cite(name, words):
    no_more("cite", words)
    path = experiment_path(name)
    for source in literal(path, "SOURCES") or ():
        print(source)
    return 0


def no_more(command, words):
    if words:
        rule = "takes one argument, but also got" if COMMANDS[command] else "takes no argument, but got"
        raise UsageError(f"`meanfield {command}` {rule} {words[0]!r}.")


def dispatch(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    command, *rest = arguments
    if command == "--version":
        from importlib.metadata import version

        print(f"meanfield {version('meanfield')}")
        return 0
    if command not in COMMANDS:
        raise UsageError(f"There is no command {command!r}{closest(command, list(COMMANDS))}")
    if rest and rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if command == "list":
        no_more("list", rest)
        return show_list()
    if not rest:
        what = "a STORE" if command in ("report", "plot") else "the NAME of an experiment"
        raise UsageError(f"`meanfield {command}` needs {what}; see meanfield --help.")
    return {"plan": plan, "run": run, "report": report, "plot": plot, "cite": cite}[command](
        rest[0], rest[1:]
    )


def say_warning(message, *_, **__):
    """A warning without the line of code that gave it."""
    print(f"meanfield: {message}", file=sys.stderr)


def main(arguments=None):
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # "?" for ± where the terminal has no such sign
    try:
        with warnings.catch_warnings():
            warnings.showwarning = say_warning
            return dispatch(arguments)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: nothing to say and nobody to say it to
        return 0
    except UsageError as error:
        print(f"meanfield: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nmeanfield: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from meanfield.base.errors import meant_for_users

        if not meant_for_users(error):
            raise  # a fault of the program: its traceback says where
        print(f"meanfield: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError | TypeError) else 1


if __name__ == "__main__":
    sys.exit(main())
