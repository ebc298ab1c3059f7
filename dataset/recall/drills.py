"""
Drills: conversations for training that are nearly all facts and questions, with hardly any talk between them. A model
that learned from them answers over any talk: questions are dense here, and so is what might be taken for the answer.
"""

import collections
import itertools
import random

from dataset.recall import phrasebook, plans
from dataset.recall.filler import Filler
from dataset.recall.phrasebook import SLOTS, Fact, contains_phrase
from dataset.recall.story import DrawError, Story
from dataset.recall.tasks import WovenConversation
from runtime.errors import InputError

# what is asked for, and how often in percent, where the facts that were told allow it
QUESTIONS = {"value": 57, "unknown": 13, "both": 10, "who": 10, "thing": 5, "summary": 5}
TOLD_SLOTS = (*SLOTS, *("opinion",) * 3, "pet", "family")  # more often, since more can be asked about them
PAIRED_SLOTS = ("pet", "family")  # both facts of such a slot can be asked for
MAX_SUMMED_UP = 4  # facts that a summary lists


def drill(filler: Filler, seed: int, index: int = 0, context: int = 1024) -> WovenConversation:
    """
    Number `index` of an endless row of drills, the same for the same arguments.
    Raises InputError where the filler's turns are too long for the context.
    """
    for attempt in range(400):
        try:
            return weave_drill(filler, random.Random(f"drill/{seed}/{index}/{attempt}"), context)
        except DrawError:
            continue
    raise InputError(f"the filler has no turns short enough for drills of {context} tokens; raise --context")


def weave_drill(filler: Filler, rng: random.Random, context: int) -> WovenConversation:
    """One to six facts and about as many questions, in any order. Raises DrawError, as tasks.weave does."""
    n_facts = rng.randint(1, 6)
    blocks = [["tell"]] * n_facts + [["ask"]] * rng.randint(n_facts // 2 + 1, n_facts + 2)
    blocks += [[step] for step, share in (("correct", 0.6), ("filler", 0.7)) if rng.random() < share]
    rng.shuffle(blocks)
    if rng.random() < 0.5:  # all is told first
        blocks.sort(key=lambda block: block == ["ask"])
    if rng.random() < 0.25:  # an opinion, some talk about it, and the question what the talk was about
        blocks.insert(rng.randint(0, len(blocks)), ["opinion", *["dwell"] * rng.choice((0, 0, 1, 2, 3)), "just"])
    steps = [*itertools.chain.from_iterable(blocks)]
    if "filler" not in steps:
        steps.append("filler")
    talk = filler.draw(rng, steps.count("filler"), context // 4, set(SLOTS))
    if talk is None:
        raise DrawError("filler")
    drill = Drill(Story(rng, "train", len(steps), -2, talk))
    if rng.random() < 0.3:
        drill.tell(-1, rng.choice(SLOTS), "assistant")
    for position, step in enumerate(steps):
        drill.take(step, position)
    messages = drill.story.messages()
    if sum(len(filler.tokenizer.encode(" " + message["content"])) + 2 for message in messages) >= context:
        raise DrawError("context")
    return WovenConversation(messages, drill.story.told, drill.story.questions)


class Drill:
    """A drill while it is made, a step for each exchange. Steps raise DrawError where they lack what they need."""

    def __init__(self, story: Story) -> None:
        self.story, self.rng = story, story.rng
        self.known: dict[tuple[str, str, str], tuple[int, Fact]] = {}  # (slot, subject, key) -> (told at, fact)
        self.n_asked: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def take(self, step: str, position: int) -> None:
        """What weave_drill calls "tell", "opinion", "dwell", "correct", "ask" or "just"; filler needs no step."""
        if step == "tell":
            firsts = [fact for at, fact in self.known.values() if fact.slot in PAIRED_SLOTS and at >= 0]
            if firsts and self.rng.random() < 0.4:
                first = self.rng.choice(firsts)
                self.tell(position, first.slot, first.subject)
            else:
                self.tell(position, self.rng.choice(TOLD_SLOTS), "user" if self.rng.random() < 0.8 else "assistant")
        elif step == "opinion":
            self.tell(position, "opinion", self.rng.choice(("user", "user", "assistant")))
        elif step == "dwell":
            plans.dwell(self.story, position)
        elif step == "correct":
            self.correct(position)
        elif step == "just":
            told_at, fact = max(self.known.values(), key=lambda known: known[0])
            plans.ask_for_topic(self.story, told_at, position, fact, is_recent=True)
        elif step == "ask":
            self.ask(position)

    def tell(self, position: int, slot: str, subject: str) -> None:
        """A fact that was not told yet."""
        fact = self.story.draw_fact(slot, subject)
        self.story.tell(position, fact, alone=True)
        self.known[slot, subject, fact.key] = position, fact

    def correct(self, position: int) -> None:
        """A newer fact in the place of one that the human told."""
        olds = [fact for _, fact in self.known.values() if fact.subject == "user"]
        if not olds:
            raise DrawError("correct")
        new = plans.correct(self.story, position, self.rng.choice(olds), alone=True)
        self.known[new.slot, new.subject, new.key] = position, new

    def ask(self, position: int) -> None:
        """A question of one of QUESTIONS; what was asked for least is asked for first."""
        facts = [fact for _, fact in self.known.values()]
        pairs = [(a, b) for a, b in itertools.combinations(facts, 2) if (a.slot, a.subject) == (b.slot, b.subject)]
        pairs = [(a, b) for a, b in pairs if a.slot in PAIRED_SLOTS]
        opinions = [(at, fact) for at, fact in self.known.values() if fact.slot == "opinion" and at >= 0]
        is_short = 1 <= len(facts) <= MAX_SUMMED_UP
        possible = {"value": facts, "unknown": True, "both": pairs, "who": opinions, "thing": opinions}
        kinds = [kind for kind in QUESTIONS if {**possible, "summary": is_short}[kind]]
        kind = self.rng.choices(kinds, [QUESTIONS[kind] for kind in kinds])[0]
        if kind == "value":
            key = min(self.known, key=lambda key: (self.n_asked[key], self.rng.random()))
            self.n_asked[key] += 1
            plans.ask_for_value(self.story, "recall", self.known[key][0], position, self.known[key][1])
        elif kind == "unknown":
            plans.ask_for_unknown(self.story, self.draw_unknown(), position, 1)
        elif kind == "both":
            first, second = self.rng.choice(pairs)
            plans.ask_for_both(self.story, position - 1, position, first, second)
        elif kind == "summary":
            plans.ask_for_summary(self.story, position - 1, position, facts[0])
        else:
            told_at, fact = self.rng.choice(opinions)
            if kind == "who":
                plans.ask_who(self.story, told_at, position, fact)
            else:
                plans.ask_for_topic(self.story, told_at, position, fact, is_recent=False)

    def draw_unknown(self) -> Fact:
        """A fact that nobody told; often one that is near to what was told: another key, another person's."""
        slots = [fact.slot for _, fact in self.known.values()]
        slots += [plans.DECOY_SLOTS[slot] for slot in slots if slot in plans.DECOY_SLOTS]
        slot = self.rng.choice(slots if slots and self.rng.random() < 0.5 else SLOTS)
        # of itself the bot has more to say than that it said nothing: only its opinions are asked for
        subject = self.rng.choice(("user", "assistant")) if slot == "opinion" else "user"
        key = self.rng.choice(phrasebook.keys(slot, "train"))
        if (slot, subject, key) in self.known or (slot == "opinion" and self.is_told(key)):
            raise DrawError("unknown")
        return Fact(slot, subject, "", key)

    def is_told(self, key: str) -> bool:
        """Whether an opinion of either has this key, or one that is a part of it or has it as a part."""
        keys = [fact.key for _, fact in self.story.told if fact.slot == "opinion"]
        return any(contains_phrase(key, other) or contains_phrase(other, key) for other in keys)
