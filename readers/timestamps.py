"""
Times as exports write them, in seconds since 1970. A time without a zone is taken as UTC: what matters is how far two
messages are apart.
"""

import itertools
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

CLOCK = r"(?:[T,]?\s*(\d{1,2}):(\d\d)(?::(\d\d))?(?:[.,]\d+)?)?"  # .NET writes 1 to 7 digits of a second
YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + CLOCK + r"\s*(Z|UTC|[+-]\d\d:?\d\d)?$", re.ASCII)
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d\d)" + CLOCK + r"\s*([ap]\.?m\.?)?$", re.ASCII | re.I)
NUMBER = re.compile(r"\d{9,10}(?:\.\d+)?|\d{12,13}", re.ASCII)
MONTHS: tuple[str, ...] = tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
MONTH_NAME = re.compile(r"([A-Z][a-z]{2}) (\d\d), (\d{4}) ([ \d]\d):(\d\d):(\d\d) ([AP]M)", re.ASCII)


def parse_timestamp(text: str, is_month_first: bool | None = None) -> float | None:
    """
    Seconds since 1970, or None where `text` is not understood: a count of seconds or milliseconds, ISO 8601,
    31.12.2021 10:30, 12/31/2021 10:30 PM. is_month_first: in 1/2/2021; None: if the clock has AM or PM.
    """
    text = text.strip()
    try:
        if match := YEAR_FIRST.match(text):
            *numbers, zone = match.groups()
            return seconds_since_1970(*numbers) - (offset(zone) if zone else 0)
        if match := YEAR_LAST.match(text):
            first, mark, second, year, hour, minute, second_of, half = match.groups()
            guess = half is not None if is_month_first is None else is_month_first
            month_first = int(second) > 12 or (mark != "." and int(first) <= 12 and guess)
            day, month = (second, first) if month_first else (first, second)
            if half:
                hour = hour_of_day(int(hour or 0), half)
            year = year if len(year) == 4 else "20" + year
            return seconds_since_1970(year, month, day, hour, minute, second_of)
    except ValueError:  # the 31st of February, the 25th hour
        return None
    if NUMBER.fullmatch(text):
        return float(text) / (1000 if len(text.partition(".")[0]) > 10 else 1)
    return None


def month_comes_first(times: Iterable[str]) -> bool | None:
    """
    Whether the dates of a column (1/13/2022) have the month first: by a number above 12, else by the fewest steps back
    in time. None where nothing tells, or where there is no such date.
    """
    dates = [match for match in map(YEAR_LAST.match, times) if match and match[2] != "."]
    day_first, month_first = (sum(int(match[at]) > 12 for match in dates) for at in (1, 3))
    if day_first != month_first:
        return month_first > day_first
    back = []
    for guess in (False, True):
        seconds = [parse_timestamp(match[0], guess) for match in dates]
        known = [time for time in seconds if time is not None]
        back.append(sum(later < time for time, later in itertools.pairwise(known)))
    if back[0] != back[1]:
        return back[1] < back[0]
    return True if dates and all(match[8] for match in dates) else None


def parse_month_name(text: str) -> float | None:
    """Seconds since 1970 of "Dec 31, 2021  1:59:59 PM" (strftime's "%b %d, %Y %l:%M:%S %p" in English), or None."""
    match = MONTH_NAME.fullmatch(text)
    if not match or match[1] not in MONTHS:
        return None
    month, day, year, hour, minute, second, half = match.groups()
    try:
        return seconds_since_1970(year, MONTHS.index(month) + 1, day, hour_of_day(int(hour), half), minute, second)
    except ValueError:
        return None


def hour_of_day(hour: int, half: str) -> int:
    """0 to 23, of an hour of a clock with AM and PM."""
    return hour % 12 + (12 if half[0] in "pP" else 0)


def seconds_since_1970(
    year: int | str,
    month: int | str,
    day: int | str,
    hour: int | str | None = 0,
    minute: int | str | None = 0,
    second: int | str | None = 0,
) -> float:
    """Seconds since 1970 of a time in UTC, whose numbers may be text. Raises ValueError where there is no such time."""
    date = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    return date.replace(tzinfo=timezone.utc).timestamp()


def offset(zone: str) -> float:
    """The seconds by which a zone (+02:00, Z) is ahead of UTC."""
    if not zone[-1].isdigit():
        return 0
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])).total_seconds()
    return -ahead if zone[0] == "-" else ahead
