"""
WhatsApp's exported chats (`_chat.txt`, `WhatsApp Chat with Ann.txt`) as iOS and Android write them, in many languages:

    [31.12.21, 23:59:59] Ann: happy new year          12/31/21, 11:59 PM - Ann: happy new year
    and a second line                                 and a second line

    31/12/13 23:59:59: Ann: happy new year            (until 2016)

A contact saved as "Work: Bob" cannot be told from "Work" who says "Bob: ...", nor a line of a message that begins just
as the file's messages do from a message.
"""

import re
from collections.abc import Iterator

from readers import signal
from readers.source import LogMessage, Skipped, Source
from readers.whatsapp_times import ENDS, IOS, ORDERS, Clock, Days, Dress, header_of, headers, order_of, plain_seconds
from readers.whatsapp_words import MARK, Phrases, phrases, repeated_marks

NAME = "WhatsApp"

QUOTES = re.compile('["“”„«»「」『』《》‹›]')
LOG = re.compile(r"(?:.*\.)?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)")
LOGGED = re.compile(r"<[^<>\s]{1,40}>|[*-]{1,3} |\* ")
MAX_LINES = 65_536  # of a message: it has at most so many characters, hence also lines


class Names(dict[str, tuple[str, bool]]):
    """Name as written -> (the name, whether a quotation begins in it and does not end)."""

    def __missing__(self, text: str) -> tuple[str, bool]:
        is_open = len(QUOTES.findall(text)) % 2 == 1 or text.count("‘") > text.count("’")
        self[text] = " ".join(MARK.sub("", text).split()), is_open
        return self[text]


def recognises(head: str) -> bool:
    lines = [line for line in head.split("\n") if line.strip()]
    header, clock = header_of(lines), Clock()
    matches = headers(lines, header, clock)
    if not matches or signal.recognises(head) or not any(Days(order)[matches[0][1]] is not None for order in ORDERS):
        return False
    names = {match[4].partition(": ")[0] for match in matches if ": " in match[4]}
    begins = bool(headers(lines[:1], header, clock)) or 2 * len(matches) >= len(lines)
    logged = sum(bool(LOGGED.match(match[4])) for match in matches)  # <ann> hi: the log of an IRC or game chat
    is_log = 2 * logged > len(matches) or all(LOG.fullmatch(name) for name in names)
    spoken = sum(": " in match[4] for match in matches)
    return begins and 20 * spoken >= len(matches) and bool(names) and not is_log


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of a chat, in the order of the file. Raises InputError."""
    head = source.head.split("\n")
    header = header_of(head)
    dress = Dress(head, header)
    marks = repeated_marks(speaker_and_text(match[4]) for match in headers(head, header, Clock()))
    days, clock, names, own_words = Days(order_of(source, header, dress, skipped)), Clock(), Names(), phrases()
    by_ios = header is IOS
    end = ENDS[header]
    # what stands before and after the first space of a time -> its seconds: no regex for most lines
    dates: dict[str, int] = {}
    times: dict[str, int] = {}
    first: tuple[int, int, str] | None = None  # (line number, seconds, text) of the first line of a message
    lines: list[str] = []  # its further lines
    may_begin = True  # whether the line before ended as messages do
    has_returns, begins = dress.has_returns, True
    for number, line in source.lines(skipped, keep_returns=has_returns):
        if has_returns:
            begins, may_begin = may_begin, line[-1:] == "\r"
            line = line.rstrip("\r")
        stamp, _, rest = line.partition(end) if begins else ("", "", "")
        date, _, hour = stamp.partition(" ")
        day, seconds = dates.get(date), times.get(hour)
        if day is None or seconds is None:  # at most once for each date and time, but for lines within a message
            if day is not None and dress.has_seconds and (seconds := plain_seconds(hour)) is not None:
                times[hour] = seconds
            elif begins and (match := header.match(line)) and dress.fits(match):
                day, seconds, rest = days[match[1]], clock[match[3]], match[4]
                if day is not None and seconds is not None:
                    if match.end(1) <= len(date) and match.start(4) == len(stamp + end):
                        dates[date], times[hour] = day, seconds
                elif seconds is not None and any(Days(order)[match[1]] is not None for order in ORDERS):
                    skipped.broken(f"{source.name}:{number}", f"{match[1]} is no date in the order of the dates above")
                    continue
        if day is not None and seconds is not None:
            if first and (message := message_of(source, first, lines, names, own_words, marks, by_ios, skipped)):
                yield message
            first = number, day + seconds, rest
            if lines:
                lines = []
        elif not first:
            if line.strip():
                skipped.note("line before the first message", f"{source.name}:{number}")
        elif len(lines) < MAX_LINES:
            lines.append(line)
        else:
            skipped.broken(f"{source.name}:{number}", "expected the next message, one has at most 65,536 characters")
    if first and (message := message_of(source, first, lines, names, own_words, marks, by_ios, skipped)):
        yield message


def speaker_and_text(rest: str) -> tuple[str, str]:
    """Of what stands behind a time: "Ann: hi"."""
    name, _, text = rest.rstrip("\r").partition(": ")
    return name, text.strip()


def message_of(
    source: Source,
    first: tuple[int, int, str],
    lines: list[str],
    names: Names,
    own_words: Phrases,
    marks: set[str],
    by_ios: bool,
    skipped: Skipped,
) -> LogMessage | None:
    """The message that begins so and goes on in these lines; None, noted, if nobody speaks in it."""
    number, seconds, line = first
    name, colon, text = line.partition(": ")
    if not colon and line.rstrip().endswith(":"):
        name, colon = line.rstrip()[:-1], ":"
    speaker, quotes = names[name] if colon else ("", False)
    # Ann named the group "Trip: Rome"
    if (
        not speaker
        or (quotes and (len(QUOTES.findall(text)) % 2 or "’" in text))
        or (number <= 20 and own_words.encrypted.match(text))
    ):
        skipped.note("system line", f"{source.name}:{number}")
        return None
    if lines:
        text = "\n".join([text, *lines])
    text, left_out = ("", "media") if marks and text.strip() in marks else own_words.words_of(text, by_ios)
    if left_out:
        skipped.note(left_out, f"{source.name}:{number}")
    return LogMessage(speaker, text, seconds, "", number) if text else None
