"""
Signal chats as the signal-export program writes them, one folder a person: data.json (in truth a JSON object a line),
and chat.md, whose text lines end in two spaces:

    {"date": "2021-12-31T23:59:59", "sender": "Ann", "body": "hi", "quote": "", "attachments": [], ...}
    [2021-12-31 23:59:59] Ann: hi

The first is exact; chat.md is read only where no data.json stands beside it. Signal itself exports no text.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_timestamp

NAME = "Signal"

HEADER = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] (.+?): (.*)", re.DOTALL)
REACTIONS = re.compile(r"\(- .+: .+ -\)")  # written before stickers and attachments, on the same line
NOT_EXPORTED = re.compile(r"\((?:media|attachment|sticker) not exported\) {0,2}")  # what --no-attachments leaves
QUOTE = re.compile(r"^> ?.*$\n*", re.MULTILINE)
ATTACHMENT = re.compile(r"!?\[[^\]\n]{0,255}\]\(\./media/[^)\n]{0,300}\) {0,2}")
STICKER = re.compile(r"\n?\(\( .* \)\)$|\[[^\]\n]{0,255}\]\(\.\./exported_stickers/[^)\n]{0,300}\) {0,2}")
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which JSON can spell and UTF-8 cannot
KEYS = {"date", "sender", "body", "attachments"}
CALL = re.compile(r"(?:Incoming|Outgoing|Missed) (?:\w+ )?call\b.{0,60}")


class Header(NamedTuple):
    """The first line of a message in chat.md."""

    speaker: str
    time: float
    line: int  # its number


def recognises(head: str) -> bool:
    first = next((line for line in head.split("\n") if line.strip()), "")
    if first.startswith("{"):
        try:
            item = json.loads(first)
        except (ValueError, RecursionError):  # a first line of more than the head is cut off
            return all(f'"{key}":' in first for key in KEYS)
        return isinstance(item, dict) and item.keys() >= KEYS
    has_end = []  # for each message, whether a line of it ends as signal-export ends a text
    for line in head.split("\n"):
        if HEADER.match(line):
            has_end.append(False)
        if has_end:
            has_end[-1] = has_end[-1] or line.rstrip("\r").endswith("  ")
    return bool(HEADER.match(first)) and 2 * sum(has_end) > len(has_end)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of a chat. Raises InputError."""
    if source.head.lstrip().startswith("{"):
        yield from json_messages(source, skipped)
    elif "data.json" in source.siblings and not source.name.endswith("data.json"):
        skipped.note("chat.md (the same chat as data.json beside it)", source.name)
    else:
        yield from markdown_messages(source, skipped)


def json_messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    for number, line in source.lines(skipped):
        if not line.strip():
            continue
        place = f"{source.name}:{number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        date = item.get("date") if isinstance(item, dict) else None
        time = parse_timestamp(date) if isinstance(date, str) else None
        if not isinstance(item, dict) or time is None or "sender" not in item:
            skipped.broken(place, 'expected one JSON object a line, with "date", "sender" and "body"')
            continue
        speaker, body = item["sender"], item.get("body") or ""
        if not isinstance(speaker, str) or not speaker.strip() or not isinstance(body, str):
            skipped.broken(place, '"sender" and "body" must be text')
            continue
        text = SURROGATE.sub("\ufffd", body).strip()
        if item.get("deleted"):
            skipped.note("deleted message", place)
        elif item.get("call") or CALL.fullmatch(text):
            skipped.note("call", place)
        else:
            if not text or item.get("attachments") or item.get("sticker"):
                skipped.note("media" if item.get("attachments") or item.get("sticker") else "empty message", place)
            if text:
                yield LogMessage(SURROGATE.sub("\ufffd", speaker).strip(), text, time, "", number)


def markdown_messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    header: Header | None = None  # of the message that is being read
    lines: list[str] = []  # its text
    for number, line in source.lines(skipped):
        match = HEADER.match(line)
        time = parse_timestamp(match[1]) if match else None
        if match is None or time is None:
            if header:
                lines.append(line)
            elif line.strip():
                skipped.note("line before the first message", f"{source.name}:{number}")
            continue
        if header and (message := message_of(source, header, lines, skipped)):
            yield message
        header, lines = Header(match[2], time, number), [match[3]]
    if header and (message := message_of(source, header, lines, skipped)):
        yield message


def message_of(source: Source, header: Header, lines: list[str], skipped: Skipped) -> LogMessage | None:
    """The message of these lines without quotes, reactions and attachments; None, noted, where no words remain."""
    place, raw = f"{source.name}:{header.line}", "\n".join(lines)
    if not lines[0].strip() and any(line.startswith(">") for line in lines):  # the message that it answers
        raw = QUOTE.sub("", raw)
        skipped.note("quote of an earlier message", place)
    text, media = ATTACHMENT.subn("", NOT_EXPORTED.sub("![](./media/x)", raw))
    text, stickers = STICKER.subn("", text.rstrip())
    while REACTIONS.fullmatch(text.rstrip().rpartition("\n")[2]):
        text = text.rstrip().rpartition("\n")[0]
        skipped.note("reactions", place)
    text = "\n".join(line.rstrip() for line in text.strip().split("\n"))
    if text == "(This message was deleted)" or CALL.fullmatch(text):
        skipped.note("call" if CALL.fullmatch(text) else "deleted message", place)
        return None
    if media or stickers or not text:
        skipped.note("media" if media or stickers else "empty message", place)
    speaker = header.speaker.strip()
    return LogMessage(speaker, text, header.time, "", header.line) if text and speaker else None
