"""
OpenAssistant Conversations (Köpf et al. 2023): volunteers ask, volunteers answer, in trees; each way from the root to a
last answer is a conversation. Its English part, about 65,000 messages in oasst2. Licence: Apache-2.0.

    $ python data/oasst/prepare.py                          # from the hub
    $ python data/oasst/prepare.py --source=FILE_OR_FOLDER  # rows or trees

Rows are messages, {"message_id", "parent_id", "text", "role", "lang"} (the hub; all are held, since a reply may stand
anywhere), or trees, {"prompt": {..., "replies": [...]}} or the root alone.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import rows
from readers.conversations import talk_record
from readers.source import Record, Skipped

HUB_ID = "OpenAssistant/oasst2"
ABOUT = {
    "name": "OpenAssistant Conversations 2",
    "licence": "Apache-2.0",
    "url": f"https://huggingface.co/datasets/{HUB_ID}",
}
WANTED = '{"message_id", "parent_id", "text", "role", "lang"} or {"prompt": {"text", "role", "replies"}}'
ROLES = {"prompter": "user", "assistant": "assistant"}
LANGUAGE = "en"  # GPT-2 reads English


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    parts = rows.local_or_hub_parts(settings, HUB_ID, skipped, streaming=False)
    messages_or_trees = (placed_row for part in parts for placed_row in part)
    return rows.records_of_rows(trees(messages_or_trees, skipped), records_of_row, WANTED, skipped)


def trees(placed_rows: Iterable[rows.PlacedRow], skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield the root messages, those of rows that are a message each when all rows are read."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {}  # message_id -> place and message
    for place, row in placed_rows:
        node = row["prompt"] if isinstance(row, dict) and isinstance(row.get("prompt"), dict) else row
        if isinstance(node, dict) and isinstance(node.get("replies"), list):
            yield place, node
        elif isinstance(node, dict) and isinstance(node.get("message_id"), str):
            nodes[node["message_id"]] = (place, {**node, "replies": []})
        else:
            skipped.broken(place, f"wanted {WANTED}")
    roots = []
    for place, node in nodes.values():
        parent = node.get("parent_id")
        if parent is None:
            roots.append((place, node))
        elif isinstance(parent, str) and parent in nodes:
            nodes[parent][1]["replies"].append(node)
        else:
            skipped.note("reply to a message that is not there", place)
    yield from roots


def records_of_row(root: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    branches: list[tuple[Any, list[tuple[str, str]]]] = [(root, [])]  # a message, and the turns before it
    while branches:
        node, turns = branches.pop()
        reason = why_left_out(node)
        if reason:
            skipped.note(f"{reason}, with what was replied to it", place)
            continue
        role = ROLES.get(rows.required(node, "role", str))
        if role is None:
            raise rows.Misfit("a role is prompter or assistant")
        turns = [*turns, (role, rows.required(node, "text", str))]
        replies = rows.optional_list(node, "replies", dict)
        branches += [(reply, turns) for reply in reversed(replies)]
        read = [reply for reply in replies if not why_left_out(reply)]
        answers = [answer for reply in read for answer in rows.optional_list(reply, "replies", dict)]
        if role == "assistant" and all(map(why_left_out, answers)):  # nobody goes on from here and is answered
            yield from talk_record(turns, place, skipped)
        if role == "user" and not read:
            skipped.note("question that nobody answered", place)


def why_left_out(node: Any) -> str | None:
    """Why a message is not used, or None."""
    if not isinstance(node, dict):
        raise rows.Misfit("a message is an object")
    if node.get("deleted"):
        return "deleted message"
    return None if node.get("lang", LANGUAGE) == LANGUAGE else "message not in English"


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
