"""
The report card of a chat model: fit, stops, repetition, impersonation, memory, safety, speed, sense.

    $ python evaluate.py --init_from=out-chat --quick
    $ python evaluate.py --init_from=out-chat --baseline=gpt2 --samples=20
    $ python evaluate.py --endpoint=http://127.0.0.1:8080/v1 --out_dir=report-theirs      # another engine's model
    $ python evaluate.py --init_from=out-chat --groups=sense --samples=20                 # one group alone
    $ python evaluate.py --init_from=out-chat --fail_under=limits.txt                     # a gate: exit status 1

Writes report.md, report.json and report.png into the model's folder, and prints the table.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import configurator
from evaluation.settings import EvaluateConfig

if TYPE_CHECKING:
    from evaluation.rows import Report


def evaluate(config: EvaluateConfig) -> None:
    """Measure the model, and the baseline if there is one; exits with status 1 if the model falls short of a limit."""
    from checkpoint import card
    from evaluation import measure, report  # torch takes seconds to import: --help and a wrong flag need not wait
    from evaluation.gate import read_limits, shortfalls

    limits = read_limits(config.fail_under) if config.fail_under else []
    baseline = None
    if config.baseline and Path(config.baseline, "report.json").exists():
        baseline = report.read_report(config.baseline)
    content = measure.measure_endpoint(config) if config.endpoint else measure.measure_folder(config, config.folder)
    if config.baseline and (baseline is None or not is_comparable(baseline, content)):
        baseline = measure.measure_folder(config, config.baseline, data=content["data"]["folder"])
        report.write_report(report_folder(config, config.baseline), baseline)
    folder = report_folder(config, config.folder)
    report.write_report(folder, content, baseline)
    print(report.table(content, baseline))
    print(f"wrote {folder / 'report.md'}, report.json and report.png")
    card.write(folder)  # which shows its figures
    lines = shortfalls(content, limits, config.fail_under or "limits")
    for line in lines:
        print(f"short: {line}", file=sys.stderr)
    if lines:
        sys.exit(1)


def is_comparable(a: "Report", b: "Report") -> bool:
    """Whether two reports asked the same questions, of the same data, with the same settings."""
    return (a["format"], a["data"], a["settings"]) == (b["format"], b["data"], b["settings"])


def report_folder(config: EvaluateConfig, init_from: str) -> Path:
    """Where a model's report goes: --out_dir, its own folder, or report-NAME for a hub name or a nanoGPT file."""
    if config.out_dir:
        return Path(config.out_dir)
    return Path(init_from) if Path(init_from).is_dir() else Path(f"report-{Path(init_from).name}")


if __name__ == "__main__":
    configurator.main(evaluate, EvaluateConfig)
