"""Beside programs that keep cores busy, torch computes with a thread less for each; what has ended is not counted."""

import math
from types import SimpleNamespace

import pytest
import torch

from runtime import load
from runtime.load import Load, running_now


class Machine:
    """Two cores and their counters, in place of psutil and the clock."""

    def __init__(self, monkeypatch):
        self.seconds = self.all = self.own = 0.0
        self.running = 1.0
        process = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=self.own, system=0.0))
        waiting = {"idle": 99.0, "iowait": 9.0, "guest": 9.0}
        times = SimpleNamespace(_asdict=lambda: {"user": self.all, **waiting})
        fake = SimpleNamespace(Process=lambda: process, cpu_times=lambda: times, cpu_count=lambda: 2)
        monkeypatch.setattr(load, "psutil", fake)
        monkeypatch.setattr(load, "time", SimpleNamespace(perf_counter=lambda: self.seconds))
        monkeypatch.setattr(load, "running_now", lambda: self.running)

    def passes(self, seconds, own, others, running):
        self.seconds, self.own, self.all = self.seconds + seconds, self.own + own, self.all + own + others
        self.running = running


@pytest.fixture
def machine(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Machine(monkeypatch)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("own", "others", "running", "threads"),
    [
        (2.0, 0.0, 1, 2),  # all of it is ours
        (1.0, 1.0, 2, 1),
        (1.3, 0.7, 2, 1),  # it got less beside us
        (1.8, 0.2, 2, 2),
        (0.7, 1.3, 3, 1),
        (0.0, 2.0, 9, 1),  # one thread at least
        (1.0, 1.0, 1, 2),  # it has ended
        (1.0, 1.0, math.inf, 1),  # the system does not tell
    ],
)
def test_a_thread_less_for_each_busy_core(machine, own, others, running, threads):
    found = Load()
    machine.passes(1.0, own, others, running)
    with found.fewer_threads():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_two_looks_in_a_row(machine):
    """The counters are too coarse for a moment: the earlier figure holds, also after an error."""
    found = Load()
    machine.passes(1.0, 0.0, 1.0, 2)
    assert found.look() == 1.0
    machine.passes(0.01, 0.0, 0.0, 2)
    with pytest.raises(RuntimeError), found.fewer_threads():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == 2 and found.look() == 1.0
    machine.passes(1.0, 0.0, 0.0, 2)
    assert found.look() == 0.0


def test_of_this_machine():
    """At least this thread runs, and nobody uses less than nothing."""
    assert running_now() >= 1 and Load().look() >= 0.0
