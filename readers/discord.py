"""
A Discord channel as DiscordChatExporter writes it, in JSON or CSV (github.com/Tyrrrz/DiscordChatExporter).

    {"guild": {"name": "Friends"}, "channel": {"id": "1", "name": "general"}, "messages": [{"type": "Default",
     "timestamp": "2021-12-31T10:30:00+00:00", "content": "hi", "author": {"id": "7", "nickname": "Ann"}, ...}, ...]}

    AuthorID,Author,Date,Content,Attachments,Reactions
    "7","ann","2021-12-31T10:30:00.0000000+00:00","hi","",""

Read are messages and replies that have text, of people and of bots. What Discord itself says (joins, pins, calls) is
skipped; in CSV it is known only by its wording.
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import table
from readers.json_rows import json_items
from readers.people import People
from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_timestamp

NAME = "Discord (DiscordChatExporter)"
CSV_HEADER = re.compile(r'\s*"?AuthorID"?,"?Author"?,"?Date"?,"?Content"?,', re.I)
BY_PEOPLE = ("Default", "Reply")  # types of messages that people and bots write
NOTICE = re.compile(
    r"(?:Added .+ to the group|Removed .+ from the group|Left the group|(?:Added|Removed) a recipient"
    r"|Changed the channel (?:name(?:: .*)?|icon)|Pinned a message|Joined the server|A poll has closed"
    r"|Started a (?:thread|call that lasted .* minutes))\.?"
)


def recognises(head: str) -> bool:
    if CSV_HEADER.match(head):
        return True
    names = (r'\{\s*"guild"\s*:\s*\{', r'"channel"\s*:\s*\{', r'"messages"\s*:\s*\[')
    return head.lstrip().startswith("{") and all(re.search(name, head) for name in names)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield messages; `chat` is "guild/channel (id)", in CSV the file."""
    return csv_messages(source, skipped) if CSV_HEADER.match(source.head) else json_messages(source, skipped)


def json_messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    people, chat, guild, number = People(), source.name, "", 0
    for key, item in json_items(source, skipped):
        if key == "guild" and isinstance(item, dict):
            guild = item.get("name") or ""
        elif key == "channel" and isinstance(item, dict):
            chat = f"{guild}/{item.get('name') or ''} ({item.get('id') or ''})"
        elif key == "messages":
            number += 1
            place = f"{source.name}:{number}"
            if isinstance(item, dict):  # what is optional in the wild
                item = {**item, "type": item.get("type") or "Default", "content": item.get("content") or ""}
            if not is_message(item):
                skipped.broken(place, "wanted a message with type, content and an author with a name or id")
            elif item["type"] not in BY_PEOPLE:
                skipped.note(f"Discord's own message ({item['type'][:40]})", place)
            elif not item["content"].strip():
                skipped.note(without_text(item), place)
            else:
                author = item["author"]
                names = author.get("nickname"), author.get("name")
                speaker = people.named(str(author.get("id") or author.get("name")), *names)
                yield LogMessage(speaker, item["content"], parse_timestamp(str(item.get("timestamp"))), chat, number)


def is_message(item: Any) -> bool:
    """Whether an item has what is read of it, each of its type."""
    if not isinstance(item, dict) or not isinstance(item.get("author"), dict):
        return False
    author = item["author"]
    is_named = any(isinstance(author.get(key), str) and author[key] for key in ("name", "nickname", "id"))
    return is_named and all(isinstance(item[key], str) for key in ("type", "content"))


def without_text(item: dict[str, Any]) -> str:
    """Why there is nothing to read in a message."""
    for kind in ("attachments", "stickers", "embeds"):
        if item.get(kind):
            return f"{kind} without text"
    return "no text"


def csv_messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    people = People()
    for line, row in table.rows(source, skipped):
        place = f"{source.name}:{line}"
        user_id, author, text = (row[name].strip() for name in ("authorid", "author", "content"))
        if not author:
            skipped.broken(place, "column 'Author' is empty; every message needs one")
        elif not text:
            skipped.note("attachments without text" if row.get("attachments") else "no text", place)
        elif NOTICE.fullmatch(text):
            skipped.note("Discord's own message, by its wording", place)
        else:
            time = table.understood_time(row["date"], place, skipped)
            yield LogMessage(people.named(user_id or author, author), row["content"], time, source.name, line)
