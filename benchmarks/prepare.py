"""Messages a second from an export to the files of training, and what an export of many small files takes."""

import contextlib
import io
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.settings import BenchConfig
from dataset.prepare import PrepareConfig, prepare_folder
from readers import detect, pii
from readers.archives import open_sources
from readers.source import Skipped

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
            return detect.records(messages, ["Ann"], PAUSE_HOURS, skipped)

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
    if config.members:
        figures |= members_figures(config.members)
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}")
    return figures


def members_figures(n: int) -> dict[str, float]:
    """Seconds and MB at the peak of data/mychats/prepare.py on a Slack export of `n` days, packed in three ways."""
    script = Path(__file__).parents[1] / "data" / "mychats" / "prepare.py"
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("zip", "tar.gz", "folder"):
            path = Path(folder) / f"slack.{kind}"
            pack(path, kind, slack_days(n))
            command = [sys.executable, str(script), f"--source={path}", "--bot=Ann", "--show=0"]
            start = time.perf_counter()
            process = subprocess.Popen([*command, f"--out_dir={folder}/data"], stdout=subprocess.DEVNULL)
            peaks = [0]
            watch = threading.Thread(target=watch_memory, args=(process, peaks))
            watch.start()
            if process.wait():
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            watch.join()
            figures[f"{kind}_of_{n}_seconds"] = time.perf_counter() - start
            figures[f"{kind}_of_{n}_peak_mb"] = peaks[0] / 1e6
    return figures


def watch_memory(process: subprocess.Popen[bytes], peaks: list[int]) -> None:
    """Keep the most bytes that the process has held in peaks[0], until it ends."""
    with contextlib.suppress(psutil.NoSuchProcess):
        program = psutil.Process(process.pid)
        while process.poll() is None:
            peaks[0] = max(peaks[0], program.memory_info().rss)
            time.sleep(0.05)


def slack_days(n: int) -> Iterator[tuple[str, str]]:
    """Yield (name, content) of the files of a Slack export: `n` days in 40 channels, of six messages each."""
    users = [("U0000AAA", "Ann"), ("U0000BBB", "Ben")]
    yield "users.json", json.dumps([{"id": i, "team_id": "T1", "profile": {"display_name": name}} for i, name in users])
    for day in range(n):
        start = 1_500_000_000 + day // 40 * 86_400  # seconds
        messages = [
            {
                "type": "message",
                "user": users[k % 2][0],
                "text": f"day {day} word {k}",
                "ts": f"{start + 60 * k}.000100",
            }
            for k in range(6)
        ]
        yield f"channel{day % 40}/{time.strftime('%Y-%m-%d', time.gmtime(start))}.json", json.dumps(messages)


def pack(path: Path, kind: str, files: Iterator[tuple[str, str]]) -> None:
    """Write the files as a zip, a tar.gz or a folder."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
    elif kind == "tar.gz":
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode("utf-8")))
    else:
        for name, content in files:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content, encoding="utf-8")


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
