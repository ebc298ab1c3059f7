"""
What people state about themselves, by rules: short lines in their own words (but "i'm ann" becomes "my name is ann"),
each with a key under which a newer one takes its place.

    >>> [fact.text for fact in facts("hi! i live in oslo, and my dog is called rex. what about you?")]
    ['i live in oslo', 'my dog is called rex']
    >>> facts("my name is ann")[0].key == facts("sorry, call me anna")[0].key
    True

The rules know English only; their words stand in assets/facts.txt. Feelings of the moment, remarks on what was just
said, and questions are no facts.
"""

import functools
import re
from pathlib import Path
from typing import NamedTuple

WORDS = Path(__file__).parents[1] / "assets" / "facts.txt"
MIN_WORDS, MAX_WORDS = 3, 18  # of a fact; a longer one is a story, and is cut
MAX_LETTERS = 4000  # of a message that are read: a long paste tells little of who pastes it
# where one statement ends and the next may begin: at marks, and before a new subject
BORDER = re.compile(
    r"[.!;\n()]+|(?<=\?)|,? (?:and|but|so|because|although|though|since) (?=(?:i|i'm|i've|im|my|we|our)\b)"
    r"|, (?=(?:i|i'm|i've|im|my|we|our|what|how|do|are|is|have|where|you)\b)| -+ |—",
    re.I,
)
# what is so once at a time: of two such facts the newer holds
KEYS = {
    "name": r"(?:my (?:\w+ )?name(?:'s| is| was)|the name's|i'?a?m called|(?:you can |you may |just )?call me"
    r"|(?:people|friends|they|everyone) calls? me|i go by)\b",
    "home": r"(?:(?:i|we) (?:\w+ )?(?:live|lived|moved|move|reside|stay) (?:in|to|at|near|on|by|outside)"
    r"|(?:i|we)(?:'m|'re| am| are) based in|(?:i|we)(?:'ve| have) settled (?:down )?in"
    r"|(?:i|we)(?:'ve got| have| have got) an? (?:\w+ )?(?:place|flat|apartment|house) in"
    r"|(?:my|our) (?:place|flat|apartment|house|home) is in)\b",
    "origin": r"(?:i'?a?m|i (?:was born|grew up|come)) (?:originally )?(?:from|in)\b",
    "job": r"(?:i (?:\w+ )?(?:work(?:ed)? (?:as|at|for|in)|teach|have a job|(?:earn|make) my (?:money|living))"
    r"|my (?:job|work|profession)|.*\bfor a living)\b",
    "trip": r"(?:(?:i'?m|i am|we're|we are) (?:off|going|flying|heading|travell?ing) (?:on \w+ )?to"
    r"|(?:i|we) (?:\w+ )?book(?:ed)? |my (?:suitcase|bags?|tickets?|trip|flight|vacation|holiday))\b",
    "hobby": r".*\b(?:hobby|pastime|for fun|(?:free|spare|leisure) time|every (?:evening|weekend))\b",
    "age": r"(?:i'?a?m|i am|i (?:just )?turned) (?:\w+ )?\d+\b",
}
MY = re.compile(r"(?:my|our) ((?:favou?rite )?(?:\w+(?:'s)? )??\w+?)(?:'s)? (?:is|was|are|were|will be|has)\b")
# of two favorites of a kind the newer holds as well, however they are told
BEST = r"favou?rite|best|better|nothing beats|more than any|number one|by heart|always|i'd (?:take|choose|pick)"
OF_KIND = {
    "movie": r"movies?|films?",
    "band": r"bands?|music|songs?|singers?|records?",
    "food": r"food|dish|meal|eat|eating|dinner|menu|kitchen|cook",
    "color": r"colou?rs?",
    "book": r"books?|novel",
}
FAVORITES = {
    f"my favorite {kind}": re.compile(rf"(?=.*\b(?:{BEST})\b).*\b(?:{words})\b") for kind, words in OF_KIND.items()
}
# what says nothing without the talk around it, in a few words: "i have one", "i hate it", "i am not"
EMPTY = re.compile(
    r"(?:\S+ ){2,4}(?:it|them|that|this|those|these|ones?|there|too|either|not|am|do|did|have|so|yet)$", re.I
)


class Fact(NamedTuple):
    """What somebody states about themselves."""

    text: str  # in their own words: "i live in oslo"
    key: str  # what it is about; of two facts with one key the newer holds


class Patterns(NamedTuple):
    """The regular expressions that the words of assets/facts.txt make."""

    opener: re.Pattern[str]
    momentary: re.Pattern[str]
    named: re.Pattern[str]
    statement: re.Pattern[str]
    own: re.Pattern[str]
    fond: re.Pattern[str]


def facts(text: str) -> list[Fact]:
    """The facts that a message states, in order."""
    stated: dict[str, Fact] = {}
    for clause in clauses(text[:MAX_LETTERS]):
        named = patterns().named.fullmatch(clause)
        if named:  # as a name is asked for, and as a model has read it most
            stated["name"] = Fact(f"my name is {named['name'] or named['signed']}", "name")
            clause = "i am" + (named["origin"] or "")
        if is_fact(clause):
            fact = Fact(" ".join(clause.split()[:MAX_WORDS]).rstrip(",.:- "), key_of(clause))
            stated.pop(fact.key, None)
            stated[fact.key] = fact
    return list(stated.values())


def clauses(text: str) -> list[str]:
    """The statements that a message may consist of, without what opens them; questions are left out."""
    parts = (part.strip(" \t,:-\"'*") for part in BORDER.split(text.replace("’", "'")) if part)
    opened = (patterns().opener.sub("", part) for part in parts if not part.endswith("?"))
    return [" ".join(part.split()) for part in opened if part]


def is_fact(clause: str) -> bool:
    """Whether a clause says something of the person that lasts."""
    rules = patterns()
    if len(clause.split()) < MIN_WORDS or rules.momentary.match(clause) or EMPTY.fullmatch(clause):
        return False
    return bool(rules.statement.match(clause) or rules.own.search(clause) or rules.fond.match(clause))


def key_of(statement: str) -> str:
    """What a statement is about: a key of KEYS or FAVORITES, "my dog", or itself where nothing takes its place."""
    text = statement.lower()
    mine = MY.match(text)
    known = (key for key, pattern in KEYS.items() if re.match(pattern, text))
    favorite = (key for key, pattern in FAVORITES.items() if pattern.match(text))
    return next(known, None) or next(favorite, f"my {mine[1].replace('favourite', 'favorite')}" if mine else text)


@functools.cache
def patterns() -> Patterns:
    """The patterns, made once."""
    words = {}
    for section in re.split(r"^\[", WORDS.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, _, content = section.partition("]\n")
        items = sorted(filter(None, map(str.strip, re.split(r",\s", content + "\n"))), key=len, reverse=True)
        words[title.partition(":")[0]] = "(?:" + "|".join(items) + ")"
    i, am = "(?:i|we)", "(?:i'm|im|i am|i was|i've been|i have been|we're|we are)"
    adverbs = rf"(?:{words['adverbs']} )*"
    lasting = rf"{i} {adverbs}{words['verbs']}\b|{i}'ve (?!to\b)\w|{am} \S"
    mine = rf"(?:my|our) (?!{words['not mine']}\b)\w+"
    unlisted = rf"(?!(?:{words['no names']}|\w+(?:ish|ese|an|ist))\b)(?-i:[A-Z][a-z]+)"
    name = rf"(?:(?:{words['first names']})\b|{unlisted})(?: (?-i:[A-Z])\w+)?"
    return Patterns(
        opener=re.compile(rf"^(?:{words['openers']}\b[\s,:-]*)+", re.I),
        momentary=re.compile(
            rf"{am} {adverbs}(?:{words['mood words']} )*{words['moods']}\b"
            rf"|{i} (?:really |do |just )*{words['thoughts']}(?:\b|$)",
            re.I,
        ),
        named=re.compile(
            rf"(?:i'm|im|i am) (?P<name>{name})(?P<origin> from \w.*)?(?: here)?|(?P<signed>{name}) here", re.I
        ),
        statement=re.compile(rf"{lasting}|{mine}|{KEYS['name']}|{KEYS['age']}", re.I),
        own=re.compile(rf"\b(?:my|our) (?:\w+ )?{words['own']}\b", re.I),
        fond=re.compile(rf"(?=.*\b(?:i|i'm|i'd|me|my|mine)\b).*\b{words['fond']}\b", re.I),
    )
