"""
Conversations that teach a model to remember, and questions that test whether it does. Into real conversations, the
filler, facts are woven, in exchanges of their own or added to real ones, and are asked for 1 to 40 exchanges later.

    train = Filler(["data/chitchat"], "train")
    conversation(train, seed=1, index=0).messages                             # to learn from
    val = Filler(["data/chitchat"], "val")
    for probe in itertools.islice(probes(val, seed=1, kind="correction", distance=10), 50):
        probe.messages                        # ends with the human's question
        probe.is_right(reply)                 # whether the reply says what it must, and nothing that is wrong

A distance counts exchanges: at distance 1 the human asks in the exchange right after the one that told the fact.
A conversation has at most `context` tokens: to learn an answer whose fact was cut off would be to learn to invent.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from dataset.recall.filler import Filler
from dataset.recall.phrasebook import SLOTS, Fact, Words
from dataset.recall.plans import DECOY_SLOTS, PLANS, Task, ask_for_value
from dataset.recall.story import DrawError, Question, Story
from runtime.errors import InputError
from tokenization.chat_format import Message

# the kinds of questions, and how often each is the main one of a training conversation, in percent
KINDS = {"recall": 40, "correction": 12, "abstention": 12, "two": 10, "summary": 8, "topic": 8, "who": 5, "persona": 5}
MAX_DISTANCE = 40  # exchanges between a fact and its question in training
# kind -> slots that it can be about, where not all: there must be keys, lines or several values for it
KIND_SLOTS = {
    "correction": ("name", "home", "job", "pet", "family", "color", "film", "trip", "day", "opinion"),
    "two": ("pet", "family", "food", "band", "hobby"),
    "topic": ("opinion",),
    "who": ("opinion",),
}
# kind -> share of its main facts that the human tells, where not DEFAULT_USER_SHARE; the bot tells the others
USER_SHARE = {"correction": 1.0, "summary": 1.0, "abstention": 1.0, "persona": 0.0, "who": 0.5}
DEFAULT_USER_SHARE = 0.75
# what a conversation's length is planned with, in tokens: the phrase book's lines are mostly shorter
TOKENS_PER_WOVEN_EXCHANGE = 40
TOKENS_PER_FILLER_EXCHANGE = 20  # the least that is kept for filler before more facts are woven in
CONTEXT_SHARE = 0.97  # of the context that is planned to be filled, since the plan is a guess


@dataclass(frozen=True)
class Probe(Question):
    """A question that waits for its reply: `messages` end with it."""

    messages: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class WovenConversation:
    """A whole conversation, and what was woven into it."""

    messages: list[Message]
    told: list[tuple[int, Fact]]  # (exchange, or -1 for the system message; fact), in order
    questions: list[Question]  # in order

    def answered_at(self, question: Question) -> int:
        """The number of the message that answers the question: its words alone may have stood earlier too."""
        return int(self.messages[0]["role"] == "system") + 2 * question.position + 1

    def answers_weighted(self) -> list[Message]:
        """The messages, with weight 0 on the bot's replies that neither answer a fact nor a question."""
        learned = {position for position, fact in self.told if fact.subject == "user"}
        learned |= {question.position for question in self.questions}
        exchanges = itertools.count()
        return [
            only_read(message) if message["role"] == "assistant" and next(exchanges) not in learned else message
            for message in self.messages
        ]


@dataclass(frozen=True)
class Spec:
    """What conversation is wanted."""

    kind: str  # of its main question
    distance: int  # exchanges from the main fact to the main question
    words: Words  # which values and lines may be used
    context: int  # tokens that it has at most
    fact: Fact | None = None  # the main fact; None draws one
    ends_with_question: bool = False  # whether the main question is in the last exchange


def only_read(message: Message) -> Message:
    """The message, with weight 0 if it is the bot's: it is not learned."""
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def weave(filler: Filler, rng: random.Random, spec: Spec) -> WovenConversation:
    """A conversation as `spec` wants it. Raises DrawError where what was drawn does not go together."""
    fact = spec.fact
    slot = fact.slot if fact else rng.choice(KIND_SLOTS.get(spec.kind, SLOTS))
    user_share = USER_SHARE.get(spec.kind, DEFAULT_USER_SHARE)
    subject = fact.subject if fact else "user" if rng.random() < user_share else "assistant"
    if spec.kind == "abstention" and slot == "opinion" and not fact:
        subject = rng.choice(("user", "assistant"))
    max_around = max(0, 4 - spec.distance // 8)  # exchanges before the fact, and after the question
    first = 1 if spec.kind in ("correction", "two") else 0  # these tell something before the main fact
    told_at = -1 if spec.kind == "persona" else rng.randint(first, max(first, max_around))
    asked_at = told_at + spec.distance
    length = asked_at + 1 + (0 if spec.ends_with_question else rng.randint(0, max_around))

    # tokens: of a main fact, its question and one more; two for each fact that is added, which may be asked for too
    max_tokens = int(CONTEXT_SHARE * spec.context)
    spare = max_tokens - TOKENS_PER_WOVEN_EXCHANGE * 3 - TOKENS_PER_FILLER_EXCHANGE * length
    n_added = min(rng.choice((0, 1, 1, 2, 2, 3)), max(0, spare // (2 * TOKENS_PER_WOVEN_EXCHANGE)))
    filler_tokens = max_tokens - TOKENS_PER_WOVEN_EXCHANGE * (3 + 2 * n_added)
    talk = filler.draw(rng, length - 1, filler_tokens, {slot, DECOY_SLOTS.get(slot, slot)})
    if talk is None:
        raise DrawError("filler")

    story = Story(rng, spec.words, length, asked_at, talk)
    plan = PLANS[spec.kind](story, Task(slot, subject, told_at, asked_at, given_fact=fact))
    next(plan)
    add_facts(story, n_added, asked_at, asked_at if spec.ends_with_question else length)
    next(plan, None)
    story.questions.sort(key=lambda question: question.position)
    messages = story.messages()
    n_tokens = sum(len(filler.tokenizer.encode(" " + message["content"])) + 2 for message in messages)
    if n_tokens >= spec.context:
        raise DrawError("context")
    return WovenConversation(messages, story.told, story.questions)


def add_facts(story: Story, n: int, asked_at: int, end: int) -> None:
    """
    Tell up to n more facts, of slots and subjects that the conversation does not have yet, and ask for some of them,
    in exchanges before `end`.
    """
    taken = {(fact.slot, fact.subject) for _, fact in story.told} | story.untold
    for _ in range(n):
        subject = "user" if story.rng.random() < 0.7 else "assistant"
        slots = [slot for slot in SLOTS if slot not in story.mentions and (slot, subject) not in taken]
        positions = story.free_positions(0, story.length)
        if not slots or not positions:
            return
        told_at = story.rng.choice(positions)
        fact = story.draw_fact(story.rng.choice(slots), subject)
        story.tell(told_at, fact)
        taken.add((fact.slot, subject))
        later = story.free_positions(told_at + 1, end)
        if later and story.rng.random() < 0.6:
            ask_for_value(story, "recall", told_at, story.rng.choice(later), fact)


def conversation(
    filler: Filler, seed: int, index: int = 0, words: Words = "train", context: int = 1024
) -> WovenConversation:
    """
    Number `index` of an endless row of conversations, the same for the same arguments.
    Raises InputError where the filler's turns are too long for the context.
    """
    rng = random.Random(f"{seed}/{index}")
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    # 17 and MAX_DISTANCE have no common divisor: each distance comes equally often, neighbours far apart
    distance = 1 + (17 * index + random.Random(str(seed)).randrange(MAX_DISTANCE)) % MAX_DISTANCE
    if kind == "topic" and rng.random() < 0.5:
        distance = rng.randint(1, 4)  # else "what were we just talking about?" would seldom be asked
    for attempt in range(144):
        # the first 12 attempts look for filler with short turns; then the distance shrinks to 1, so that less is needed
        shorter = max(1, distance * min(60, 72 - attempt) // 60)
        try:
            return weave(filler, rng, Spec(kind, shorter, words, context))
        except DrawError:
            continue
    raise InputError(f"the filler has no turns short enough to weave into {context} tokens; raise --context")


def probes(
    filler: Filler,
    seed: int,
    words: Words = "held_out",
    kind: str | None = None,
    distance: int | None = None,
    context: int = 1024,
    fact: Fact | None = None,
) -> Iterator[Probe]:
    """
    Yield Probes without end, the same for the same arguments: of one kind or all in turn, at one distance or at all.
    filler: of the "val" split. context: in tokens; one larger than the model's asks for what it no longer sees.
    fact: what is told, in place of a random fact. Example: probes(..., kind="topic", distance=1,
    fact=Fact("opinion", "user", "cool", "Dogecoin")) asks "What were we just talking about?" right after that.
    Raises InputError where the filler's turns are too long for the distance and context.
    """
    kinds = [kind] if kind else list(KINDS)
    for index in itertools.count():
        rng = random.Random(f"{seed}/{words}/{kind}/{distance}/{index}")
        its_kind = kinds[index % len(kinds)]
        its_distance = distance or 1 + 17 * (index // len(kinds)) % MAX_DISTANCE
        spec = Spec(its_kind, its_distance, words, context, fact, ends_with_question=True)
        for _ in range(200):
            try:
                woven = weave(filler, rng, spec)
                break
            except DrawError:
                continue
        else:
            raise InputError(
                f"no filler for a question of kind {its_kind} over {its_distance} exchanges within {context} tokens"
            )
        yield Probe(**vars(woven.questions[-1]), messages=woven.messages[:-1])
