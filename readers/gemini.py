"""
Gemini's part of Google Takeout (My Activity, Gemini Apps, as JSON), newest first:

    [{"header": "Gemini Apps", "title": "Prompted what is soup?", "time": "2025-01-15T10:30:00.000Z",
      "safeHtmlItem": [{"html": "<p>A liquid food.</p>"}]}, ...]

It does not tell which questions were one conversation: those with less than half an hour between them are taken as one.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.conversations import Turn, talk_record
from readers.source import Record, Skipped, Source
from readers.timestamps import parse_timestamp

NAME = "Gemini (Google Takeout)"
GAP = 1800  # seconds between questions of one conversation
# what Google writes before a question, in some languages: a word or two, at times with a colon
VERB = re.compile(r"(?:Prompted|Asked|Said|Eingegebener Prompt:|Prompt eingegeben:|Requête :|Has preguntado)\s+", re.I)
BREAKS = re.compile(r"<br\s*/?>|</p>|</div>|</h\d>|</li>|</tr>|</pre>", re.I)
TAGS = re.compile(r"<[^<>]*>")


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    return {"header", "title", "time"} <= paths and ("safeHtmlItem.item.html" in paths or '"Gemini' in head[:2000])


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield the conversations, oldest first. The file is held in memory, for it begins with the newest."""
    items = [(place, item) for place, item in json_rows.read_json_rows(source, skipped)]
    turns: list[Turn] = []
    last = None
    for place, item in reversed(items):
        time = parse_timestamp(str(item.get("time"))) if isinstance(item, dict) else None
        exchange = exchange_of(item, place, skipped)
        if not exchange:
            continue
        if turns and (time is None or last is None or time - last > GAP):
            yield from talk_record(turns, place, skipped)
            turns = []
        turns += exchange
        last = time
    if turns:
        yield from talk_record(turns, source.name, skipped)


def exchange_of(item: Any, place: str, skipped: Skipped) -> list[Turn]:
    """A question and its answer; nothing, noted, where one is missing."""
    answers = item.get("safeHtmlItem") if isinstance(item, dict) else None
    title = item.get("title") if isinstance(item, dict) else None
    if not isinstance(title, str) or not isinstance(answers, list):
        skipped.note("activity without an answer", place)
        return []
    texts = [part["html"] for part in answers if isinstance(part, dict) and isinstance(part.get("html"), str)]
    return [("user", VERB.sub("", title, count=1)), ("assistant", "\n".join(map(as_text, texts)))]


def as_text(page: str) -> str:
    """The text of a piece of HTML."""
    text = html.unescape(TAGS.sub("", BREAKS.sub("\n", page.replace("\n", " "))))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()
