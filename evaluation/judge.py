"""
Whether a reply makes sense, by rules: words that must be said, and a few kinds of answers (YES, A NUMBER, HELLO).

    judge = Judge(rules)                                        # rule -> what it stands for, as sense.txt has it
    judge.meets("YES | cold", "Yes, very.")                     # True

What is wanted is written as in evaluation/sense.txt: words in small letters are to be said (a * stands for any ending,
a # for digits), words in CAPITALS are rules, | means or. A rule is such a line itself, or one of those in this file,
which look at more than words.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence

from dataset.recall import phrasebook
from evaluation import metrics
from runtime.errors import InputError, did_you_mean
from tokenization.chat_format import Message

INTERJECTION = re.compile(r"(?:(?:oh|ah|aw|well|hmm*|haha|hey|um|uh|wow|actually|honestly|no wait)\b[,.! ]*)+")
# "they do", "it sure is", where the clause ends
ELLIPSIS = re.compile(
    r"\b(?:it|they|you|i|we|he|she|that|this|them|some)(?: \w+)?(?:'s| is| are| am| do| does| did| can| could| have"
    r"| has| was| were| would| will)(?:,? (?:yes|too|indeed|though))?(?=[,.!?;]|$)"
)
EVASION = re.compile(r"\b(?:i )?(?:do not|don't) know\b|\bnot sure\b|\bno idea\b|\b(?:do not|don't) understand\b")
# a speaker who talks of himself: the sentence has "I" or "my", and neither "you" nor an "I think"
ABOUT_SPEAKER = re.compile(r"(?:^|[^\w'])(?:my|mine|i|i'm|i've|me)(?![\w'])")
THINKING = re.compile(r"\bi (?:think|believe|guess|remember|recall|know|heard|would say)\b|\bi'd say\b|\bwith me\b")
# a sentence about the listener: "you're 25", "well, your dog is"
OF_LISTENER = re.compile(r"(?:\w+,? )?(?:you|you're|your) ")
# what stands before a name, and before a place
BEFORE_NAME = frozenset("is i'm am me him her it it's called named about like maybe was with".split())
BEFORE_PLACE = frozenset("in from to near at around of visit".split())
EARLY_WORDS = 20  # of a reply, which must have the answer: who talks on and on meets every rule by chance
ECHO_WORDS = 3  # of a greeting, or fewer, which may be given back: "Good night!"


class Judge:
    """rules: name -> what is wanted, in the language above. Raises InputError for a rule that there is not."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.rules = dict(rules)
        self.checks: dict[str, Callable[[str], bool]] = {
            "YES": lambda reply: self.polarity(reply) == "YES",
            "NO": lambda reply: self.polarity(reply) == "NO",
            "AS THE HUMAN": speaks_of_himself,
            "OF THE HUMAN": lambda reply: OF_LISTENER.match(reply) is not None,
            "PROPER NAME": lambda reply: names_one(reply, names(), BEFORE_NAME),
            "PLACE NAME": lambda reply: names_one(reply, places(), BEFORE_PLACE),
        }
        for wanted in self.rules.values():
            self.check(wanted)

    def check(self, wanted: str) -> None:
        """Raises InputError if a rule in it does not exist."""
        for item in alternatives(wanted):
            if is_rule(item) and item not in self.rules and item not in self.checks:
                hint = did_you_mean(item, [*self.rules, *self.checks])
                raise InputError(f"no rule is called {item}{hint}")

    def meets(self, wanted: str, reply: str) -> bool:
        """Whether a reply has one of the alternatives of `wanted`."""
        return any(self.has(item, reply) for item in alternatives(wanted))

    def has(self, item: str, reply: str) -> bool:
        """Whether a reply has one alternative: a rule, a choice (ONE OF tea, coffee) or words."""
        if item.startswith("ONE OF "):
            return chooses(item.removeprefix("ONE OF "), reply)
        if item in self.checks:
            return self.checks[item](plain(reply, lower=item not in ("PROPER NAME", "PLACE NAME")))
        if item in self.rules:
            return self.meets(self.rules[item], reply)
        return says(item, plain(reply))

    def polarity(self, reply: str) -> str | None:
        """YES or NO, by the first sentence of a reply in small letters; None if it is neither, as "I don't know" is."""
        reply = INTERJECTION.sub("", reply, count=1) if INTERJECTION.match(reply) else reply
        sentence = sentences(reply)[0]
        if EVASION.search(sentence):
            return None
        starts = [item for item in alternatives(self.rules["YES WORD"]) if pattern(item).match(sentence)]
        negated = any(says(item, sentence) for item in alternatives(self.rules["NO WORD"]))
        is_plain_yes = re.match(r"(?:yes|yeah|yep|sure|why not|no problem)\b", sentence)
        if is_plain_yes or (starts or ELLIPSIS.search(sentence)) and not negated:
            return "YES"
        return "NO" if negated else None


def makes_sense(
    judge: Judge, want: Sequence[str], unwanted: Sequence[str], prompt: Sequence[Message], reply: str
) -> bool:
    """
    Whether a reply to a prompt meets a line of `want` and none of `unwanted`, by its first words. One that has no
    letter or digit, speaks for another, loops, or gives the human's message back makes no sense, whatever it says; but
    a short greeting may be answered by itself.
    """
    last = prompt[-1]["content"]
    is_greeted = {"HELLO", "GOODBYE"} & {item for line in want for item in alternatives(line)}
    may_echo = is_greeted and len(metrics.normalized(last).split()) <= ECHO_WORDS
    if not re.search(r"\w", reply) or metrics.impersonates(reply) or metrics.loops(metrics.words(reply)):
        return False
    if gives_back(reply, last) and not may_echo:
        return False
    early = " ".join(reply.split()[:EARLY_WORDS])
    return any(judge.meets(line, early) for line in want) and not any(judge.meets(line, early) for line in unwanted)


def gives_back(reply: str, last: str) -> bool:
    """Whether a reply is the human's last message again, and not said of itself too ("It was nice to meet you too")."""
    same = metrics.normalized(reply) == metrics.normalized(last)
    return same or metrics.copies(reply, last) and not re.search(r"\b(?:too|also)\b", reply, re.I)


def plain(text: str, lower: bool = True) -> str:
    """The text in small letters, with straight apostrophes, one blank between words, and "don't" for "do n't"."""
    text = " ".join((text.lower() if lower else text).replace("’", "'").split())
    text = re.sub(r" (?=n't\b|'(?:s|m|re|ve|ll|d)\b)", "", text)
    text = re.sub(r"\b(do|does|did|is|are|was|ca|could|would|wo|have|has)nt\b", r"\1n't", text)
    return re.sub(r"\b(?:i(?=m\b)|(?:that|he|she|what)(?=s\b)|(?:you|they)(?=re\b))", r"\g<0>'", text)


def sentences(text: str) -> list[str]:
    """The sentences of a text that `plain` gave, with their marks; at least one."""
    return re.split(r"(?<=[.!?]) ", text)


def alternatives(wanted: str) -> list[str]:
    """The items between the bars of a line."""
    return [item.strip() for item in wanted.split("|")]


def is_rule(item: str) -> bool:
    """Whether an item is the name of a rule: all in capitals."""
    return item.isupper()


@functools.cache
def pattern(phrase: str) -> re.Pattern[str]:
    """What finds a phrase as whole words."""
    text = re.escape(phrase).replace(r"\*", r"[\w']*").replace(r"\#", r"\d+").replace(r"\ ", r"[\s,]+")
    return re.compile(rf"(?<![\w]){text}(?!\w)")


def says(phrase: str, text: str) -> bool:
    """Whether a text, as `plain` gives it, has the phrase."""
    return pattern(phrase).search(text) is not None


def chooses(choice: str, reply: str) -> bool:
    """
    Whether a reply takes one of the things in `choice`, "cat/kitten, dog": its first sentence that names any names one
    alone, or compares them ("dogs are better than cats") and does not offer them again ("cats or dogs").
    """
    for sentence in sentences(plain(reply)):
        named = sum(any(says(word.strip(), sentence) for word in thing.split("/")) for thing in choice.split(","))
        compares = re.search(r"\b(?:than|over|rather|prefer|instead|but|not|though|definitely|more|better)\b", sentence)
        if named:
            return named == 1 or bool(compares) and not says("or", sentence)
    return False


def speaks_of_himself(reply: str) -> bool:
    """Whether the first sentence of a reply is about its speaker, where it should be about the human."""
    sentence = THINKING.sub("", sentences(reply)[0])
    return bool(ABOUT_SPEAKER.search(sentence)) and not re.search(r"\byou", sentence)


@functools.cache
def names() -> frozenset[str]:
    """First names and pets' names, in small letters, without those that are everyday words too, such as Hope."""
    people = [name for sex in ("female", "male") for name in phrasebook.mimesis_list("en/person.json", "names", sex)]
    listed = {name.lower() for name in (*people, *phrasebook.word_list("pet_names"))}
    return frozenset(listed.difference(phrasebook.word_list("avoid")))


@functools.cache
def places() -> frozenset[str]:
    """The last words of the names of cities, states and countries, in small letters."""
    fields = (("city",), ("state", "name"), ("country", "name"))
    listed = [place for field in fields for place in phrasebook.mimesis_list("en/address.json", *field)]
    for locale in ("en-gb", "fr", "it", "de"):
        listed += phrasebook.mimesis_list(f"{locale}/address.json", "city")
    return frozenset(place.lower().split()[-1] for place in listed)


def names_one(reply: str, values: frozenset[str], before: frozenset[str]) -> bool:
    """
    Whether a reply, as it was written, has a proper name: one of `values`, alone or behind a word of `before`; any word
    with a capital there; or one of `values` with a capital anywhere.
    """
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", reply)
    if len(words) <= 2 and any(word.lower() in values for word in words):
        return True
    for previous, word in zip(["", *words], words, strict=False):
        is_capital = word[0].isupper() and not re.match(r"I\b", word)
        is_expected, is_known = previous.lower() in before, word.lower() in values
        if is_known and is_capital and previous or is_expected and (is_known or is_capital):
            return True
    return False
