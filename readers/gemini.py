"""
Gemini's part of Google Takeout (My Activity, Gemini Apps, as JSON), newest first:

    [{"header": "Gemini Apps", "title": "Prompted what is soup?", "time": "2025-01-15T10:30:00.000Z",
      "safeHtmlItem": [{"html": "<p>A liquid food.</p>"}]}, ...]

Where it does not tell the address of the conversation ("details"), questions with less than half an hour between them
are taken as one.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows
from readers.conversations import Turn, talk_record
from readers.rows import listed, within
from readers.source import Record, Skipped, Source
from readers.timestamps import parse_timestamp

NAME = "Gemini (Google Takeout)"
GAP = 1800  # seconds between questions of one conversation
# what Google writes before a question, in some languages: a word or two, at times with a colon
VERB = re.compile(
    r"(?:Prompted|Branched|Answered|Asked:?|Said|Eingegebener Prompt:|Prompt eingegeben:|Requête :|Has preguntado)\s+",
    re.I,
)
NO_QUESTION = re.compile(r"(?:Created|Added|Used|Gave feedback|Selected preferred|Viewed|Visited)\b")
ADDRESS = re.compile(r"https?://gemini\.google\.com/(?:app|gem/\w+)/\w+")  # of a conversation
BREAKS = re.compile(r"<br\s*/?>|</p>|</div>|</h\d>|</li>|</tr>|</pre>", re.I)
TAGS = re.compile(r"<[^<>]*>")


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    return {"header", "title", "time"} <= paths and ("safeHtmlItem.item.html" in paths or '"Gemini' in head[:2000])


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield the conversations, oldest first. The file is held in memory, for it begins with the newest."""
    items = [(place, item) for place, item in json_rows.read_json_rows(source, skipped)]
    turns: list[Turn] = []
    last = last_address = None
    for place, item in reversed(items):
        time = parse_timestamp(str(item.get("time"))) if isinstance(item, dict) else None
        exchange = exchange_of(item, place, skipped)
        if not exchange:
            continue
        address = address_of(item)
        if address or last_address:
            is_new = address != last_address
        else:
            is_new = time is None or last is None or time - last > GAP
        if turns and is_new:
            yield from talk_record(turns, place, skipped)
            turns = []
        turns += exchange
        last, last_address = time, address
    if turns:
        yield from talk_record(turns, source.name, skipped)


def address_of(item: dict[str, Any]) -> str | None:
    """The address of the conversation that a question is part of, if it is told."""
    for value in (item.get("titleUrl"), *(within(detail, "url") for detail in listed(item.get("details")))):
        if isinstance(value, str) and (match := ADDRESS.match(value)):
            return match[0]
    return None


def exchange_of(item: Any, place: str, skipped: Skipped) -> list[Turn]:
    """A question and its answer; nothing, noted, where one is missing."""
    answers = item.get("safeHtmlItem") if isinstance(item, dict) else None
    title = item.get("title") if isinstance(item, dict) else None
    if not isinstance(title, str) or not isinstance(answers, list) or NO_QUESTION.match(title):
        skipped.note("activity without a question and an answer", place)
        return []
    texts = [part["html"] for part in answers if isinstance(part, dict) and isinstance(part.get("html"), str)]
    return [("user", VERB.sub("", title, count=1)), ("assistant", "\n".join(map(as_text, texts)))]


def as_text(page: str) -> str:
    """The text of a piece of HTML."""
    text = html.unescape(TAGS.sub("", BREAKS.sub("\n", page.replace("\n", " "))))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()
