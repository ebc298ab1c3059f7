"""
ShareGPT, as people share and train on finished chats with an AI:

    [{"id": "x", "system": "...", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}]

as one array or as JSON lines. A reply of `"weight": 0` is not learned.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows
from readers.conversations import talk_record, weight_of
from readers.source import Record, Skipped, Source

NAME = "ShareGPT"
ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
    "system": "system",
}
WANTED = '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}'


def recognises(head: str) -> bool:
    return {"conversations.item.from", "conversations.item.value"} <= json_rows.key_paths(head)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    system = rows.optional(row, "system", str)
    turns: list[tuple[str, str, int]] = [("system", system, 1)] if system else []
    for turn in rows.required_list(row, "conversations", dict):
        sender = str(rows.required(turn, "from", object))
        role = ROLES.get(sender.lower())
        if role is None:  # function_call, observation, tool
            skipped.note(f"message from {sender[:20]!r}", place)
        else:
            rows.required(turn, "value", object)  # which may be null
            weight = weight_of(turn, place, skipped)
            if weight is None:
                return
            turns.append((role, rows.optional(turn, "value", str) or "", weight))
    yield from talk_record(turns, place, skipped)
