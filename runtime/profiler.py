"""
What `--profile=trace.json` does: record where the time of a piece of work goes.

    with profiler.profiled(config.profile):
        loss.backward()

The file is a Chrome trace: open it in https://ui.perfetto.dev or chrome://tracing. Recording slows the work down, so
figures of speed are taken from runs without it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from runtime import atomic

SKIPPED_STEPS, PROFILED_STEPS = 10, 10  # of a loop: the first ones are slower than the rest, and ten show enough


class StepProfiler:
    """
    Records a few steps of a loop, each of which runs within `step()`, and writes them to `path`; None records nothing.
    When the block ends early, what was recorded is written.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path, self.n_steps = path, 0
        self.recording = contextlib.ExitStack()

    def __enter__(self) -> "StepProfiler":
        return self

    def __exit__(self, *error: object) -> None:
        self.recording.close()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """One step of the loop."""
        if self.n_steps == SKIPPED_STEPS:
            self.recording.enter_context(profiled(self.path))
        yield
        self.n_steps += 1
        if self.n_steps == SKIPPED_STEPS + PROFILED_STEPS:
            self.recording.close()

    def summary(self) -> str | None:
        """What came of it, in a line; None if nothing was asked for."""
        if self.path is None:
            return None
        if self.n_steps > SKIPPED_STEPS:
            return f"wrote {self.path}: open it in https://ui.perfetto.dev or chrome://tracing"
        return f"{self.path} was not written: it begins at step {SKIPPED_STEPS + 1}, and the run ended before"


@contextlib.contextmanager
def profiled(path: str | Path | None) -> Iterator[None]:
    """
    Record the operators that torch runs inside the block, on the CPU and on a GPU if there is one, and write them to
    `path` when the block ends well. None records nothing and costs nothing. Give the parts of the work names with
    `torch.profiler.record_function("prefill")`.
    """
    if path is None:
        yield
        return
    import torch  # in here, so that a script can import this module before it has read its flags

    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as recorded:
        yield
    with atomic.file(path) as new:
        recorded.export_chrome_trace(str(new))
