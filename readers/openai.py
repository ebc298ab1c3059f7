"""
`messages`, as OpenAI's fine-tuning takes them and most sets of AI conversations have them (SmolTalk, UltraChat):

    {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "hi"}, ...]}

on a line each, or as one array. The list may also be named `conversations`, or be the whole line. A message of the
assistant with `"weight": 0` is not learned.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows
from readers.conversations import talk_record, weight_of
from readers.source import Record, Skipped, Source

NAME = "OpenAI messages"
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
WANTED = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    is_bare = head.lstrip().startswith("[") and json_rows.is_json_lines(head)  # a list of messages on each line
    prefixes = ("messages.item.", "conversations.item.", *([""] if is_bare else []))
    return any({f"{prefix}role", f"{prefix}content"} <= paths for prefix in prefixes)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    if not isinstance(row, list):
        row = rows.required(row, "messages" if isinstance(row, dict) and "messages" in row else "conversations", list)
    turns = []
    for message in rows.list_of(row, dict):
        sender = str(rows.required(message, "role", object))
        role = ROLES.get(sender)
        if role is None:  # tool, function
            skipped.note(f"message by role {sender[:20]!r}", place)
        elif message.get("tool_calls") or message.get("function_call"):
            skipped.note("tool call", place)
        else:
            weight = weight_of(message, place, skipped)
            if weight is None:
                return
            turns.append((role, text_of(rows.required(message, "content", object), place, skipped), weight))
    yield from talk_record(turns, place, skipped)


def text_of(content: Any, place: str, skipped: Skipped) -> str:
    """The text of a content: a string, null, or a list of parts, of which images and sound are left out."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = []
    for part in rows.list_of(content, dict):
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            skipped.note(f"part of type {str(part.get('type'))[:20]!r}", place)
    return "\n".join(texts)
