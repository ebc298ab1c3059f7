"""
`messages`, as OpenAI's fine-tuning takes them and most sets of AI conversations have them (SmolTalk, UltraChat):

    {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "hi"}, ...]}

on a line each, or as one array. The list may have another name (`conversation`, `conversations`), or be the whole line.
"""

from collections.abc import Iterator

from readers import json_rows, rows, turn_lists
from readers.source import Record, Skipped, Source

NAME = "OpenAI messages"
WANTED = turn_lists.WANTED
records_of_row = turn_lists.records_of_row


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    # a list of messages on each line, or in each item
    is_bare = head.lstrip().startswith("[") and (json_rows.is_json_lines(head) or "item.role" in paths)
    who = ("role",)
    return any(
        {f"{prefix}{name}", f"{prefix}{said}"} <= paths
        for prefix in (*(f"{name}.item." for name in turn_lists.LISTS), *(["", "item."] if is_bare else []))
        for name in who
        for said in turn_lists.SAID
    )


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)
