"""A thread of OpenMP that waits soon sleeps, unless the user has said how long it looks."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from runtime.omp import SPINS, spin_briefly


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_the_user_comes_first(monkeypatch, given, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that what was there before comes back


def test_train_says_it_before_torch_is_loaded(monkeypatch):
    """libgomp reads the setting once."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = """
import os, sys, train
from training.settings import TrainConfig
assert "torch" not in sys.modules
sys.modules["torch"] = None
try:
    train.train(TrainConfig())
except ImportError:
    print(os.environ["GOMP_SPINCOUNT"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(SPINS)
