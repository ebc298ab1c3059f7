"""
Training, timed: nanoGPT's loop, the whole of it, and train.py on the same model, data and batch, each run in a process
of its own.

    timed("reference", settings)      # ([(seconds, tokens, supervised tokens) of each step], peak MB)

The reference: float32, random windows across conversations, logits at every position, AdamW one tensor at a time.
"""

import dataclasses
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.nn import functional as F

import dataset
from configurator import InputError
from model import GPT, GPTConfig


@dataclass(frozen=True)
class Settings:
    data_dir: str
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    steps: int
    threads: int
    seed: int


def reference(settings):
    """Yield (seconds, tokens, supervised tokens) of each step of nanoGPT's loop."""
    _, tokenizer = dataset.open_meta(settings.data_dir)
    split = dataset.open_split(settings.data_dir, "train", tokenizer)
    rng, T = np.random.default_rng(settings.seed), settings.block_size
    shape = (T, tokenizer.n_vocab, settings.n_layer, settings.n_head, settings.n_embd)
    model = GPT(GPTConfig(*shape)).train()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), foreach=False)
    for _ in range(settings.steps):
        begun = time.perf_counter()
        starts = rng.integers(len(split.ids) - T - 1, size=settings.batch_size)
        windows = torch.from_numpy(np.stack([split.ids[i : i + T + 1] for i in starts]).astype(np.int64))
        logits, _ = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        supervised = sum(int(split.supervised[i + 1 : i + T + 1].sum()) for i in starts)
        yield time.perf_counter() - begun, windows[:, 1:].numel(), supervised


def ours(settings):
    """Yield the same of train.py, from the metrics.jsonl that it writes."""
    names = ("data_dir", "n_layer", "n_head", "n_embd", "block_size", "batch_size", "threads", "seed")
    how = {name: getattr(settings, name) for name in names} | {"max_iters": settings.steps, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        how |= {"out_dir": folder, "log_interval": 1, "eval_iters": 1, "eval_interval": 10**9}
        command = [sys.executable, Path(__file__).with_name("train.py"), *(f"--{name}={how[name]}" for name in how)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            raise InputError(done.stderr.strip().removeprefix("error: ") or f"train.py ended with {done.returncode}")
        lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    for before, row in itertools.pairwise([{"tokens": 0}, *rows]):
        seconds = (row["tokens"] - before["tokens"]) / row["tokens_per_s"]
        yield seconds, row["tokens"] - before["tokens"], row["supervised_per_s"] * seconds


def timed(loop, settings):
    """([(seconds, tokens, supervised tokens) of each step], peak MB of the process) of "ours" or "reference"."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, loop, dataclasses.astuple(settings)), daemon=True)
    process.start()
    theirs.close()
    try:
        found = pipe.recv()
    except EOFError:
        raise InputError(f"{loop}: the process ended without an answer; was the memory enough?") from None
    finally:
        process.join()
    if isinstance(found, str):
        raise InputError(f"{loop}: {found}")
    return found


def serve(pipe, loop, settings):
    settings = Settings(*settings)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    try:
        steps = list({"ours": ours, "reference": reference}[loop](settings))
        pipe.send((steps, peak_mb(children=loop == "ours")))
    except (InputError, RuntimeError, ValueError) as error:
        pipe.send(f"{error}".splitlines()[0])


def peak_mb(children=False):
    """The most memory that this process, or one of its children, has held, MB; on Windows what it holds now."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().rss / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # bytes there, kB elsewhere
