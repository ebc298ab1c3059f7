"""
The report card: rows and curves into report.json, a page to read (report.md) and a page of plots (report.png).

    report.write("out-chat", content, baseline)      # content: {"format", "model", "data", ..., "rows", "curves"}
    print(report.table(content, baseline))
"""

import itertools
import json
import math
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from evaluation import metrics
from evaluation.plots import plot_report
from runtime import atomic
from runtime.errors import InputError
from tokenization.special_tokens import ROLE_TAGS


def percent(group, name, label, flags, seed, **more):
    """A Row: the share of true `flags`, in percent, those that are None left out."""
    counted = [float(flag) for flag in flags if flag is not None]
    if not counted:
        return Row(group, name, label, None, unit="%", note="no reply is long enough", **more)
    low, high = metrics.interval(counted, seed=seed)
    return Row(group, name, label, 100 * statistics.fmean(counted), 100 * low, 100 * high, len(counted), "%", **more)


def mean(values):
    counted = [value for value in values if value is not None]
    return 100 * statistics.fmean(counted) if counted else None


FORMAT = 1
DASH = "-"
HEADLINE = (  # the figures of report.md's first table, which is the README's too
    "bits_per_byte", "hits_at_1", "f1_sampled", "ended_sampled", "length_median", "impersonates", "copies",
    "seq_rep_4_sampled", "loops_greedy", "loops_sampled", "distinct_2_sampled", "overlap_late", "recall_at_1",
    "recall_at_5", "recall_at_20", "recall_beyond", "correction", "abstention", "persona", "dogecoin", "forged",
    "ttft", "tokens_per_s",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure. Shares are in percent."""

    group: str
    name: str  # for report.json and --fail_under: recall_at_5
    label: str  # for people: recall after 5 turns
    value: float | None  # None: it could not be measured; note says why
    low: float | None = None  # its 95% interval
    high: float | None = None
    n: int = 0
    unit: str = ""
    better: str | None = None  # higher or lower; None where people's own figure is the measure
    human: float | None = None  # people's own figure, from the same data
    definition: str = ""
    source: str = ""
    note: str = ""


def write_report(folder, content, baseline=None):
    """The three files in a folder, which is made if it is not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.file(folder / "report.json") as new:
        new.write_text(strict(content), encoding="utf-8")
    with atomic.file(folder / "report.md") as new:
        new.write_text(markdown(content, baseline), encoding="utf-8")
    with atomic.file(folder / "report.png") as new:
        plot_report(new, content, baseline)


def strict(content):
    """JSON that any reader takes: what is not finite is null."""

    def finite(value):
        if isinstance(value, dict):
            return {str(key): finite(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [finite(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(folder):
    """The content of a folder's report.json. Raises InputError."""
    path = Path(folder) / "report.json" if Path(folder).is_dir() else Path(folder)
    again = f"make it anew: python evaluate.py --init_from={folder}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not there; {again}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {again}") from None
    parts = ("model", "data", "settings", "rows", "curves", "samples")
    if not isinstance(content, dict) or content.get("format") != FORMAT or any(part not in content for part in parts):
        raise InputError(f"{path}: not a report of format {FORMAT}; {again}")
    return content


def figure(value, unit=""):
    """A number as people read it, with its unit."""
    if value is None:
        return DASH
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


def bounds(row):
    """The row's interval as people read it."""
    if row["low"] is None or row["value"] is None:
        return ""
    return " to ".join(figure(row[name], row["unit"]).removesuffix(row["unit"]).strip() for name in ("low", "high"))


def cells(content, baseline):
    """(heads, [(group, name, cells)]) of the table."""
    other = {row["name"]: row for row in baseline["rows"]} if baseline else {}
    heads = ["", content["model"]["name"], "95% interval", "n"]
    heads += [baseline["model"]["name"]] if baseline else []
    heads += ["people"]
    lines = []
    for row in content["rows"]:
        line = [row["label"], figure(row["value"], row["unit"]), bounds(row), str(row["n"] or "")]
        if baseline:
            theirs = other.get(row["name"], {"value": None})
            line.append(figure(theirs["value"], row["unit"]))
        line.append("" if row["human"] is None else figure(row["human"], row["unit"]))
        lines.append((row["group"], row["name"], line))
    return heads, lines


def table(content, baseline=None):
    """The table for a terminal."""
    heads, lines = cells(content, baseline)
    widths = [max(len(each) for each in column) for column in zip(heads, *(line for *_, line in lines), strict=True)]
    widths = [min(width, 44) for width in widths]

    def laid(line):
        first, *rest = line
        return "  ".join(
            [f"{first:{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))]
        ).rstrip()

    shown, group = [laid(heads)], None
    for this, _, line in lines:
        if this != group:
            shown += ["", this]
            group = this
        shown.append(laid(line))
    return "\n".join(shown)


def markdown(content, baseline=None):
    """report.md: the same report gives the same bytes."""
    heads, lines = cells(content, baseline)
    model, data = content["model"], content["data"]
    parameters = f", {model['parameters'] / 1e6:,.1f}M parameters" if model["parameters"] else ""
    weights = "" if model.get("weights", "full") == "full" else f", weights in {model['weights']}"
    out = [
        f"# Report card of {escaped(model['name'])}",
        "",
        f"{escaped(model['folder'])}{parameters}{weights}, spoken to in {escaped(model['rendering'])}.",
        f"Asked with the val split of {escaped(data['folder'])} ({data['conversations']:,} conversations).",
        f"Settings: {', '.join(f'{name} {value}' for name, value in content['settings'].items())}.",
        f"Machine: {content['machine']}.",
        "",
        "![recall, repetition, length](report.png)",
    ]
    out += ["", "## In short", "", *markdown_table(heads, [line for _, name, line in lines if name in HEADLINE])]
    for group, found in itertools.groupby(lines, key=lambda line: line[0]):
        out += ["", f"## {group}", "", *markdown_table(heads, [line for *_, line in found])]
    out += ["", "## What the rows are", ""]
    for row in content["rows"]:
        more = " ".join(f"{escaped(each)}." for each in (row["source"], row["note"]) if each)
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


def markdown_table(heads, lines):
    """The lines of a Markdown table."""
    rows = ["| " + " | ".join(map(escaped, line)) + " |" for line in (heads, *lines)]
    return [rows[0], "|---|" + "--:|" * (len(heads) - 1), *rows[1:]]


def escaped(text):
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
