"""--busy makes the machine busy for as long as something is measured, and no longer."""

import json

import psutil
import pytest

import bench
from bench import BenchConfig
from benchmarks.busy import busy


def test_so_many_processes_spin_until_the_end():
    """Each uses its core all the time, at our own priority, and none is left."""
    with busy(2) as spinning:
        processes = [psutil.Process(process.pid) for process in spinning]
        assert len(processes) == 2 and all(process.status() == psutil.STATUS_RUNNING for process in processes)
        assert {process.nice() for process in processes} == {psutil.Process().nice()}
    assert not any(psutil.pid_exists(process.pid) for process in processes)
    with busy(0) as spinning:
        assert spinning == []


def test_bench_measures_beside_them(tmp_path, monkeypatch, capsys):
    """The measurement runs while they do, and the figures say how many there were."""
    seen = []

    def measured(config):
        children = psutil.Process().children()
        return seen.append(sum("getppid" in " ".join(child.cmdline()) for child in children)) or {"figure": 1}

    monkeypatch.setattr(bench, "measurement", lambda what: measured)
    for n in (0, 1):
        bench.bench(BenchConfig(busy=n, threads=1, json=str(tmp_path / "b.json")))
    assert seen == [0, 1] and json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["busy"] == 1
    assert "beside 1 busy processes" in capsys.readouterr().out
    with pytest.raises(ValueError, match="at least 0"):
        BenchConfig(busy=-1)
