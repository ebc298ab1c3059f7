"""
The report card: a page to read (report.md), its content for programs (report.json) and a page of plots (report.png).

    report.write_report("out-chat", content, baseline)      # content: a Report, as evaluation/rows.py has it
    print(report.table(content, baseline))
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from evaluation.plots import plot_report
from evaluation.rows import Report
from runtime import atomic
from runtime.errors import InputError
from tokenization.special_tokens import ROLE_TAGS

FORMAT = 1  # of report.json
NOT_MEASURED = "-"  # in a table
HEADLINE = (  # the figures of report.md's first table, which is the README's too
    "bits_per_byte", "hits_at_1", "f1_sampled", "ended_sampled", "length_median", "impersonates", "copies",
    "seq_rep_4_sampled", "loops_greedy", "loops_sampled", "distinct_2_sampled", "overlap_late", "recall_at_1",
    "recall_at_5", "recall_at_20", "recall_beyond", "correction", "abstention", "persona", "dogecoin", "forged",
    "ttft", "tokens_per_s", "sense_greedy", "sense_sampled",
)  # fmt: skip


def write_report(folder: str | Path, content: Report, baseline: Report | None = None) -> None:
    """Write report.json, report.md and report.png into a folder, which is made if it is not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.file(folder / "report.json") as new:
        new.write_text(strict_json(content), encoding="utf-8")
    with atomic.file(folder / "report.md") as new:
        new.write_text(markdown(content, baseline), encoding="utf-8")
    plot_report(folder / "report.png", content, baseline)


def strict_json(content: Report) -> str:
    """JSON that every parser accepts: infinite numbers and NaN, which JSON does not have, are null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(folder: str | Path) -> Report:
    """The content of a folder's report.json. Raises InputError if it is missing, damaged or of another format."""
    path = Path(folder) / "report.json" if Path(folder).is_dir() else Path(folder)
    hint = f"make it anew: python evaluate.py --init_from={folder}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not there; {hint}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {hint}") from None
    parts = ("model", "data", "settings", "rows", "curves", "samples")
    if not isinstance(content, dict) or content.get("format") != FORMAT or any(part not in content for part in parts):
        raise InputError(f"{path}: not a report of format {FORMAT}; {hint}")
    return cast(Report, content)


def figure(value: float | None, unit: str = "") -> str:
    """A number as people read it, with its unit: 12.3%, 1,234 tokens/s, or - if it is None."""
    if value is None:
        return NOT_MEASURED
    if unit == "%":
        return f"{value:.1f}%"
    if not math.isfinite(value):
        return "inf"
    if abs(value) >= 1e6:
        text = f"{value:.2e}"
    elif unit == "words":
        text = f"{value:.3g}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def interval_text(row: dict[str, Any]) -> str:
    """The row's interval as people read it, without the unit: 80.0 to 95.2."""
    if row["low"] is None or row["value"] is None:
        return ""
    return " to ".join(figure(row[name], row["unit"]).removesuffix(row["unit"]).strip() for name in ("low", "high"))


class Line(NamedTuple):
    """A line of the table."""

    group: str
    name: str  # of the row that it shows
    cells: list[str]


def table_lines(content: Report, baseline: Report | None) -> tuple[list[str], list[Line]]:
    """(the heads of the columns, the Lines) of the table."""
    baseline_values = {row["name"]: row["value"] for row in baseline["rows"]} if baseline else {}
    heads = ["", content["model"]["name"], "95% interval", "n"]
    remembers = any(row.get("with_memory") is not None for row in content["rows"])
    heads += ["with memory"] * remembers + ([baseline["model"]["name"]] if baseline else []) + ["people"]
    lines = []
    for row in content["rows"]:
        cells = [row["label"], figure(row["value"], row["unit"]), interval_text(row), str(row["n"] or "")]
        if remembers:
            value = row.get("with_memory")
            cells.append("" if value is None else figure(value, row["unit"]))
        if baseline:
            cells.append(figure(baseline_values.get(row["name"]), row["unit"]))
        cells.append("" if row["human"] is None else figure(row["human"], row["unit"]))
        lines.append(Line(row["group"], row["name"], cells))
    return heads, lines


def table(content: Report, baseline: Report | None = None) -> str:
    """The table for a terminal, its groups apart; with a baseline in a column of its own."""
    heads, lines = table_lines(content, baseline)
    columns = zip(heads, *(line.cells for line in lines), strict=True)
    widths = [min(44, max(map(len, column))) for column in columns]

    def aligned(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        return "  ".join([f"{first:{widths[0]}}", *padded]).rstrip()

    text = [aligned(heads)]
    for group, group_lines in itertools.groupby(lines, key=lambda line: line.group):
        text += ["", group, *(aligned(line.cells) for line in group_lines)]
    return "\n".join(text)


def markdown(content: Report, baseline: Report | None = None) -> str:
    """The text of report.md; the same report gives the same text."""
    heads, lines = table_lines(content, baseline)
    model, data = content["model"], content["data"]
    parameters = f", {model['parameters'] / 1e6:,.1f}M parameters" if model["parameters"] else ""
    weights = "" if model.get("weights", "full") == "full" else f", weights in {model['weights']}"
    val_split = f"the val split of {escaped(data['folder'])} ({data['conversations']:,} conversations)"
    out = [
        f"# Report card of {escaped(model['name'])}",
        "",
        f"{escaped(model['folder'])}{parameters}{weights}, spoken to in {escaped(model['rendering'])}.",
        f"Asked with {val_split if data['folder'] else 'evaluation/sense.txt alone'}.",
        f"Settings: {', '.join(f'{name} {value}' for name, value in content['settings'].items())}.",
        f"Machine: {content['machine']}.",
        "",
        "![recall, repetition, length](report.png)",
    ]
    out += ["", "## In short", "", *markdown_table(heads, [line.cells for line in lines if line.name in HEADLINE])]
    for group, group_lines in itertools.groupby(lines, key=lambda line: line.group):
        out += ["", f"## {group}", "", *markdown_table(heads, [line.cells for line in group_lines])]
    out += ["", "## What the rows are", ""]
    for row in content["rows"]:
        more = " ".join(f"{escaped(text)}." for text in (row["source"], row["note"]) if text)
        out.append(f"- **{escaped(row['label'])}** (`{row['name']}`): {escaped(row['definition'])} {more}".rstrip())
    out += [
        "",
        "Intervals are 95% bootstrap intervals over replies or conversations; speed has its slowest and fastest.",
    ]
    for i, sample in enumerate(content["samples"], start=1):
        text = "\n".join(f"{ROLE_TAGS[message['role']]} {message['content']}" for message in sample["messages"])
        text += f"\n({sample['note']})" if sample["note"] else ""
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
        head = ["", "## Samples, drawn by the seed"] if i == 1 else []
        out += [*head, "", f"### {i}. {escaped(sample['title'])}", "", f"{fence}text", text, fence]
    return "\n".join(out) + "\n"


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    rows = ["| " + " | ".join(map(escaped, cells)) + " |" for cells in (heads, *lines)]
    return [rows[0], "|---|" + "--:|" * (len(heads) - 1), *rows[1:]]


def escaped(text: object) -> str:
    """The text in one line, without what would end a cell of a table or begin a tag."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
