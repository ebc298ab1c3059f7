"""
Training, timed: nanoGPT's loop, the whole of it, and train.py on the same model, data and batch, each run in a process
of its own.

The reference: float32, random windows across conversations, logits at every position, AdamW one tensor at a time at
nanoGPT's rates for small models. On a GPU bfloat16, compiled, with the fused AdamW, as nanoGPT runs there.
"""

import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.settings import STEPS_A_LINE, WARMUP_STEPS, BenchConfig
from benchmarks.worker import Worker
from checkpoint import model_folder
from dataset.folder import Split, open_meta, open_split, read_conversations
from evaluation.likelihood import score_replies
from model import GPT, GPTConfig
from runtime.device import choose_device, matmul_flops
from runtime.errors import InputError
from runtime.profiler import PROFILED_STEPS, SKIPPED_STEPS
from tokenization.chat_template import ChatTags

RECIPE = "train_chitchat.py"  # in config/: what quality_figures trains by
REFERENCE_LABEL = "nanoGPT's loop"
LoopName = Literal["ours", "reference"]


@dataclass(frozen=True)
class RunSettings:
    """One run of either loop."""

    data_dir: str
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    steps: int
    threads: int
    seed: int
    device: str = "cpu"
    learn: str = "bot"
    padded: bool = False  # the reference: a conversation a row

    @property
    def steps_a_line(self) -> int:
        """Steps that are timed together."""
        return 1 if self.device == "cpu" else STEPS_A_LINE

    @property
    def shape(self) -> dict[str, Any]:
        """What train.py has under the same names, but for batch_size and seed."""
        names = ("data_dir", "n_layer", "n_head", "n_embd", "block_size", "threads")
        return {name: getattr(self, name) for name in names}


class StepTiming(NamedTuple):
    seconds: float
    tokens: int
    supervised: float  # tokens that are to be learned: the bot's, or with learn = "all" everybody's


class TimedRun(NamedTuple):
    steps: list[StepTiming]
    peak_mb: float  # of the process that trained


def run_settings(config: BenchConfig, steps: int, seed: int) -> RunSettings:
    """The settings of a run, with the shape that the flags say."""
    return RunSettings(
        data_dir=config.data_dir,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        block_size=config.block_size,
        batch_size=config.batch_size,
        steps=steps,
        threads=config.n_threads,
        seed=seed,
        device=config.device,
        learn=config.learn,
        padded=config.reference == "padded",
    )


def reference_steps(settings: RunSettings, save_to: Path | None = None) -> Iterator[StepTiming]:
    """Yield the timing of each step of nanoGPT's loop; save_to: a folder for the model after the last one."""
    torch.set_num_threads(settings.threads)
    _, tokenizer = open_meta(settings.data_dir)
    split = open_split(settings.data_dir, "train", tokenizer)
    rng, T = np.random.default_rng(settings.seed), settings.block_size
    config = GPTConfig(
        block_size=T,
        vocab_size=tokenizer.n_vocab,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        n_embd=settings.n_embd,
    )
    device = choose_device(settings.device, "float32" if settings.device == "cpu" else "auto")
    model = GPT(config).train().to(device.name)
    loss_of = window_loss if device.type == "cpu" else torch.compile(window_loss)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    kernels: dict[str, bool] = {"foreach": False} if device.type == "cpu" else {"fused": True}
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), **kernels)
    start, n_tokens, n_supervised = time.perf_counter(), 0, 0
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.steps)
        draw = padded_rows if settings.padded else windows
        idx, targets, is_bot = draw(split, settings.batch_size, T, rng)
        with device.autocast():
            loss = loss_of(model, **device.tensors({"idx": idx, "targets": targets}))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        is_learned = targets >= 0 if settings.learn == "all" else is_bot  # counted as train.py counts them
        n_tokens, n_supervised = n_tokens + int((targets >= 0).sum()), n_supervised + int(is_learned.sum())
        if (step + 1) % settings.steps_a_line == 0:
            loss.item()  # waits for the device
            yield StepTiming(time.perf_counter() - start, n_tokens, n_supervised)
            start, n_tokens, n_supervised = time.perf_counter(), 0, 0
    if save_to:
        model_folder.save(save_to, model, tokenizer, {"data": settings.data_dir})


def window_loss(model: GPT, idx: Tensor, targets: Tensor) -> Tensor:
    """nanoGPT's loss: logits at every position."""
    x = model.transformer.ln_f(model.hidden_states(idx))
    logits = model.transformer.wte.head(x)  # (B, T, rows of the embedding), the last of which are no tokens
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def windows(split: Split, n: int, T: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(idx, targets, whether they are the bot's), (n, T) each: random windows across conversations."""
    places = rng.integers(len(split.ids) - T - 1, size=(n, 1)) + np.arange(T + 1)
    ids = split.ids[places].astype(np.int64)
    return ids[:, :-1].copy(), ids[:, 1:].copy(), split.supervised[places[:, 1:]] > 0


def padded_rows(split: Split, n: int, T: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(idx, targets, whether they are the bot's), (n, T) each: a conversation a row, cut or padded; -1 in targets."""
    chosen = rng.integers(len(split.starts) - 1, size=n)
    starts, ends = split.starts[chosen][:, None], split.starts[chosen + 1][:, None]
    places = np.minimum(starts + np.arange(T + 1), ends - 1)
    ids, is_there = split.ids[places].astype(np.int64), starts + np.arange(1, T + 1) < ends
    is_bot = is_there & (split.supervised[places[:, 1:]] > 0)
    return ids[:, :-1].copy(), np.where(is_there, ids[:, 1:], -1), is_bot


def learning_rate(step: int, steps: int, highest: float = 1e-3, warmup: int = 100) -> float:
    """nanoGPT's: a linear warm-up, then a cosine to a tenth."""
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    return highest * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))))


def our_steps(settings: RunSettings) -> Iterator[StepTiming]:
    """Yield the timing of each step of train.py, from the metrics.jsonl that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        run_train(**train_flags(settings), out_dir=folder)
        lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    for before, row in itertools.pairwise([{"tokens": 0}, *rows]):
        tokens = row["tokens"] - before["tokens"]
        seconds = tokens / row["tokens_per_s"]
        yield StepTiming(seconds, tokens, row["supervised_per_s"] * seconds)


def train_flags(settings: RunSettings) -> dict[str, Any]:
    """The flags of train.py for steps with lines in metrics.jsonl, and no evaluation between them."""
    return {
        **settings.shape,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "max_iters": settings.steps,
        "device": settings.device,
        "learn": settings.learn,
        "muon": settings.device == "cuda",
        "log_interval": settings.steps_a_line,
        "eval_iters": 1,
        "eval_interval": 10**9,
    }


def run_train(*files: str | Path, **flags: Any) -> None:
    """Run train.py with config files and flags. Raises InputError with what it says when it fails."""
    script = Path(__file__).parents[1] / "train.py"
    command = [sys.executable, script, *files, *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise InputError(done.stderr.strip().removeprefix("error: ") or f"train.py ended with {done.returncode}")


def time_loop(loop: LoopName, settings: RunSettings) -> TimedRun:
    """The timings of one run of a loop in a process of its own. Raises InputError with what it says when it fails."""
    with Worker(loop, loop_process, loop=loop, settings=settings) as worker:
        return worker.answer()


def loop_process(requests: Iterable[Any], loop: LoopName, settings: RunSettings) -> Iterator[TimedRun]:
    """In the worker of time_loop: yields its one answer."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    steps = list(our_steps(settings) if loop == "ours" else reference_steps(settings))
    yield TimedRun(steps, peak_megabytes(children=loop == "ours"))


def peak_megabytes(children: bool = False) -> float:
    """The most memory that this process, or one of its children, has held, MB; on Windows what it holds now."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().rss / 1e6
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, kB elsewhere


def speed_figures(config: BenchConfig) -> dict[str, Any]:
    """Tokens a second and memory of train.py and, under "reference", of nanoGPT's loop, run in turn."""
    loops: list[LoopName] = ["ours"] if config.reference == "none" else ["ours", "reference"]
    runs: dict[LoopName, list[TimedRun]] = {loop: [] for loop in loops}
    for run in range(config.runs):
        settings = run_settings(config, config.steps, seed=run)
        for loop in loops:
            runs[loop].append(time_loop(loop, settings))
    if config.profile:
        steps = SKIPPED_STEPS + PROFILED_STEPS  # what train.py's --profile takes
        flags = train_flags(run_settings(config, steps, seed=config.runs))
        with tempfile.TemporaryDirectory() as folder:
            run_train(**flags, out_dir=folder, profile=config.profile)
    ours, theirs = (run_figures(runs[loop]) if loop in runs else {} for loop in ("ours", "reference"))
    n_tokens = config.batch_size * config.block_size
    print(
        f"{config.n_layer} layers x {config.n_embd}, {n_tokens:,} tokens a step, median of {config.runs} runs in turn"
    )
    ratios: dict[str, float | None] = {}
    for name, label in (("train_tokens_per_s", "tokens/s"), ("supervised_tokens_per_s", "supervised tokens/s"),
                        ("peak_rss_mb", "MB at the peak")):  # fmt: skip
        # a few short windows may hold no word of the bot
        ratio = ratios[f"ratio_{name}"] = ours[name] / theirs[name] if theirs.get(name) else None
        beside = f", {REFERENCE_LABEL} {theirs[name]:9,.0f}" if theirs else ""
        print(f"{label:20} {ours[name]:9,.0f}{beside}" + ("" if ratio is None else f": {ratio:.2f} x"))
    if config.device == "cuda":
        for label, loop in (("ours", ours), (REFERENCE_LABEL, theirs)):
            if loop:
                loop["share_of_peak"] = share_of_peak(config, loop["train_tokens_per_s"])
                print(f"{label}: {loop['share_of_peak']:.0%} of a large product's speed")
    return {**ours, **ratios, "reference": theirs}


def share_of_peak(config: BenchConfig, tokens_per_s: float) -> float:
    """The model's multiplications, whole windows attended, by what one large product reaches on the device."""
    _, tokenizer = open_meta(config.data_dir)
    blocks = 12 * config.n_layer * config.n_embd**2
    a_token = 6 * (blocks + tokenizer.n_vocab * config.n_embd) + 12 * config.n_layer * config.n_embd * config.block_size
    return a_token * tokens_per_s / matmul_flops(choose_device(config.device))


def run_figures(runs: list[TimedRun]) -> dict[str, float]:
    """The median speed of a loop's runs, the first steps of each left out, and the most memory of any."""
    counted = [run.steps[WARMUP_STEPS:] for run in runs]
    seconds = [sum(step.seconds for step in steps) for steps in counted]
    tokens = [sum(step.tokens for step in steps) for steps in counted]
    supervised = [sum(step.supervised for step in steps) for steps in counted]
    return {
        "train_tokens_per_s": statistics.median(n / s for n, s in zip(tokens, seconds, strict=True)),
        "supervised_tokens_per_s": statistics.median(n / s for n, s in zip(supervised, seconds, strict=True)),
        "peak_rss_mb": max(run.peak_mb for run in runs),
    }


def quality_figures(config: BenchConfig) -> dict[str, Any]:
    """
    What train.py and, under "reference", nanoGPT's loop have learned and how long it took them: bits per byte (see
    evaluation/likelihood.py) of the bot's words in val. The shape of both is that of config/train_chitchat.py unless
    flags say otherwise.
    """
    settings = run_settings(config, config.reference_steps, seed=0)
    figures: dict[LoopName, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        folders: dict[LoopName, Path] = {"ours": Path(work, "ours"), "reference": Path(work, "reference")}
        start = time.perf_counter()
        recipe = Path(__file__).parents[1] / "config" / RECIPE  # its batch size is a part of it
        run_train(recipe, **settings.shape, max_minutes=config.minutes, out_dir=folders["ours"], device="cpu")
        minutes = (time.perf_counter() - start) / 60
        chat = json.loads((folders["ours"] / "chat.json").read_text(encoding="utf-8"))
        figures["ours"] = {"minutes": minutes, "tokens": chat["tokens_seen"]}
        torch.manual_seed(0)
        steps = list(reference_steps(settings, save_to=folders["reference"]))
        minutes = sum(step.seconds for step in steps) / 60
        figures["reference"] = {"minutes": minutes, "tokens": sum(step.tokens for step in steps)}
        conversations = list(read_conversations(config.data_dir, "val"))
        for loop, folder in folders.items():
            model, tokenizer, _ = model_folder.load(folder)
            scored = score_replies(model.eval(), ChatTags(tokenizer), conversations)
            words_nats = sum(reply.words_nats for reply in scored)
            nats = sum(reply.words_nats + reply.end_nats for reply in scored)
            n_tokens = sum(reply.n_tokens + 1 for reply in scored)
            n_bytes = sum(len(reply.text.encode()) for reply in scored)
            figures[loop] |= {"bits_per_byte": words_nats / math.log(2) / n_bytes, "val_loss": nats / n_tokens}
    for label, loop in (("train.py", figures["ours"]), (REFERENCE_LABEL, figures["reference"])):
        print(
            f"{label:14} {loop['minutes']:5.1f} min, {loop['tokens'] / 1e6:.2f}M tokens: {loop['bits_per_byte']:.4f} "
            f"bits per byte, loss {loop['val_loss']:.4f} on val"
        )
    return {**figures["ours"], "reference": figures["reference"]}
