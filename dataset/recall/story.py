"""
One conversation while it is woven: facts and questions among the exchanges of a filler, in the filler's manner.
"""

import re
from dataclasses import dataclass

from dataset.recall import phrasebook
from dataset.recall.filler import mentions
from dataset.recall.phrasebook import behind, capitalise, contains_phrase, phrasings, said

ALIKE = ({"name", "family", "pet"}, {"home", "trip"})  # their values could be taken for each other


@dataclass(frozen=True)
class Fact:
    """What `subject` ("user" or "assistant") told about itself: Fact("pet", "user", "Rex", "dog")."""

    slot: str
    subject: str
    value: str
    key: str = ""


@dataclass(frozen=True)
class Question:
    """A question within a conversation, its gold answer, and what makes an answer right."""

    kind: str  # one of KINDS
    position: int  # the exchange in which it is asked
    distance: int  # exchanges since `fact` was told; where it never was, since what could be taken for it was
    fact: Fact
    question: str
    answer: str
    value: str  # must be in a right answer; "" where `instead` decides
    also: tuple[str, ...] = ()  # must be in it too: the second pet, the rest of a summary
    instead: tuple[str, ...] = ()  # any of them does in place of the value
    rivals: tuple[str, ...] = ()  # must not be in it

    def right(self, reply):
        """Whether `reply` has what it must have and no rival; words are compared whole, case aside."""
        return (
            any(contains_phrase(reply, value) for value in (self.value, *self.instead))
            and all(contains_phrase(reply, value) for value in self.also)
            and not any(contains_phrase(reply, rival) for rival in self.rivals)
        )


class Crowded(LookupError):
    """There is no room for what should be told or asked; another draw may have it."""


class Story:
    """One conversation while it is woven: a row of exchanges, some of which tell or ask, the rest filled with talk."""

    def __init__(self, rng, split, length, ask_at, fillers, system):
        self.rng, self.split, self.length = rng, split, length
        self.fillers, self.system = fillers, system
        self.told, self.asked, self.questions = [], [], []
        self.never, self.replaced = set(), []  # (slot, subject) that must stay untold; facts that a newer one corrects
        self.reserved = {ask_at}  # for the main question, whose answer may depend on all that is told before
        self.own = {}  # position -> (human, bot), exchanges of their own
        self.behind = {}  # position -> (human, bot), said behind the human's real turn, before or behind the bot's
        self.text = "\n".join(part for exchange in fillers for part in (exchange.human, exchange.bot)) + (system or "")
        self.mentions = frozenset().union(*(e.mentions for e in fillers), mentions(system or ""))
        turns = [turn for exchange in fillers for turn in (exchange.human, exchange.bot)] or ["A", "B."]
        self.lower = not any(re.search("[A-Z]", turn) for turn in turns)
        self.casual = sum(turn[0].islower() for turn in turns) > len(turns) * rng.uniform(0.2, 0.6)
        self.open_ended = sum(turn[-1].isalpha() for turn in turns) > len(turns) * rng.uniform(0.2, 0.6)

    def phrase(self, slot, role):
        return self.rng.choice(phrasings(slot, role, self.split))

    def free(self, start, end):
        """Positions from start to before end that nothing was woven into."""
        taken = {*self.own, *self.behind, *self.reserved}
        return [i for i in range(max(start, 0), min(end, self.length)) if i not in taken]

    def fact(self, slot, subject, key=None, newer=False):
        """A new fact whose value stands nowhere yet; with `newer`, of what was told before. Raises Crowded."""
        known = [fact for _, fact in self.told + self.asked]
        for _ in range(20):
            own = key or self.rng.choice(phrasebook.keys(slot, self.split))
            value = self.rng.choice(phrasebook.values(slot, self.split, own))
            texts = [value] + [own] * (slot == "opinion")
            taken = [part for fact in known for part in (fact.value, fact.key) if part and part != key]
            clash = any(contains_phrase(part, text) or contains_phrase(text, part) for part in taken for text in texts)
            same = any((fact.slot, fact.subject, fact.key) == (slot, subject, own) for fact in known)
            if not clash and same == newer and not any(contains_phrase(self.text, text) for text in texts):
                return Fact(slot, subject, value, own)
        raise Crowded(slot)

    def tell(self, position, fact, /, role="tell", alone=False, **more):
        """Tell `fact` at `position` (-1: in the system message)."""
        self.told.append((position, fact))
        self.told.sort(key=lambda pair: pair[0])
        if position < 0:
            first = self.rng.random() < 0.5
            persona = said(self.phrase(fact.slot, "fact"), fact, first) + "."
            self.system = f"{self.system} {self.spoken(persona)}" if self.system else self.spoken(persona)
            return
        slot = "any" if role == "correct" else fact.slot
        words = said(self.phrase(slot, role), fact, True, **more)
        opener = self.phrase("any", "opener") if position > 0 and role == "tell" and self.rng.random() < 0.5 else ""
        tale = self.spoken(behind(opener, words, (fact.value, fact.key)) if opener else words)
        joined = self.rng.random() < 0.35 and position > 0 and not alone
        if fact.subject == "assistant":
            if joined:
                self.behind[position] = ("", tale)
            else:
                elicit = said(self.phrase(fact.slot, "elicit"), fact, False)
                self.own[position] = (self.spoken(elicit), self.spoken(words))
            return
        plain = self.rng.random() < 0.2 and role != "correct"
        ack = "plain_ack" if plain else "corrected" if role == "correct" else "ack"
        ack = said(self.phrase("any" if ack != "ack" else fact.slot, ack), fact, False, **more)
        (self.behind if joined else self.own)[position] = (tale, self.spoken(ack))

    def ask(self, position, kind, fact, words, answer, value, distance, **more):
        """Ask with `words` at `position`; the gold is `answer`."""
        words, answer = self.spoken(words), self.spoken(answer)
        self.own[position] = (words, answer)
        self.asked.append((position, fact))
        self.questions.append(Question(kind, position, distance, fact, words, answer, value, **more))

    def spoken(self, text):
        """`text` in the filler's manner: all in lower case, or without the capital at the beginning, or as it is."""
        text = capitalise(text)
        if self.lower:
            return text.lower()
        if self.casual:
            text = re.sub(r"\bI(?=\b)", "i", text)
            values = [part for _, fact in self.told for part in (fact.value, fact.key) if part]
            starts = r"(?:^|(?<=[.!?] ))[A-Z]"
            return re.sub(starts, lambda m: m[0] if text.startswith(tuple(values), m.start()) else m[0].lower(), text)
        return text

    def closed(self, text):
        return text[:-1] if self.open_ended and text.endswith(".") and not text.endswith("..") else text

    def rivals(self, fact, before):
        """Values told until `before` that a wrong answer to a question about `fact` could give."""
        alike = next((slots for slots in ALIKE if fact.slot in slots), {fact.slot})
        values = [other.value for at, other in self.told if at < before and other.slot in alike]
        return tuple(dict.fromkeys(value for value in values if value != fact.value))

    def exchanges(self):
        """[(human, bot)], the woven and the real ones in their places."""
        fillers = iter(self.fillers)
        rows = []
        for position in range(self.length):
            if position in self.own:
                rows.append(tuple(map(self.closed, self.own[position])))
                continue
            real = next(fillers)
            human, bot = self.behind.get(position, ("", ""))
            newline = "\n" if "\n" in self.text and self.rng.random() < 0.5 else " "
            replies = (bot, real.bot) if human else (real.bot, bot)
            rows.append((self.joined(newline, real.human, human), self.joined(newline, *replies)))
        return rows

    def joined(self, space, first, second):
        """Two sayings in one turn; a first one on the same line gets its full stop."""
        if not first or not second:
            return first or second
        stop = "." if space == " " and first[-1].isalnum() else ""
        return f"{first}{stop}{space}{self.closed(second)}"

    def messages(self):
        said = [{"role": "system", "content": self.system}] if self.system else []
        for human, bot in self.exchanges():
            said += [{"role": "user", "content": human}, {"role": "assistant", "content": bot}]
        return said
