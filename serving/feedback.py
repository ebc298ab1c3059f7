"""
feedback.jsonl: what people think of replies, a JSON line each, for its owner's eyes only. docs/chat.md has the format,
which the terminal and the page share; data/feedback makes training data of it.
"""

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import platformdirs

MAX_LINE = 2**20  # characters of a line, which is ASCII; the longest chat with this model is far shorter
MAX_FILE = 2**26  # bytes; then no more is kept until somebody moves the file away


class NoRoom(ValueError):
    """A line of feedback has more than MAX_LINE characters, or the file would have more than MAX_FILE bytes."""


class FeedbackFile:
    """path: where the lines go, None: feedback.jsonl in the user's data folder. The first line makes the file."""

    def __init__(self, path: str | None = None) -> None:
        self.path = Path(path or Path(platformdirs.user_data_dir("nanochatgpt"), "feedback.jsonl"))
        self.lock = threading.Lock()

    def append(self, row: dict[str, Any]) -> None:
        """Write a line. Raises NoRoom, and OSError where the file cannot be written."""
        line = json.dumps(row, ensure_ascii=True) + "\n"
        if len(line) > MAX_LINE:
            raise NoRoom(f"feedback of {len(line)} bytes; {MAX_LINE} are kept")
        with self.lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8", opener=opened_for_its_owner) as file:
                if file.tell() + len(line) > MAX_FILE:
                    raise NoRoom(f"{self.path.name} is full: move it away")
                file.write(line)


def opened_for_its_owner(path: str, flags: int) -> int:
    """A descriptor of the file, which others may not read: it holds what people said."""
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):  # an older file was for all to read; --feedback=/dev/null is nobody's to change
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid():
            os.fchmod(descriptor, 0o600)
    return descriptor
