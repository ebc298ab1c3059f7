"""
Plain text that anybody can type: the name of who speaks before a colon, with the time before it if there is one.

    Ann: hi                     [10:30] Ann: hi                     **Ann**: hi
    Ben: yo

A line without a name goes on with the one above it. Two blank lines, or a line of dashes, end a conversation.
"""

import collections
import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source

NAME = "plain dialogue (Name: text)"
LINE = re.compile(
    r" {0,2}(?:\[?\d{1,2}:\d\d(?::\d\d)?\s?(?:[ap]\.?m\.?)?\]?[ \t]+(?:-[ \t]+)?)?"
    r"[*_]{0,2}([^\W\d_][^:：*\n\t<>{}\[\]=/\\\"]{0,39}?)[*_]{0,2}[ \t]*[:：][*_]{0,2}(?:[ \t]+|(?<=：)|$)(.*)",
    re.I,
)
NO_NAME = re.compile(
    r"(?:https?|ftp|note|nb|ps|re|fwd|subject|date|to|from|cc|title|author|warning|error|info|debug|critical|trace|notice"
    r"|todo|fixme|example|step \d+|chapter \d+)",
    re.I,
)
END = re.compile(r"\s*(?:[-=*_\u2013\u2014]{3,}|<\|endoftext\|>)\s*")
MIN_SHARE = 0.5  # of the lines begin with a name
MAX_WORDS = 4  # of a name
MAX_MESSAGES = 2000  # of a chat in which somebody says one thing, and is taken for a person only if they say another


def recognises(head: str) -> bool:
    """Half of the lines begin with a name, two names at least twice, and names are few."""
    lines = [line for line in head.split("\n")[:2000] if line.strip() and not END.fullmatch(line)]
    counts = collections.Counter(name for name, _ in map(split, lines) if name)
    n, often = counts.total(), [name for name, times in counts.items() if times > 1]
    few = len(counts) <= 2 + n // 5
    return len(often) > 1 and n >= MIN_SHARE * len(lines) and few and split(lines[0])[0] is not None


def split(line: str) -> tuple[str | None, str]:
    """(name, text) of a line, or (None, the line)."""
    match = LINE.match(line)
    if not match or NO_NAME.fullmatch(match[1].strip()) or len(match[1].split()) > MAX_WORDS:
        return None, line
    return match[1].strip(), match[2]


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages; a name that hardly ever stands there is taken for the beginning of a sentence."""
    lines = source.lines(Skipped(keep_going=True))
    names = collections.Counter(name for _, line in lines if (name := split(line)[0]))
    rare = max(1, names.total() // MAX_MESSAGES)
    known = {name for name, n in names.items() if n > rare}
    talk, blank = 1, 0
    current: tuple[str, list[str], int] | None = None  # name, lines, number of the first
    for number, line in source.lines(skipped):
        is_end = bool(END.fullmatch(line))
        if not line.strip() or is_end:
            blank += 1
            if current and (blank > 1 or is_end):
                yield from spoken(current, source, talk, skipped)
                current, talk = None, talk + 1
            continue
        name, text = split(line)
        if name in known:
            if current:
                yield from spoken(current, source, talk, skipped)
            current = name, [text], number
        elif current:
            current[1].extend(["", line.strip()] if blank else [line.strip()])
        else:
            skipped.note("line without a name before it", f"{source.name}:{number}")
        blank = 0
    if current:
        yield from spoken(current, source, talk, skipped)


def spoken(message: tuple[str, list[str], int], source: Source, talk: int, skipped: Skipped) -> Iterator[LogMessage]:
    name, lines, number = message
    text = "\n".join(lines).strip()
    if text:
        yield LogMessage(name, text, None, f"{source.name}#{talk}", number)
    else:
        skipped.note("name without text", f"{source.name}:{number}")
