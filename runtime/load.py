"""
How many cores other programs use. A product that threads share out in equal parts waits for the slowest of them, so
beside a busy core one thread less is faster: on two cores twice as fast (NOTES.md).
"""

import contextlib
import math
import time
from collections.abc import Iterator

import psutil
import torch

WINDOW = 0.1  # seconds between two looks at least: the system counts in hundredths


class Load:
    """What others have used since the last look, where that is at least WINDOW ago."""

    def __init__(self) -> None:
        self.process, self.others = psutil.Process(), 0.0
        self.seen = self.now()

    def now(self) -> tuple[float, float]:
        """(seconds, seconds of a core that other programs have used so far)"""
        times = psutil.cpu_times()._asdict()
        for name in ("idle", "iowait", "guest", "guest_nice"):  # a guest's are in "user" as well
            times.pop(name, None)
        own = self.process.cpu_times()
        return time.perf_counter(), sum(times.values()) - own.user - own.system

    def look(self) -> float:
        """The cores that other programs use, not counting what has ended meanwhile, where the system tells."""
        seconds, used = self.now()
        if seconds - self.seen[0] >= WINDOW:
            self.others = max(0.0, (used - self.seen[1]) / (seconds - self.seen[0]))
            self.seen = seconds, used
        return min(self.others, max(0, running_now() - 1))  # one is this thread

    @contextlib.contextmanager
    def fewer_threads(self) -> Iterator[None]:
        """Here torch computes with as many threads as there are cores that nobody else uses, and with one at least."""
        threads, free = torch.get_num_threads(), (psutil.cpu_count() or 1) - round(self.look())
        if free >= threads:
            yield
            return
        torch.set_num_threads(max(1, free))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def running_now() -> float:
    """The threads of all programs that compute at this moment; infinity where only Linux would tell."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return math.inf
