"""
Training, timed: nanoGPT's loop, the whole of it, and train.py on the same model, data and batch, each run in a process
of its own.

    speed(config)       # tokens a second and memory of both
    quality(config)     # what both have learned, and how long it took

The reference: float32, random windows across conversations, logits at every position, AdamW one tensor at a time at
nanoGPT's rates for small models.
"""

import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics
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

from checkpoint import model_folder
from dataset.folder import open_meta, open_split, read_conversations
from evaluation import likelihood
from model import GPT, GPTConfig
from runtime.errors import InputError
from tokenization.chat_template import ChatTags

WARM = 2  # steps that are not counted
RECIPE = "train_chitchat.py"  # in config/


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


def reference(settings, save_to=None):
    """Yield (seconds, tokens, supervised tokens) of each step of nanoGPT's loop; save_to: where the model goes then."""
    torch.set_num_threads(settings.threads)
    _, tokenizer = open_meta(settings.data_dir)
    split = open_split(settings.data_dir, "train", tokenizer)
    rng, T = np.random.default_rng(settings.seed), settings.block_size
    shape = (T, tokenizer.n_vocab, settings.n_layer, settings.n_head, settings.n_embd)
    model = GPT(GPTConfig(*shape)).train()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), foreach=False)
    for step in range(settings.steps):
        begun = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.steps)
        starts = rng.integers(len(split.ids) - T - 1, size=settings.batch_size)
        windows = torch.from_numpy(np.stack([split.ids[i : i + T + 1] for i in starts]).astype(np.int64))
        logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        supervised = sum(int(split.supervised[i + 1 : i + T + 1].sum()) for i in starts)
        yield time.perf_counter() - begun, windows[:, 1:].numel(), supervised
    if save_to:
        model_folder.save(save_to, model, tokenizer, {"data": settings.data_dir})


def learning_rate(step, steps, highest=1e-3, warmup=100):
    """nanoGPT's: a linear warm-up, then a cosine to a tenth."""
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    return highest * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))))


def ours(settings):
    """Yield the same of train.py, from the metrics.jsonl that it writes."""
    names = ("data_dir", "n_layer", "n_head", "n_embd", "block_size", "batch_size", "threads", "seed")
    how = {name: getattr(settings, name) for name in names} | {"max_iters": settings.steps, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        train(**how, out_dir=folder, log_interval=1, eval_iters=1, eval_interval=10**9)
        lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    for before, row in itertools.pairwise([{"tokens": 0}, *rows]):
        seconds = (row["tokens"] - before["tokens"]) / row["tokens_per_s"]
        yield seconds, row["tokens"] - before["tokens"], row["supervised_per_s"] * seconds


def train(*words, **flags):
    """Run train.py. Raises InputError with what it says when it fails."""
    script = Path(__file__).parents[1] / "train.py"
    command = [sys.executable, script, *words, *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise InputError(done.stderr.strip().removeprefix("error: ") or f"train.py ended with {done.returncode}")


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


def speed_figures(config):
    """Tokens a second and memory of train.py and of nanoGPT's loop, run in turn."""
    names = [field.name for field in dataclasses.fields(Settings)]
    runs = {"ours": [], "reference": []}
    for run in range(config.runs):
        settings = Settings(**{name: run if name == "seed" else getattr(config, name) for name in names})
        for loop in runs:
            runs[loop].append(timed(loop, settings))
    figures = {}
    for loop, found in runs.items():
        seconds, tokens, supervised = ([sum(step[i] for step in steps[WARM:]) for steps, _ in found] for i in range(3))
        figures[loop] = {
            "train_tokens_per_s": statistics.median(n / s for n, s in zip(tokens, seconds, strict=True)),
            "supervised_tokens_per_s": statistics.median(n / s for n, s in zip(supervised, seconds, strict=True)),
            "peak_rss_mb": max(peak for _, peak in found),
        }
    ours, theirs = figures["ours"], figures["reference"]
    rows = config.batch_size * config.block_size
    print(f"{config.n_layer} layers x {config.n_embd}, {rows:,} tokens a step, median of {config.runs} runs in turn")
    ratios = {}
    for name, label in (("train_tokens_per_s", "tokens/s"), ("supervised_tokens_per_s", "supervised tokens/s"),
                        ("peak_rss_mb", "MB at the peak")):  # fmt: skip
        ratios[f"ratio_{name}"] = ours[name] / theirs[name]
        print(f"{label:20} {ours[name]:9,.0f}, nanoGPT's loop {theirs[name]:9,.0f}: {ours[name] / theirs[name]:.2f} x")
    return {**ours, **ratios, "reference": theirs}


def quality_figures(config):
    """
    What train.py and nanoGPT's loop have learned and how long it took them: bits per byte on the bot's words in val.
    The shape of both is that of config/train_chitchat.py unless flags say otherwise.
    """
    names = [field.name for field in dataclasses.fields(Settings)]
    how = {name: getattr(config, name) for name in names if name not in ("steps", "seed")}
    found = {}
    with tempfile.TemporaryDirectory() as work:
        folders = {"ours": Path(work, "ours"), "reference": Path(work, "reference")}
        begun = time.perf_counter()
        flags = {**how, "max_minutes": config.minutes, "out_dir": folders["ours"], "device": "cpu"}
        del flags["batch_size"]  # the recipe's own
        train(Path(__file__).parents[1] / "config" / RECIPE, **flags)
        found["ours"] = {"minutes": (time.perf_counter() - begun) / 60}
        chat = json.loads((folders["ours"] / "chat.json").read_text(encoding="utf-8"))
        found["ours"]["tokens"] = chat["tokens_seen"]
        torch.manual_seed(0)
        loop = reference(Settings(**how, steps=config.reference_steps, seed=0), save_to=folders["reference"])
        steps = list(loop)
        found["reference"] = {"minutes": sum(each[0] for each in steps) / 60, "tokens": sum(each[1] for each in steps)}
        conversations = list(read_conversations(config.data_dir, "val"))
        for name, folder in folders.items():
            model, tokenizer, _ = model_folder.load(folder)
            scored = likelihood.score_replies(model.eval(), ChatTags(tokenizer), conversations)
            words, all, n_bytes, n_tokens = (
                sum(each) for each in zip(*((one.words_nats, one.words_nats + one.end_nats, len(one.text.encode()),
                                             one.n_tokens + 1) for one in scored), strict=True)
            )  # fmt: skip
            found[name] |= {"bits_per_byte": words / math.log(2) / n_bytes, "val_loss": all / n_tokens}
    for name, label in (("ours", "train.py"), ("reference", "nanoGPT's loop")):
        each = found[name]
        print(
            f"{label:14} {each['minutes']:5.1f} min, {each['tokens'] / 1e6:.2f}M tokens: {each['bits_per_byte']:.4f} "
            f"bits per byte, loss {each['val_loss']:.4f} on val"
        )
    return {**found["ours"], "reference": found["reference"]}
