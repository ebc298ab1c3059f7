"""
How many threads the kernels take. A token has seventy parallel loops, and each waits for its slowest thread, actively:
where another program holds a core, the others spend their time waiting for it, and fewer threads are many times faster.

    threads = KernelThreads(most=8)
    with threads.timed(n_rows=1):             # sets the number, and learns from how long this takes
        ...
"""

import contextlib
import math
import time
from collections.abc import Iterator

import numba

MEMORY = 16  # calls over which the seconds of the chosen number are averaged
TRIAL_CALLS = 4  # in a row with another number
# seconds of calls from one trial to the next; as many times longer as the last one was slower, so that trials cost at
# most 4% at 10 ms a call
TRIAL_EVERY = 1.0
WAITING = 1.5  # times the fastest call; while the average of all threads is below, they wait for nobody: no trials
CLEARLY = 0.95  # a number is taken when its calls last at most this times as long


class KernelThreads:
    """All threads, half as many, a quarter, down to one: whichever is the fastest of late."""

    def __init__(self, most: int) -> None:
        self.count = self.most = most
        self.trial: list[float] | None = None  # the seconds of a trial's calls, while there is one
        self.trial_count, self.n_trials = most, 0
        self.average: float | None = None  # seconds of a call with `count` threads
        self.fastest = math.inf  # of all calls with all threads
        self.seconds_to_trial = TRIAL_EVERY

    @property
    def next_count(self) -> int:
        """For the next call."""
        return self.count if self.trial is None else self.trial_count

    @contextlib.contextmanager
    def timed(self, n_rows: int) -> Iterator[None]:
        """The number of threads for a call with n_rows tokens."""
        numba.set_num_threads(self.next_count)
        start = time.perf_counter()
        yield
        # what a call takes whatever its rows are is as much as a row takes
        self.note((time.perf_counter() - start) / (n_rows + 1), n_rows + 1)

    def note(self, seconds: float, weight: int = 1) -> None:
        """Learn from a call that took `weight` times so many seconds; begin or end a trial."""
        if self.most == 1:
            return
        if self.trial is not None:
            self.trial.append(seconds)
            if len(self.trial) == TRIAL_CALLS:
                self.judge(sum(self.trial) / TRIAL_CALLS)
            return
        self.average = seconds if self.average is None else self.average + (seconds - self.average) / MEMORY
        self.seconds_to_trial -= seconds * weight
        if self.count == self.most:
            self.fastest = min(self.fastest, seconds)
        if self.seconds_to_trial <= 0 and (self.count < self.most or self.average > WAITING * self.fastest):
            # in turn; one thread, too, as of two and of three each may wait as long as of four
            others = sorted({1, max(1, self.count // 2), min(self.most, 2 * self.count)} - {self.count})
            self.n_trials += 1
            self.trial, self.trial_count = [], others[self.n_trials % len(others)]

    def judge(self, seconds: float) -> None:
        """End the trial, whose calls took so long on average."""
        assert self.average
        ratio = seconds / self.average
        if ratio < CLEARLY:
            self.count, self.average = self.trial_count, seconds
            ratio = 1.0
        self.trial, self.seconds_to_trial = None, TRIAL_EVERY * max(1.0, ratio)
