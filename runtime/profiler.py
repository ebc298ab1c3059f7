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
