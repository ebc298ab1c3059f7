"""
Chats that were exported as web pages: Telegram Desktop's messages.html (its default), and DiscordChatExporter's.

    <div class="message default clearfix"> <div class="pull_right date details" title="31.12.2021 10:00:00 UTC+01:00">
      <div class="from_name">Ann</div> <div class="text">hi<br>you</div> </div>
    <div class=chatlog__message> <span class=chatlog__author title=ann>Ann</span>
      <span class=chatlog__timestamp title="Friday, December 31, 2021 10:00 AM"> <div class=chatlog__content>hi</div>

A message of Telegram without a name is by whoever wrote the one above it; a page is read as it comes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_month_name, parse_timestamp

NAME = "pages of Telegram or Discord (HTML)"
VOID = {"br", "img", "hr", "meta", "link", "input", "source", "wbr", "area", "base", "col", "embed", "track"}
LONG_DATE = re.compile(r"(?:\w+, )?([A-Z][a-z]{2})\w* (\d{1,2}), (\d{4})(?: at)? (\d{1,2}):(\d\d)(?::(\d\d))?\s([AP]M)")
# class of an element -> what of a message it holds
FIELDS = {"from_name": "name", "text": "text", "chatlog__author": "name", "chatlog__author-name": "name"}
FIELDS |= {"chatlog__content": "text", "chatlog__timestamp": "time", "chatlog__short-timestamp": "time", "date": "time"}
IGNORED = {
    "reply_to",
    "chatlog__reply",
    "chatlog__reference",
    "chatlog__embed",
    "chatlog__reactions",
    "reactions",
    "signature",
}
IGNORED |= {
    "chatlog__edited-timestamp",
    "chatlog__bot-label",
    "chatlog__author-tag",
    "page_header",
    "preamble",
    "userpic",
}
MEDIA = {"media_wrap", "chatlog__attachment", "chatlog__sticker"}
MESSAGE = {"message", "chatlog__message", "chatlog__message-container"}


@dataclass
class Message:
    """What the elements of a message hold."""

    number: int
    name: str = ""
    text: str = ""
    time: str = ""
    has_media: bool = False
    is_notice: bool = False
    depth: int = 0  # elements that are open where it begins


@dataclass
class Page(HTMLParser):
    """Finds the messages of a page; they are taken from `done`."""

    done: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, str]] = []  # (tag, what it holds: a field, "ignored" or "")
        self.message: Message | None = None
        self.count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = set(given.get("class", "").split())
        if tag == "br" and self.message and self.holds() == "text":
            self.message.text += "\n"
        if tag in VOID:
            if tag == "img" and self.message and self.holds() == "text":
                self.message.text += given.get("alt", "")  # an emoji
            return
        if classes & MESSAGE and not (self.message and "chatlog__message" in classes):
            self.finish()
            self.count += 1
            self.message = Message(self.count, is_notice="service" in classes, depth=len(self.open))
        holds = next((FIELDS[name] for name in classes if name in FIELDS), "")
        if classes & IGNORED or self.holds() == "ignored":
            holds = "ignored"
        elif self.message and classes & MEDIA:
            self.message.has_media = True
        elif self.message and "forwarded" in classes:
            self.message.name = self.message.name or " "  # the name within is not of who speaks here
        elif self.message and holds == "time" and given.get("title"):
            self.message.time, holds = self.message.time or given["title"], "ignored"
        elif self.message and holds == "name" and self.message.name:
            holds = "ignored"
        self.open.append((tag, holds or self.holds()))

    def handle_endtag(self, tag: str) -> None:
        for i in range(len(self.open) - 1, max(-1, len(self.open) - 8), -1):  # a page may lack an end tag
            if self.open[i][0] == tag:
                del self.open[i:]
                break
        if self.message and len(self.open) <= self.message.depth:
            self.finish()

    def handle_data(self, data: str) -> None:
        holds = self.holds()
        if self.message and holds in ("name", "text", "time"):
            setattr(self.message, holds, getattr(self.message, holds) + data)

    def holds(self) -> str:
        return self.open[-1][1] if self.open else ""

    def finish(self) -> None:
        if self.message:
            self.done.append(self.message)
            self.message = None


def recognises(head: str) -> bool:
    is_telegram = 'class="message ' in head and ('class="page_wrap"' in head or 'class="from_name"' in head)
    return head.lstrip()[:1] == "<" and (is_telegram or "chatlog__message" in head)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    page, speaker = Page(), ""
    title = re.search(r'<div class="text bold">\s*(.*?)\s*</div>', source.head, re.DOTALL)
    # the parts of a chat, messages.html and messages2.html, lie in one folder
    chat = f"{source.name.rpartition('/')[0]}/{title[1]}" if title else source.name
    for _, line in source.lines(skipped):
        page.feed(line + "\n")
        while page.done:
            message = page.done.pop(0)
            speaker = " ".join(message.name.split()) or speaker
            yield from spoken(message, speaker, chat, source, skipped)
    page.close()
    page.finish()
    for message in page.done:
        yield from spoken(message, " ".join(message.name.split()) or speaker, chat, source, skipped)


def spoken(message: Message, speaker: str, chat: str, source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the message, or none, noted."""
    place = f"{source.name}:{message.number}"
    text = "\n".join(" ".join(line.split()) for line in message.text.strip().split("\n")).strip()
    if message.is_notice:
        skipped.note("system line", place)
    elif not text:
        skipped.note("media" if message.has_media else "empty message", place)
    elif not speaker:
        skipped.note("message without a sender", place)
    else:
        yield LogMessage(speaker, text, time_of(message.time), chat, message.number)


def time_of(text: str) -> float | None:
    """Seconds since 1970 of the title of a date."""
    match = LONG_DATE.match(" ".join(text.split()))
    if match:
        month, day, year, hour, minute, second, half = match.groups()
        return parse_month_name(f"{month} {day:0>2}, {year} {hour:0>2}:{minute}:{second or '00'} {half}")
    return parse_timestamp(re.sub(r"\s*UTC[+-]\d\d:\d\d$", "", text))
