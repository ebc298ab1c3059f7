"""
Logs of IRC clients and of chats like it (irssi, HexChat, ZNC, WeeChat, Twitch):

    [2021-12-31 10:00:00] <ann> hi        10:00 <@ann> hi
    Dec 31 10:00:00 <ann>  hi             2021-12-31 10:00:00<TAB>ann<TAB>hi
    [31 Dec 10:00] <ann!n=ann@host> hi

A time without a date is of the day that the log tells last, or of the next where the clock goes back.
"""

import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import MONTHS, parse_timestamp, seconds_since_1970

NAME = "IRC log"
STAMP = (
    r"(?:\[?(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?: ?(?:UTC|Z|[+-]\d\d:?\d\d))?\]?"
    r"|\[?(?P<clock>\d\d:\d\d(?::\d\d)?)\]?"
    r"|(?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) (?P<hour>\d\d:\d\d:\d\d)"
    r"|\[(?P<day_first>\d\d) (?P<month_second>[A-Z][a-z]{2}) (?P<hour_minute>\d\d:\d\d)\])"
)
SAID = re.compile(  # whatever stands behind a nick is where they are: nick!user@host
    STAMP
    + r"\s+(?:<[ @+%~&!]?(?P<nick>[^<>\s!]{1,40})(?:![^<>\s]{1,200})?>\s+(?P<text>.*)"
    + r"|\*\s(?P<actor>[^\s<>*]{1,40})\s(?P<act>.+))"
)
TABBED = re.compile(STAMP + r"\t(?P<nick>[^\t]*)\t(?P<text>.*)")
STAMPED = re.compile(STAMP + r"\s")
NOTICE = re.compile(STAMP + r"\s+(?:\*{2,3}|-->|<--|<-|->|-!-|--|={2,3}|=-=|=!=|\*)\s")  # somebody came or went
DATED = re.compile(r"(?:---|\*\*\*\*).*?([A-Z][a-z]{2}) ([ \d]\d)(?: \d\d:\d\d:\d\d)? (\d{4})")
NOTICES = ("--", "-->", "<--", "***", "*", "=!=", "")  # what WeeChat writes in place of a nick


def recognises(head: str) -> bool:
    """Half of the lines that have a time and are no notice say who speaks, and nearly all lines have a time."""
    lines = [line.rstrip("\r") for line in head.split("\n") if line.strip() and not DATED.match(line)][:2000]
    stamped = [line for line in lines if STAMPED.match(line)]
    form = form_of(stamped)
    said = [line for line in stamped if form.match(line)]
    other = [line for line in stamped if not form.match(line) and not NOTICE.match(line)]
    return len(said) > 1 and len(said) >= len(other) and 10 * len(stamped) >= 7 * len(lines)


def form_of(lines: list[str]) -> re.Pattern[str]:
    return TABBED if 2 * sum(bool(TABBED.match(line)) for line in lines) > len(lines) else SAID


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    form = form_of([line for line in source.head.split("\n") if STAMPED.match(line)])
    day, last, year = 0.0, 0.0, 1970  # day: seconds since 1970 of the day that the log is at
    for number, line in source.lines(skipped):
        if dated := DATED.match(line):
            if dated[1] in MONTHS:
                year = int(dated[3])
                day, last = seconds_since_1970(year, MONTHS.index(dated[1]) + 1, dated[2]), 0.0
            continue
        if not line.strip():
            continue
        match = form.match(line)
        nick = match and (match["nick"] or match.groupdict().get("actor"))
        if not match or not nick or nick in NOTICES:
            skipped.note("system line", f"{source.name}:{number}")
            continue
        if match["date"]:
            time = parse_timestamp(f"{match['date']} {match['time']}")
        elif month := match["month"] or match["month_second"]:
            day_of_month, clock = match["day"] or match["day_first"], match["hour"] or match["hour_minute"]
            try:
                time = seconds_since_1970(year, MONTHS.index(month) + 1, day_of_month, *clock.split(":"))
            except ValueError:  # no month, the 31st of February
                time = None
        else:
            clock = sum(int(part) * unit for part, unit in zip(match["clock"].split(":"), (3600, 60, 1), strict=False))
            if day + clock < last:
                day += 86_400
            time = last = day + clock
        text = match["text"] if match["nick"] else match["act"]
        if text and text.strip():
            yield LogMessage(nick.strip(" @+%~&"), text.strip(), time, source.name, number)
