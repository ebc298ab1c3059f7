"""
What is known of several files of chats before they are read: which of them are parts of one chat, in which order, and
where they say the same.

Exports are cut into parts whose names do not sort (`general.json`, `general [part 2].json`), and people export a chat
again when there is more of it. Parts of a chat are read in the order of their first message, and what several say is
said once. Files that do not name their chat (WhatsApp's) are of one chat if they have messages in common.
"""

import collections
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from readers.source import LogMessage, Skipped, Source

SKETCH_SIZE = 512  # hashes by which two files of one chat are known: the smallest of those of all messages
N_SHOWN = 3  # messages of a layout that are shown before it is prepared
MIN_COMMON = 2  # of these that both must have: an "ok" in the same minute may be chance


class LogReader(Protocol):
    def messages(self, source: Source, skipped: Skipped) -> Iterator[LogMessage]: ...


@dataclass
class FileSurvey:
    """What one pass over a file tells."""

    source: Source
    spans: dict[str, list[float]] = field(default_factory=dict)  # chat -> [first, last] time in seconds
    sketch: set[int] = field(default_factory=set)  # of a file that names no chat
    n: int = 0  # messages
    speakers: collections.Counter[str] = field(default_factory=collections.Counter)
    opening: list[LogMessage] = field(default_factory=list)  # the first messages
    start: float = 0.0  # time of the first message that has one


@dataclass
class Group:
    """Files that have chats in common, in the order in which they are to be read."""

    sources: list[Source]
    name: str | None = None  # of the chat that they are all of, where the files do not name one
    repeated: set[str] = field(default_factory=set)  # chats that several of the files have at the same time


def groups(reader: LogReader, sources: Sequence[Source]) -> list[Group]:
    """The files of one layout, in groups; reads them once, unless there is only one."""
    return [Group(list(sources))] if len(sources) == 1 else grouped([survey(reader, source) for source in sources])


def grouped(surveys: Sequence[FileSurvey]) -> list[Group]:
    """The files of one layout, in groups."""
    parents = list(range(len(surveys)))  # a forest: files with the same root are a group

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    first_of: dict[str, int] = {}
    for i, one in enumerate(surveys):
        for chat in one.spans:
            parents[root(i)] = root(first_of.setdefault(chat, i))
    for a, b in same_chats(surveys):
        parents[root(b)] = root(a)
    members: dict[int, list[FileSurvey]] = collections.defaultdict(list)
    for i, one in enumerate(surveys):
        members[root(i)].append(one)
    return [group_of(files) for files in members.values()]


def survey(reader: LogReader, source: Source) -> FileSurvey:
    """What a pass over a file tells; where it is broken, what can be read."""
    result, smallest = FileSurvey(source), []
    for message in reader.messages(source, Skipped(keep_going=True)):
        result.n += 1
        result.speakers[message.speaker] += 1
        if result.n <= N_SHOWN:
            result.opening.append(message)
        time = message.time
        if time is not None:
            result.start = result.start or time
            span = result.spans.get(message.chat or source.name)
            if span is None:
                result.spans[message.chat or source.name] = [time, time]
            else:
                span[0], span[1] = min(span[0], time), max(span[1], time)
            if not message.chat or message.chat == source.name:
                number = -hash(key_of(message))
                if len(smallest) < SKETCH_SIZE:
                    heapq.heappush(smallest, number)
                elif number > smallest[0]:
                    heapq.heapreplace(smallest, number)
    result.sketch = {-number for number in smallest}
    return result


def key_of(message: LogMessage) -> tuple[str, float | None, str]:
    """What is the same where two exports have the same message."""
    return message.speaker, message.time, message.text


def same_chats(surveys: Sequence[FileSurvey]) -> Iterator[tuple[int, int]]:
    """Yield pairs of files that have messages in common."""
    files_of: dict[int, list[int]] = collections.defaultdict(list)
    for i, one in enumerate(surveys):
        for number in one.sketch:
            files_of[number].append(i)
    common = collections.Counter((files[0], later) for files in files_of.values() for later in files[1:])
    for (a, b), n in common.items():
        if n >= min(MIN_COMMON, surveys[a].n, surveys[b].n):
            yield a, b


def group_of(files: list[FileSurvey]) -> Group:
    """The group of these files, and what of it is said more than once."""
    files.sort(key=lambda one: one.start)  # as they came where nothing tells
    is_one_chat = len(files) > 1 and all(one.source.name in one.spans for one in files)
    name = files[0].source.name if is_one_chat else None
    ends: dict[str, float] = {}
    repeated = set()
    for one in files:
        for chat, (first, last) in one.spans.items():
            chat = name or chat
            if first <= ends.get(chat, first - 1):
                repeated.add(chat)
            ends[chat] = max(last, ends.get(chat, last))
    return Group([one.source for one in files], name, repeated)


def messages_of(
    reader: LogReader, group: Group, skipped: Skipped, speakers: collections.Counter[str]
) -> Iterator[LogMessage]:
    """Yield the messages of a group, with the name of its chat; what several files say once. Counts the speakers."""
    seen: dict[str, set[int]] = collections.defaultdict(set)  # chat -> hashes of the messages of the files before
    for source in group.sources:
        new: dict[str, set[int]] = collections.defaultdict(set)
        for message in reader.messages(source, skipped):
            speakers[message.speaker] += 1
            chat = group.name or message.chat or source.name
            if group.repeated and chat in group.repeated and message.time is not None:
                number = hash(key_of(message))
                if number in seen[chat]:
                    skipped.note("message that another export of the chat has too", f"{source.name}:{message.line}")
                    continue
                new[chat].add(number)
            if chat != message.chat:  # by position: this runs for every message, and keywords take twice as long
                message = LogMessage(message.speaker, message.text, message.time, chat, message.line, message.in_thread)
            yield message
        for chat, numbers in new.items():
            seen[chat] |= numbers
