"""
Every layout that is read, and which of them a file has: told by its content, never by its name.
"""

import collections
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from readers import (
    alpaca,
    chatgpt,
    discord,
    imessage,
    openai,
    parlai,
    sharegpt,
    signal,
    slack,
    table,
    tagged,
    telegram,
    whatsapp,
)
from readers.conversations import split_at_silences
from readers.source import LogMessage, Record, Skipped, Source
from runtime.errors import InputError, did_you_mean


@runtime_checkable
class LogReader(Protocol):
    """
    A module that reads one layout of chat logs, of people of whom one becomes the bot.
    Like all readers it never holds a whole file in memory, and tells `skipped` what it leaves out.
    """

    @property
    def NAME(self) -> str: ...  # what people call the layout: "WhatsApp"

    def recognises(self, head: str) -> bool:
        """Whether a file has this layout, from its first 64 kB of text."""
        ...

    def messages(self, source: Source, skipped: Skipped) -> Iterator[LogMessage]:
        """Yield the messages in the order of the file. Raises InputError."""
        ...


@runtime_checkable
class RecordReader(Protocol):
    """A module that reads one layout of finished conversations between a user and an assistant."""

    @property
    def NAME(self) -> str: ...

    def recognises(self, head: str) -> bool: ...

    def records(self, source: Source, skipped: Skipped) -> Iterator[Record]:
        """Yield the conversations in the order of the file. Raises InputError."""
        ...


Reader = LogReader | RecordReader
# the first one that recognises a file reads it
LAYOUTS: tuple[Reader, ...] = (
    *(whatsapp, telegram, signal, imessage, discord, slack),
    *(chatgpt, sharegpt, openai, alpaca, parlai, table, tagged),
)
MAX_LISTED = 20  # speakers that are shown to choose the bot from


def recognise(sources: Iterable[Source], skipped: Skipped) -> list[tuple[Reader, list[Source]]]:
    """
    The files of each reader, in the order in which the readers first come. A file of no known layout is noted; raises
    InputError if all are.
    """
    sources = list(sources)
    sources_of: dict[Reader, list[Source]] = {}
    for source in sources:
        head = source.head
        reader = next((reader for reader in LAYOUTS if head.strip() and reader.recognises(head)), None)
        if reader is not None:
            sources_of.setdefault(reader, []).append(source)
        else:
            skipped.note("file of no layout that is known" if head.strip() else "empty file", source.name)
    if not sources_of:
        known = ", ".join(reader.NAME for reader in LAYOUTS)
        names = ", ".join(source.name for source in sources[:3]) or "nothing"
        raise InputError(f"{names}: not one of the layouts that are read: {known}")
    return list(sources_of.items())


def records(
    recognised: Iterable[tuple[Reader, Sequence[Source]]], bot: str | None, gap_hours: float, skipped: Skipped
) -> Iterator[Record]:
    """
    Yield the conversations of what `recognise` returned. Of chat logs the speaker `bot` is the assistant, and a silence
    of more than `gap_hours` ends a conversation. Raises InputError if nobody has the name `bot`.
    """
    speakers: collections.Counter[str] = collections.Counter()
    for reader, sources in recognised:
        if isinstance(reader, RecordReader):
            yield from itertools.chain.from_iterable(reader.records(source, skipped) for source in sources)
        else:
            messages = counted_messages(reader, sources, skipped, speakers)
            yield from split_at_silences(messages, bot, gap_hours, skipped)
    if speakers and bot not in speakers:
        raise InputError(f"--bot={bot}: nobody is called so; {listed(speakers)}")


def counted_messages(
    reader: LogReader, sources: Iterable[Source], skipped: Skipped, speakers: collections.Counter[str]
) -> Iterator[LogMessage]:
    """Yield the messages of all files of one layout, each with the name of its chat; `speakers` counts them."""
    for source in sources:
        for message in reader.messages(source, skipped):
            speakers[message.speaker] += 1
            if not message.chat:  # by position: this runs for every message, and keywords take twice as long
                message = LogMessage(message.speaker, message.text, message.time, source.name, message.line)
            yield message


def choose_bot(recognised: Iterable[tuple[Reader, Sequence[Source]]], bot: str | None, skipped: Skipped) -> str | None:
    """
    Who of the speakers in chat logs becomes the bot: `bot`, or if it is None what the person at the terminal answers.
    None if there are no logs. Raises InputError that lists the speakers.
    """
    logs = [(reader, sources) for reader, sources in recognised if isinstance(reader, LogReader)]
    if not logs or bot is not None:
        return bot
    speakers: collections.Counter[str] = collections.Counter()
    for reader, sources in logs:
        collections.deque(counted_messages(reader, sources, skipped, speakers), maxlen=0)
    skipped.clear()  # the second reading notes it again
    if not speakers:
        raise InputError("no message in it: nobody to become the bot")
    if not sys.stdin.isatty():
        raise InputError(f"say who the bot is to be, --bot=NAME; {listed(speakers)}")
    print(listed(speakers))
    while True:
        answer = input("who is the bot to be? ").strip()
        if answer in speakers:
            return answer
        print(f"nobody is called {answer}{did_you_mean(answer, speakers)}")


def listed(speakers: collections.Counter[str]) -> str:
    """The speakers with their numbers of messages, the most talkative first."""
    shown = [f"{name} ({n:,})" for name, n in speakers.most_common(MAX_LISTED)]
    more = f" and {len(speakers) - MAX_LISTED} more" if len(speakers) > MAX_LISTED else ""
    return "speakers: " + ", ".join(shown) + more
