"""
The repository keeps its shape: modules that import only modules, in no circle, scripts that nobody imports, nothing
executed that a user wrote, no failure swallowed, and small files where small was promised.
"""

import ast
import graphlib
from pathlib import Path

import pytest
from conftest import script

import configurator
from train import TrainConfig

ROOT = Path(__file__).parents[1]
SCRIPTS = {"train", "sample", "chat", "serve", "evaluate", "export", "bench"}
TOP = sorted(ROOT.glob("*.py"))
OURS = [*TOP, *sorted(ROOT.glob("readers/*.py")), *sorted(ROOT.glob("data/*/prepare.py"))]
NAMES = {path.stem for path in TOP} | {"readers"}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """The names of this repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0] if not node.level else path.parent.name)
    return found & NAMES


def test_there_is_something_to_look_at():
    """The globs find the modules, so that the tests below cannot pass on nothing."""
    assert {"model", "engine", "train", "chat", "conversation"} <= NAMES and len(OURS) >= 18


def test_no_circle():
    """The import graph of the modules can be put in an order."""
    graph = {path.stem: imports(path) for path in TOP}
    graph["readers"] = {name for path in OURS if path.parent.name == "readers" for name in imports(path)} - {"readers"}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("configurator") < order.index("engine") < order.index("chat")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_is_never_imported(path):
    """A verb may import nouns; nobody imports a verb."""
    assert not imports(path) & SCRIPTS


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_executed_or_swallowed(path):
    """No exec, eval or pickle.load(s), no torch.load without weights_only, no bare except, no except Exception."""
    for node in ast.walk(tree(path)):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("exec", "eval", "pickle.load", "pickle.loads", "compile", "__import__"), where
            if called == "torch.load":
                weights_only = [kw.value for kw in node.keywords if kw.arg == "weights_only"]
                assert weights_only and ast.literal_eval(weights_only[0]) is True, where
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            swallowed = caught in ("everything", "Exception", "BaseException")
            assert not swallowed or any(isinstance(child, ast.Raise) for child in ast.walk(node)), f"{where}: {caught}"


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_what_it_is_and_does_nothing_at_import(path):
    """Each begins with a docstring; at the top level are declarations only, and last a main guard in a script."""
    content = tree(path)
    assert ast.get_docstring(content), path.name
    declared = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
        ast.AugAssign,
    )
    for node in content.body[1:]:
        is_guard = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        is_path = path.name == "prepare.py" and "sys.path" in ast.unparse(node)
        assert isinstance(node, declared) or is_guard or is_path, f"{path.name}:{node.lineno}"
    assert (path.stem in SCRIPTS | {"prepare"}) == ("__main__" in ast.unparse(content.body[-1]))


def test_no_drawer_for_everything():
    """No utils, helpers, common or misc: a thing has a name."""
    drawers = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}
    names = [p for p in ROOT.rglob("*.py") if not {".venv", "node_modules"} & set(p.relative_to(ROOT).parts)]
    assert len(names) > 20 and not [path for path in names if path.stem in drawers or path.parent.name in drawers]


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/*.py")), ids=lambda path: path.name)
def test_a_config_file_is_short_and_loads(path):
    """At most 25 lines, commented, and every name in it a setting of train.py, or of the mixture."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25 and text.startswith("#")
    if path.name.startswith("mix_"):
        assert configurator.load(script("mix").MixConfig, [str(path)]).folders
        return
    config = configurator.load(TrainConfig, [str(path)])
    assert config.out_dir.startswith("out-") and config != TrainConfig()


@pytest.mark.parametrize("path", sorted(ROOT.glob("data/*/prepare.py")), ids=lambda path: path.parent.name)
def test_a_prepare_file_is_short(path):
    """At most 60 lines: where the chats come from, and conversations()."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    functions = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef)}
    assert "conversations" in functions
    assert {"licence", "Licence"} & set(ast.get_docstring(tree(path)).replace(":", " ").split()), "no licence told"


def test_text_files_are_opened_as_utf8():
    """open and read_text/write_text without an encoding take the machine's, which on Windows is not UTF-8."""
    for path in OURS:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            text_mode = called == "open" and not any("b" in str(getattr(arg, "value", "")) for arg in node.args[1:2])
            if text_mode or called.endswith((".read_text", ".write_text")):
                given = {kw.arg for kw in node.keywords}
                assert "encoding" in given, f"{path.name}:{node.lineno}"
