"""Messages a second from an export to the files of training."""

import contextlib
import io
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.settings import BenchConfig
from dataset.prepare import PrepareConfig, prepare_folder
from readers import detect, pii
from readers.source import Skipped, open_sources

COMMON_WORDS = (
    "i you we they the a to of in it is was that for on are with as at be this have from or had by not but what all"
)
PAUSE_HOURS = 8.0  # of silence begin a new conversation, as in data/mychats/prepare.py


def prepare_figures(config: BenchConfig) -> dict[str, Any]:
    """
    Messages a second from a made-up WhatsApp export to the files that train.py reads (parsed, masked, tokenised), and
    of the parsing alone: medians over the runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.txt"
        export_bytes = whatsapp_export(path, config.messages)
        settings = PrepareConfig(source=(str(path),), out_dir=str(Path(folder) / "data"))
        about = {"name": "made up", "licence": "none", "url": "none"}

        def conversations(settings: PrepareConfig, skipped: Skipped) -> Iterator[Any]:
            messages = detect.recognise(open_sources(settings), skipped)
            return detect.records(messages, "Ann", PAUSE_HOURS, skipped)

        whole, parsing = [], []
        for _ in range(config.runs):
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                prepare_folder(settings, "", conversations, about, pii.mask)
            whole.append(config.messages / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in conversations(settings, Skipped()):
                pass
            parsing.append(config.messages / (time.perf_counter() - start))
    figures = {
        "export_mb": export_bytes / 1e6,
        "prepare_messages_per_s": statistics.median(whole),
        "prepare_messages_per_s_best": max(whole),
        "prepare_messages_per_s_worst": min(whole),
        "parse_messages_per_s": statistics.median(parsing),
    }
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}")
    return figures


def whatsapp_export(path: Path, n: int, seed: int = 0) -> int:
    """Write an export of `n` messages of 1 to 18 words, a fortieth of them after a night; returns its size in bytes."""
    rng, words, timestamp = random.Random(seed), COMMON_WORDS.split(), 1_600_000_000
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(n):
            timestamp += 40_000 if rng.random() < 0.025 else rng.randint(1, 300)  # seconds
            date = time.strftime("%d.%m.%y, %H:%M:%S", time.gmtime(timestamp))
            text = " ".join(rng.choices(words, k=rng.randint(1, 18)))
            file.write(f"[{date}] {rng.choice(('Ann', 'Ben'))}: {text}\n")
    return path.stat().st_size
