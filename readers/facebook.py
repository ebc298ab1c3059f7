"""
Facebook Messenger and Instagram, as "Download your information" gives them in JSON: inbox/ANN_123/message_1.json, ...

    {"participants": [...], "messages": [{"sender_name": "Zo\\u00c3\\u00ab", "timestamp_ms": 1640944860000,
     "content": "hi"}, ...], "title": "Zo\\u00c3\\u00ab", "thread_path": "inbox/zoe_1"}

newest first, each byte of UTF-8 written as a character. Chats that were end-to-end encrypted have other keys:
{"participants": ["Ann"], "threadName": "Ann_1", "messages": [{"senderName": "Ann", "text": "hi", "timestamp": ...}]}
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.source import LogMessage, Skipped, Source

NAME = "Facebook Messenger, Instagram"
OWN_WORDS = re.compile(  # what the app writes in place of words, in English
    r"(?:Reacted .{1,12} to .{1,60}|Liked a message|.{1,60} unsent a message\.?|You (?:unsent|deleted) a message\.?"
    r"|.{1,60} sent (?:an attachment|a (?:photo|video|sticker|voice message|GIF|live location|link))\.?"
    r"|.{1,60} (?:missed your|missed a|started a) (?:video |audio )?(?:call|chat)\.?|(?:You|.{1,60}) called .{1,60}\."
    r"|You are now connected on Messenger\.?|The (?:video|audio) (?:call|chat) ended\.?"
    r"|.{1,60} (?:set (?:the|your) nickname|changed the (?:theme|group photo)|named the group|created the group"
    r"|added .{1,60} to the group|left the group).{0,200})"
)
MEDIA = ("photos", "videos", "audio_files", "gifs", "sticker", "files", "share", "media")


def recognises(head: str) -> bool:
    if '"sender' not in head:
        return False
    paths = json_rows.key_paths(head)
    with_bytes = {"messages.item.sender_name", "messages.item.timestamp_ms"}
    return with_bytes <= paths or {"messages.item.senderName", "messages.item.timestamp"} <= paths


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages, oldest first; a file, of 10,000 messages at most, is held in memory."""
    items, chat = [], ""
    for key, item in json_rows.json_items(source, skipped):
        if key == "messages":
            items.append((len(items) + 1, item))
        elif key in ("thread_path", "threadName") and isinstance(item, str):
            chat = item
    items.sort(key=lambda pair: time_of(pair[1]) or 0)
    for number, item in items:
        message = message_of(item, chat, number, f"{source.name}:{number}", skipped)
        if message:
            yield message


def time_of(item: Any) -> float | None:
    """Seconds since 1970."""
    milliseconds = item.get("timestamp_ms", item.get("timestamp")) if isinstance(item, dict) else None
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def message_of(item: Any, chat: str, number: int, place: str, skipped: Skipped) -> LogMessage | None:
    """The message of an item; None, noted, if nobody says anything in it."""
    name = item.get("sender_name") or item.get("senderName") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(name, str):
        skipped.broken(place, 'wanted a message with "sender_name" and "content"')
        return None
    text = item.get("content", item.get("text")) or ""
    is_bytes = "sender_name" in item
    name, text = (undone(part) if is_bytes and isinstance(part, str) else part for part in (name, text))
    if item.get("is_unsent") or item.get("isUnsent"):
        reason = "deleted message"
    elif item.get("type") in ("Call", "call") or "call_duration" in item:
        reason = "call"
    elif not isinstance(text, str) or not text.strip():
        reason = "media" if any(item.get(name) for name in MEDIA) else "empty message"
    elif OWN_WORDS.fullmatch(text.strip()):
        reason = "system line"
    else:
        return LogMessage(name.strip(), text.strip(), time_of(item), chat, number)
    skipped.note(reason, place)
    return None


def undone(text: str) -> str:
    """The text whose bytes of UTF-8 were taken for characters; one that was not stays."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
