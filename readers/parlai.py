"""
ParlAI's lines, as ConvAI2 publishes PersonaChat:

    1 your persona: i have two dogs.
    2 partner's persona: i volunteer in a homeless shelter.
    3 hi ! how are you ?<TAB>great . relaxing with my two dogs .<TAB><TAB>candidate|candidate

A number that does not grow begins a new dialogue. Of a talk line, the first text is the partner's, the second is yours.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from readers.source import Record, Skipped, Source

NAME = "ParlAI's lines (ConvAI2, PersonaChat)"
SILENCE = "__SILENCE__"  # ParlAI's word for the turn of a partner who lets you begin
YOURS, PARTNERS = "your persona:", "partner's persona:"


class Dialogue(NamedTuple):
    """A dialogue as one of the two took part in it."""

    persona: list[str]  # sentences
    partners_persona: list[str]  # empty if it is not known
    texts: list[str]  # the utterances in turn, the partner's first; SILENCE where somebody says nothing


def recognises(head: str) -> bool:
    """By its first line: a number, then a persona or two texts with a tab between."""
    number, _, rest = head.lstrip().partition("\n")[0].partition(" ")
    return number.isdecimal() and ("\t" in rest or rest.startswith((YOURS, PARTNERS)))


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield records, the persona as the system message: one of each dialogue, two where both personas are known."""
    for dialogue in dialogues(source, skipped):
        yield from view(dialogue.persona, dialogue.texts, "user", skipped)
        if dialogue.partners_persona:
            yield from view(dialogue.partners_persona, dialogue.texts, "assistant", skipped)


def dialogues(source: Source, skipped: Skipped) -> Iterator[Dialogue]:
    """Yield the dialogues of the lines of a file. Raises InputError."""
    dialogue, last = Dialogue([], [], []), 0
    for at, line in source.lines(skipped):
        if not line.strip():
            continue
        number, _, rest = line.partition(" ")
        if not (number.isdecimal() and len(number) < 10):
            skipped.broken(f"{source.name}:{at}", f"a line begins with its number in the dialogue, not {number[:20]!r}")
            continue
        if int(number) <= last and any(dialogue):
            yield dialogue
            dialogue = Dialogue([], [], [])
        last = int(number)
        if rest.startswith(YOURS):
            dialogue.persona.append(rest[len(YOURS) :].strip())
        elif rest.startswith(PARTNERS):
            dialogue.partners_persona.append(rest[len(PARTNERS) :].strip())
        else:
            fields = rest.split("\t")
            if len(fields) < 2 or not fields[1].strip():
                skipped.broken(f"{source.name}:{at}", "a tab and a reply are missing (the file may be cut off)")
                continue
            dialogue.texts.extend((fields[0].strip() or SILENCE, fields[1].strip()))
    if any(dialogue):
        yield dialogue


def view(persona: list[str], texts: list[str], first: str, skipped: Skipped) -> Iterator[Record]:
    """
    Yield the record of a dialogue in which the bot has this persona, or none where only one side speaks.
    first: the role of the person who begins.
    """
    roles = itertools.cycle(["user", "assistant"] if first == "user" else ["assistant", "user"])
    talk = [
        {"role": role, "content": cleaned(text)}
        for role, text in zip(roles, texts, strict=False)
        if text.strip() != SILENCE and cleaned(text)
    ]
    if len({message["role"] for message in talk}) < 2:
        skipped.note("only one of the two speaks")
        return
    system = " ".join(cleaned(sentence) for sentence in persona if sentence.strip())
    yield {"messages": ([{"role": "system", "content": system}] if system else []) + talk}


def cleaned(text: str) -> str:
    """PersonaChat's tokenised text as people write it: no space before punctuation and 's, none inside brackets."""
    text = re.sub(r"\s+([,.!?%)\]]|[;:](?!['-]?[()DPp/|]))", r"\1", text)  # but not of ":)"
    text = re.sub(r"([(\[$])\s+", r"\1", text)
    text = re.sub(r"(\w)\s+(n't|'(?:s|m|re|ve|ll|d))\b", r"\1\2", text)
    return re.sub(r"\s+", " ", text).strip()
