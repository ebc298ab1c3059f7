"""
The kinds of questions: for each kind a plan that tells the facts it needs and asks the question.

A plan is a generator. Up to its yield it tells the main fact, and what belongs to it. Then tasks.weave adds other facts
and small questions. After the yield the plan asks the main question, whose answer may depend on all that was told.
Plans raise DrawError.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dataset.recall import phrasebook
from dataset.recall.phrasebook import Fact, contains_phrase, fill, sentence, with_opener
from dataset.recall.story import DrawError, Question, Story

# slot of a fact that was never told -> slot of its decoy, the fact that is told instead and easily taken for it
DECOY_SLOTS = {"name": "family", "home": "trip", "trip": "home"}
# phrases of a reply that admits not to know, that says that the human said it, and that the bot did
NOT_KNOWN = (
    *("don't know", "do not know", "didn't", "did not", "haven't", "have not", "hasn't", "not sure", "no idea"),
    *("never told", "never mentioned", "never said", "can't say", "don't think", "don't remember", "can't remember"),
    *("don't recall", "can't recall", "not that i know", "nothing so far"),
)
BY_HUMAN = ("you did", "you said", "was you", "you were", "you called", "you think", "you find", "you.", "you!")
BY_BOT = ("i did", "i said", "was me", "it was i", "i called", "i think", "i find", "me.", "me!")


@dataclass(frozen=True)
class Task:
    """The main fact and the main question of one conversation, as drawn for a Spec."""

    slot: str
    subject: str  # "user" or "assistant"
    told_at: int  # exchange, or -1 for the system message
    asked_at: int
    given_fact: Fact | None  # of the Spec

    @property
    def distance(self) -> int:
        return self.asked_at - self.told_at

    def fact(self, story: Story) -> Fact:
        """The fact that was given, or else one drawn for this slot and subject."""
        return self.given_fact or story.draw_fact(self.slot, self.subject)


def plan_recall(story: Story, task: Task) -> Iterator[None]:
    """Told once, by the human, the bot or its persona; asked for the value."""
    fact = task.fact(story)
    story.tell(task.told_at, fact)
    yield
    ask_for_value(story, "recall" if task.told_at >= 0 else "persona", task.told_at, task.asked_at, fact)


def plan_correction(story: Story, task: Task) -> Iterator[None]:
    """Told, later corrected, asked for the newer value."""
    old = story.draw_fact(task.slot, task.subject)
    story.tell(story.rng.randrange(task.told_at), old)
    new = correct(story, task.told_at, old, task.given_fact)
    yield
    ask_for_value(story, "correction", task.told_at, task.asked_at, new)


def plan_two(story: Story, task: Task) -> Iterator[None]:
    """Two facts of a slot are told, and both are asked for; or one of them by its key."""
    fact = task.fact(story)
    story.told.append((task.told_at, fact))  # so that the second is drawn to differ from it
    other = story.draw_fact(task.slot, task.subject)
    story.told.clear()
    position = story.rng.choice(
        story.free_positions(0, task.told_at) + story.free_positions(task.told_at + 1, task.asked_at)
    )
    for at, its_fact in sorted([(task.told_at, fact), (position, other)], key=lambda pair: pair[0]):
        story.tell(at, its_fact, role="more" if story.told else "tell")
    yield
    if fact.key and story.rng.random() < 0.5:
        ask_for_value(story, "two", task.told_at, task.asked_at, fact)
        return
    ask_for_both(story, task.told_at, task.asked_at, fact, other)


def plan_abstention(story: Story, task: Task) -> Iterator[None]:
    """A decoy is told; asked for a fact that nobody told, the bot has to say so."""
    key = story.rng.choice(phrasebook.keys(task.slot, story.words))
    never_told = Fact(task.slot, task.subject, "", key)
    if contains_phrase(story.text, key) and task.slot == "opinion":
        raise DrawError(key)
    story.untold.add((task.slot, task.subject))
    # of a slot that is easily confused, or with another key, or of the other person
    decoy_slot = DECOY_SLOTS.get(task.slot, task.slot)
    decoy_subject = task.subject if decoy_slot != task.slot or key else "assistant"
    story.tell(task.told_at, story.draw_fact(decoy_slot, decoy_subject))
    yield
    ask_for_unknown(story, never_told, task.asked_at, task.distance)


def plan_summary(story: Story, task: Task) -> Iterator[None]:
    """Asked to sum up, the bot lists all facts that were told and not corrected."""
    fact = task.fact(story)
    story.tell(task.told_at, fact)
    yield
    ask_for_summary(story, task.told_at, task.asked_at, fact)


def plan_topic(story: Story, task: Task) -> Iterator[None]:
    """An opinion is told; asked what the talk was just about, or which thing was called so, the bot names the thing."""
    fact = task.given_fact or story.draw_fact("opinion", task.subject)
    is_recent = task.distance <= 4 and (task.distance == 1 or story.rng.random() < 0.8)
    between = range(task.told_at + 1, task.asked_at) if is_recent else range(0)
    if any(position in between for position in (*story.woven, *story.added)):
        raise DrawError("topic")
    story.tell(task.told_at, fact, alone=True)
    for position in between:  # the talk stays on the topic until it is asked for
        dwell(story, position)
    yield
    ask_for_topic(story, task.told_at, task.asked_at, fact, is_recent)


def plan_who(story: Story, task: Task) -> Iterator[None]:
    """An opinion is told by one side; asked who told it."""
    fact = task.given_fact or story.draw_fact("opinion", task.subject)
    story.tell(task.told_at, fact)
    yield
    ask_who(story, task.told_at, task.asked_at, fact)


PLANS: dict[str, Callable[[Story, Task], Iterator[None]]] = {
    "recall": plan_recall,
    "correction": plan_correction,
    "abstention": plan_abstention,
    "two": plan_two,
    "summary": plan_summary,
    "topic": plan_topic,
    "who": plan_who,
    "persona": plan_recall,
}


def clause(story: Story, fact: Fact, first_person: bool) -> str:
    """What is asked for, to go behind "do you remember": "what my name is"."""
    return fill(story.line(fact.slot, "clause"), fact, first_person)


def perhaps_opened(story: Story, text: str) -> str:
    """A question, in a third of cases after an opener such as "Wait,"."""
    return with_opener(story.line("any", "wait"), text) if story.rng.random() < 0.35 else text


def question_text(story: Story, fact: Fact) -> str:
    """A question of the human for the value of `fact`."""
    first_person = fact.subject == "user"
    if story.rng.random() < 0.35:
        return sentence(story.line("any", "ask"), fact, first_person, clause=clause(story, fact, first_person))
    return perhaps_opened(story, sentence(story.line(fact.slot, "ask"), fact, first_person))


def correct(story: Story, position: int, old: Fact, new: Fact | None = None, alone: bool = False) -> Fact:
    """Tell that `old` was wrong, or is no longer so, and what is right: `new`, or a fact drawn here; see tell."""
    new = new or story.draw_fact(old.slot, old.subject, key=old.key, is_newer=True)
    story.corrected.append(old)
    claim = fill(story.line(old.slot, "fact"), new, True)
    story.tell(position, new, role="correct", alone=alone, old=old.value, fact=claim)
    return new


def ask_for_unknown(story: Story, never_told: Fact, asked_at: int, distance: int) -> None:
    """Ask for a fact that nobody told: the bot has to say so."""
    text = question_text(story, never_told)
    is_bots = never_told.subject == "assistant"
    answer = sentence(story.line("any", "unknown"), never_told, is_bots, clause=clause(story, never_told, False))
    if never_told.slot == "opinion":
        answer = sentence(story.line("any", "unsaid"), never_told, is_bots)
    wrong_values = story.wrong_values(never_told, asked_at)
    more = {"accepted": NOT_KNOWN, "wrong_values": wrong_values}
    story.ask(Question("abstention", asked_at, distance, never_told, text, answer, "", **more))


def ask_for_value(story: Story, kind: str, told_at: int, asked_at: int, fact: Fact) -> None:
    """Ask in the exchange `asked_at` for the value of `fact`, which was told at `told_at`."""
    text = question_text(story, fact)
    answer = sentence(story.line(fact.slot, "answer"), fact, fact.subject == "assistant")
    if re.match("(Do|Can|Could|Have|Did) ", text) and story.rng.random() < 0.5:
        answer = with_opener(story.line("any", "again"), answer, (fact.value,))
    wrong_values = story.wrong_values(fact, asked_at)
    story.ask(Question(kind, asked_at, asked_at - told_at, fact, text, answer, fact.value, wrong_values=wrong_values))


def ask_for_both(story: Story, told_at: int, asked_at: int, fact: Fact, other: Fact) -> None:
    """Ask for the values of two facts of a slot, which are answered in the order of telling."""
    text = sentence(story.line(fact.slot, "both"), fact, fact.subject == "user")
    both = [told for _, told in story.told if told in (fact, other)]
    values = [f"{told.value} the {told.key}" if fact.slot == "pet" else told.value for told in both]
    answer = fill(story.line(fact.slot, "pair"), fact, fact.subject == "assistant", v=values[0], w=values[1])
    more = {"other_values": (other.value,)}
    story.ask(Question("two", asked_at, asked_at - told_at, fact, text, answer, fact.value, **more))


def ask_for_summary(story: Story, told_at: int, asked_at: int, fact: Fact) -> None:
    """Ask for all that was told and not corrected, `fact` among it, which was told at `told_at`."""
    facts = [told for position, told in story.told if position < asked_at and told not in story.corrected]
    claims = [fill(story.line(told.slot, "fact"), told, told.subject == "assistant") for told in facts]
    listing = ", ".join(claims[:-1]) + " and " + claims[-1] if len(claims) > 1 else claims[0]
    answer = story.line("any", "recap").format(facts=listing)
    more = {"other_values": tuple(told.value for told in facts if told != fact)}
    text = story.line("any", "summary")
    story.ask(Question("summary", asked_at, asked_at - told_at, fact, text, answer, fact.value, **more))


def ask_for_topic(story: Story, told_at: int, asked_at: int, fact: Fact, is_recent: bool) -> None:
    """Ask what the talk was just about, or, where that was not recent, which thing was called what `fact` calls it."""
    text = sentence(story.line("opinion", "just" if is_recent else "which"), fact, fact.subject == "user")
    answer = sentence(story.line("opinion", "topic" if is_recent else "thing"), fact, fact.subject == "assistant")
    others = (told.key for _, told in story.told if told.slot == "opinion")
    more = {"wrong_values": tuple(key for key in others if key != fact.key)}  # both may have spoken of one thing
    text = perhaps_opened(story, text)
    story.ask(Question("topic", asked_at, asked_at - told_at, fact, text, answer, fact.key, **more))


def ask_who(story: Story, told_at: int, asked_at: int, fact: Fact) -> None:
    """Ask who of the two said what `fact` says."""
    text = perhaps_opened(story, sentence(story.line("opinion", "who"), fact, True))
    answer = sentence(story.line("opinion", "whose"), fact, fact.subject == "assistant")
    right, wrong = (BY_HUMAN, BY_BOT) if fact.subject == "user" else (BY_BOT, BY_HUMAN)
    more = {"accepted": right, "wrong_values": wrong}
    story.ask(Question("who", asked_at, asked_at - told_at, fact, text, answer, "", **more))


def dwell(story: Story, position: int) -> None:
    """An exchange that stays on what was told before."""
    human, bot = story.line("opinion", "dwell_human"), story.line("opinion", "dwell_bot")
    story.woven[position] = (story.styled(human, story.human), story.styled(bot, story.bot))
