"""The house: imports go down only, siblings keep apart, heavy and private modules stay out."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest

import meanfield

ROOT = pathlib.Path(meanfield.__file__).parent
FLOORS = (
    *("base", "numerics", "model", "observe", "kernels", "programs", "flows", "systems", "landscape"),
    *("studies", "datasets", "plot", "cli"),
)
OTT_ALLOWED = ("numerics/transport.py", "flows/jko.py")
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports(tree, package):
    """(module, imported name or None, node) of every import in a file, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, node
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield module, alias.name, node


def parsed(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    package = ["meanfield", *path.parts[:-1]]
    return tree, list(imports(tree, package))


def inner_targets(path):
    """Parts of the modules of meanfield that a file imports, without the leading `meanfield`.

    Only the topmost floor may see the whole.
    """
    for module, name, node in parsed(path)[1]:
        parts = module.split(".")
        if parts[0] != "meanfield":
            continue
        if len(parts) == 1 and name is None and path.parts == ("cli.py",):
            continue
        if len(parts) == 1:  # from meanfield import studies
            assert name is not None, f"{path}:{node.lineno} imports meanfield as a whole"
            parts = [*parts, name]
        yield tuple(parts[1:]), node.lineno


def floor_of(parts):
    return FLOORS.index(parts[0].removesuffix(".py"))


def imported_from(text, package=("meanfield", "model")):
    return [(module, name) for module, name, _ in imports(ast.parse(text), list(package))]


def test_the_parser_sees_every_form_of_import():
    """The rules below are only as good as what it finds."""
    assert imported_from("import a.b, c") == [("a.b", None), ("c", None)]
    assert imported_from("def f():\n    from a import b as c") == [("a", "b")]
    assert imported_from("from . import loss") == [("meanfield.model", "loss")]
    assert imported_from("from ..base import checks") == [("meanfield.base", "checks")]
    assert imported_from("if x:\n    from .loss import Loss") == [("meanfield.model.loss", "Loss")]


def test_every_file_stands_on_a_known_floor():
    assert len(FILES) > 20
    names = {path.parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert names <= set(FLOORS)


@pytest.mark.parametrize("path", [p for p in FILES if len(p.parts) > 1 or p.name == "cli.py"], ids=str)
def test_imports_only_go_down(path):
    for parts, line in inner_targets(path):
        assert parts[0] in FLOORS, f"{path}:{line} imports meanfield.{parts[0]}, which has no floor"
        assert floor_of(parts) <= floor_of(path.parts), f"{path}:{line} imports meanfield.{'.'.join(parts)}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "systems" and len(p.parts) > 1], ids=str)
def test_systems_never_import_a_sibling(path):
    own = path.parts[1].removesuffix(".py")
    for parts, line in inner_targets(path):
        if parts[0] == "systems":
            assert len(parts) > 1, f"{path}:{line} imports meanfield.systems as a whole"
            assert parts[1] == own, f"{path}:{line} imports its sibling {parts[1]}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "studies"], ids=str)
def test_studies_know_no_system(path):
    """What they need of one they ask of its model, so that a new system needs no edit there."""
    for parts, line in inner_targets(path):
        assert parts[0] != "systems", f"{path}:{line} imports meanfield.{'.'.join(parts)}"


def test_modules_do_not_import_each_other_in_a_circle():
    """Imports at the head of modules; those inside functions run later."""
    graph = {}
    for path in FILES:
        tree, found = parsed(path)
        inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
        edges = set()
        for module, name, node in found:
            if module.split(".")[0] == "meanfield" and id(node) not in inside:
                full = f"{module}.{name}"
                edges.add(full if (ROOT / (full.replace(".", "/")[10:] + ".py")).exists() else module)
        name = ".".join(["meanfield", *path.with_suffix("").parts]).removesuffix(".__init__")
        graph[name] = edges
    done, trail = set(), []

    def visit(name):
        assert name not in trail, f"circle {' -> '.join([*trail[trail.index(name) :], name])}"
        if name in done or name not in graph:
            return
        trail.append(name)
        for other in sorted(graph[name] - {name}):
            visit(other)
        done.add(trail.pop())

    for name in graph:
        visit(name)
    assert len(done) == len(FILES)


FORBIDDEN = (
    *("jax._src", "jaxlib", "jaxopt", "jax.experimental.host_callback", "jax.experimental.maps"),
    *("jax.experimental.pjit", "jax.interpreters", "jax.linear_util", "jax.abstract_arrays", "jax.core"),
)


def forbidden_uses(tree, found):
    """What a file takes from private, deprecated or discontinued modules, and global settings it changes."""
    for module, name, node in found:
        full = f"{module}.{name}" if name else module
        for bad in FORBIDDEN:
            if full == bad or full.startswith(bad + "."):
                yield node.lineno, full
        if name == "pmap":
            yield node.lineno, full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr == "pmap" or text.startswith(("jax._src", "jax.core.", "jaxlib.")):
                yield node.lineno, text
            if text == "jax.config.update":
                yield node.lineno, text


@pytest.mark.parametrize(
    "text",
    [
        "import jax._src.core",
        "from jax._src import core",
        "from jax import pmap",
        "import jaxopt",
        "from jax.experimental import host_callback",
        "import jax\njax.pmap(f)",
        "import jax\njax.config.update('jax_enable_x64', True)",
        "def f():\n    from jaxlib import xla_client",
    ],
)
def test_a_forbidden_use_is_found(text):
    tree = ast.parse(text)
    assert list(forbidden_uses(tree, list(imports(tree, ["meanfield"]))))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_private_or_deprecated_module_of_jax_and_no_global_setting(path):
    assert not list(forbidden_uses(*parsed(path)))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_ott_is_imported_only_where_a_transport_distance_is_computed(path):
    """It takes seconds to import: inside functions, in the modules that need it."""
    tree, found = parsed(path)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    uses = [node for module, _, node in found if module.split(".")[0] == "ott"]
    assert not uses or path.as_posix() in OTT_ALLOWED
    assert all(id(node) in inside for node in uses)


def modules_after(statement):
    """Top-level modules loaded by a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


LIGHT = ["meanfield", "meanfield.datasets", "meanfield.cli"]


@pytest.mark.parametrize("name", LIGHT)
def test_importing_the_package_does_not_import_jax(name):
    if name == "meanfield.cli" and importlib.util.find_spec(name) is None:
        pytest.skip("there is no command line yet")
    heavy = {"jax", "jaxlib", "ott", "matplotlib", "scipy", "xarray", "optax"}
    assert not modules_after(f"import {name}; dir({name.split('.')[0]})") & heavy


def test_a_fresh_interpreter_that_uses_jax_is_recognised():
    assert "jax" in modules_after("import meanfield; meanfield.activations")


def test_simulating_does_not_import_ott_or_a_plotting_library():
    code = (
        "import meanfield as mf; p = mf.Problem([[1.0], [2.0]], [1.0, 2.0]);"
        "mf.simulate(mf.TwoLayer(mf.activations.tanh).finite(4), p, mf.GradientDescent(0.1, 2))"
    )
    assert not modules_after(code) & {"ott", "jaxopt", "matplotlib"}


def test_every_public_name_can_be_imported():
    for name in dir(meanfield):
        assert getattr(meanfield, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = meanfield.nonsense
