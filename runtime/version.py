"""The project's version: the one number in pyproject.toml."""

import functools
import importlib.metadata
import re
from pathlib import Path


@functools.cache
def version() -> str:
    """Such as "1.0.0": pyproject.toml's, or the installed package's where that file is not beside the code."""
    path = Path(__file__).parents[1] / "pyproject.toml"
    if not path.is_file():
        return importlib.metadata.version("nanochatgpt")
    match = re.search(r'^\[project\][^\[]*?^version = "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:  # tomllib would read it, but is of Python 3.11
        raise RuntimeError(f"{path} has no version = in its [project] table")
    return match[1]
