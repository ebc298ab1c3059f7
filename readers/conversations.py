"""
From turns and messages to records: which side becomes the bot, what is no message, and where a chat log is cut.
"""

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from readers.source import LogMessage, Record, Skipped

Speaker = TypeVar("Speaker", bound=Hashable)
Turn = tuple[str, str] | tuple[str, str, int]  # role, text, and its weight if that is said: 0 is not learned
# what says of a message whether it is learned: OpenAI's, LLaMA-Factory's, Axolotl's, ms-swift's
WEIGHTS = ("weight", "loss_weight", "train", "loss")
THINKING = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>\s*", re.DOTALL | re.I)


def weight_of(message: Mapping[str, Any], place: str, skipped: Skipped) -> int | None:
    """1 if the message is to be learned, 0 if it says that it is not; None, once it is noted, if it says neither."""
    for name in WEIGHTS:
        weight = message.get(name)
        if name == "loss_weight" and isinstance(weight, float):  # LLaMA-Factory's may be a part
            weight = int(weight != 0)
        if weight not in (None, 0, 1):  # True and False are 1 and 0
            skipped.broken(place, f"{name} of a message must be 0 or 1, not {weight!r:.40}")
            return None
        if weight == 0:
            return 0
    return 1


def talk_record(turns: Iterable[Turn], place: str, skipped: Skipped) -> Iterator[Record]:
    """
    Yield the record of (role, text) or (role, text, weight), or none where only one side speaks. Empty texts are left
    out, and what the bot thinks aloud; system messages at the beginning are joined, later ones are left out.
    """
    messages: list[dict[str, Any]] = []
    for role, text, *weight in turns:
        if role == "assistant":
            text = without_thinking(text, place, skipped)
        if not text.strip():
            skipped.note("empty message", place)
        elif role == "system" and messages and messages[-1]["role"] != "system":
            skipped.note("system message amid the talk", place)
        elif role == "system" and messages:
            messages[-1]["content"] += "\n" + text.strip()
        else:
            messages.append({"role": role, "content": text.strip()})
            if role == "assistant" and weight == [0]:
                messages[-1]["weight"] = 0
                skipped.note("message of weight 0, which is read and not learned", place, kept=True)
    learned_roles = {message["role"] for message in messages if "weight" not in message}
    if {"user", "assistant"} <= learned_roles:
        yield {"messages": messages}
    elif {"user", "assistant"} <= {message["role"] for message in messages}:
        skipped.note("conversation of which nothing is to be learned", place)
    else:
        skipped.note("conversation in which only one side speaks", place)


def without_thinking(text: str, place: str, skipped: Skipped) -> str:
    """What the bot says without what it thought before: a small model is to answer, not to think aloud."""
    if "<" not in text:
        return text
    text, n = THINKING.subn("", text)
    if n:
        skipped.note("thinking left out of an answer", place)
    return text


def two_views(
    turns: Iterable[tuple[Speaker, str]], personas: Mapping[Speaker, str], place: str, skipped: Skipped
) -> Iterator[Record]:
    """
    Yield two records of a talk between people of equal standing, given as (speaker, text) pairs: each of the first two
    speakers is the bot once, and its persona (speaker -> text, may be missing) is the system message.
    """
    turns = [(speaker, text) for speaker, text in turns if text.strip()]
    speakers = list(dict.fromkeys(speaker for speaker, _ in turns))[:2]
    if len(speakers) < 2:
        skipped.note("conversation in which only one side speaks", place)
        return
    for bot in reversed(speakers):
        persona = personas.get(bot, "").strip()
        roles = [("assistant" if speaker == bot else "user", text) for speaker, text in turns]
        yield from talk_record(([("system", persona)] if persona else []) + roles, place, skipped)


def alternating(texts: Iterable[str]) -> list[tuple[int, str]]:
    """The texts of two people who take turns as (0 or 1, text); an empty turn stays, so that the turns do not shift."""
    return [(number % 2, text) for number, text in enumerate(texts)]


def split_at_silences(
    messages: Iterable[LogMessage],
    bots: Collection[str],
    gap_hours: float,
    skipped: Skipped,
    name_of: Callable[[str], str] = str,
) -> Iterator[Record]:
    """
    Yield records of a chat log, in which the speaker that has one of the names `bots` is the assistant and everybody
    else the user, where there are several with the name that name_of(speaker) gives them. A chat is cut where nobody
    wrote for `gap_hours`, and where the time goes back as far.
    """
    open_talks: dict[str, list[LogMessage]] = {}  # chat -> its messages since the last silence
    for message in messages:
        talk = open_talks.setdefault(message.chat, [])
        if talk and not message.in_thread and message.time is not None and talk[-1].time is not None:
            if abs(message.time - talk[-1].time) > gap_hours * 3600:
                yield from log_record(talk, bots, skipped, name_of)
                talk.clear()
        talk.append(message)
    for talk in open_talks.values():
        yield from log_record(talk, bots, skipped, name_of)


def log_record(
    talk: list[LogMessage], bots: Collection[str], skipped: Skipped, name_of: Callable[[str], str]
) -> Iterator[Record]:
    """Yield the record of one talk, or none where not both the bot and somebody else speak in it."""
    people = {message.speaker for message in talk}
    if people.isdisjoint(bots) or people <= set(bots):
        reason = "only the bot speaks" if people <= set(bots) else "the bot is not in it"
        skipped.note(f"talk: {reason}", f"{talk[0].chat}:{talk[0].line}")
        return
    named = len(people - set(bots)) > 1
    yield {"messages": [as_message(message, bots, named, name_of) for message in talk]}


def as_message(
    message: LogMessage, bots: Collection[str], named: bool, name_of: Callable[[str], str]
) -> dict[str, str]:
    """The message as a record has it; named: with the name of who says it, if that is not the bot."""
    if message.speaker in bots:
        return {"role": "assistant", "content": message.text}
    return {"role": "user", "content": message.text, **({"name": name_of(message.speaker)} if named else {})}
