"""
The repository keeps its shape: the files of the card, verbs that nobody imports, packages that import downwards only,
no circle, nothing executed that a user wrote, no failure swallowed, and small files where small was promised.
"""

import ast
import graphlib
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, script

import configurator
from train import TrainConfig

VERBS = ("train", "sample", "chat", "serve", "evaluate", "bench", "export", "example")
# each imports only what stands above it
PACKAGES = (
    "runtime",
    "ops",
    "configurator",
    "tokenization",
    "readers",
    "model",
    "checkpoint",
    "dataset",
    "memory",
    "training",
    "inference",
    "serving",
    "evaluation",
    "terminal",
    "benchmarks",
)
FILES = "LICENSE NOTES.md README.md CONTRIBUTING.md CHANGELOG.md configurator.py model.py".split()
FILES += "pyproject.toml requirements.txt .gitignore .pre-commit-config.yaml".split()
FOLDERS = {".ci", ".github", *"assets config data docs models personas runs tests web".split(), *PACKAGES}
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
SOURCES = sorted(path for name in PACKAGES for path in (*ROOT.glob(f"{name}.py"), *ROOT.glob(f"{name}/**/*.py")))
SCRIPTS = sorted([*(ROOT / f"{verb}.py" for verb in VERBS), *ROOT.glob("data/*/prepare.py")])
OURS = [*SOURCES, *SCRIPTS]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path) for path in SOURCES}


def imports(path):
    """The modules of this repository, and verbs, that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES or name in VERBS}


def test_there_is_something_to_look_at():
    """The globs find the modules, so that the tests below cannot pass on nothing."""
    assert {"model", "inference.engine", "tokenization.chat_format", "dataset.recall.tasks"} <= MODULES
    assert len(OURS) >= 100


def test_the_top_level_is_what_the_card_says():
    """At the top are the verbs, the files that every repository has, and the folders of the design; nothing else."""
    top = {name.partition("/")[0] for name in TRACKED if name and (ROOT / name).exists()}
    files = {name for name in top if (ROOT / name).is_file()}
    assert top - files <= FOLDERS
    assert files - set(FILES) == {f"{verb}.py" for verb in VERBS}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_package_imports_downwards_only(path):
    """Each package, model.py and configurator.py import what stands above them in PACKAGES, and no verb."""
    own = PACKAGES.index(module_name(path).partition(".")[0])
    for name in imports(path):
        assert name not in VERBS, name
        assert PACKAGES.index(name.partition(".")[0]) <= own, name


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_is_never_imported(path):
    """A verb may import packages; nobody imports a verb."""
    assert not imports(path) & set(VERBS)


def test_no_circle():
    """The import graph of the modules can be put in an order."""
    order = list(graphlib.TopologicalSorter({module_name(path): imports(path) for path in SOURCES}).static_order())
    assert order.index("runtime.errors") < order.index("model") < order.index("inference.engine")  # or CycleError


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of)
def test_a_package_says_what_it_is_in_a_sentence(path):
    """An __init__.py is a docstring of one sentence and no imports; only inference has a door for other programs."""
    content = tree(path)
    sentence = ast.get_docstring(content)
    assert sentence and sentence.endswith(".") and "\n" not in sentence
    if path.parent.name == "inference":
        assert imports(path) == {"inference.settings", "inference.llm"}
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 20
    else:
        assert len(content.body) == 1 and len(path.read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize("path", OURS, ids=name_of)
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


@pytest.mark.parametrize("path", OURS, ids=name_of)
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
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        is_path = path in SCRIPTS and "sys.path.insert(0, " in ast.unparse(node)
        assert isinstance(node, declared) or is_guard or is_typing or is_path, f"{path.name}:{node.lineno}"
    assert (path in SCRIPTS) == ("__main__" in ast.unparse(content.body[-1]))


def test_no_drawer_for_everything():
    """No utils, helpers, common or misc: a thing has a name."""
    drawers = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}
    names = [Path(name) for name in TRACKED if name.endswith(".py")]
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
def test_a_data_set_is_one_short_file(path):
    """At most 100 lines: where the chats come from, and conversations(); its folder holds nothing else but examples."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 100
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
