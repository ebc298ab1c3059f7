"""
What can be told, and the words for it: the values and phrasings that recall.py weaves into conversations.

The words stand in assets/recall.txt; names, places, jobs and dishes come from the package mimesis. Every fifth value
(by its hash) and every fourth of the human's phrasings (by its line) is held out: training never has them, evaluation
has nothing else.
"""

import calendar
import collections
import functools
import hashlib
import importlib.util
import itertools
import json
import re
from pathlib import Path

from runtime.errors import InputError

SPLIT = ("tell", "more", "ask", "both", "just", "which", "who", "correct", "summary")  # roles with held-out phrasings
SLOTS = ("name", "home", "job", "pet", "family", "food", "color", "band", "film", "hobby", "trip", "day", "opinion")
KEYS = {"pet": "pet_kinds", "family": "relations", "day": "events", "opinion": "topics"}  # what a value belongs to
SPEAKER = {"I": "I", "I'm": "I'm", "my": "my", "me": "me", "am": "am", "was": "was", "you": "you"}
LISTENER = {"I": "you", "I'm": "you're", "my": "your", "me": "you", "am": "are", "was": "were", "you": "me"}
WORKER = r"(?i).*(er|or|ist|ian|ant|man|smith|clerk|mechanic|nurse|chef|pilot|shepherd|surgeon)"


@functools.cache
def sections():
    """slot -> role -> its lines."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    path = Path(__file__).parents[2] / "assets" / "recall.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = found[line.strip("[]")]
        elif line and not line.startswith("#"):
            role, _, words = line.partition(": ")
            section[role].append(words)
    return found


@functools.cache
def phrasings(slot, role, split):
    """The lines of a role that `split` ("train" or "held_out") may use."""
    lines = sections()[slot][role]
    return [line for i, line in enumerate(lines) if role not in SPLIT or (i % 4 == 3) == (split == "held_out")]


@functools.cache
def values(slot, split, key=""):
    """The values that `split` may use for a slot and key, sorted; "topics" are the keys of opinions."""
    if slot == "family":
        slot = "woman" if key in listed("women") else "man" if key in listed("men") else "family"
    return [value for value in vocabulary()[slot] if held_out(value) == (split == "held_out")]


def held_out(value):
    """Whether a value is kept for evaluation: by its hash, so that it is so in every slot."""
    return int(hashlib.sha256(value.lower().encode()).hexdigest()[:8], 16) % 5 == 0


def keys(slot, split):
    """What the values of a slot may belong to; [""] where they need nothing."""
    if slot not in KEYS:
        return [""]
    return values("topics", split) if slot == "opinion" else listed(KEYS[slot])


def listed(name):
    return sections()["values"][name][0].split(", ")


@functools.cache
def vocabulary():
    """slot -> all its values, sorted. None is an everyday word or stands within another, so that presence is proof."""
    women, men = (of_mimesis("en/person.json", "names", sex) for sex in ("female", "male"))
    cities = [
        name for where in ("en", "en-gb", "fr", "it", "de") for name in of_mimesis(f"{where}/address.json", "city")
    ]
    countries = [name for name in of_mimesis("en/address.json", "country", "name") if " " not in name]
    jobs = [job for job in of_mimesis("en/person.json", "occupation") if re.fullmatch(WORKER, job)]
    dishes = of_mimesis("en/food.json", "dishes")
    dishes += pairs(of_mimesis("en/food.json", "fruits"), listed("fruit_dishes"))
    dishes += pairs(of_mimesis("en/food.json", "vegetables"), listed("vegetable_dishes"))
    topics = pairs(["learning", "speaking", "understanding"], of_mimesis("en/person.json", "language"))
    found = {
        "name": women + men,
        "home": cities,
        "job": [job.lower() for job in jobs],
        "pet": women + men + listed("pet_names"),
        "family": women + men,
        "woman": [name for name in women if name not in men],
        "man": [name for name in men if name not in women],
        "food": [dish.lower() for dish in dishes],
        "color": pairs(listed("shades"), listed("colors")),
        "band": ["The " + band for band in pairs(listed("band_first"), listed("band_last"))],
        "film": ["The " + film for film in pairs(listed("film_first"), listed("film_last"))],
        "hobby": listed("hobbies") + pairs(listed("hobby_verbs"), listed("hobby_things")),
        "trip": cities + countries,
        "day": dates(),
        "opinion": listed("opinions"),
        "topics": listed("topics") + pairs(listed("sport_verbs"), listed("sports")) + topics,
    }
    unfit = set(listed("avoid"))
    for slot, roles in sections().items():
        if slot != "values":
            unfit.update(re.findall(r"\w+", " ".join(itertools.chain.from_iterable(roles.values())).lower()))
    for value in {value.lower() for value in itertools.chain.from_iterable(found.values())}:
        words = value.split()
        parts = itertools.combinations(range(len(words) + 1), 2)
        unfit.update(" ".join(words[i:j]) for i, j in parts if j - i < len(words))
    return {slot: sorted({value for value in values if value.lower() not in unfit}) for slot, values in found.items()}


def of_mimesis(path, *fields):
    """A list of the data set at `path` of the package mimesis, without what has digits or brackets in it."""
    package = importlib.util.find_spec("mimesis")
    if package is None:
        raise InputError("the package mimesis is missing: pip install -r requirements.txt")
    content = json.loads((Path(package.origin).parent / "datasets" / path).read_text(encoding="utf-8"))
    for name in fields:
        content = content[name]
    return [text for text in content if re.fullmatch(r"[^\W\d_][^\W\d_]+([ '-][^\W\d_]+)*", text)]


def pairs(first, last):
    return [f"{a} {b}" for a in first for b in last]


def dates():
    """Friday morning, Friday the 14th, May 14th; no bare weekday, which would stand within another date."""
    ordinals = {n: f"{n}{'th' if 3 < n < 21 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}" for n in range(1, 32)}
    days = [f"{day} {part}" for day in calendar.day_name for part in ("morning", "afternoon", "evening", "night")]
    days += [f"{day} the {ordinals[n]}" for day in calendar.day_name for n in range(1, 31)]
    return days + [f"{calendar.month_name[m]} {ordinals[n]}" for m in range(1, 13) for n in range(1, 29)]


def article(noun):
    """`noun` with its article: an engineer, a unicorn, an hour."""
    return ("an " if re.match(r"(?i)[aeio]|u(?!ni|se|ti|ro)|hour|hon|heir", noun) else "a ") + noun


def said(words, fact, first, /, **more):
    """A line of the phrase book as a sentence about `fact`; see filled."""
    return capitalise(fill(words, fact, first, **more))


def fill(words, fact, first, /, **more):
    """
    A line of the phrase book about `fact`, in the first person (the subject speaks) or the second.
    more: what else its braces name, or in place of the fact's.
    """
    pronouns = SPEAKER if first else LISTENER
    about = {"v": fact.value, "key": fact.key, "a_v": article(fact.value), "a_key": article(fact.key)}
    return words.format_map({**pronouns, **about, **more})


def capitalise(text):
    """`text` with a capital where a sentence begins."""
    return re.sub(r"(^|[^.][.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def behind(opener, sentence, own=()):
    """`sentence` after an opener such as "By the way,": its capital goes, unless the word has it by itself (`own`)."""
    keeps = re.match(r"I\b", sentence) or any(sentence.startswith(word) for word in own if word)
    if opener.endswith((".", "?", "!")) or keeps:
        return f"{opener} {sentence}"
    return f"{opener} {sentence[:1].lower()}{sentence[1:]}"


def contains_phrase(text, words):
    """Whether `words` stand in `text` as whole words, whatever the case and the apostrophes."""
    text, words = (part.casefold().replace("’", "'") for part in (text, words))
    return bool(words) and words in text and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None
