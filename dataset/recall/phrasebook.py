"""
The phrase book: which facts people can tell, the values of these facts, and the words to tell and ask for them.

A slot is a kind of fact ("pet"); its value is what is to be remembered ("Rex"); some slots have a key, to which the
value belongs ("dog"). A role is what a line is for ("tell", "ask", "answer").

The lines stand in assets/recall.txt; names, places, jobs and dishes come from the package mimesis. To measure memory
rather than what was learned by heart, some of both is held out, which means that evaluation alone uses it and training
never: a fifth of the values (by their hash), and every fourth line of the human's roles (by its number). Training alone
has the lines of assets/recall_train.txt.
"""

import calendar
import collections
import functools
import hashlib
import importlib.util
import itertools
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import InputError

Words = Literal["train", "held_out"]  # which values and lines may be used

# roles of the human, whose lines are divided between training and evaluation
DIVIDED_ROLES = ("tell", "more", "ask", "both", "just", "which", "who", "correct", "summary")
SLOTS = ("name", "home", "job", "pet", "family", "food", "color", "band", "film", "hobby", "trip", "day", "opinion")
# slot -> the list of its keys, for the slots that have them
KEY_LISTS = {"pet": "pet_kinds", "family": "relations", "day": "events", "opinion": "topics"}
# the pronouns in a line's braces where the subject of the fact speaks, and where the other one does
FIRST_PERSON = {"I": "I", "I'm": "I'm", "my": "my", "me": "me", "am": "am", "was": "was", "you": "you"}
SECOND_PERSON = {"I": "you", "I'm": "you're", "my": "your", "me": "you", "am": "are", "was": "were", "you": "me"}
# slot -> the forms of a value that is made up of syllables, for the slots that can have one, and how often that is so
MADE_UP = {
    **dict.fromkeys(("name", "pet", "family", "home", "trip"), ("{}",)),
    **dict.fromkeys(("band", "film"), ("The {}", "{}", "The {}s")),
    "food": ("{} soup", "{} stew", "{} pie", "{} salad", "fried {}", "{} cake", "{}"),
    "hobby": ("collecting {}s", "building {}s", "{} dancing", "playing the {}", "drawing {}s"),
    "opinion": ("{}", "{}ish", "quite {}", "{}less"),
    "job": ("{} maker", "{} inspector", "{} driver", "{} teacher", "{}ist"),
    "color": ("{} red", "{} blue", "{} green", "dark {}", "{}"),
}
SMALL_SLOTS = ("food", "hobby", "job", "color", "opinion")  # whose values begin small
MADE_UP_SHARE = 0.3
SYLLABLES = [
    a + b + c for a in ("", *"bdfghjklmnprstvwz", "br", "ch", "sh", "st", "tr") for b in "aeiou" for c in ("", *"lnrs")
]
PROFESSION = r"(?i).*(er|or|ist|ian|ant|man|smith|clerk|mechanic|nurse|chef|pilot|shepherd|surgeon)"  # fits "I'm a ..."


@dataclass(frozen=True)
class Fact:
    """What `subject` ("user" or "assistant") told about itself: Fact("pet", "user", "Rex", "dog")."""

    slot: str  # one of SLOTS: the kind of fact
    subject: str
    value: str  # what is to be remembered; "" for a fact that nobody told
    key: str = ""  # what the value belongs to, where the slot needs it


@functools.cache
def sections(file: str = "recall.txt") -> dict[str, dict[str, list[str]]]:
    """A file of assets/: slot, "any" or "values" -> role -> its lines."""
    content: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    path = Path(__file__).parents[2] / "assets" / file
    section = content[""]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = content[line.strip("[]")]
        elif line and not line.startswith("#"):
            role, _, words = line.partition(": ")
            section[role].append(words)
    del content[""]  # the comments before the first section
    return content


@functools.cache
def phrasings(slot: str, role: str, words: Words) -> list[str]:
    """The lines of a slot's role that training, or evaluation, may use."""
    lines = sections()[slot][role]
    if role in DIVIDED_ROLES:
        lines = [line for i, line in enumerate(lines) if (i % 4 == 3) == (words == "held_out")]
    return lines + sections("recall_train.txt")[slot][role] if words == "train" else lines


@functools.cache
def values(slot: str, words: Words, key: str = "") -> list[str]:
    """The values of a slot, for a key if it has keys, that training or evaluation may use; sorted."""
    if slot == "family":
        slot = "woman" if key in word_list("women") else "man" if key in word_list("men") else "family"
    of_both = [value for value in vocabulary()[slot] if is_held_out(value) == (words == "held_out")]
    return of_both + values_for_training(slot) if words == "train" else of_both


def values_for_training(slot: str) -> list[str]:
    """What training alone has: a model that met a few dozen opinions says the nearest of them in place of a new one."""
    return [value for line in sections("recall_train.txt")["values"][slot] for value in line.split(", ")]


def draw_value(rng: random.Random, slot: str, words: Words, key: str = "") -> str:
    """A random value of a slot. In training some are made up, so that only a model that reads them can say them."""
    if words == "train" and slot in MADE_UP and rng.random() < MADE_UP_SHARE:
        word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 2, 3))))
        value = rng.choice(MADE_UP[slot]).format(word if slot in SMALL_SLOTS else word.capitalize())
        if not is_held_out(value):
            return value
    return rng.choice(values(slot, words, key))


def is_held_out(value: str) -> bool:
    """Whether a value is kept for evaluation: decided by its hash, so that it is the same in every slot."""
    return int(hashlib.sha256(value.lower().encode()).hexdigest()[:8], 16) % 5 == 0


def keys(slot: str, words: Words) -> list[str]:
    """What the values of a slot may belong to; [""] for a slot without keys. Only those of opinions are held out."""
    if slot not in KEY_LISTS:
        return [""]
    return values("topics", words) if slot == "opinion" else word_list(KEY_LISTS[slot])


def word_list(name: str) -> list[str]:
    """A list of the section [values]."""
    return sections()["values"][name][0].split(", ")


@functools.cache
def vocabulary() -> dict[str, list[str]]:
    """
    Slot -> all its values, sorted; "topics" are the keys of opinions, and "woman" and "man" the names for relatives of
    known sex. No value is an everyday word or a part of another value: if it stands in a reply, the reply knows it.
    """
    women, men = (mimesis_list("en/person.json", "names", sex) for sex in ("female", "male"))
    cities = [
        name for locale in ("en", "en-gb", "fr", "it", "de") for name in mimesis_list(f"{locale}/address.json", "city")
    ]
    countries = [name for name in mimesis_list("en/address.json", "country", "name") if " " not in name]
    jobs = [job for job in mimesis_list("en/person.json", "occupation") if re.fullmatch(PROFESSION, job)]
    dishes = mimesis_list("en/food.json", "dishes")
    dishes += word_pairs(mimesis_list("en/food.json", "fruits"), word_list("fruit_dishes"))
    dishes += word_pairs(mimesis_list("en/food.json", "vegetables"), word_list("vegetable_dishes"))
    languages = word_pairs(["learning", "speaking", "understanding"], mimesis_list("en/person.json", "language"))
    candidates = {
        "name": women + men,
        "home": cities,
        "job": [job.lower() for job in jobs],
        "pet": women + men + word_list("pet_names"),
        "family": women + men,
        "woman": [name for name in women if name not in men],
        "man": [name for name in men if name not in women],
        "food": [dish.lower() for dish in dishes],
        "color": word_pairs(word_list("shades"), word_list("colors")),
        "band": ["The " + band for band in word_pairs(word_list("band_first"), word_list("band_last"))],
        "film": ["The " + film for film in word_pairs(word_list("film_first"), word_list("film_last"))],
        "hobby": word_list("hobbies") + word_pairs(word_list("hobby_verbs"), word_list("hobby_things")),
        "trip": cities + countries,
        "day": dates(),
        "opinion": word_list("opinions"),
        "topics": word_list("topics") + word_pairs(word_list("sport_verbs"), word_list("sports")) + languages,
    }
    unfit = set(word_list("avoid"))
    for slot, roles in sections().items():
        if slot != "values":
            unfit.update(re.findall(r"\w+", " ".join(itertools.chain.from_iterable(roles.values())).lower()))
    for value in {value.lower() for value in itertools.chain.from_iterable(candidates.values())}:
        parts = value.split()
        slices = itertools.combinations(range(len(parts) + 1), 2)
        unfit.update(" ".join(parts[i:j]) for i, j in slices if j - i < len(parts))
    return {
        slot: sorted({value for value in values if value.lower() not in unfit}) for slot, values in candidates.items()
    }


def mimesis_list(path: str, *fields: str) -> list[str]:
    """A list in a data set of the package mimesis, without entries that have digits or brackets in them."""
    package = importlib.util.find_spec("mimesis")
    if package is None or package.origin is None:
        raise InputError("the package mimesis is missing: pip install -r requirements.txt")
    content = json.loads((Path(package.origin).parent / "datasets" / path).read_text(encoding="utf-8"))
    for name in fields:
        content = content[name]
    return [text for text in content if re.fullmatch(r"[^\W\d_][^\W\d_]+([ '-][^\W\d_]+)*", text)]


def word_pairs(first: Iterable[str], last: Sequence[str]) -> list[str]:
    """Each of the first words with each of the last."""
    return [f"{a} {b}" for a in first for b in last]


def dates() -> list[str]:
    """Friday morning, Friday the 14th, May 14th; but no bare weekday, which would be a part of another date."""
    ordinals = {n: f"{n}{'th' if 3 < n < 21 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}" for n in range(1, 32)}
    days = [f"{day} {part}" for day in calendar.day_name for part in ("morning", "afternoon", "evening", "night")]
    days += [f"{day} the {ordinals[n]}" for day in calendar.day_name for n in range(1, 31)]
    return days + [f"{calendar.month_name[m]} {ordinals[n]}" for m in range(1, 13) for n in range(1, 29)]


def with_article(noun: str) -> str:
    """The noun after its article: an engineer, a unicorn, an hour."""
    return ("an " if re.match(r"(?i)[aeio]|u(?!ni|se|ti|ro)|hour|hon|heir", noun) else "a ") + noun


def fill(line: str, fact: Fact, first_person: bool, /, **names: str) -> str:
    """
    A line of the phrase book with its braces filled in from `fact`. first_person: whether the subject of the fact is
    speaking. names: what braces stand for beside, or in place of, what the fact gives.
    """
    pronouns = FIRST_PERSON if first_person else SECOND_PERSON
    about = {"v": fact.value, "key": fact.key, "a_v": with_article(fact.value), "a_key": with_article(fact.key)}
    return line.format_map({**pronouns, **about, **names})


def sentence(line: str, fact: Fact, first_person: bool, /, **names: str) -> str:
    """A line of the phrase book, filled in, as a sentence of its own; see fill."""
    return capitalise(fill(line, fact, first_person, **names))


def capitalise(text: str) -> str:
    """The text with a capital at the beginning of each sentence."""
    return re.sub(r"(^|[^.][.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def with_opener(opener: str, text: str, names: Iterable[str] = ()) -> str:
    """
    The text after an opener such as "By the way,". Its first letter becomes small, unless the opener is a sentence or
    the text begins with "I" or with one of the names.
    """
    keeps_capital = re.match(r"I\b", text) or any(text.startswith(name) for name in names if name)
    if opener.endswith((".", "?", "!")) or keeps_capital:
        return f"{opener} {text}"
    return f"{opener} {text[:1].lower()}{text[1:]}"


def contains_phrase(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, in whatever case and with whatever apostrophes."""
    text, phrase = (part.casefold().replace("’", "'") for part in (text, phrase))
    return bool(phrase) and phrase in text and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None
