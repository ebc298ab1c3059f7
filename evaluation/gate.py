"""Limits that a report card must keep: --fail_under=limits.txt."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from evaluation.report import figure
from evaluation.rows import Report
from runtime.errors import InputError, did_you_mean


class Limit(NamedTuple):
    name: str  # of a row
    value: float  # the least that its figure may be, or the most where lower is better
    line: int  # of the file, for the message


def read_limits(path: str | Path) -> list[Limit]:
    """The Limits in a file of `name, number` lines; # begins a comment. Raises InputError."""
    limits: list[Limit] = []
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
            value = float(text)
        except ValueError:
            value = math.nan
        if not comma or not math.isfinite(value):
            raise InputError(f"{path}:{number}: a line is a figure's name, a comma and a number: recall_at_5, 50")
        if any(name == limit.name for limit in limits):
            raise InputError(f"{path}:{number}: {name} has a limit already")
        limits.append(Limit(name, value, number))
    return limits


def shortfalls(content: Report, limits: Iterable[Limit], path: str | Path = "limits") -> list[str]:
    """
    A sentence for each limit that the report does not keep. path: the file of the limits, for messages.
    Raises InputError for a name that no figure has, or whose figure is neither better high nor better low.
    """
    rows, lines = {row["name"]: row for row in content["rows"]}, []
    for name, value, number in limits:
        if name not in rows:
            hint = did_you_mean(name, rows) or f"; they are in report.json: {', '.join(list(rows)[:5])}, ..."
            raise InputError(f"{path}:{number}: no figure is called {name}{hint}")
        row = rows[name]
        if row["better"] is None:
            raise InputError(
                f"{path}:{number}: {name} cannot have a limit: neither higher nor lower is better, the aim is people's "
                f"own figure"
            )
        limit = f"{'at least' if row['better'] == 'higher' else 'at most'} {value:g} is asked ({path}:{number})"
        if row["value"] is None:
            lines.append(f"{name} was not measured ({row['note']}), {limit}")
        elif row["value"] < value if row["better"] == "higher" else row["value"] > value:
            lines.append(f"{name} is {figure(row['value'], row['unit'])}, {limit}")
    return lines
