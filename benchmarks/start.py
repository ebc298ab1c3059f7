"""Seconds from the command to the prompt of chat.py, and to the first letter of a reply, as a terminal shows them."""

import contextlib
import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.settings import BenchConfig
from inference.settings import BOX
from runtime.errors import InputError

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0  # seconds, after which a start has failed
STYLES = rb"(?:\x1b\[[0-9;?]*[a-zA-Z]|\s)*"
PROMPT, FIRST_LETTER = re.compile(rb"\[Human\]:"), re.compile(rb"\[Bot\]:" + STYLES + rb"\w")


def start_figures(config: BenchConfig) -> dict[str, Any]:
    """
    Seconds from the command to the prompt, and to the first letter of a reply if "hi" is typed at once: medians over
    the runs, the best ones, and those of a very first start, which compiles the kernels.
    """
    if sys.platform == "win32":
        raise InputError("--what=start needs a pseudo-terminal, which Windows has not")
    folder = str(BOX) if config.init_from == "random" else str(Path(config.init_from).absolute())
    words = ["chat.py", f"--out_dir={folder}", "--no_history"]
    words += [f"--weights={config.weights}", f"--threads={config.threads}", "--device=cpu"]
    with tempfile.TemporaryDirectory() as cache:
        first = seconds_of_start(words, NUMBA_CACHE_DIR=cache)
    runs = [seconds_of_start(words) for _ in range(config.runs)]
    figures: dict[str, Any] = {}
    for name, at_first, seconds in zip(("prompt", "letter"), first, zip(*runs, strict=True), strict=True):
        median, best = statistics.median(seconds), min(seconds)
        figures |= {f"{name}_s": median, f"{name}_s_best": best, f"{name}_s_first": at_first}
        print(f"{name}: after {median:.2f} s, at best {best:.2f} s, at the very first start {at_first:.2f} s")
    return figures


def seconds_of_start(words: list[str], **env: str) -> tuple[float, float]:
    """Seconds from the command to (the prompt, the first letter of a reply). Raises InputError if none comes."""
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env}
    start, words = time.perf_counter(), [sys.executable, *words]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    with subprocess.Popen(words, cwd=ROOT, env=env, **streams, start_new_session=True) as chat:  # as terminals do
        os.close(theirs)
        try:
            prompt = seconds_until(PROMPT, ours, start)
            os.write(ours, b"hi\r")
            return prompt, seconds_until(FIRST_LETTER, ours, start)
        finally:
            chat.kill()
            os.close(ours)


def seconds_until(pattern: re.Pattern[bytes], terminal: int, start: float) -> float:
    """Seconds from `start` until this is written in the terminal. Raises InputError, with what is, if it never is."""
    written = b""
    with contextlib.suppress(OSError):  # the program has ended
        while select.select([terminal], [], [], max(0.0, start + PATIENCE - time.perf_counter()))[0]:
            written += os.read(terminal, 4096)
            if pattern.search(written):
                return time.perf_counter() - start
    raise InputError(f"chat.py did not start: {written.decode(errors='replace').strip()[-300:]}")
