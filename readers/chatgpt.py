"""
ChatGPT's account export (Settings, Data controls, Export): conversations.json, an array of

    {"title": ..., "mapping": {id: {"message": {"author": {"role": ...}, "content": {"content_type": "text",
     "parts": [...]}}, "parent": id, "children": [...]}}, "current_node": id}

A conversation is a tree, for questions can be edited and answers made anew; what the person saw last is the path from
current_node up to the root.
"""

import re

from readers import json_rows, rows
from readers.conversations import talk_record

NAME = "ChatGPT export"
WANTED = '{"mapping": {id: {"message": {"author", "content"}, "parent": id}}, "current_node": id}'
CITATIONS = re.compile("【[^】]*†[^】]*】|\ue200[^\ue201]*\ue201")  # drawn as links in the app


def recognises(head):
    paths = json_rows.key_paths(head)
    node = (".message", ".parent", ".children")
    return "mapping" in paths and any(path.startswith("mapping.") and path.endswith(node) for path in paths)


def records(source, skipped):
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), of_row, WANTED, skipped)


def of_row(row, place, skipped):
    said = []
    for message in path(row["mapping"], row.get("current_node"), place, skipped):
        reason = left_out(message)
        if reason:
            skipped.note(reason, place)
        else:
            said.append((message["author"]["role"], words(message["content"], place, skipped)))
    return talk_record(said, place, skipped)


def path(mapping, node, place, skipped):
    """The messages from the root to `node`; without a node, to the last that nobody answered."""
    if not isinstance(node, str) or node not in mapping:
        leaves = [name for name, entry in mapping.items() if not entry.get("children")]
        skipped.note("current_node is missing, the last branch is taken", place)
        node = leaves[-1]
    messages, seen = [], set()
    while node in mapping and node not in seen:  # seen: a damaged tree may bite its tail
        seen.add(node)
        if mapping[node].get("message"):
            messages.append(mapping[node]["message"])
        node = mapping[node].get("parent")
    return reversed(messages)


def left_out(message):
    """Why a message is not part of the talk, or None."""
    role, kind = message["author"]["role"], message["content"]["content_type"]
    if role not in ("user", "assistant"):
        return f"{str(role)[:20]} message"
    if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation"):
        return "hidden message"
    if message.get("recipient") not in (None, "all"):
        return "message to a tool"
    return None if kind in ("text", "multimodal_text") else f"content of type {str(kind)[:30]}"


def words(content, place, skipped):
    """The text of the parts; images and other files are left out, of speech the transcript is taken."""
    texts = []
    for part in content["parts"]:
        text = part if isinstance(part, str) else part.get("text")
        if isinstance(text, str):
            texts.append(text)
        else:
            skipped.note(f"attachment ({str(part.get('content_type'))[:30]})", place)
    return CITATIONS.sub("", "\n".join(texts))
