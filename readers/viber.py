"""
Viber's chats as it mails them (Settings, Account, Viber backup, Email message history): a CSV for each, without a
header; the text stands last and is not quoted, whatever it holds.

    31/12/2021,10:00:05,Ann,+15550100,hi, how are you?
    31/12/2021,10:01:00,Me,+15550101,fine
    and you?
"""

import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import month_comes_first, parse_timestamp

NAME = "Viber (CSV)"
ROW = re.compile(
    r"(?P<date>\d{1,4}([./-])\d{1,2}\2\d{1,4}), ?(?P<time>\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?)"
    r", ?(?P<name>[^,\n]{0,80}), ?(?P<number>\+?\d{6,15}|),(?P<text>.*)"
)


def recognises(head: str) -> bool:
    """Half of the lines begin a message, for texts may have several."""
    begins = [bool(ROW.match(line)) for line in head.split("\n") if line.strip()]
    return begins[:1] == [True] and 2 * sum(begins) >= len(begins)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    matches = filter(None, map(ROW.match, source.head.split("\n")))
    is_month_first = month_comes_first(f"{match['date']} {match['time']}" for match in matches)
    first: re.Match[str] | None = None  # of the message that is being read
    lines: list[str] = []
    start = 0
    for number, line in source.lines(skipped):
        if match := ROW.match(line):
            yield from spoken(first, lines, start, is_month_first, source, skipped)
            first, lines, start = match, [match["text"]], number
        elif first:
            lines.append(line)
        elif line.strip():
            skipped.note("line before the first message", f"{source.name}:{number}")
    yield from spoken(first, lines, start, is_month_first, source, skipped)


def spoken(
    first: re.Match[str] | None,
    lines: list[str],
    number: int,
    is_month_first: bool | None,
    source: Source,
    skipped: Skipped,
) -> Iterator[LogMessage]:
    """Yield the message of these lines, or none, noted."""
    if not first:
        return
    who, text = first["name"].strip() or first["number"], "\n".join(lines).strip()
    if len(text) > 1 and text[0] == text[-1] == '"':  # some versions quote what has a comma
        text = text[1:-1].replace('""', '"').strip()
    if who and text:
        time = parse_timestamp(f"{first['date']} {first['time']}", bool(is_month_first))
        yield LogMessage(who, text, time, source.name, number)
    else:
        skipped.note("no text" if who else "message without a sender", f"{source.name}:{number}")
