"""
The examples in docstrings are calls that exist: those at a `>>>` are run, the others are matched with the signatures.
"""

import ast
import builtins
import doctest
import importlib
import inspect
import textwrap
import types

import pytest
from test_layout import SOURCES, module_name, name_of, tree


def examples(path):
    """The indented blocks of a file's docstrings that are Python, as syntax trees."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree(path)):
        docstring = ast.get_docstring(node) if isinstance(node, documented) else None
        for block in textwrap.dedent(docstring or "").split("\n\n"):
            lines = block.split("\n")
            if all(line.startswith("    ") for line in lines) and not any(
                ">>>" in line or "$ " in line for line in lines
            ):
                try:
                    yield ast.parse(textwrap.dedent(block))
                except SyntaxError:  # prose, or a table
                    continue


VALUES = {"model", "engine", "decoder"}  # what an example takes for given, and calls
PUBLIC = {
    node.name: importlib.import_module(module_name(path))
    for path in SOURCES
    for node in tree(path).body
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
}


def called(call, module, assigned):
    """The object that a call in an example calls, by the names of its module; None for a method of a value."""
    if isinstance(call.func, ast.Name) and call.func.id not in assigned:
        name = call.func.id
        if name in VALUES:
            return None
        owner = module if hasattr(module, name) else PUBLIC.get(name)  # an example may use what stands elsewhere
        assert owner or hasattr(builtins, name), f"{name} does not exist"
        return getattr(owner, name, None)
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner = getattr(module, call.func.value.id, None)
        if isinstance(owner, types.ModuleType | type) and call.func.value.id not in assigned:
            assert hasattr(owner, call.func.attr), f"{call.func.value.id}.{call.func.attr} does not exist"
            return getattr(owner, call.func.attr)
    return None


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_an_example_calls_what_exists(path):
    """Each function in an example is there and takes the arguments that the example gives it."""
    module = importlib.import_module(module_name(path))
    for example in examples(path):
        stored = {
            node.id for node in ast.walk(example) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for call in (node for node in ast.walk(example) if isinstance(node, ast.Call)):
            function = called(call, module, stored)
            is_numba = type(function).__module__.startswith("numba")  # its intrinsics are declared with a context
            is_cut = any(isinstance(arg, ast.Starred) or ast.unparse(arg) == "..." for arg in call.args)
            if function is None or is_numba or is_cut:
                continue
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            if len(keywords) < len(call.keywords):
                continue  # **more
            try:
                inspect.signature(function).bind(*call.args, **keywords)
            except TypeError as error:
                raise AssertionError(f"{name_of(path)}: {ast.unparse(call)}: {error}") from None
            except ValueError:
                continue  # a builtin without a signature


@pytest.mark.parametrize("path", [path for path in SOURCES if ">>> " in path.read_text("utf-8")], ids=name_of)
def test_doctests(path):
    """What a docstring shows at a prompt is what comes out."""
    result = doctest.testmod(importlib.import_module(module_name(path)))
    assert result.attempted and not result.failed
