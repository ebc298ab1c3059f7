"""
Signal Desktop's chats as the program sigtop writes them as text, a file for each:

    Conversation: Ann (+49 170 1234567)

    From: Ann (+49 170 1234567)
    Type: incoming
    Sent: Fri, 31 Dec 2021 10:00:00 +0100

    hi
"""

import email.utils
import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source

NAME = "Signal (sigtop)"
FIELD = re.compile(r"(From|Type|Sent|Received|Attachment|Reaction|Edited|Quote|Version|Deleted|Sticker): ?(.*)")
NUMBER = re.compile(r"\s*\([^()]*\)$")


def recognises(head: str) -> bool:
    return head.lstrip().startswith("Conversation: ") and "\nFrom: " in head and "\nSent: " in head


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    fields: dict[str, str] = {}
    lines: list[str] = []
    start, in_fields, is_after_blank = 0, False, True
    for number, line in source.lines(skipped):
        begins, is_after_blank = is_after_blank and line.startswith("From: "), not line.strip()
        if begins:
            yield from spoken(fields, lines, start, source, skipped)
            fields, lines, start, in_fields = {"From": line[6:]}, [], number, True
        elif in_fields and (match := FIELD.match(line)):
            fields[match[1]] = match[2]
        elif fields and not line.startswith("> "):  # the message that it answers
            in_fields = False
            lines.append(line)
    yield from spoken(fields, lines, start, source, skipped)


def spoken(
    fields: dict[str, str], lines: list[str], start: int, source: Source, skipped: Skipped
) -> Iterator[LogMessage]:
    """Yield the message of these fields and lines, or none, noted."""
    if not fields:
        return
    text, place = "\n".join(lines).strip(), f"{source.name}:{start}"
    name = NUMBER.sub("", fields["From"]).strip() or fields["From"].strip("() ")
    if not text or fields.get("Type") not in (None, "incoming", "outgoing"):
        skipped.note("media" if "Attachment" in fields else "system line", place)
        return
    try:
        time = email.utils.parsedate_to_datetime(fields.get("Sent", "")).timestamp()
    except (ValueError, TypeError):
        time = None
    yield LogMessage(name, text, time, source.name, start)
