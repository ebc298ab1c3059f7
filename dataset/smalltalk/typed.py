"""How people type: in lower case, without full stops, with slips. For the human's side; the bot writes correctly."""

import random
import re
from typing import NamedTuple

SHORTHAND = {
    "you": "u",
    "are": "r",
    "your": "ur",
    "because": "cuz",
    "please": "pls",
    "thanks": "thx",
    "though": "tho",
    "really": "rly",
    "people": "ppl",
    "tomorrow": "tmrw",
    "going to": "gonna",
    "want to": "wanna",
    "i don't know": "idk",
    "probably": "prob",
}
NEIGHBOURS = {
    letter: row[max(0, i - 1) : i] + row[i + 1 : i + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for i, letter in enumerate(row)
}


class Habits(NamedTuple):
    """Of one person, for a whole conversation."""

    lower: bool = False  # writes no capitals
    full_stops: bool = True  # at the end of a message
    apostrophes: bool = True
    shorthand: float = 0.0  # share of the words that have one
    slips: float = 0.0  # share of the words


def draw_habits(rng: random.Random) -> Habits:
    """A third writes as in a letter, most in lower case, some carelessly."""
    manner = rng.random()
    if manner < 0.35:
        return Habits()
    if manner < 0.55:
        return Habits(full_stops=False)
    if manner < 0.85:
        return Habits(lower=True, full_stops=rng.random() < 0.3, apostrophes=rng.random() < 0.6)
    return Habits(lower=True, full_stops=False, apostrophes=False, shorthand=0.5 * rng.random(), slips=0.03)


def as_typed(text: str, habits: Habits, rng: random.Random) -> str:
    """The text as somebody with these habits types it. Words with a capital or a digit are never misspelt."""
    if habits.slips:
        text = re.sub(
            r"\b[a-z]{4,}\b", lambda word: slip(word[0], rng) if rng.random() < habits.slips else word[0], text
        )
    if habits.lower:
        text = text.lower()
    if habits.shorthand:
        for word, short in SHORTHAND.items():
            if rng.random() < habits.shorthand:
                text = re.sub(rf"\b{word}\b", short, text)
    if not habits.apostrophes:
        text = re.sub(r"(?<=\w)'(?=\w)", "", text)
    if not habits.full_stops and re.search(r"[^.]\.$", text):
        text = text[:-1]
    return text


def slip(word: str, rng: random.Random) -> str:
    """The word with one letter left out, doubled, swapped with the next, or hit beside its key."""
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    if kind == 2:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + rng.choice(NEIGHBOURS[word[i]]) + word[i + 1 :]
