"""
Threads that share out a token change no bit of it: not where they come late, not where they never finish what they
claimed, and not where one finishes what is long over. They end with what they work for.
"""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from numba import njit

from inference import cpu_decoder
from inference.cpu_decoder import CPUDecoder
from inference.quantize import quantize_model
from model import GPT, GPTConfig, KVCache
from ops import crew

SHAPE = dict(block_size=64, vocab_size=1000, n_layer=2, n_head=4, n_embd=256)  # some blocks in each phase


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return quantize_model(GPT(GPTConfig(**SHAPE)).eval(), "int8")


def decoder(model, monkeypatch, helpers):
    """A CPUDecoder with so many helpers, whatever the machine and the model are."""
    monkeypatch.setattr(cpu_decoder, "BYTES_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: helpers + 1)
    return CPUDecoder(model)


def talk(decoder, tokens=40, pause=0.0):
    """Logits after each of so many steps in three slots, then of a prompt of seven tokens."""
    cache, logits = KVCache(decoder.model.config, 4, dtype=torch.bfloat16), []
    for i in range(tokens):
        logits.append(decoder([i, i + 1, 2 * i], [0, 1, 3], [i] * 3, cache, [0, 1, 2]))
        time.sleep(pause)
    logits.append(decoder(list(range(7)), [2] * 7, list(range(7)), cache, [6]))
    return torch.cat(logits)


@pytest.mark.parametrize("helpers", [1, 3])
@pytest.mark.parametrize("pause", [0.0, 0.004])
def test_helpers_change_no_bit(model, monkeypatch, helpers, pause):
    """Awake all the time, or asleep before each step; more threads than cores, so that some are late."""
    alone = talk(decoder(model, monkeypatch, 0), tokens=12)
    for _ in range(3):
        assert torch.equal(talk(decoder(model, monkeypatch, helpers), tokens=12, pause=pause), alone)


@njit(nogil=True)
def claim_and_leave(state, claimed):
    """Claims blocks as a helper does, and computes none of them."""
    while crew.peek(state, crew.STOP) == 0:
        block, _ = crew.claim(state)
        claimed[0] += block >= 0
        for _ in range(50):
            crew.pause()


def test_a_claimed_block_that_nobody_finishes_is_computed_again(model, monkeypatch):
    """A helper whose core is taken the moment it has claimed costs its blocks, not the answer; nobody waits for it."""
    monkeypatch.setattr("ops.crew.os.setpriority", lambda *_: None)  # else it might never claim on a busy machine
    alone = talk(decoder(model, monkeypatch, 0))
    beside, claimed, end = decoder(model, monkeypatch, 1), np.zeros(1, np.int64), time.monotonic() + 60
    claim_and_leave(np.ones(crew.AWAKE + crew.LINE, np.int64), claimed)  # compiled now; its place for STOP is set
    monkeypatch.setattr("ops.cpu_step.help", lambda state, *_: claim_and_leave(state, claimed))
    while not claimed[0] and time.monotonic() < end:
        assert torch.equal(talk(beside), alone)
    assert claimed[0] > 0


def test_what_is_finished_too_late_is_not_taken():
    """The mark of an earlier phase is none of this one; the number of a phase is that of its claims."""

    @njit
    def phases(state, done):
        first = crew.open_phase(state, 2)
        early = crew.claim(state)
        second = crew.open_phase(state, 3)
        claims = [crew.claim(state) for _ in range(5)]
        crew.finish(done, early[0], early[1], 1)
        late = crew.finished_by(done, 0, second, 10)
        crew.finish(done, 0, second, 1)
        return first, early, second, claims, late, crew.finished_by(done, 0, second, 10)

    first, early, second, claims, late, now = phases(crew.new_state(1), np.zeros(8, np.int64))
    assert early == (0, first) and second != first
    assert [block for block, _ in claims] == [0, 1, 2, -1, -1] and claims[2] == (2, second)
    assert (late, now) == (-1, 1)


def test_helpers_end_with_their_decoder(model, monkeypatch):
    before = threading.active_count()
    working = decoder(model, monkeypatch, 3)
    talk(working, tokens=2)
    assert threading.active_count() == before + 3
    del working
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux only")
def test_helpers_take_cores_that_nobody_uses(model, monkeypatch):
    """Their priority is the lowest, the leader's stays."""
    import os

    working, mine = decoder(model, monkeypatch, 2), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    talk(working, tokens=2)
    assert [os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in working.crew.threads] == [19, 19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_python_ends_while_helpers_look_for_work():
    """At the end of a script that never stops them they end, and Python with status 0."""
    code = (
        "from ops import crew; from numba import njit\n"
        "state = crew.new_state(2)\n"
        "look = njit(nogil=True)(lambda state: crew.peek(state, crew.STOP))\n"
        "look(state)\n"
        "def help(state, number):\n    while not look(state):\n        pass\n"
        "crew = crew.Crew(2, help, state, (state,))\n"
        "crew.wake()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
