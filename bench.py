"""
Measure speed on this machine.

    $ python bench.py --what=decode --weights=int8 --prompt_tokens=64 --new_tokens=64     # a GPT-2 124M, random weights
    $ python bench.py --what=decode --init_from=out-chat --batch=8 --peers=hf,ctranslate2,llamacpp,uncached
    $ python bench.py --what=turns --plot=turns.png           # the first token, as a conversation grows
    $ python bench.py --what=train --n_layer=6 --n_head=6 --n_embd=384 --block_size=256 --batch_size=16
    $ python bench.py --what=quality --minutes=4              # what train.py has learned by then, from scratch
    $ python bench.py --what=serve --clients=32 --slots=32 --bad=10000 --soak_minutes=60 --peers=llamacpp
    $ python bench.py --what=prepare --json=prepare.json      # a made-up WhatsApp export, parsed, masked, tokenised

train and quality stand beside nanoGPT's own loop. The peers are other programs (runs/requirements-bench.txt) on the
same weights, run in turn with ours.
"""

import contextlib
import dataclasses
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

import configurator
from benchmarks import peers, training
from benchmarks.decode import decode_figures, plot, turns_figures
from benchmarks.http_load import serve_figures
from benchmarks.prepare import prepare_figures
from runtime import atomic


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine."""

    what: Literal["decode", "turns", "train", "quality", "serve", "prepare"] = "decode"  # what to measure
    init_from: str = "random"  # a GPT-2 folder; random: a GPT-2 124M that was never trained
    weights: Literal["full", "bfloat16", "int8", "int4"] = "int8"  # how they are kept
    prompt_tokens: int = 64
    new_tokens: int = 64
    batch: int = 1  # conversations at once
    peers: str = ""  # with decode: some of hf, ctranslate2, llamacpp, uncached, commas between; with serve: llamacpp
    threads: int | None = None  # CPU threads; default: one a core
    data_dir: str = "data/chitchat"  # with train: what a prepare.py wrote
    n_layer: int = 6  # with train, as train.py has them
    n_head: int = 6
    n_embd: int = 384
    block_size: int = 256
    batch_size: int = 16
    steps: int = 12  # with train: of each run, of which the first two warm up
    minutes: float = 4.0  # with quality: of config/train_chitchat.py, all in all
    reference_steps: int = 420  # with quality: of nanoGPT's loop, each of batch_size x block_size tokens
    clients: int = 32  # with serve: who ask at one moment
    slots: int = 32  # with serve: of the server
    bad: int = 0  # with serve: bad requests beside a good chat
    soak_minutes: float = 0.0  # with serve: of mixed load, with clients that leave
    messages: int = 500_000  # with prepare: in the export that is made up
    runs: int = 5  # how often; the median counts
    json: str | None = None  # a file to write the figures to
    plot: str | None = None  # a file to draw them in, FILE.png

    def __post_init__(self):
        shape = ("n_layer", "n_head", "n_embd", "block_size", "batch_size")
        for name in (
            "prompt_tokens",
            "new_tokens",
            "batch",
            "messages",
            "runs",
            "reference_steps",
            "clients",
            "slots",
            *shape,
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.new_tokens < 2:
            raise ValueError(f"new_tokens ({self.new_tokens}) must be at least 2: the first one is prefill")
        if self.steps <= training.WARM:
            raise ValueError(f"steps ({self.steps}) must be above {training.WARM}, the first of which warm up")
        for name in self.others:
            if name not in peers.ENGINES or name == "ours":
                raise ValueError(f"peers ({self.peers}): {name} is none of hf, ctranslate2, llamacpp, uncached")
        if set(self.others) - {"decode": set(peers.ENGINES), "serve": {"llamacpp"}}.get(self.what, set()):
            raise ValueError(f"peers ({self.peers}) are for decode; for serve there is llamacpp")
        if self.plot and self.what not in ("decode", "turns"):
            raise ValueError(f"plot is for decode and turns, not for {self.what}")

    @property
    def others(self):
        return [name.strip() for name in self.peers.split(",") if name.strip()]


def bench(config):
    measures = {"decode": decode_figures, "turns": turns_figures, "train": training.speed_figures}
    measures |= {"quality": training.quality_figures, "serve": serve_figures, "prepare": prepare_figures}
    threads = config.threads or torch.get_num_threads()
    machine = f"{processor()}, {threads} threads, {platform.system()}, Python {platform.python_version()}"
    print(f"{machine}, torch {torch.__version__}")
    figures = measures[config.what](dataclasses.replace(config, threads=threads))
    if config.json:
        content = {**dataclasses.asdict(config), "machine": machine, **figures}
        with atomic.file(config.json) as new:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {config.json}")
    if config.plot:
        with atomic.file(config.plot) as new:
            plot(new, config, figures)
        print(f"wrote {config.plot}")


def processor():
    """What the machine's processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    configurator.main(bench, BenchConfig)
