"""
SillyTavern's chats, JSON lines: the first says who they are, each other is a message.

    {"user_name": "Ann", "character_name": "Robin", "create_date": "..."}
    {"name": "Ann", "is_user": true, "mes": "hi"}
    {"name": "Robin", "is_user": false, "mes": "hello", "swipes": ["hello", "hey"]}
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.conversations import Turn, talk_record
from readers.rows import within
from readers.source import Record, Skipped, Source

NAME = "SillyTavern"
SYSTEM = (
    "SillyTavern System",
    "System",
    "Note",
)  # who gives notices; other messages of this kind are hidden by the user


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    return {"is_user", "mes"} <= paths


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield the one conversation of a file."""
    turns = [turn_of(row, place, skipped) for place, row in json_rows.read_json_rows(source, skipped)]
    yield from talk_record([turn for turn in turns if turn], source.name, skipped)


def turn_of(row: Any, place: str, skipped: Skipped) -> Turn | None:
    if isinstance(row, dict) and isinstance(row.get("mes"), str):
        if row.get("is_system") and (row.get("name") in SYSTEM or within(row, "extra", "type")):
            skipped.note("system line", place)
            return None
        return ("user" if row.get("is_user") else "assistant", row["mes"])
    if not isinstance(row, dict) or "user_name" not in row:
        skipped.note("line without a message", place)
    return None
