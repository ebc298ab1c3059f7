"""
Claude.ai's account export (Settings, Privacy, Export data): conversations.json, an array of

    {"uuid": ..., "name": ..., "chat_messages": [{"uuid": ..., "sender": "human", "text": "hi",
     "content": [{"type": "text", "text": "hi"}], "parent_message_uuid": ...}, ...]}

Where a question was edited there are branches; what the person saw last is the way from the last message back.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows, turn_lists
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

NAME = "Claude.ai export"
WANTED = '{"chat_messages": [{"sender": "human", "text": "..."}]}'


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    return "chat_messages.item.sender" in paths and not paths.isdisjoint(
        ("chat_messages.item.text", "chat_messages.item.content")
    )


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    messages = last_branch(rows.required_list(row, "chat_messages", dict))
    for message in messages:
        if message.get("attachments") or message.get("files"):
            skipped.note("attachment", place)
    turns = [turn_lists.turn_of(without_tools(message), place, skipped) for message in messages]
    yield from talk_record([turn for turn in turns if turn], place, skipped)


def last_branch(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages from the first to the last, along their parents; all of them where no parents are told."""
    by_id = {str(message.get("uuid")): message for message in messages}
    branch, visited = [], set()
    message = messages[-1] if messages else None
    while message is not None and id(message) not in visited:  # a damaged export may have a circle
        visited.add(id(message))
        branch.append(message)
        message = by_id.get(str(message.get("parent_message_uuid")))
    return branch[::-1] if len(branch) > 1 else messages


def without_tools(message: dict[str, Any]) -> dict[str, Any]:
    """The message with the text parts of its content, if it has some; thinking and tools are no talk."""
    content = message.get("content")
    texts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"] if content else []
    return {"sender": message.get("sender"), "content": texts or message.get("text") or ""}
