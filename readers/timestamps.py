"""
Times as exports write them.
"""

import re
from datetime import datetime, timedelta, timezone

CLOCK = r"(?:[T,]?\s*(\d{1,2}):(\d\d)(?::(\d\d))?(?:[.,]\d+)?)?"  # .NET writes 1 to 7 digits of a second
YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + CLOCK + r"\s*(Z|UTC|[+-]\d\d:?\d\d)?$", re.ASCII)
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4}|\d\d)" + CLOCK + r"\s*([ap]\.?m\.?)?$", re.ASCII | re.I)
NUMBER = re.compile(r"\d{9,10}(?:\.\d+)?|\d{12,13}", re.ASCII)


def parse_timestamp(text):
    """
    Seconds since 1970, or None where `text` is not understood: a count of seconds or milliseconds, ISO 8601,
    31.12.2021 10:30, 12/31/2021 10:30 PM. In 1/2/2021 the month comes first if the clock has AM or PM, else the day.
    """
    text = text.strip()
    try:
        if match := YEAR_FIRST.match(text):
            *numbers, zone = match.groups()
            return stamp(*numbers) - (offset(zone) if zone else 0)
        if match := YEAR_LAST.match(text):
            first, mark, second, year, hour, minute, second_of, half = match.groups()
            month_first = int(second) > 12 or (mark != "." and int(first) <= 12 and half is not None)
            day, month = (second, first) if month_first else (first, second)
            if half:
                hour = int(hour or 0) % 12 + (12 if half[0] in "pP" else 0)
            return stamp(year if len(year) == 4 else "20" + year, month, day, hour, minute, second_of)
    except ValueError:  # the 31st of February, the 25th hour
        return None
    if NUMBER.fullmatch(text):
        return float(text) / (1000 if len(text.partition(".")[0]) > 10 else 1)
    return None


def stamp(*numbers):
    """Seconds since 1970 of year, month, day, hour, minute, second (text or None), on a clock without a zone."""
    return datetime(*(int(number or 0) for number in numbers), tzinfo=timezone.utc).timestamp()


def offset(zone):
    """The seconds by which +02:00 is ahead."""
    if not zone[-1].isdigit():
        return 0
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])).total_seconds()
    return -ahead if zone[0] == "-" else ahead
