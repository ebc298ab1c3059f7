"""
Measure speed on this machine.

    $ python bench.py --what=prepare --json=prepare.json      # a made-up WhatsApp export, parsed, masked, tokenised
"""

import contextlib
import dataclasses
import io
import json
import os
import platform
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import atomic
import configurator
import preparation
import readers
from readers import layouts, private

WORDS = "i you we they the a to of in it is was that for on are with as at be this have from or had by not but what all"


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine."""

    what: Literal["prepare"] = "prepare"  # what to measure
    messages: int = 500_000  # in the export that is made up
    runs: int = 3  # how often; the median counts
    json: str | None = None  # a file to write the figures to

    def __post_init__(self):
        for name in ("messages", "runs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")


def bench(config):
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    figures = prepare_figures(config)
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}" if isinstance(value, float) else f"{name}: {value:,}")
    if config.json:
        with atomic.file(config.json) as new:
            new.write_text(json.dumps({**dataclasses.asdict(config), **figures}, indent=1) + "\n", encoding="utf-8")


def prepare_figures(config):
    """Messages a second from a WhatsApp export to the files that train.py reads, and of the parsing alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.txt"
        written = whatsapp_export(path, config.messages)
        settings = preparation.PrepareConfig(source=(str(path),), out_dir=str(Path(folder) / "data"))
        about = {"name": "made up", "licence": "none", "url": "none"}

        def conversations(settings, skipped):
            found = layouts.recognised(readers.opened(settings), skipped)
            return layouts.records(found, "Ann", 8.0, skipped)

        whole, parsing = [], []
        for _ in range(config.runs):
            begun = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                preparation.prepare(settings, "", conversations, about, private.masked)
            whole.append(config.messages / (time.perf_counter() - begun))
            begun = time.perf_counter()
            for _ in conversations(settings, readers.Skipped()):
                pass
            parsing.append(config.messages / (time.perf_counter() - begun))
    return {
        "export_mb": written / 1e6,
        "prepare_messages_per_s": statistics.median(whole),
        "prepare_messages_per_s_best": max(whole),
        "prepare_messages_per_s_worst": min(whole),
        "parse_messages_per_s": statistics.median(parsing),
    }


def whatsapp_export(path, n, seed=0):
    """Write an export of `n` messages of 1 to 18 words, a fortieth of them after a night; returns its bytes."""
    rng, words, at = random.Random(seed), WORDS.split(), 1_600_000_000
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(n):
            at += 40_000 if rng.random() < 0.025 else rng.randint(1, 300)
            stamp = time.strftime("%d.%m.%y, %H:%M:%S", time.gmtime(at))
            text = " ".join(rng.choices(words, k=rng.randint(1, 18)))
            file.write(f"[{stamp}] {rng.choice(('Ann', 'Ben'))}: {text}\n")
    return path.stat().st_size


if __name__ == "__main__":
    configurator.main(bench, BenchConfig)
