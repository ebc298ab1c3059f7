"""Beside other programs OpenMP's threads soon sleep, unless the user has said how long they look."""

import os
import subprocess
import sys

import psutil
import pytest
from conftest import ROOT

from runtime.omp import SPINS, spin_less_when_busy


@pytest.mark.parametrize(
    ("given", "percent", "spins"),
    [
        ({}, 50.0, str(SPINS)),
        ({}, 10.0, None),
        ({"GOMP_SPINCOUNT": "7"}, 50.0, "7"),
        ({"OMP_WAIT_POLICY": "active"}, 50.0, None),
    ],
)
def test_the_load_decides_and_the_user_before_it(monkeypatch, given, percent, spins):
    """One core of two is busy, or a fifth of one."""
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)
    monkeypatch.setattr(os, "environ", given)
    spin_less_when_busy()
    assert given.get("GOMP_SPINCOUNT") == spins


def test_train_looks_before_torch_is_loaded():
    """libgomp reads the setting once."""
    code = """
import os, sys, psutil, train
from training.settings import TrainConfig
assert "torch" not in sys.modules
sys.modules["torch"] = None
psutil.cpu_percent = lambda interval: 100.0
try:
    train.train(TrainConfig())
except ImportError:
    print(os.environ["GOMP_SPINCOUNT"])
"""
    env = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == str(SPINS)
