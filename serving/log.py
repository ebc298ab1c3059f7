"""
What the server says on its standard output: written by a thread of its own, many lines at a time, so that no request
waits for a terminal, and one that stands still stops nobody.
"""

import contextlib
import logging
import sys
import threading
import time
from collections import deque

MOST_LINES = 10_000  # that wait to be written; of more the oldest are lost
PAUSE = 0.05  # seconds in which lines gather


class LineWriter(logging.Handler):
    """A handler that writes its lines to standard output a moment later; flush() writes them now."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self.has_lines, self.writing = threading.Event(), threading.Lock()
        threading.Thread(target=self.write_for_ever, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + "\n")
        self.has_lines.set()

    def flush(self) -> None:
        with self.writing:
            lines = [self.lines.popleft() for _ in range(len(self.lines))]
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                sys.stdout.write("".join(lines))
                sys.stdout.flush()

    def write_for_ever(self) -> None:
        while self.has_lines.wait():
            time.sleep(PAUSE)
            self.has_lines.clear()
            self.flush()


def log_to_stdout(level: str) -> LineWriter:
    """Show what the loggers of serving/ say, from this level on, without a prefix."""
    logger, writer = logging.getLogger("serving"), LineWriter()
    logger.handlers, logger.propagate = [writer], False
    logger.setLevel(level.upper())
    return writer
