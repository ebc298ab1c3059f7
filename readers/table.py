"""
Tables of messages: CSV (comma or semicolon) and TSV whose header names a speaker and a text column.

    speaker,text,time,conversation
    Ann,"hi, Bob!
    how are you?",2021-12-31 10:30,1
    Bob,fine,2021-12-31 10:31,1

Time and conversation are optional. Blank lines are nothing; a row without text is skipped.
"""

import csv
import itertools
import re
from collections.abc import Collection, Iterator

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import month_comes_first, parse_timestamp

NAME = "table of messages (CSV, TSV)"
SPEAKER = (
    "speaker",
    "author",
    "sender name",
    "sendername",
    "sender_name",
    "sender",
    "from",
    "name",
    "user",
    "username",
)
SPEAKER += ("role", "nickname", "contact", "from name")
NUMBER = ("sender id", "sender number", "sendernumber", "number", "phone", "address")  # of who has no name
# columns that tell what the owner of the phone sent, and how; type 1 is no word: Android's is of what was received
SENT = {
    **dict.fromkeys(("type", "direction"), ("outgoing", "sent", "out")),
    **dict.fromkeys(("is_sender", "issender", "issend", "is_from_me", "from_me"), ("1", "true", "yes")),
}
NOTICE = ("notification", "system")  # types of rows in which nobody speaks
ME = "Me"
TEXT = ("text", "message", "content", "body", "utterance", "message text", "strcontent", "msg")
TIME = ("time", "timestamp", "datetime", "created_at", "message date", "date/time", "sent at", "strtime", "date")
CHAT = ("conversation", "conversation_id", "conv_id", "chat", "chat_id", "channel", "thread", "thread_id")
CHAT += ("dialogue_id", "dialog_id", "session_id", "chat session", "chat name", "chatname")
SEPARATOR = "sep="  # what Excel puts above a header: sep=;
DELIMITERS = ",;\t"
MAX_ROWS = 100_000  # rows from which the order of day and month is taken
AMBIGUOUS = re.compile(r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}\b")


def recognises(head: str) -> bool:
    columns, _ = header(head)
    return bool(column(columns, SPEAKER) and column(columns, TEXT)) and "authorid" not in columns  # see discord.py


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield messages. An InputError names the file, the line and the column."""
    columns: list[str | None] = []  # the names of those of speaker, text, time and chat
    is_month_first = None
    for line, row in rows(source, skipped):
        if not columns:
            columns = [column(row, names) for names in (SPEAKER, TEXT, TIME, CHAT)]
            if None in columns[:2]:
                skipped.broken(f"{source.name}:1", "the header names no speaker or no text column")
                return
            is_month_first = order_of(source, columns[2], skipped)
        speaker, text, time, chat = (row[name].strip() if name else "" for name in columns)
        if columns[2] == "time" and row.get("date"):
            time = f"{row['date'].strip()} {time}"
        speaker = speaker or owner_or_number(row)
        place = f"{source.name}:{line}"
        if not text:
            skipped.note("no text", place)
        elif not speaker and row.get("type", "").strip().lower() in NOTICE:
            skipped.note("system line", place)
        elif not speaker:
            skipped.broken(place, f"column '{columns[0]}' is empty; every message needs one")
        else:
            # the file's name is part of the chat, so that conversation 1 of one file is not that of another
            path = f"{source.name}/{chat}" if chat else source.name
            yield LogMessage(speaker, text, understood_time(time, place, skipped, is_month_first), path, line)


def owner_or_number(row: dict[str, str]) -> str:
    """Who speaks in a row that names nobody: the phone's owner, or somebody's number, or "" ."""
    if any(row.get(name, "").strip().lower() in words for name, words in SENT.items()):
        return ME
    return next((row[name].strip() for name in NUMBER if row.get(name, "").strip()), "")


def order_of(source: Source, name: str | None, skipped: Skipped) -> bool | None:
    """Whether the month comes first in the column of times, for all of its rows; noted, for a guess stays a guess."""
    if name is None:
        skipped.note("table without times: all of it is one conversation", source.name, kept=True)
        return None
    first = itertools.islice(rows(source, Skipped(keep_going=True)), MAX_ROWS)
    times = [(row["date"] if name == "time" and row.get("date") else row[name]).strip() for _, row in first]
    is_month_first = month_comes_first(times)
    if any(map(AMBIGUOUS.match, times)):
        order = {True: "month first", False: "day first", None: "day first, nothing in the file tells"}[is_month_first]
        skipped.note(f"dates taken as {order}", source.name, kept=True)
    return bool(is_month_first)


def understood_time(time: str, place: str, skipped: Skipped, is_month_first: bool | None = None) -> float | None:
    """Seconds since 1970; None where there is no time, or, noted, one that is not understood."""
    seconds = parse_timestamp(time, is_month_first) if time else None
    if time and seconds is None:
        skipped.note("message with a time that is not understood, no silence is seen there", place, kept=True)
    return seconds


def rows(source: Source, skipped: Skipped) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, {column in lower case: field}) of each row after the header, strict about quotes and lengths."""
    head = source.head
    columns, delimiter = header(head)
    quoting = csv.QUOTE_NONE if delimiter == "\t" and not is_quoted(head) else csv.QUOTE_MINIMAL
    lines = (line + "\n" for _, line in source.lines(skipped))
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    header_seen = False
    needed = [columns.index(name) for names in (SPEAKER, TEXT) if (name := column(columns, names))]
    n_needed = 1 + max(needed, default=len(columns))
    while True:
        line = reader.line_num + 1
        place = f"{source.name}:{line}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # an open quote, or 131,072 characters in one field
            skipped.broken(place, f"wanted fields split by {delimiter!r}, quotes closed ({error})")
            continue
        if not any(field.strip() for field in row):
            if row:
                skipped.note("empty row", place)
        elif not header_seen:
            header_seen = not row[0].lower().startswith(SEPARATOR)
        elif len(row) < len(columns) and len(row) >= n_needed:  # some programs leave out empty fields at the end
            yield line, dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=True))
        elif len(row) > len(columns) and not any(field.strip() for field in row[len(columns) :]):
            yield line, dict(zip(columns, row, strict=False))
        elif len(row) != len(columns):
            expected = f"wanted {len(columns)} fields as in the header, not {len(row)}; quote a text that holds"
            skipped.broken(place, f"{expected} {delimiter!r}")
        else:
            yield line, dict(zip(columns, row, strict=True))


def header(head: str) -> tuple[list[str], str]:
    """(columns in lower case, delimiter) of the first line that is not blank, by the delimiter that fits best."""
    lines = (line.strip("\r") for line in head.split("\n"))
    first = next((line for line in lines if line.strip() and not line.lower().startswith(SEPARATOR)), "")
    candidates = []
    for delimiter in DELIMITERS:
        try:
            row = next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        columns = [name.strip().lower() for name in row]
        known = bool(column(columns, SPEAKER)) + bool(column(columns, TEXT))
        candidates.append((known, len(columns), columns, delimiter))
    *_, columns, delimiter = max(candidates, default=(0, 0, [], ","))
    return columns, delimiter


def column(columns: Collection[str], names: tuple[str, ...]) -> str | None:
    """The first of `names` that is one of the columns, or None."""
    return next((name for name in names if name in columns), None)


def is_quoted(head: str) -> bool:
    """Whether quotes in this TSV enclose fields; most programs write them as they stand, spreadsheets quote."""
    try:
        for _ in csv.reader((line + "\n" for line in head.split("\n")[:-1]), delimiter="\t", strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" in str(error) and len(head) > 50_000  # a head of 64 kB may end within a quoted field
    return True
