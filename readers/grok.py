"""
Grok's account export (prod-grok-backend.json):

    {"conversations": [{"conversation": {"title": ...}, "responses": [{"response": {"sender": "human",
     "message": "hi", "create_time": ...}}, ...]}, ...]}
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows, turn_lists
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

NAME = "Grok export"
WANTED = '{"responses": [{"response": {"sender": "human", "message": "..."}}]}'


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    return {"responses.item.response.sender", "responses.item.response.message"} <= paths


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    responses = [rows.required(item, "response", dict) for item in rows.required_list(row, "responses", dict)]
    turns = [turn_lists.turn_of(response, place, skipped) for response in responses]
    yield from talk_record([turn for turn in turns if turn], place, skipped)
