"""Limits that a report card must keep."""

import difflib
import math
from pathlib import Path

from evaluation.report import figure
from runtime.errors import InputError


def read_limits(path):
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
