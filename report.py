"""
The report card: rows and curves into report.json, a page to read (report.md) and a page of plots (report.png).

    report.write("out-chat", content, baseline)      # content: {"format", "model", "data", ..., "rows", "curves"}
    print(report.table(content, baseline))
"""

import difflib
import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import atomic
from configurator import InputError
from conversation import ROLES

FORMAT = 1
COLOURS = ("#1f6fb4", "#d9822b", "#6b6b6b")  # the model, the baseline, people
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


def write(folder, content, baseline=None):
    """The three files in a folder, which is made if it is not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.file(folder / "report.json") as new:
        new.write_text(strict(content), encoding="utf-8")
    with atomic.file(folder / "report.md") as new:
        new.write_text(markdown(content, baseline), encoding="utf-8")
    with atomic.file(folder / "report.png") as new:
        plot(new, content, baseline)


def strict(content):
    """JSON that any reader takes: what is not finite is null."""

    def finite(value):
        if isinstance(value, dict):
            return {str(key): finite(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [finite(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder):
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


def limits(path):
    """[(name, limit, line number)] of a file of `name, limit` lines; # begins a comment. Raises InputError."""
    found = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    for number, line in enumerate(lines, start=1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        name, comma, text = (part.strip() for part in line.partition(","))
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if not comma or not math.isfinite(limit):
            raise InputError(f"{path}:{number}: a line is a figure's name, a comma and a number: recall_at_5, 50")
        if name in (other for other, _, _ in found):
            raise InputError(f"{path}:{number}: {name} has a limit already")
        found.append((name, limit, number))
    return found


def shortfalls(content, limits, path="limits"):
    """A line for each of the limits that the report does not keep. Raises InputError for a name that no figure has."""
    rows, short = {row["name"]: row for row in content["rows"]}, []
    for name, limit, number in limits:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, n=1)
            hint = (
                f", did you mean {near[0]}?" if near else f"; they are in report.json: {', '.join(list(rows)[:5])}, ..."
            )
            raise InputError(f"{path}:{number}: no figure is called {name}{hint}")
        row = rows[name]
        if row["better"] is None:
            raise InputError(f"{path}:{number}: {name} has no better or worse; people's own figure is its measure")
        asked = f"{'at least' if row['better'] == 'higher' else 'at most'} {limit:g} is asked ({path}:{number})"
        if row["value"] is None:
            short.append(f"{name} was not measured ({row['note']}), {asked}")
        elif row["value"] < limit if row["better"] == "higher" else row["value"] > limit:
            short.append(f"{name} is {figure(row['value'], row['unit'])}, {asked}")
    return short


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
        text = "\n".join(f"{ROLES[message['role']]} {message['content']}" for message in sample["messages"])
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


def plot(path, content, baseline=None):
    """One page: recall against distance, overlap against turn, lengths; the baseline laid over."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(8.3, 10.5), dpi=110, layout="constrained")
    recall, overlap, lengths = page.subplots(3, 1)
    reports = [(content, COLOURS[0])] + ([(baseline, COLOURS[1])] if baseline else [])
    page.suptitle(" and ".join(each["model"]["name"] for each, _ in reports), fontsize=14, fontweight="bold")

    recall.set(title="Does it remember? Questions about what it was told", ylabel="right answers, %", ylim=(-3, 103))
    names = [str(x) for x in content["curves"].get("recall", {}).get("x", [])]
    recall.set_xticks(range(len(names)), names)
    recall.set_xlabel("human turns since it was told; beyond: no more within the context")
    for each, colour in reports:
        curve = each["curves"].get("recall", {"x": [], "y": [], "low": [], "high": []})
        columns = (curve[name] for name in ("x", "y", "low", "high"))
        points = [(names.index(str(x)), *ys) for x, *ys in zip(*columns, strict=True) if ys[0] is not None]
        drawn(recall, points, colour, each["model"]["name"])

    overlap.set(title="Does it repeat itself? Self-chats of 20 turns", ylabel="3-grams it has said before, %")
    overlap.set_xlabel("turn of the bot")
    for each, colour in reports:
        curve = each["curves"].get("overlap", {"x": [], "y": [], "low": [], "high": []})
        points = [p for p in zip(*(curve[name] for name in ("x", "y", "low", "high")), strict=True) if p[1] is not None]
        drawn(overlap, points, colour, each["model"]["name"])
    people = content["curves"].get("overlap", {}).get("human", {"x": [], "y": []})
    points = [(x, y) for x, y in zip(people["x"], people["y"], strict=True) if y is not None]
    if points:
        overlap.plot(*zip(*points, strict=True), color=COLOURS[2], linestyle="--", label="people, in the same data")
    overlap.set_ylim(bottom=0)
    overlap.xaxis.get_major_locator().set_params(integer=True)

    lengths.set(
        title="Are its replies as long as people's?",
        xlabel="words and marks in a reply; the last bar: as many or more",
        ylabel="share of replies, %",
    )
    series = [
        (each["curves"].get("lengths", {}).get("bot", []), colour, each["model"]["name"]) for each, colour in reports
    ]
    series.append((content["curves"].get("lengths", {}).get("human", []), COLOURS[2], "people, to the same messages"))
    # one person's essay would squeeze all else into a bar: the last one holds whatever is longer
    every = sorted(value for values, _, _ in series for value in values)
    longest = every[int(0.98 * (len(every) - 1))] if every else 0
    edges = [i * max(1, math.ceil((longest + 1) / 30)) for i in range(32)]
    series = [([min(value, edges[-2]) for value in values], colour, name) for values, colour, name in series]
    for values, colour, name in series:
        if values:
            style = {"histtype": "step", "linewidth": 2, "linestyle": "--" if colour == COLOURS[2] else "-"}
            shares = [100 / len(values)] * len(values)
            lengths.hist(values, edges, weights=shares, color=colour, label=name, **style)
    for axes in (recall, overlap, lengths):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=COLOURS[2])
    page.savefig(path, format="png", metadata={"Software": None})


def drawn(axes, points, colour, name):
    """A line with its interval: points are (x, y, low, high)."""
    if points:
        x, y, low, high = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker="o", label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
