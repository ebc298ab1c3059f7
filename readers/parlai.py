"""
ParlAI's lines, as ConvAI2 publishes PersonaChat:

    1 your persona: i have two dogs.
    2 partner's persona: i volunteer in a homeless shelter.
    3 hi ! how are you ?<TAB>great . relaxing with my two dogs .<TAB><TAB>candidate|candidate

A number that does not grow begins a new dialogue. Of a talk line, the first text is the partner's, the second is yours.
"""

import itertools
import re

from readers.source import Skipped
from runtime.errors import InputError

NAME = "ParlAI's lines (ConvAI2, PersonaChat)"
SILENCE = "__SILENCE__"  # ParlAI's word for the turn of a partner who lets you begin
YOURS, PARTNERS = "your persona:", "partner's persona:"


def recognises(head):
    """By its first line: a number, then a persona or two texts with a tab between."""
    number, _, rest = head.lstrip().partition("\n")[0].partition(" ")
    return number.isdecimal() and ("\t" in rest or rest.startswith((YOURS, PARTNERS)))


def records(source, skipped):
    """Yield records of a Source, the persona as the system message; with both personas known, a dialogue gives two."""
    return of_dialogues(dialogues((line for _, line in source.lines()), source.name, skipped), skipped)


def dialogues(lines, where, skipped=None):
    """
    Yield (persona, partner's persona, said): two lists of sentences, and the utterances in turn, the partner's first;
    SILENCE stands where somebody said nothing. A broken line goes to skipped.broken; without a Skipped: InputError.
    """

    broken = skipped.broken if isinstance(skipped, Skipped) else refused
    personas, said, last = ([], []), [], 0
    for at, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        number, _, rest = line.partition(" ")
        if not (number.isdecimal() and len(number) < 10):
            broken(f"{where}:{at}", f"a line begins with its number in the dialogue, not {number[:20]!r}")
            continue
        if int(number) <= last and (said or any(personas)):
            yield *personas, said
            personas, said = ([], []), []
        last = int(number)
        if rest.startswith(YOURS):
            personas[0].append(rest[len(YOURS) :].strip())
        elif rest.startswith(PARTNERS):
            personas[1].append(rest[len(PARTNERS) :].strip())
        else:
            fields = rest.split("\t")
            if len(fields) < 2 or not fields[1].strip():
                broken(f"{where}:{at}", "a tab and a reply are missing (the file may be cut off)")
                continue
            said += [fields[0].strip() or SILENCE, fields[1].strip()]
    if said or any(personas):
        yield *personas, said


def refused(place, expected):
    raise InputError(f"{place}: {expected}")


def of_dialogues(dialogues, skipped):
    """Records of `dialogues`: one view of each, and the partner's too if the partner's persona is known."""
    for mine, partners, said in dialogues:
        yield from view(mine, said, "user", skipped)
        if partners:
            yield from view(partners, said, "assistant", skipped)


def view(persona, said, first, skipped):
    """At most one record: the dialogue as the one with this persona saw it. first: the role of who began."""
    roles = itertools.cycle(["user", "assistant"] if first == "user" else ["assistant", "user"])
    talk = [
        {"role": role, "content": cleaned(text)}
        for role, text in zip(roles, said, strict=False)
        if text.strip() != SILENCE and cleaned(text)
    ]
    if len({message["role"] for message in talk}) < 2:
        skipped["only one of the two speaks"] += 1
        return
    system = " ".join(cleaned(sentence) for sentence in persona if sentence.strip())
    yield {"messages": ([{"role": "system", "content": system}] if system else []) + talk}


def cleaned(text):
    """PersonaChat's tokenised text as people write it: no space before punctuation and 's, none inside brackets."""
    text = re.sub(r"\s+([,.!?%)\]]|[;:](?!['-]?[()DPp/|]))", r"\1", text)  # but not of ":)"
    text = re.sub(r"([(\[$])\s+", r"\1", text)
    text = re.sub(r"(\w)\s+(n't|'(?:s|m|re|ve|ll|d))\b", r"\1\2", text)
    return re.sub(r"\s+", " ", text).strip()
