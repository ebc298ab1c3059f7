"""
Google Chat and Hangouts, as Google Takeout gives them: Groups/DM 1/messages.json, and Hangouts.json:

    {"messages": [{"creator": {"name": "Ann", "email": ..., "user_type": "Human"},
     "created_date": "Friday, December 31, 2021 at 10:00:00 AM UTC", "text": "hi"}, ...]}
    {"conversations": [{"conversation": {"conversation": {"participant_data": [{"id": {"gaia_id": "1"},
     "fallback_name": "Ann"}]}}, "events": [{"sender_id": {"gaia_id": "1"}, "timestamp": "1640944800000000",
     "chat_message": {"message_content": {"segment": [{"type": "TEXT", "text": "hi"}]}}}, ...]}]}
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.people import People
from readers.rows import listed, within
from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_month_name

NAME = "Google Chat, Hangouts (Takeout)"
DATE = re.compile(r"(?:\w+, )?([A-Z][a-z]{2})\w* (\d{1,2}), (\d{4}) at (\d{1,2}:\d\d:\d\d)\s([AP]M)")


def recognises(head: str) -> bool:
    if '"created_date"' in head:
        return "messages.item.creator.name" in json_rows.key_paths(head)
    return '"participant_data"' in head and '"gaia_id"' in head


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    number = 0
    for key, item in json_rows.json_items(source, skipped):
        if key == "messages":
            number += 1
            message = chat_message(item, source, number, skipped)
            if message:
                yield message
        elif key in ("conversations", "conversation_state") and isinstance(item, dict):  # the latter until 2018
            for message in hangouts_messages(item, source, number, skipped):
                number += 1
                yield message


def chat_message(item: Any, source: Source, number: int, skipped: Skipped) -> LogMessage | None:
    """A message of Google Chat; None, noted, if nobody says anything in it."""
    place = f"{source.name}:{number}"
    creator = item.get("creator") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(creator, dict):
        skipped.note("message without a sender", place)
        return None
    name, text = creator.get("name") or creator.get("email"), item.get("text")
    if creator.get("user_type") == "Bot":
        skipped.note("message by a bot", place)
    elif not isinstance(text, str) or not text.strip() or not isinstance(name, str):
        skipped.note("media" if item.get("attached_files") else "empty message", place)
    else:
        time = time_of(str(item.get("created_date")))
        if time is None:  # it is in the language of the account
            skipped.note("message with a time that is not understood, no silence is seen there", place, kept=True)
        return LogMessage(name, text.strip(), time, source.name, number)
    return None


def time_of(text: str) -> float | None:
    match = DATE.match(" ".join(text.split()))
    return parse_month_name(f"{match[1]} {match[2]:0>2}, {match[3]} {match[4]:0>8} {match[5]}") if match else None


def hangouts_messages(item: dict[str, Any], source: Source, number: int, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of a conversation of Hangouts, oldest first."""
    item = {**item, **(within(item, "conversation_state") or {})}
    inner = within(item, "conversation", "conversation") or within(item, "conversation")
    people = People()
    for person in listed(within(inner, "participant_data")):
        people.named(str(within(person, "id", "gaia_id")), within(person, "fallback_name"))
    chat_id = within(item, "conversation", "conversation_id", "id") or within(item, "conversation_id", "id") or number
    chat = f"{source.name}/{chat_id}"
    spoken = []
    for event in listed(item.get("events")) or listed(item.get("event")):
        content = within(event, "chat_message", "message_content")
        segments = listed(within(content, "segment"))
        text = "".join("\n" if within(s, "type") == "LINE_BREAK" else str(within(s, "text") or "") for s in segments)
        if not text.strip():
            skipped.note("media" if within(content, "attachment") else "system line", source.name)
            continue
        stamp, sender = str(within(event, "timestamp")), str(within(event, "sender_id", "gaia_id"))
        time = int(stamp) / 1e6 if stamp.isdecimal() and len(stamp) < 19 else None
        spoken.append(LogMessage(people.named(sender), text.strip(), time, chat, number + len(spoken) + 1))
    yield from sorted(spoken, key=lambda message: message.time or 0)
