"""
Every layout that is read, and which of them a file has: told by its content, never by its name.
"""

import collections
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from readers import (
    alpaca,
    chatgpt,
    claude,
    dialogue,
    discord,
    east_asia,
    facebook,
    gemini,
    google_chat,
    grok,
    imessage,
    irc,
    json_logs,
    openai,
    openwebui,
    pages,
    parlai,
    preference,
    sharegpt,
    signal,
    sigtop,
    sillytavern,
    slack,
    sms,
    survey,
    table,
    tagged,
    telegram,
    templated,
    viber,
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
    *(whatsapp, telegram, signal, imessage, discord, slack, facebook, google_chat, json_logs),
    *(sms, pages, east_asia, irc, sigtop, viber),
    *(chatgpt, claude, gemini, grok, openwebui, sillytavern),
    *(preference, sharegpt, openai, templated, alpaca, parlai, table, tagged, dialogue),
)
MAX_NULS = 4  # zero bytes at the beginning of a file with which it is no text
MAX_LISTED = 20  # speakers that are shown to choose the bot from


def recognise(sources: Iterable[Source], skipped: Skipped) -> list[tuple[Reader, list[Source]]]:
    """
    The files of each reader, in the order in which the readers first come. A file of no known layout, or that cannot be
    opened, is noted; raises InputError if all are.
    """
    names: list[str] = []
    sources_of: dict[Reader, list[Source]] = {}
    first_error: InputError | None = None
    for source in sources:
        names.append(source.name)
        try:
            head = source.head
        except InputError as error:
            first_error = first_error or error
            skipped.note("file that cannot be opened", str(error))
            continue
        is_text = head[:1024].count("\0") < MAX_NULS and bool(head.strip())
        reader = next((reader for reader in LAYOUTS if reader.recognises(head)), None) if is_text else None
        if reader is not None:
            sources_of.setdefault(reader, []).append(source)
        elif is_text:
            skipped.note("file of no layout that is known", source.name)
        else:
            skipped.note("picture, sound or other file that is no text" if head.strip() else "empty file", source.name)
    if not sources_of and first_error and len(names) == 1:
        raise first_error
    if not sources_of:
        known = ", ".join(reader.NAME for reader in LAYOUTS)
        reason = f" ({first_error})" if first_error else ""
        raise InputError(f"{', '.join(names[:3]) or 'nothing'}: not one of the layouts that are read{reason}: {known}")
    return list(sources_of.items())


class Look(NamedTuple):
    """What a first reading of the chat logs tells."""

    groups: dict[str, list[survey.Group]]  # name of a layout -> its files
    speakers: collections.Counter[str]
    opening: dict[str, list[LogMessage]]  # name of a layout -> its first messages


def look(recognised: Iterable[tuple[Reader, Sequence[Source]]]) -> Look:
    """Read all chat logs once, whatever is broken in them."""
    result = Look({}, collections.Counter(), {})
    for reader, sources in recognised:
        if isinstance(reader, LogReader):
            surveys = [survey.survey(reader, source) for source in sources]
            result.groups[reader.NAME] = survey.grouped(surveys)
            result.opening[reader.NAME] = next((one.opening for one in surveys if one.opening), [])
            for one in surveys:
                result.speakers.update(one.speakers)
    return result


def records(
    recognised: Iterable[tuple[Reader, Sequence[Source]]],
    bots: Collection[str],
    gap_hours: float,
    skipped: Skipped,
    name_of: Callable[[str], str] = str,
    looked: Look | None = None,
) -> Iterator[Record]:
    """
    Yield the conversations of what `recognise` returned. Of chat logs the speaker with one of the names `bots` is the
    assistant, and a silence of more than `gap_hours` ends a conversation. name_of: what the others are to be called.
    looked: what `look` returned, if it was called. Raises InputError if nobody has a name of `bots`.
    """
    speakers: collections.Counter[str] = collections.Counter()
    for reader, sources in recognised:
        if isinstance(reader, RecordReader):
            yield from itertools.chain.from_iterable(reader.records(source, skipped) for source in sources)
            continue
        groups = looked.groups[reader.NAME] if looked else survey.groups(reader, sources)
        for group in groups:  # each for itself: a chat is done when its files are
            messages = survey.messages_of(reader, group, skipped, speakers)
            yield from split_at_silences(messages, bots, gap_hours, skipped, name_of)
    if speakers:
        check_bots(bots, speakers)


def check_bots(bots: Collection[str], speakers: collections.Counter[str]) -> None:
    """Raises InputError if nobody has one of the names."""
    for bot in bots or [""]:
        if bot not in speakers:
            close = did_you_mean(bot, speakers)
            raise InputError(f"--bot={bot}: nobody is called so{close}; {listed(speakers)}")


def listed(speakers: collections.Counter[str]) -> str:
    """The speakers with their numbers of messages, the most talkative first."""
    shown = [f"{name} ({n:,})" for name, n in speakers.most_common(MAX_LISTED)]
    more = f" and {len(speakers) - MAX_LISTED} more" if len(speakers) > MAX_LISTED else ""
    return "speakers: " + ", ".join(shown) + more
