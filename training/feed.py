"""
A step's batches on the device. For a GPU a thread makes and uploads them some steps ahead, while Python launches steps.

    with Feed([loader], batch_size=64, n=1, device=device) as feed:
        batches = feed.take()
"""

import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch

from dataset.loader import Batch, Loader
from runtime.device import Device

STEPS_AHEAD = 16  # on a GPU; some batches take ten times as long as most, since rows are packed many at a time
SWITCH_SECONDS = 2e-4  # after which a thread lets another go on; Python's own 5 ms are half a step


class Ready(NamedTuple):
    batches: list[Batch]
    rows_drawn: list[int]  # of each loader, these included


class Feed:
    """The batches of the steps, n micro-batches of each loader. rows_drawn: of each, of what was taken."""

    def __init__(
        self, loaders: Sequence[Loader], batch_size: int, n: int, device: Device, ahead: int | None = None
    ) -> None:
        self.loaders, self.batch_size, self.n, self.device = loaders, batch_size, n, device
        self.rows_drawn = [loader.rows_drawn for loader in loaders]
        self.waiting: deque[Future[Ready]] = deque()
        self.ahead = (STEPS_AHEAD if device.type == "cuda" else 0) if ahead is None else ahead
        self.thread = ThreadPoolExecutor(1, "feed") if self.ahead else None
        self.switch_interval = sys.getswitchinterval()

    def __enter__(self) -> "Feed":
        if self.thread:
            sys.setswitchinterval(SWITCH_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        if self.thread:
            self.thread.shutdown(cancel_futures=True)
            sys.setswitchinterval(self.switch_interval)

    def take(self) -> list[Batch]:
        """The batches of the next step."""
        while self.thread and len(self.waiting) < self.ahead:
            self.waiting.append(self.thread.submit(self.make))
        batches, self.rows_drawn = self.waiting.popleft().result() if self.thread else self.make()
        return batches

    def make(self) -> Ready:
        batches = [loader.get_batch(self.batch_size) for loader in self.loaders for _ in range(self.n)]
        if self.thread:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device.name)  # each thread has its own
            for batch in batches:
                batch.tensors = self.device.tensors(batch.arrays)
        return Ready(batches, [loader.rows_drawn for loader in self.loaders])
