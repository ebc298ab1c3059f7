"""
Open WebUI's exports (Settings, Chats, Export), an array of

    {"title": ..., "chat": {"history": {"messages": {id: {"parentId": id, "role": "user", "content": "hi"}, ...},
     "currentId": id}, "messages": [...]}}

A conversation is a tree; what the person saw last is the way from currentId up.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows, turn_lists
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

NAME = "Open WebUI export"
WANTED = '{"chat": {"history": {"messages": {id: {"role": "...", "content": "..."}}, "currentId": id}}}'


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    in_tree = any(path.startswith("chat.history.messages.") and path.endswith(".role") for path in paths)
    return in_tree or "chat.messages.item.role" in paths


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    chat = rows.required(row, "chat", dict)
    history = rows.optional(chat, "history", dict) or {}
    tree, node_id = history.get("messages"), history.get("currentId")
    messages = rows.optional_list(chat, "messages", dict)
    if isinstance(tree, dict) and isinstance(node_id, str) and node_id in tree:
        path, visited = [], set()
        while (
            isinstance(node_id, str) and node_id in tree and node_id not in visited
        ):  # a damaged tree may have a circle
            visited.add(node_id)
            path.append(rows.required(tree, node_id, dict))
            node_id = path[-1].get("parentId")
        messages = path[::-1]
    turns = [turn_lists.turn_of(message, place, skipped) for message in messages]
    yield from talk_record([turn for turn in turns if turn], place, skipped)
