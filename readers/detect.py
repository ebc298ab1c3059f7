"""
Every layout that is read, and which of them a file has: told by its content, never by its name.
"""

import collections
import difflib
import itertools
import sys

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
from readers.source import Message
from runtime.errors import InputError

LAYOUTS = (
    *(whatsapp, telegram, signal, imessage, discord, slack),
    *(chatgpt, sharegpt, openai, alpaca, parlai, table, tagged),
)


def recognise(sources, skipped):
    """
    [(reader, its Sources)] in the order they first come. A file of no known layout is told to `skipped`; InputError if
    all are.
    """
    found = {}
    for source in sources:
        head = source.head
        reader = next((reader for reader in LAYOUTS if head.strip() and reader.recognises(head)), None)
        if reader:
            found.setdefault(reader, []).append(source)
        else:
            skipped.note("file of no layout that is known" if head.strip() else "empty file", source.name)
    if not found:
        known = ", ".join(reader.NAME for reader in LAYOUTS)
        names = ", ".join(source.name for source in sources[:3]) or "nothing"
        raise InputError(f"{names}: not one of the layouts that are read: {known}")
    return list(found.items())


def records(found, bot, gap_hours, skipped):
    """
    Yield records of what `recognised` found; in chat logs the speaker `bot` is the assistant.
    Raises InputError if nobody is called so.
    """
    speakers = collections.Counter()
    for reader, sources in found:
        if hasattr(reader, "records"):
            yield from itertools.chain.from_iterable(reader.records(source, skipped) for source in sources)
        else:
            messages = counted(reader, sources, skipped, speakers)
            yield from split_at_silences(messages, bot, gap_hours, skipped)
    if speakers and bot not in speakers:
        raise InputError(f"--bot={bot}: nobody is called so; {listed(speakers)}")


def counted(reader, sources, skipped, speakers):
    """The Messages of all sources of one layout, each chat named; `speakers` counts them as they pass."""
    for source in sources:
        for message in reader.messages(source, skipped):
            speakers[message.speaker] += 1
            yield message if message[3] else Message(*message[:3], source.name, message[4])


def choose_bot(found, wish, skipped):
    """
    Who of the speakers in chat logs becomes the bot: `wish`, or the answer of the person at the terminal. None if there
    are no logs. Raises InputError that lists the speakers.
    """
    logs = [(reader, sources) for reader, sources in found if hasattr(reader, "messages")]
    if not logs or wish is not None:
        return wish
    speakers = collections.Counter()
    for reader, sources in logs:
        collections.deque(counted(reader, sources, skipped, speakers), maxlen=0)
    skipped.clear()  # the second reading tells it again
    if not speakers:
        raise InputError("no message in it: nobody to become the bot")
    if not sys.stdin.isatty():
        raise InputError(f"say who the bot is to be, --bot=NAME; {listed(speakers)}")
    print(listed(speakers))
    while True:
        answer = input("who is the bot to be? ").strip()
        if answer in speakers:
            return answer
        near = difflib.get_close_matches(answer, speakers, n=1)
        print(f"nobody is called {answer}" + (f"; {near[0]}?" if near else ""))


def listed(speakers):
    """The speakers with their messages, the most talkative first."""
    shown = [f"{name} ({n:,})" for name, n in speakers.most_common(20)]
    more = f" and {len(speakers) - 20} more" if len(speakers) > 20 else ""
    return "speakers: " + ", ".join(shown) + more
