"""
Chats that people export as JSON from Skype and Teams, and from Matrix (Element):

    {"userId": "live:ann", "conversations": [{"id": "8:live:ben", "displayName": "Ben", "MessageList":
     [{"originalarrivaltime": "2021-12-31T10:00:00Z", "from": "live:ann", "content": "hi"}]}]}
    {"room_name": "friends", "messages": [{"type": "m.room.message", "sender": "@ann:example.org",
     "origin_server_ts": 1640944800000, "content": {"msgtype": "m.text", "body": "hi"}}]}
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.gemini import as_text
from readers.people import People
from readers.rows import listed, within
from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_timestamp

NAME = "Skype, Teams, Matrix (JSON)"
WORDS = ("Text", "RichText", "RichText/Html")  # types of messages that people write; the last is of Teams
QUOTE = re.compile(r"<quote\b.*?</quote>", re.DOTALL)


def recognises(head: str) -> bool:
    if '"MessageList"' in head:
        return '"originalarrivaltime"' in head or '"messagetype"' in head
    return '"origin_server_ts"' in head and '"m.room.' in head


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    people, number, owner, room = People(), 0, "", ""
    for key, item in json_rows.json_items(source, skipped):
        if key == "userId":
            owner = str(item)
        elif key in ("room_name", "name") and isinstance(item, str):
            room = item
        elif key == "conversations" and isinstance(item, dict):
            for message in skype_messages(item, owner, people, source, number, skipped):
                number += 1
                yield message
        elif key in ("messages", "events", "chunk") or (key is None and isinstance(item, dict)):
            number += 1
            message = matrix_message(item, people, room or source.name, number, f"{source.name}:{number}", skipped)
            if message:
                yield message


def skype_messages(
    item: dict[str, Any], owner: str, people: People, source: Source, number: int, skipped: Skipped
) -> Iterator[LogMessage]:
    """Yield the messages of a conversation of Skype, which has the newest first."""
    chat_id = str(item.get("id"))
    if isinstance(item.get("displayName"), str) and ":" in chat_id and not chat_id.startswith("19:"):  # 19: a group
        people.named(without_kind(chat_id), item["displayName"])
    found = []
    for message in listed(item.get("MessageList")):
        content, kind = within(message, "content"), within(message, "messagetype")
        if not isinstance(content, str) or kind not in WORDS:
            skipped.note("media" if "Media" in str(kind) or "RichText/" in str(kind) else "system line", source.name)
            continue
        text = as_text(QUOTE.sub("", content.replace("\n", "<br>")))
        sender = without_kind(str(message.get("from")))
        if text:
            shown_names = (message.get("displayName"), message.get("imdisplayname"))
            speaker = people.named(sender, *shown_names, "Me" if sender == without_kind(owner) else None)
            time = parse_timestamp(str(message.get("originalarrivaltime")))
            found.append(LogMessage(speaker, text, time, f"{source.name}/{chat_id}", number + len(found) + 1))
    yield from sorted(found, key=lambda message: message.time or 0)


def without_kind(user_id: str) -> str:
    """Skype's id without the number of its kind: "8:live:ann" is "live:ann"."""
    return re.sub(r"^(?:https?://\S*/)?\d+:", "", user_id)


def matrix_message(
    item: Any, people: People, room: str, number: int, place: str, skipped: Skipped
) -> LogMessage | None:
    """The message of an event; None, noted, if nobody says anything in it."""
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(content, dict) or item.get("type") != "m.room.message":
        skipped.note("system line", place)
        return None
    body, sender = content.get("body"), item.get("sender")
    if within(content, "m.relates_to", "rel_type") == "m.replace":
        skipped.note("later version of an edited message", place)
    elif content.get("msgtype") not in ("m.text", "m.emote") or not isinstance(body, str):
        skipped.note("media" if content.get("url") or content.get("file") else "system line", place)
    elif not isinstance(sender, str):
        skipped.note("message without a sender", place)
    else:
        body = re.sub(r"^(?:> .*\n)+\n?", "", body)  # the message that it answers
        stamp = item.get("origin_server_ts")
        time = stamp / 1000 if isinstance(stamp, int | float) else None
        name = sender[1:].partition(":")[0] if sender.startswith("@") else sender
        return LogMessage(people.named(sender, name), body.strip(), time, room, number) if body.strip() else None
    return None
