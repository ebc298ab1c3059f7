"""
ShareGPT, as people share and train on finished chats with an AI:

    [{"id": "x", "system": "...", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}]

as one array or as JSON lines; the list may be called `items`, or be the row, and the names may be mixed with OpenAI's.
"""

from collections.abc import Iterator

from readers import json_rows, rows, turn_lists
from readers.source import Record, Skipped, Source

NAME = "ShareGPT"
WANTED = '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}'
records_of_row = turn_lists.records_of_row


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    prefixes = [f"{name}.item." for name in turn_lists.LISTS] + (["item."] if head.lstrip().startswith("[") else [])
    mixed = (("from", "value"), ("from", "content"), ("role", "value"))
    return any({f"{prefix}{who}", f"{prefix}{said}"} <= paths for prefix in prefixes for who, said in mixed)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)
