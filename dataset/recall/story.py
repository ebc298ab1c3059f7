"""
One conversation while it is being woven: a row of exchanges, of which some tell a fact or ask for one, and the others
are filler. What is woven in is written in the filler's style.
"""

import dataclasses
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dataset.recall import phrasebook
from dataset.recall.filler import Talk, mentioned_slots
from dataset.recall.phrasebook import Fact, Words, capitalise, contains_phrase, phrasings, sentence, with_opener
from tokenization.chat_format import Message

CONFUSABLE_SLOTS = ({"name", "family", "pet"}, {"home", "trip"})  # the values of each set are of one sort


@dataclass(frozen=True)
class Question:
    """A question in a conversation, the reply that is right, and what any right reply must and must not say."""

    kind: str  # one of tasks.KINDS
    position: int  # number of the exchange in which it is asked
    distance: int  # exchanges since `fact` was told; for a fact that never was, since its decoy was told
    fact: Fact
    text: str
    answer: str  # the bot's reply, which training learns
    value: str  # must be in a right reply; "" where `accepted` decides
    other_values: tuple[str, ...] = ()  # must all be in it too: the second pet, the rest of a summary
    accepted: tuple[str, ...] = ()  # phrases of which any may stand in place of the value
    wrong_values: tuple[str, ...] = ()  # none of them may be in it

    def is_right(self, reply: str) -> bool:
        """Whether `reply` says what it must and nothing that is wrong, by whole words in any case."""
        return (
            any(contains_phrase(reply, value) for value in (self.value, *self.accepted))
            and all(contains_phrase(reply, value) for value in self.other_values)
            and not any(contains_phrase(reply, value) for value in self.wrong_values)
        )


class DrawError(LookupError):
    """What was drawn by chance does not go together: no position or value is left, say. Another draw may succeed."""


class Style:
    """How somebody writes, judged by `turns` of theirs; rng draws how much of a habit makes a style."""

    def __init__(self, turns: list[str], rng: random.Random) -> None:
        self.has_no_capitals = not any(re.search("[A-Z]", turn) for turn in turns)
        self.starts_small = sum(turn[0].islower() for turn in turns) > len(turns) * rng.uniform(0.2, 0.6)
        self.ends_bare = sum(turn[-1].isalpha() for turn in turns) > len(turns) * rng.uniform(0.2, 0.6)

    def ended(self, text: str) -> str:
        """The text without its full stop, if turns end so."""
        return text[:-1] if self.ends_bare and text.endswith(".") and not text.endswith("..") else text


class Story:
    """
    A conversation of `length` exchanges, numbered from 0, while facts and questions are woven into it. An exchange is
    woven, then it is an exchange of its own; or it is filler, perhaps with a fact added to it.

    rng: draws everything. words: which lines and values may be used. ask_at: the exchange of the main question.
    """

    def __init__(self, rng: random.Random, words: Words, length: int, ask_at: int, filler: Talk) -> None:
        self.rng, self.length = rng, length
        self.words: Words = words
        self.fillers, self.system = filler
        self.told: list[tuple[int, Fact]] = []  # (exchange, or -1 for the system message; fact), in order
        self.asked: list[tuple[int, Fact]] = []  # (exchange, fact), of each question
        self.questions: list[Question] = []
        self.untold: set[tuple[str, str]] = set()  # (slot, subject) of facts that must never be told
        self.corrected: list[Fact] = []  # facts that a newer one replaces
        self.reserved = {ask_at}  # no other fact: the answer there may depend on all that was told before
        self.woven: dict[int, tuple[str, str]] = {}  # exchange -> (human, bot)
        # exchange -> (human, bot): added behind the human's real turn, and before the bot's; or ("", bot) behind it
        self.added: dict[int, tuple[str, str]] = {}
        turns = [turn for exchange in self.fillers for turn in (exchange.human, exchange.bot)]
        self.text = "\n".join(turns) + (self.system or "")  # all that the filler says
        persona_slots = mentioned_slots(self.system or "")
        self.mentions = frozenset(persona_slots).union(*(exchange.mentions for exchange in self.fillers))
        # how each side of the filler writes
        self.human = Style([exchange.human for exchange in self.fillers] or ["A."], rng)
        self.bot = Style([exchange.bot for exchange in self.fillers] or ["A."], rng)

    def line(self, slot: str, role: str) -> str:
        """A random line of the phrase book."""
        return self.rng.choice(phrasings(slot, role, self.words))

    def free_positions(self, start: int, end: int) -> list[int]:
        """The exchanges from `start` to before `end` that nothing was woven into."""
        taken = {*self.woven, *self.added, *self.reserved}
        return [i for i in range(max(start, 0), min(end, self.length)) if i not in taken]

    def draw_fact(self, slot: str, subject: str, key: str | None = None, is_newer: bool = False) -> Fact:
        """
        A random fact that was not told yet and whose value stands nowhere in the conversation. is_newer: one that
        corrects what was told of the same slot, subject and key. Raises DrawError if none is found.
        """
        known = [fact for _, fact in self.told + self.asked]
        for _ in range(20):
            its_key = key or self.rng.choice(phrasebook.keys(slot, self.words))
            value = phrasebook.draw_value(self.rng, slot, self.words, its_key)
            texts = [value] + [its_key] * (slot == "opinion")
            taken = [part for fact in known for part in (fact.value, fact.key) if part and part != key]
            pairs = [*itertools.product(taken, texts), *itertools.product(texts, taken)]
            clashes = any(contains_phrase(text, part) for text, part in pairs)
            is_known = any((fact.slot, fact.subject, fact.key) == (slot, subject, its_key) for fact in known)
            if not clashes and is_known == is_newer and not any(contains_phrase(self.text, text) for text in texts):
                return Fact(slot, subject, value, its_key)
        raise DrawError(slot)

    def tell(self, position: int, fact: Fact, /, role: str = "tell", alone: bool = False, **names: str) -> None:
        """
        Tell `fact` in the exchange at `position`, or in the system message (-1).
        role: of the line that tells it. alone: in an exchange of its own, not added to a real one. names: see fill.
        """
        self.told.append((position, fact))
        self.told.sort(key=lambda pair: pair[0])
        if position < 0:
            first_person = self.rng.random() < 0.5
            persona = sentence(self.line(fact.slot, "fact"), fact, first_person) + "."
            persona = self.styled(persona, self.bot)
            self.system = f"{self.system} {persona}" if self.system else persona
            return
        slot = "any" if role == "correct" else fact.slot
        text = sentence(self.line(slot, role), fact, True, **names)
        opener = self.line("any", "opener") if position > 0 and role == "tell" and self.rng.random() < 0.5 else ""
        speaker = self.bot if fact.subject == "assistant" else self.human
        opened = self.styled(with_opener(opener, text, (fact.value, fact.key)) if opener else text, speaker)
        is_added = self.rng.random() < 0.35 and position > 0 and not alone
        if fact.subject == "assistant":
            if is_added:
                self.added[position] = ("", opened)
            else:
                elicit = sentence(self.line(fact.slot, "elicit"), fact, False)
                self.woven[position] = (self.styled(elicit, self.human), self.styled(text, self.bot))
            return
        is_plain = self.rng.random() < 0.2 and role != "correct"
        ack_role = "plain_ack" if is_plain else "corrected" if role == "correct" else "ack"
        ack = sentence(self.line("any" if ack_role != "ack" else fact.slot, ack_role), fact, False, **names)
        ack = self.as_told(self.styled(ack, self.bot), fact)
        (self.added if is_added else self.woven)[position] = (opened, ack)

    def ask(self, question: Question) -> None:
        """Ask `question`, its text and answer put into the filler's style, in the exchange at its position."""
        text, answer = self.styled(question.text, self.human), self.styled(question.answer, self.bot)
        for _, fact in self.told:
            answer = self.as_told(answer, fact)
        question = dataclasses.replace(question, text=text, answer=answer)
        self.woven[question.position] = (question.text, question.answer)
        self.asked.append((question.position, question.fact))
        self.questions.append(question)

    def styled(self, text: str, style: "Style") -> str:
        """The text as that side writes: all in small letters, or with sentences that begin small, or as it is."""
        text = capitalise(text)
        if style.has_no_capitals:
            return text.lower()
        if style.starts_small:
            text = re.sub(r"\bI(?=\b)", "i", text)
            names = tuple(part for _, fact in self.told for part in (fact.value, fact.key) if part)
            starts = r"(?:^|(?<=[.!?] ))[A-Z]"
            return re.sub(starts, lambda m: m[0] if text.startswith(names, m.start()) else m[0].lower(), text)
        return text

    def as_told(self, text: str, fact: Fact) -> str:
        """The bot's text with the value in the letters in which it was told: who repeats a name spells it alike."""
        speaker = self.human if fact.subject == "user" else self.bot
        value = fact.value.lower() if speaker.has_no_capitals else fact.value
        return re.sub(rf"(?i)(?<!\w){re.escape(fact.value)}(?!\w)", lambda _: value, text) if value else text

    def wrong_values(self, fact: Fact, before: int) -> tuple[str, ...]:
        """Values told before the exchange `before` with which a question about `fact` could be answered wrongly."""
        slots = next((slots for slots in CONFUSABLE_SLOTS if fact.slot in slots), {fact.slot})
        values = [other.value for position, other in self.told if position < before and other.slot in slots]
        return tuple(dict.fromkeys(value for value in values if value != fact.value))

    def exchanges(self) -> Iterator[tuple[str, str]]:
        """Yield (human, bot) of each exchange in order, woven or real."""
        fillers = iter(self.fillers)
        for position in range(self.length):
            if position in self.woven:
                human, bot = self.woven[position]
                yield self.human.ended(human), self.bot.ended(bot)
                continue
            real = next(fillers)
            human, bot = self.added.get(position, ("", ""))
            space = "\n" if "\n" in self.text and self.rng.random() < 0.5 else " "
            replies = (bot, real.bot) if human else (real.bot, bot)
            yield joined(real.human, human, space, self.human), joined(*replies, space, self.bot)

    def messages(self) -> list[Message]:
        """The conversation. Draws at random, so it is called once, when all is woven in."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for human, bot in self.exchanges():
            messages += [{"role": "user", "content": human}, {"role": "assistant", "content": bot}]
        return messages


def joined(first: str, second: str, space: str, style: Style) -> str:
    """Two texts in one turn; the first gets a full stop if it needs one on the same line."""
    if not first or not second:
        return first or second
    stop = "." if space == " " and first[-1].isalnum() else ""
    return f"{first}{stop}{space}{style.ended(second)}"
