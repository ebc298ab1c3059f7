"""
ChatGPT's account export (Settings, Data controls, Export): conversations.json, an array of

    {"title": ..., "mapping": {id: {"message": {"author": {"role": ...}, "content": {"content_type": "text",
     "parts": [...]}}, "parent": id, "children": [...]}}, "current_node": id}

A conversation is a tree, for questions can be edited and answers made anew; what the person saw last is the path from
current_node up to the root.
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

NAME = "ChatGPT export"
WANTED = '{"mapping": {id: {"message": {"author", "content"}, "parent": id}}, "current_node": id}'
CITATIONS = re.compile(  # drawn as links in the app
    r" ?(?::contentReference\[[^\]]*\](?:\{[^}]*\})?|【[^】]*†[^】]*】|\ue200[^\ue201]*\ue201)"
)


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    node = (".message", ".parent", ".children")
    return "mapping" in paths and any(path.startswith("mapping.") and path.endswith(node) for path in paths)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    mapping = rows.required(row, "mapping", dict)
    turns = []
    for message in path_to(row.get("current_node"), mapping, place, skipped):
        role = rows.required(rows.required(message, "author", dict), "role", object)
        content = rows.required(message, "content", dict)
        reason = why_left_out(role, content, message)
        if reason:
            skipped.note(reason, place)
        else:
            turns.append((role, text_of(content, place, skipped)))
    yield from talk_record(turns, place, skipped)


def path_to(node_id: Any, mapping: dict[str, Any], place: str, skipped: Skipped) -> list[dict[str, Any]]:
    """The messages from the root to the node; if the tree does not have it, to the last node that nobody answered."""
    if not isinstance(node_id, str) or node_id not in mapping:
        leaves = [leaf_id for leaf_id in mapping if not rows.required(mapping, leaf_id, dict).get("children")]
        if not leaves:
            raise rows.Misfit("no node without children")
        skipped.note("current_node is missing, the last branch is taken", place)
        node_id = leaves[-1]
    messages, visited = [], set()
    while node_id in mapping and node_id not in visited:  # a damaged tree may have a circle
        visited.add(node_id)
        node = rows.required(mapping, node_id, dict)
        message = rows.optional(node, "message", dict)
        if message:
            messages.append(message)
        node_id = rows.optional(node, "parent", str)
    return messages[::-1]


def why_left_out(role: Any, content: dict[str, Any], message: dict[str, Any]) -> str | None:
    """Why a message is not part of the conversation, or None."""
    kind = rows.required(content, "content_type", object)
    if role not in ("user", "assistant"):
        return f"{str(role)[:20]} message"
    if (rows.optional(message, "metadata", dict) or {}).get("is_visually_hidden_from_conversation"):
        return "hidden message"
    if message.get("recipient") not in (None, "all"):
        return "message to a tool"
    return None if kind in ("text", "multimodal_text") else f"content of type {str(kind)[:30]}"


def text_of(content: dict[str, Any], place: str, skipped: Skipped) -> str:
    """The text of the parts, and the transcript of speech; images and other files are left out."""
    texts = []
    for part in rows.required(content, "parts", list):
        if isinstance(part, str):
            texts.append(part)
        elif part is None:
            continue
        elif not isinstance(part, dict):
            raise rows.Misfit("a part is text or an object")
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            skipped.note(f"attachment ({str(part.get('content_type'))[:30]})", place)
    return CITATIONS.sub("", "\n".join(texts))
