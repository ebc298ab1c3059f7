"""feedback.jsonl: what people think of replies, a JSON line each."""

import json
import threading
from pathlib import Path
from typing import Any

import platformdirs

MAX_LINE = 2**20  # characters of a line, which is ASCII; the longest chat with this model is far shorter


class LineTooLong(ValueError):
    """A line of feedback has more than MAX_LINE characters."""


class FeedbackFile:
    """path: where the lines go, None: feedback.jsonl in the user's data folder. The first line makes the file."""

    def __init__(self, path: str | None = None) -> None:
        self.path = Path(path or Path(platformdirs.user_data_dir("nanochatgpt"), "feedback.jsonl"))
        self.lock = threading.Lock()

    def append(self, row: dict[str, Any]) -> None:
        """Write a line. Raises LineTooLong."""
        line = json.dumps(row, ensure_ascii=True) + "\n"
        if len(line) > MAX_LINE:
            raise LineTooLong(f"feedback of {len(line)} bytes; {MAX_LINE} are kept")
        with self.lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
