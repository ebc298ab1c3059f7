"""
iMessage chats as the imessage-exporter program writes them with `--format txt`, one file a chat:

    Dec 31, 2021 11:59:59 PM (Read by you after 2 minutes)
    Ann
    happy new year

    Jan 01, 2022 12:00:10 AM
    Me
    you too!

A reply stands twice: indented below what it answers, and in its own place, which is the one that is read. A line that
only looks like the beginning of a message (a time alone, after an empty line) cannot be told from one.
"""

import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_month_name

NAME = "iMessage"

HEADER = re.compile(r"( *)([A-Z][a-z]{2} \d\d, \d{4} [ \d]\d:\d\d:\d\d [AP]M)(?: \((?:Read|Delivered)\b.*\))?")
ANNOUNCEMENT = re.compile(HEADER.pattern + r" (\S.*)")  # Dec 31, 2021 11:59:59 PM You named the conversation Trip
ANSWER = "This message responded to an earlier message."
REPLY = "reply, read in its own place"
EFFECT = re.compile(r"Sent with (?:\w+ ?){1,3}")
ATTACHED = re.compile(
    r"(?:~|/|[A-Za-z]:\\|attachments/).*\.\w{1,5}|Attachment missing!|(?:\w+ )?Sticker from .*: .*"
    r"|[\w-]{1,80}\.(?:heic|heif|jpe?g|png|gif|webp|mov|mp4|m4v|m4a|mp3|caf|amr|vcf|pdf|pluginpayloadattachment)",
    re.I,
)
NOTICE = re.compile(
    r"Unable to (?:format|parse) (?:app )?message.*|(?:Started|Stopped) sharing location!?|SharePlay Message"
)
UNSENT = re.compile(r".{1,100} (?:unsent|deleted) (?:this message part|a message|this message)\b.*")
DELETED = "This message was deleted from the conversation!"
EDITED = re.compile(r"Edited .{1,60} later: (.*)")
LISTS = ("Tapbacks:", "Reactions:")
REACTION = re.compile(r"(?:Loved|Liked|Disliked|Laughed|Emphasized|Questioned|Reacted|\S{1,20}) by .+|Sticker .*")


def recognises(head: str) -> bool:
    first = next((line.rstrip("\r") for line in head.split("\n", 50) if line.strip()), "")
    match = HEADER.fullmatch(first) or ANNOUNCEMENT.fullmatch(first)
    return match is not None and not match[1] and parse_month_name(match[2]) is not None


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of a chat, in the order of the file. Raises InputError."""
    header: tuple[int, float] | None = None  # line number and time of the message that is being read
    lines: list[str] = []  # its lines below the time
    after_gap = True
    for number, line in source.lines(skipped):
        if after_gap and line[:1].isupper():
            if (match := HEADER.fullmatch(line)) and (time := parse_month_name(match[2])) is not None:
                if header and (message := message_of(source, header, lines, skipped)):
                    yield message
                header, lines, after_gap = (number, time), [], False
                continue
            if (match := ANNOUNCEMENT.fullmatch(line)) and parse_month_name(match[2]) is not None:
                if header and (message := message_of(source, header, lines, skipped)):
                    yield message
                header, lines = None, []
                skipped.note("system line", f"{source.name}:{number}")
                continue
        after_gap = not line.strip()
        if header:
            lines.append(line)
        elif line.strip():
            skipped.note("line that belongs to no message", f"{source.name}:{number}")
    if header and (message := message_of(source, header, lines, skipped)):
        yield message


def message_of(source: Source, header: tuple[int, float], lines: list[str], skipped: Skipped) -> LogMessage | None:
    """The message of the lines below a header; None, noted, if there are no words in it."""
    number, time = header
    place = f"{source.name}:{number}"
    if not lines or not lines[0].strip():
        skipped.broken(place, "expected the sender's name on the line after the time")
        return None
    if DELETED in lines[1:]:
        skipped.note("deleted message", place)
        return None
    words, inside = [], ""  # inside: what the lines up to the next empty one are part of
    for i, line in enumerate(lines[1:]):
        if (match := HEADER.fullmatch(line)) and len(match[1]) >= 4:
            inside = REPLY
        elif line in LISTS and inside != REPLY:
            inside = "reactions"
        elif inside == REPLY:  # until 2026 only its first line was indented
            inside = REPLY if line.strip() else ""
        elif line.strip() and not line.startswith("    ") and not (inside and REACTION.fullmatch(line)):
            inside = ""
        if inside and line not in LISTS and not match:  # counted once, by its first line
            continue
        reason = inside
        if not reason and ATTACHED.fullmatch(line):
            reason = "media"
        elif not reason and UNSENT.fullmatch(line):
            reason = "deleted message"
        elif not reason and EFFECT.fullmatch(line):
            reason = "effect"
        elif not reason and (NOTICE.fullmatch(line) or (line == "Ended" and lines[i] == "SharePlay Message")):
            reason = "system line"
        if reason:
            skipped.note(reason, place)
        elif (match := EDITED.fullmatch(line)) and words:
            words = [match[1]]
            skipped.note("earlier version of an edited message", place)
        elif line != ANSWER:
            words.append(line)
    text = "\n".join(words).strip()
    if not text and len(words) == len(lines) - 1:
        skipped.note("empty message", place)
    return LogMessage(lines[0].strip(), text, time, "", number) if text else None
