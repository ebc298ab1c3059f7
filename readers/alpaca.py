"""
Alpaca, single instructions and their answers, as one array or as JSON lines:

    {"instruction": "Translate to German.", "input": "a dog", "output": "ein Hund"}

with `system` and `history` ([["question", "answer"], ...]) if they are there.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

NAME = "Alpaca"
WANTED = '{"instruction": "...", "input": "...", "output": "..."}'


def recognises(head: str) -> bool:
    return {"instruction", "output"} <= json_rows.key_paths(head)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    system = rows.optional(row, "system", str)
    turns = [("system", system)] if system else []
    for exchange in rows.optional_list(row, "history", list):
        if len(rows.list_of(exchange, str)) != 2:
            raise rows.Misfit("history has pairs of a question and an answer")
        turns += zip(("user", "assistant"), exchange, strict=True)
    parts = rows.required(row, "instruction", str).strip(), (rows.optional(row, "input", str) or "").strip()
    turns.append(("user", "\n\n".join(part for part in parts if part)))
    turns.append(("assistant", rows.required(row, "output", str)))
    yield from talk_record(turns, place, skipped)
