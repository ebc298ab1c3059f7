"""--help and what is wrong in a command are answered at once, before torch and its like are imported."""

import subprocess
import sys

import pytest
from conftest import ROOT

VERBS = ("train", "chat", "sample", "serve", "evaluate", "bench", "export")
SLOW_TO_IMPORT = {
    "torch",
    "numpy",
    "numba",
    "transformers",
    "fastapi",
    "uvicorn",
    "matplotlib",
    "prompt_toolkit",
    "rich",
    "httpx",
}


def run(verb, *words):
    """(exit status, stdout, the last line of stderr, the slow packages that were imported)."""
    command = [sys.executable, "-X", "importtime", f"{verb}.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "configurator" in imported  # the times were printed
    return done.returncode, done.stdout, done.stderr.splitlines()[-1], imported & SLOW_TO_IMPORT


@pytest.mark.parametrize("verb", VERBS)
def test_help_needs_no_torch(verb):
    """--help prints the settings, ends with 0, and imports nothing slow."""
    status, out, _, slow = run(verb, "--help")
    assert status == 0 and "usage: python" in out and "--threads=" in out
    assert not slow


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_flag_needs_no_torch(verb):
    """A misspelt flag ends with 2 and one line, and imports nothing slow."""
    status, out, error, slow = run(verb, "--threds=1")
    assert (status, out) == (2, "") and error.startswith(
        "error: --threds=1: unknown setting threds, did you mean threads"
    )
    assert not slow


def test_the_package_is_light_until_a_model_is_opened():
    """Importing SamplingParams from inference does not import torch, asking for LLM does; other names are refused."""
    script = """
import sys
from inference import SamplingParams
print("torch" in sys.modules)
from inference import LLM
print("torch" in sys.modules, LLM.__name__)
import inference
inference.Lama
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\nTrue LLM\n"
    assert done.stderr.splitlines()[-1] == "AttributeError: module 'inference' has no attribute 'Lama'"
