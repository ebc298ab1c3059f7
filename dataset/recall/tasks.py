"""
Conversations that teach memory, and the questions that measure it. Real conversations are the filler; what somebody
tells is woven in, as turns of their own or behind a real turn, and asked for 1 to 40 exchanges later.

    train = recall.Filler(["data/chitchat"], "train")
    recall.conversation(train, seed=1, index=0).messages                      # to learn from
    filler = recall.Filler(["data/chitchat"], "val")
    for probe in itertools.islice(recall.probes(filler, seed=1, kind="correction", distance=10), 50):
        probe.messages                        # ends with the human's question
        probe.right(reply)                    # whether the reply has what it must have, and no rival

A distance counts the human's turns: 1 is the next thing the human says after the exchange in which the fact was told.
A conversation keeps within `context` tokens: a question that is cut off from its fact would teach invention.
"""

import itertools
import random
import re
from dataclasses import dataclass, field, fields

from dataset.recall import phrasebook
from dataset.recall.filler import Filler
from dataset.recall.phrasebook import SLOTS, behind, contains_phrase, fill, said
from dataset.recall.story import Crowded, Fact, Question, Story
from runtime.errors import InputError

__all__ = ["KINDS", "Fact", "Filler", "Probe", "Question", "Woven", "conversation", "probes"]
KINDS = {"recall": 40, "correction": 12, "abstention": 12, "two": 10, "summary": 8, "topic": 8, "who": 5, "persona": 5}
MAX_DISTANCE = 40
NEAR = {"name": "family", "home": "trip", "trip": "home"}  # told where the one is asked for and was never said
FITTING = {  # kind -> slots it can be about, where not all
    "correction": ("name", "home", "job", "pet", "family", "color", "film", "trip", "day", "opinion"),
    "two": ("pet", "family", "food", "band", "hobby"),
    "topic": ("opinion",),
    "who": ("opinion",),
}
HUMAN = {"correction": 1.0, "summary": 1.0, "abstention": 1.0, "persona": 0.0, "who": 0.5}  # share told by the human
NOT_KNOWN = (
    *("don't know", "do not know", "didn't", "did not", "haven't", "have not", "hasn't", "not sure", "no idea"),
    *("never told", "never mentioned", "never said", "can't say", "don't think", "don't remember", "can't remember"),
    *("don't recall", "can't recall", "not that i know", "nothing so far"),
)
YOU = ("you did", "you said", "was you", "you were", "you called", "you think", "you find", "you.", "you!")
ME = ("i did", "i said", "was me", "it was i", "i called", "i think", "i find", "me.", "me!")


@dataclass(frozen=True)
class Probe(Question):
    """A question that waits for its answer: `messages` end with it."""

    messages: list = field(default_factory=list)


@dataclass(frozen=True)
class Woven:
    """A whole conversation. told: [(exchange, Fact)], -1 for the system message; both lists in order of exchange."""

    messages: list
    told: list
    questions: list


def recall(story, told_at, ask_at, fact, slot, subject):
    fact = fact or story.fact(slot, subject)
    story.tell(told_at, fact)
    yield
    ask_for(story, "recall" if told_at >= 0 else "persona", told_at, ask_at, fact)


def correction(story, told_at, ask_at, fact, slot, subject):
    old = story.fact(slot, subject)
    story.tell(story.rng.randrange(told_at), old)
    new = fact or story.fact(slot, subject, key=old.key, newer=True)
    story.replaced.append(old)
    claim = fill(story.phrase(slot, "fact"), new, True)
    story.tell(told_at, new, role="correct", old=old.value, fact=claim)
    yield
    ask_for(story, "correction", told_at, ask_at, new)


def two(story, told_at, ask_at, fact, slot, subject):
    fact = fact or story.fact(slot, subject)
    story.told.append((told_at, fact))  # the second must differ from it
    other = story.fact(slot, subject)
    story.told.clear()
    place = story.rng.choice(story.free(0, told_at) + story.free(told_at + 1, ask_at))
    for position, each in sorted([(told_at, fact), (place, other)], key=lambda pair: pair[0]):
        story.tell(position, each, role="more" if story.told else "tell")
    yield
    if fact.key and story.rng.random() < 0.5:
        ask_for(story, "two", told_at, ask_at, fact)
        return
    words = said(story.phrase(slot, "both"), fact, subject == "user")
    values = story.rng.sample([fact.value, other.value], 2)
    if slot == "pet":
        values = [f"{each.value} the {each.key}" for each in (fact, other)]
    answer = fill(story.phrase(slot, "pair"), fact, subject == "assistant", v=values[0], w=values[1])
    story.ask(ask_at, "two", fact, words, answer, fact.value, ask_at - told_at, also=(other.value,))


def abstention(story, told_at, ask_at, fact, slot, subject):
    key = story.rng.choice(phrasebook.keys(slot, story.split))
    never = Fact(slot, subject, "", key)
    if contains_phrase(story.text, key) and slot == "opinion":
        raise Crowded(key)
    story.never.add((slot, subject))
    near = NEAR.get(slot, slot)
    near_subject = subject if near != slot or key else "assistant"
    decoy = story.fact(near, near_subject)
    story.tell(told_at, decoy)
    yield
    words = asked(story, never)
    unknown = said(story.phrase("any", "unknown"), never, subject == "assistant", clause=clause(story, never, False))
    if slot == "opinion":
        unknown = said(story.phrase("any", "unsaid"), never, subject == "assistant")
    rivals = story.rivals(never, ask_at)
    more = {"instead": NOT_KNOWN, "rivals": rivals}
    story.ask(ask_at, "abstention", never, words, unknown, "", ask_at - told_at, **more)


def summary(story, told_at, ask_at, fact, slot, subject):
    fact = fact or story.fact(slot, subject)
    story.tell(told_at, fact)
    yield
    facts = [each for at, each in story.told if at < ask_at and each not in (fact, *story.replaced)]
    claims = [fill(story.phrase(each.slot, "fact"), each, each.subject == "assistant") for each in (fact, *facts)]
    listing = ", ".join(claims[:-1]) + " and " + claims[-1] if len(claims) > 1 else claims[0]
    answer = story.phrase("any", "recap").format(facts=listing)
    also = tuple(each.value for each in facts)
    words = story.phrase("any", "summary")
    story.ask(ask_at, "summary", fact, words, answer, fact.value, ask_at - told_at, also=also)


def topic(story, told_at, ask_at, fact, slot, subject):
    fact = fact or story.fact("opinion", subject)
    just = ask_at - told_at <= 4 and (ask_at - told_at == 1 or story.rng.random() < 0.8)
    if just and any(told_at < position < ask_at for position in (*story.own, *story.behind)):
        raise Crowded("just")
    story.tell(told_at, fact, alone=True)
    for position in range(told_at + 1, ask_at) if just else ():  # they stay on the topic until it is asked for
        dwelling = (story.phrase("opinion", role) for role in ("dwell_human", "dwell_bot"))
        story.own[position] = tuple(map(story.spoken, dwelling))
    yield
    words = said(story.phrase("opinion", "just" if just else "which"), fact, fact.subject == "user")
    answer = said(story.phrase("opinion", "topic" if just else "thing"), fact, fact.subject == "assistant")
    rivals = tuple(other.key for _, other in story.told if other.slot == "opinion" and other != fact)
    story.ask(ask_at, "topic", fact, wait(story, words), answer, fact.key, ask_at - told_at, rivals=rivals)


def who(story, told_at, ask_at, fact, slot, subject):
    fact = fact or story.fact("opinion", subject)
    story.tell(told_at, fact)
    yield
    words = said(story.phrase("opinion", "who"), fact, True)
    answer = said(story.phrase("opinion", "whose"), fact, fact.subject == "assistant")
    right, wrong = (YOU, ME) if fact.subject == "user" else (ME, YOU)
    story.ask(ask_at, "who", fact, wait(story, words), answer, "", ask_at - told_at, instead=right, rivals=wrong)


PLANS = {plan.__name__: plan for plan in (recall, correction, two, abstention, summary, topic, who)}
PLANS["persona"] = recall


def clause(story, fact, first):
    return fill(story.phrase(fact.slot, "clause"), fact, first)


def wait(story, words):
    return behind(story.phrase("any", "wait"), words) if story.rng.random() < 0.35 else words


def asked(story, fact):
    """A question of the human about `fact`."""
    first = fact.subject == "user"
    if story.rng.random() < 0.35:
        return said(story.phrase("any", "ask"), fact, first, clause=clause(story, fact, first))
    return wait(story, said(story.phrase(fact.slot, "ask"), fact, first))


def ask_for(story, kind, told_at, ask_at, fact):
    """Ask for the value of `fact`, told at told_at."""
    words = asked(story, fact)
    answer = said(story.phrase(fact.slot, "answer"), fact, fact.subject == "assistant")
    if re.match("(Do|Can|Could|Have|Did) ", words) and story.rng.random() < 0.5:
        answer = behind(story.phrase("any", "again"), answer, (fact.value,))
    rivals = story.rivals(fact, ask_at)
    story.ask(ask_at, kind, fact, words, answer, fact.value, ask_at - told_at, rivals=rivals)


def woven(filler, rng, kind, distance, split, context, fact=None, ends=False):
    """
    A Woven whose main question is of `kind`, `distance` exchanges behind its fact; with `ends` it is the last thing
    asked. Raises Crowded where this draw has no room for it.
    """
    slot = fact.slot if fact else rng.choice(FITTING.get(kind, SLOTS))
    subject = fact.subject if fact else "user" if rng.random() < HUMAN.get(kind, 0.75) else "assistant"
    if kind == "abstention" and slot == "opinion" and not fact:
        subject = rng.choice(("user", "assistant"))
    first = 1 if kind in ("correction", "two") else 0
    told_at = -1 if kind == "persona" else rng.randint(first, max(first, 4 - distance // 8))
    ask_at = told_at + distance
    length = ask_at + 1 + (0 if ends else rng.randint(0, max(0, 4 - distance // 8)))
    spare = int(0.97 * context) - 40 * 3 - 20 * length  # tokens, with 20 for each exchange of a far question's filler
    n_more = min(rng.choice((0, 1, 1, 2, 2, 3)), max(0, spare // 80))
    room = int(0.97 * context) - 40 * (3 + 2 * n_more)
    drawn = filler.drawn(rng, length - 1, room, {slot, NEAR.get(slot, slot)})
    if drawn is None:
        raise Crowded("filler")
    story = Story(rng, split, length, ask_at, *drawn)
    plan = PLANS[kind](story, told_at, ask_at, fact, slot, subject)
    next(plan)
    add_talk(story, n_more, ask_at, length, ends)
    next(plan, None)
    story.questions.sort(key=lambda question: question.position)
    messages = story.messages()
    if sum(len(filler.tokenizer.encode(" " + message["content"])) + 2 for message in messages) >= context:
        raise Crowded("context")
    return Woven(messages, story.told, story.questions)


def add_talk(story, n, ask_at, length, ends):
    """Tell up to n other facts, before the main question or (unless it is the end) behind it, and ask for some."""
    taken = {(fact.slot, fact.subject) for _, fact in story.told} | story.never
    for _ in range(n):
        subject = "user" if story.rng.random() < 0.7 else "assistant"
        slots = [slot for slot in SLOTS if slot not in story.mentions and (slot, subject) not in taken]
        places = story.free(0, length)
        if not slots or not places:
            return
        told_at = story.rng.choice(places)
        fact = story.fact(story.rng.choice(slots), subject)
        story.tell(told_at, fact)
        taken.add((fact.slot, subject))
        later = story.free(told_at + 1, ask_at if ends else length)
        if later and story.rng.random() < 0.6:
            place = story.rng.choice(later)
            ask_for(story, "recall", told_at, place, fact)


def conversation(filler, seed, index=0, split="train", context=1024):
    """The Woven number `index` of an endless row: the same for the same filler, seed and context."""
    rng = random.Random(f"{seed}/{index}")
    kind = rng.choices(list(KINDS), KINDS.values())[0]
    distance = (
        1 + (17 * index + random.Random(str(seed)).randrange(MAX_DISTANCE)) % MAX_DISTANCE
    )  # each as often, in no order
    if kind == "topic" and rng.random() < 0.5:
        distance = rng.randint(1, 4)  # else "what were we just talking about?" is seldom asked
    for attempt in range(72):
        try:
            near = max(
                1, distance * min(60, 72 - attempt) // 60
            )  # short-spoken filler is sought first, then less of it
            return woven(filler, rng, kind, near, split, context)
        except Crowded:
            continue
    raise InputError(f"the filler has no turns short enough to weave into {context} tokens; raise --context")


def probes(filler, seed, split="held_out", kind=None, distance=None, context=1024, fact=None):
    """
    Yield Probes without end, the same for the same arguments: of one kind or all in turn, at one distance or all.
    filler: a Filler of the "val" split. context: in tokens of the filler; larger than the model's asks beyond it.
    fact: what is told, in place of a draw: probes(..., kind="topic", distance=1,
    fact=Fact("opinion", "user", "cool", "Dogecoin")) has "What were we just talking about?" follow on it.
    Raises InputError where the filler's turns are too long for the distance and context.
    """
    kinds = [kind] if kind else list(KINDS)
    for index in itertools.count():
        rng = random.Random(f"{seed}/{split}/{kind}/{distance}/{index}")
        asked = kinds[index % len(kinds)]
        far = distance or 1 + 17 * (index // len(kinds)) % MAX_DISTANCE
        for _ in range(200):
            try:
                whole = woven(filler, rng, asked, far, split, context, fact, ends=True)
                break
            except Crowded:
                continue
        else:
            raise InputError(f"no filler for a question of kind {asked} over {far} exchanges within {context} tokens")
        question = whole.questions[-1]
        values = {name.name: getattr(question, name.name) for name in fields(Question)}
        yield Probe(**values, messages=whole.messages[:-1])
