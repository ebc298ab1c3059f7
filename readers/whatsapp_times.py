"""
How WhatsApp writes when a message was sent, in the layouts of iOS and Android and of many languages, and which of the
numbers of a date is its day. What is read more than once is remembered, and the commonest time needs no regular
expression: timestamps.py would be too slow for a line of each message.

Nothing in the file tells day from month. A file has one order, the one with the fewest impossible dates (31 is no
month), then the fewest steps back in time, then the shortest span of time. A single date reads day-first, unless it is
written as only Americans do (1/2/21, 3:04 PM); that guess is noted.
"""

import collections
import itertools
import re
import time
from collections.abc import Iterable

from readers.calendars import seconds_at
from readers.source import Skipped, Source
from readers.whatsapp_words import MARK, MARKS, phrases

NUMBERS = rf"\d{{1,4}}[{MARKS}]?([./-])\s?\d{{1,2}}[{MARKS}]?\2\s?\d{{1,4}}"
DATE = rf"({NUMBERS}|\d{{4}}[년年]\s?\d{{1,2}}[월月]\s?\d{{1,2}}[일日])"
IOS = re.compile(rf"[{MARKS}]*\[{DATE}([^\]]{{4,40}})\]\s?(.*)", re.DOTALL)
ANDROID = re.compile(rf"[{MARKS}]*{DATE}([^-–]{{4,40}})\s[-–]\s(.*)", re.DOTALL)
OLD = re.compile(rf"[{MARKS}]*{DATE}([^\[\]]{{4,40}}?):\s(.*)", re.DOTALL)  # iOS and Windows Phone until 2016
ENDS = {IOS: "] ", ANDROID: " - ", OLD: ": "}  # what stands between the time and the name
TIME = re.compile(r"(\D*)(\d{1,2})\s?[:.h]\s?(\d\d)(?:\s?(?:[:.]|min)\s?(\d\d)(?:\ss)?)?(\D*)")
ORDERS = {"day-first": (2, 1, 0), "month-first": (2, 0, 1), "year-first": (0, 1, 2)}  # where year, month and day stand
AMERICAN = re.compile(r"[1-9]\d?/[1-9]\d?/\d\d\n.*[AP]M")
WHATSAPP_BEGAN = 1_230_768_000  # seconds since 1970 at the beginning of 2009: no message is older
YEAR = 31_536_000  # seconds; a date so far ahead of now is no date of a message either, whatever clock wrote it
# two digits -> seconds; a second may be a leap second
SECONDS = {f"{second:02}": second for second in range(61)}
MINUTES = {f"{minute:02}": minute * 60 for minute in range(60)}
HOURS = {f"{hour:02}": hour * 3600 for hour in range(24)}
MIN_LINES = 10_000  # lines after which the order of day and month may be decided, and after which it is tried again
MAX_LINES = 1_000_000  # lines after which it is decided even if nothing tells


class Days(dict[str, int]):
    """Date as written -> seconds since 1970 at its midnight, or None where the order makes no date of it."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = ORDERS[order]

    def __missing__(self, text: str) -> int | None:
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        year, month, day = (numbers[at] for at in self.order)
        try:
            self[text] = seconds_at(year, month, day)
        except ValueError:
            return None
        return self[text]


class Clock(dict[str, int]):
    """Time as written, with what stands around it (", 11:59 PM") -> seconds since midnight, or None."""

    def __missing__(self, text: str) -> int | None:
        match = TIME.fullmatch(MARK.sub("", text))
        if not match or int(match[2]) > 23 or int(match[3]) > 59 or int(match[4] or 0) > 60:
            return None
        hour = int(match[2])
        for word in (match[1], match[5]):
            word = re.sub(r"[\s.,،'’״\"]", "", word).casefold()
            if word in phrases().hours:
                hour = hour % 12 + phrases().hours[word]
            elif word not in phrases().beside_a_time:
                return None
        self[text] = hour * 3600 + int(match[3]) * 60 + int(match[4] or 0)
        return self[text]


class Dress:
    """
    How a file writes what stands before a message, by its head: what looks different within a message was pasted. An
    export is written at once, so the first line tells; where half of the lines look otherwise, several were joined.
    """

    def __init__(self, head: list[str], header: re.Pattern[str]) -> None:
        clock = Clock()
        matches = headers(head, header, clock)
        shapes = [shape(match) for match in matches]
        common = [kind for kind, n in collections.Counter(shapes).items() if 2 * n >= len(shapes)]
        self.shapes = {*shapes[:1], *common}
        own = [match for match, kind in zip(matches, shapes, strict=True) if kind in self.shapes]
        self.has_seconds = any(len(re.findall(r"\d+", match[3])) > 2 for match in own)
        # for each number of a date: whether 1 is written 01, None where nothing tells
        self.is_padded = [padded(column) for column in zip(*map(numbers_of, own), strict=False)]
        # iOS ends a message with CRLF and a line within it with LF
        lines = head[:-1]  # the last may be cut
        after = [
            bool(headers([line], header, clock)) for before, line in itertools.pairwise(lines) if before[-1:] == "\r"
        ]
        self.has_returns = sum(after) > 0.95 * len(after) and 8 * len(after) >= len(matches) > 1

    def fits(self, match: re.Match[str]) -> bool:
        """Whether a line that looks like the beginning of a message looks as this file's do."""
        if self.shapes and shape(match) not in self.shapes:
            return False
        return not any(
            wanted is not None and wanted is not padded([number] * 4)
            for number, wanted in zip(numbers_of(match), self.is_padded, strict=False)
            if padded([number] * 4) is not None
        )


def padded(numbers: Iterable[str]) -> bool | None:
    """Whether most of the numbers below 10 have a zero before them; None where as many have none."""
    zeros = singles = 0
    for number in numbers:
        zeros, singles = zeros + (number[0] == "0"), singles + (len(number) == 1)
    return True if zeros > 3 * singles else False if singles > 3 * zeros else None


def shape(match: re.Match[str]) -> str:
    """What stands before a message without its numbers and marks: "D/D/Y, D:D A"."""
    text = " ".join(MARK.sub("", match[1] + match[3]).split())
    words = re.sub(r"[^\W\d_](?:[\s.]*[^\W\d_])*\.?", "A", text)
    return re.sub(r"\d{1,2}", "D", re.sub(r"\d{4}", "Y", words))


def numbers_of(match: re.Match[str]) -> list[str]:
    """The numbers of a date, as they are written."""
    return re.findall(r"\d+", match[1])


def plain_seconds(text: str) -> int | None:
    """Seconds since midnight of "23:59:59", as most files have it; None for any other text."""
    if text[2:3] != ":" or text[5:6] != ":":
        return None
    hour, minute, second = HOURS.get(text[:2]), MINUTES.get(text[3:5]), SECONDS.get(text[6:])
    return None if hour is None or minute is None or second is None else hour + minute + second


def headers(lines: Iterable[str], header: re.Pattern[str], clock: Clock) -> list[re.Match[str]]:
    """The matches of the lines that begin a message or system line."""
    return [match for match in map(header.match, lines) if match and clock[match[3]] is not None]


def header_of(lines: list[str]) -> re.Pattern[str]:
    """IOS, ANDROID or OLD, whichever begins most of the lines."""
    return max(ENDS, key=lambda header: len(headers(lines, header, Clock())))


def order_of(source: Source, header: re.Pattern[str], dress: Dress, skipped: Skipped) -> str:
    """The name of the order of day, month and year in this file."""
    dates, clock, first, american = [], Clock(), "", False
    possible = {name: Days(name) for name in ORDERS}
    start = "\n"  # of the last line with a date: most lines behind it have the same and tell nothing
    for number, line in source.lines(Skipped(keep_going=True)):  # what is wrong is told when the messages are read
        for match in () if line.startswith(start) else filter(dress.fits, headers([line], header, clock)):
            if not dates:
                first, american = f"{source.name}:{number}", AMERICAN.match(f"{match[1]}\n{match[3]}")
            if not dates or match[1] != dates[-1]:
                dates.append(match[1])
            start = line[: match.end(1) + 1]  # with the sign behind the date
        if number % MIN_LINES == 0 and len({doubt(days, dates)[0] for days in possible.values()}) > 1:
            break
        if number >= MAX_LINES:
            break
    names = sorted(ORDERS, key=lambda name: doubt(possible[name], dates)[:2] + (name == "year-first",))
    if names[0] != "year-first":
        guess = bool(american)  # False < True: day-first unless it is written as Americans do
        names = sorted(
            list(ORDERS)[:2], key=lambda name: (doubt(possible[name], dates), (name == "day-first") == guess)
        )
        day_first, month_first = (possible[name] for name in list(ORDERS)[:2])
        if doubt(day_first, dates) == doubt(month_first, dates) and any(day_first[d] != month_first[d] for d in dates):
            skipped.note(f"dates taken as {names[0]}, nothing in the file tells", first, kept=True)
    return names[0]


def doubt(days: Days, dates: list[str]) -> tuple[int, int, int]:
    """
    How badly an order of day and month fits the dates of a file, the smallest is best: (dates that no message can have,
    steps back in time, seconds from the first to the last).
    """
    latest = time.time() + YEAR
    seconds = [days[date] for date in dates]
    known = [day for day in seconds if day is not None and WHATSAPP_BEGAN <= day <= latest]
    back = sum(later < day for day, later in zip(known, known[1:], strict=False))
    return len(seconds) - len(known), back, max(known, default=0) - min(known, default=0)
