"""--profile writes a trace that Chrome and Perfetto read, with the work in it; without --profile nothing is written."""

import json

import pytest
import torch

from runtime.profiler import PROFILED_STEPS, SKIPPED_STEPS, StepProfiler, profiled


def test_a_trace_holds_the_operators_and_the_named_parts(tmp_path):
    """The product and the name of the part that it was in are events of the trace, with times."""
    path = tmp_path / "traces" / "trace.json"
    with profiled(path), torch.profiler.record_function("two products"):
        torch.ones(8, 8) @ torch.ones(8, 8)
    events = {event["name"]: event for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]}
    product, part = events["aten::mm"], events["two products"]
    assert part["ts"] <= product["ts"] and product["dur"] <= part["dur"]
    assert list(path.parent.iterdir()) == [path]


def test_without_a_path_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with profiled(None):
        torch.ones(8, 8) @ torch.ones(8, 8)
        assert not torch.autograd.profiler._is_profiler_enabled
    assert not list(tmp_path.iterdir())


def test_work_that_fails_leaves_no_trace(tmp_path):
    """The work's own error comes out, and no half a file stays."""
    with pytest.raises(ValueError, match="no"), profiled(tmp_path / "trace.json"):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())


def test_a_loop_is_recorded_after_its_first_steps(tmp_path):
    """Ten products are in the trace of a loop of forty, five in that of one which ends after fifteen, none before."""
    for n, wanted in ((40, PROFILED_STEPS), (SKIPPED_STEPS + 5, 5), (SKIPPED_STEPS, 0)):
        path = tmp_path / f"{n}.json"
        with StepProfiler(path) as profiler:
            for _ in range(n):
                with profiler.step():
                    torch.ones(8, 8) @ torch.ones(8, 8)
        assert path.exists() == (wanted > 0) == str(profiler.summary()).startswith("wrote")
        if wanted:
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
            assert sum(event["name"] == "aten::mm" for event in events) == wanted
