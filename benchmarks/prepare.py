"""Messages a second from an export to the files of training."""

import contextlib
import io
import random
import statistics
import tempfile
import time
from pathlib import Path

from dataset.prepare import PrepareConfig, prepare_folder
from readers import detect, pii
from readers.source import Skipped, open_sources

COMMON_WORDS = (
    "i you we they the a to of in it is was that for on are with as at be this have from or had by not but what all"
)


def prepare_figures(config):
    """Messages a second from a WhatsApp export to the files that train.py reads, and of the parsing alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.txt"
        written = whatsapp_export(path, config.messages)
        settings = PrepareConfig(source=(str(path),), out_dir=str(Path(folder) / "data"))
        about = {"name": "made up", "licence": "none", "url": "none"}

        def conversations(settings, skipped):
            found = detect.recognise(open_sources(settings), skipped)
            return detect.records(found, "Ann", 8.0, skipped)

        whole, parsing = [], []
        for _ in range(config.runs):
            begun = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                prepare_folder(settings, "", conversations, about, pii.mask)
            whole.append(config.messages / (time.perf_counter() - begun))
            begun = time.perf_counter()
            for _ in conversations(settings, Skipped()):
                pass
            parsing.append(config.messages / (time.perf_counter() - begun))
    figures = {
        "export_mb": written / 1e6,
        "prepare_messages_per_s": statistics.median(whole),
        "prepare_messages_per_s_best": max(whole),
        "prepare_messages_per_s_worst": min(whole),
        "parse_messages_per_s": statistics.median(parsing),
    }
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}")
    return figures


def whatsapp_export(path, n, seed=0):
    """Write an export of `n` messages of 1 to 18 words, a fortieth of them after a night; returns its bytes."""
    rng, words, at = random.Random(seed), COMMON_WORDS.split(), 1_600_000_000
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(n):
            at += 40_000 if rng.random() < 0.025 else rng.randint(1, 300)
            stamp = time.strftime("%d.%m.%y, %H:%M:%S", time.gmtime(at))
            text = " ".join(rng.choices(words, k=rng.randint(1, 18)))
            file.write(f"[{stamp}] {rng.choice(('Ann', 'Ben'))}: {text}\n")
    return path.stat().st_size
