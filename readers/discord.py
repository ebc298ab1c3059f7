"""
A Discord channel as DiscordChatExporter writes it, in JSON, CSV or plain text (github.com/Tyrrrz/DiscordChatExporter);
pages.py reads its HTML.

    {"guild": {"name": "Friends"}, "channel": {"id": "1", "name": "general"}, "messages": [{"type": "Default",
     "timestamp": "2021-12-31T10:30:00+00:00", "content": "hi", "author": {"id": "7", "nickname": "Ann"}, ...}, ...]}

    AuthorID,Author,Date,Content,Attachments,Reactions
    "7","ann","2021-12-31T10:30:00.0000000+00:00","hi","",""

    ==============================================================
    Guild: Friends
    Channel: general
    ==============================================================

    [12/31/2021 10:30 AM] ann
    hi

Read are messages and replies that have text, of people and of bots. What Discord itself says (joins, pins, calls) is
skipped; in CSV and in plain text it is known only by its wording.
"""

import re
from collections.abc import Iterator
from typing import Any

from readers import table
from readers.json_rows import json_items
from readers.people import People
from readers.source import LogMessage, Skipped, Source
from readers.timestamps import MONTHS, month_comes_first, parse_timestamp

NAME = "Discord (DiscordChatExporter)"
CSV_HEADER = re.compile(r'\s*"?AuthorID"?,"?Author"?,"?Date"?,"?Content"?,', re.I)
BY_PEOPLE = ("Default", "Reply")  # types of messages that people and bots write
NOTICE = re.compile(
    r"(?:Added .+ to the group|Removed .+ from the group|Left the group|(?:Added|Removed) a recipient"
    r"|Changed the channel (?:name(?:: .*)?|icon)|Pinned a message|Joined the server|A poll has closed"
    r"|Started a (?:thread|call that lasted .* minutes))\.?"
)
PREAMBLE = re.compile(r"\s*(?:={20,}\r?\n)?Guild: (.*)\n(?:Category: .*\n)?Channel: (.*)\n")
HEADER = re.compile(r"\[([^\]]{6,40})\] (.{1,60}?)(?: \(pinned\))?")
RULE = re.compile(r"={20,}")
BLOCKS = ("{Attachments}", "{Embed}", "{Stickers}", "{Reactions}")  # what stands below the words of a message
MONTH_IN_DATE = re.compile(r"(?<=[-. ])([A-Z][a-z]{2})(?=[-. ])")  # 31-Dec-21 10:30 AM, until 2021


def recognises(head: str) -> bool:
    if CSV_HEADER.match(head) or PREAMBLE.match(head):
        return True
    names = (r'\{\s*"guild"\s*:\s*\{', r'"channel"\s*:\s*\{', r'"messages"\s*:\s*\[')
    return head.lstrip().startswith("{") and all(re.search(name, head) for name in names)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield messages; `chat` is "guild/channel (id)", in CSV the file."""
    head = source.head
    if PREAMBLE.match(head):
        return text_messages(source, skipped)
    return csv_messages(source, skipped) if CSV_HEADER.match(head) else json_messages(source, skipped)


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
        user_id, author, text = ((row.get(name) or "").strip() for name in ("authorid", "author", "content"))
        if not author:
            skipped.broken(place, "column 'Author' is empty; every message needs one")
        elif not text:
            skipped.note("attachments without text" if row.get("attachments") else "no text", place)
        elif NOTICE.fullmatch(text):
            skipped.note("Discord's own message, by its wording", place)
        else:
            time = table.understood_time(row["date"], place, skipped)
            yield LogMessage(people.named(user_id or author, author), row["content"], time, source.name, line)


def text_messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of plain text. A message begins behind an empty line with a time and who says it."""
    head = source.head
    preamble = PREAMBLE.match(head)
    chat = "/".join(part.strip() for part in preamble.groups()) if preamble else source.name
    headers = [match for line in head.split("\n") if (match := HEADER.fullmatch(line.rstrip("\r")))]
    is_month_first = month_comes_first(numeric(match[1]) for match in headers)
    message: tuple[str, float, int] | None = None  # who, when, and the number of the first line
    words: list[str] = []
    is_after_blank, in_block = True, False
    for number, line in source.lines(skipped):
        match = HEADER.fullmatch(line) if is_after_blank else None
        time = parse_timestamp(numeric(match[1]), is_month_first) if match else None
        is_after_blank = not line.strip()
        if RULE.fullmatch(line) or (match and time is not None):
            yield from spoken(message, words, in_block, source, chat, skipped)
            message = (match[2], time, number) if match and time is not None else None
            words, in_block = [], False
        elif line in BLOCKS:
            in_block = True
        elif not in_block:
            words.append(line)
    yield from spoken(message, words, in_block, source, chat, skipped)


def numeric(date: str) -> str:
    """The date with its month as a number."""
    return MONTH_IN_DATE.sub(lambda m: f"{MONTHS.index(m[1]) + 1:02}" if m[1] in MONTHS else m[1], date)


def spoken(
    message: tuple[str, float, int] | None,
    words: list[str],
    has_block: bool,
    source: Source,
    chat: str,
    skipped: Skipped,
) -> Iterator[LogMessage]:
    """Yield the message of these lines, or none, noted, where nobody says anything."""
    if not message:
        return
    who, time, number = message
    text = "\n".join(words).strip()
    if text and not NOTICE.fullmatch(text):
        yield LogMessage(who, text, time, chat, number)
    else:
        reason = (
            "Discord's own message, by its wording" if text else "attachments without text" if has_block else "no text"
        )
        skipped.note(reason, f"{source.name}:{number}")
