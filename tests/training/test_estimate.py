"""
What a run says of itself before its first step and how it ends by itself: the memory it will take, the flag that helps
when there is too little, the rows that fit, a learning rate found by trying, and an end when val rises.
"""

import math
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT
from test_train import rows

from model import GPT, GPTConfig
from runtime.device import Device
from runtime.errors import InputError
from train import train
from training import estimate, lr_finder, validation
from training.optimizer import Optimizer

CPU = Device("cpu", "cpu", "float32")


def test_the_memory_that_is_told_is_the_memory_that_is_taken():
    """The formula is within a quarter of what a step of a small model takes beyond an imported torch, measured."""
    code = """
import psutil, resource, torch
from model import GPT, GPTConfig
from runtime.device import Device
from training import estimate
from training.optimizer import Optimizer
torch.set_num_threads(1)
model = GPT(GPTConfig(block_size=512, vocab_size=8192, n_layer=8, n_head=6, n_embd=384)).train()
optimizer, cpu = Optimizer(model), Device("cpu", "cpu", "float32")
for n in (512, 4096):  # the first makes the moments, the second has its peak with them
    idx = torch.randint(8192, (1, n)); starts = torch.arange(0, n + 1, 512, dtype=torch.int32)
    model.loss(idx, idx, torch.arange(512).repeat(n // 512)[None], starts).backward()
    optimizer.step(1e-4)
print(estimate.memory_bytes(model, optimizer, 4096, cpu) / (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.stderr and 0.75 < float(done.stdout) < 1.33, done.stdout + done.stderr


def test_too_little_memory_names_the_flag_that_helps(tiny, monkeypatch):
    """Rows that do not fit are refused: fewer rows where one fits, checkpointing where none does, LoRA after that."""
    optimizer = Optimizer(tiny)
    one, many = (estimate.memory_bytes(tiny, optimizer, rows * 64, CPU) for rows in (1, 512))
    monkeypatch.setattr(Device, "free_bytes", lambda self: 1.2 * one)
    assert many > 1.2 * one
    with pytest.raises(InputError, match="512 rows of 64 tokens need .* are free: try --batch_size=auto"):
        estimate.check_memory(tiny, optimizer, 512, 64, CPU)
    assert estimate.check_memory(tiny, optimizer, 1, 64, CPU) == one
    monkeypatch.setattr(Device, "free_bytes", lambda self: 1e6)
    with pytest.raises(InputError, match="--gradient_checkpointing=true"):
        estimate.check_memory(tiny, optimizer, 1, 64, CPU)


def test_the_batch_is_as_large_as_memory_allows(settings, monkeypatch, capsys):
    """batch_size=auto: the largest power of two that fits, told, and what a resumed run takes again."""
    model = GPT(GPTConfig(block_size=64, vocab_size=300, n_layer=1, n_head=2, n_embd=16))
    needed = estimate.memory_bytes(model, Optimizer(model), 8 * 64, CPU)
    monkeypatch.setattr(Device, "free_bytes", lambda self: needed * 1.001 / estimate.MAX_SHARE)
    train(settings(batch_size="auto", max_iters=2))
    assert "batch_size is 8: as many rows as memory holds" in capsys.readouterr().out
    monkeypatch.setattr(Device, "free_bytes", lambda self: psutil.virtual_memory().available)
    train(settings(batch_size="auto", max_iters=3, init_from="resume"))
    assert "512 tokens a step" in capsys.readouterr().out


def test_a_run_ends_when_val_rises(settings, monkeypatch, capsys, tmp_path):
    """The model that is kept is the best one; `patience` evaluations later the run ends and says why."""
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 3.9])
    monkeypatch.setattr(validation, "mean_loss", lambda *how: next(losses))
    train(settings(max_iters=100, eval_interval=1, patience=3))
    said = capsys.readouterr().out
    assert "val has not fallen for 3 evaluations: stopped early, the best model is kept" in said
    assert "val loss 3.0000" in said.splitlines()[-1]
    assert [row["val"] for row in rows(tmp_path / "out") if "val" in row][-1] == 3.7


def test_a_learning_rate_is_found(settings, tmp_path, capsys):
    """--find_lr draws the loss over rising rates, names one, ends where the loss leaps, and writes no model."""
    train(settings(find_lr=True, batch_size=4))
    said = capsys.readouterr().out
    assert (tmp_path / "out" / "find_lr.png").stat().st_size > 5_000
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["find_lr.png"]
    assert "try --learning_rate=" in said.splitlines()[-1]


def test_the_suggested_rate():
    """Half the rate of the lowest loss; none where the loss never fell."""
    assert lr_finder.suggest_rate([1e-4, 1e-3, 1e-2], [5.0, 4.0, 9.0]) == 5e-4
    assert lr_finder.suggest_rate([1e-4, 1e-3], [5.0, 6.0]) is None


def test_the_time_that_is_told(tiny, monkeypatch):
    """More tokens take longer, frozen matrices less time, and the figure is finite."""
    monkeypatch.setattr(estimate, "matmul_flops", lambda device: 1e11)  # measured, it may differ from call to call
    one, two = (estimate.step_seconds(tiny, tokens, 1.0, CPU) for tokens in (10**6, 10**7))
    assert 0 < one < two < math.inf
    for p in tiny.parameters():
        p.requires_grad_(False)
    assert estimate.step_seconds(tiny, 10**7, 1.0, CPU) < two


@pytest.mark.slow
def test_max_minutes_is_kept(settings):
    """Training, evaluation and save end within 5% of the minutes, as train.py counts them from its start."""
    begun = time.time()
    train(settings(learning_rate=1e-4, max_minutes=1.0, max_iters=10**6, eval_interval=10**6, log_interval=500))
    assert 0.95 < (time.time() - begun) / 60 < 1.05
