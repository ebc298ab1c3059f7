"""Whether a model remembers what it was told earlier in a chat: the group "Memory"."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dataset.recall import tasks
from dataset.recall.filler import Filler
from dataset.recall.phrasebook import Fact, contains_phrase
from dataset.recall.tasks import Probe
from evaluation.backends import Backend
from evaluation.prompting import GREEDY, ask
from evaluation.rows import Row, mean_percent, percent_row
from inference.engine import Engine
from memory import view
from memory.notes import Memory
from runtime.errors import InputError
from tokenization.chat_format import Message
from tokenization.context import messages_in_view

DISTANCES = (1, 3, 5, 10, 20)  # human turns between being told a fact and being asked for it
NEW_TOKENS = 40  # of an answer at most: one that knows says so in a sentence
DOGECOIN = Fact("opinion", "user", "cool", "Dogecoin")
KINDS = {
    "correction": "the newer fact wins",
    "abstention": "says so when it was never told",
    "two": "keeps two facts apart",
    "summary": "sums up what it was told",
    "topic": "knows what the talk is about",
    "who": "knows who said it",
    "persona": "answers as its persona says",
}
LONG_CHATS, TIMED_TURNS = 4, 10  # chats whose last turns are timed
View = Callable[[list[Message]], list[Message]]  # a chat's messages -> those that a model's context holds


class RecallTask(NamedTuple):
    """The questions of one row."""

    label: str
    definition: str
    probes: list[Probe]


def recall_tasks(filler: Filler, n: int, seed: int, in_view: View | None) -> dict[str, RecallTask]:
    """The name of each row -> its n questions. in_view: None if it is not known what the model keeps in view."""
    recall = {}
    for distance in DISTANCES:
        ago = f"{distance} turn{'s' * (distance > 1)}"
        probes = itertools.islice(tasks.probes(filler, seed, kind="recall", distance=distance), n)
        definition = f"Asked for what it was told {ago} ago: the reply has the value, and no other of its sort."
        recall[f"recall_at_{distance}"] = RecallTask(f"recall after {ago}", definition, list(probes))
    definition = "Asked for what was told so long ago that it is no longer in view."
    probes = beyond_context(filler, n, seed, in_view, "recall") if in_view else []
    recall["recall_beyond"] = RecallTask("recall beyond the context", definition, probes)
    definition = "A fact was told and corrected, and the newer value, which the reply must have, is no longer in view."
    probes = beyond_context(filler, n, seed, in_view, "correction") if in_view else []
    recall["correction_beyond"] = RecallTask("the newer fact wins, beyond the context", definition, probes)
    for kind, label in KINDS.items():
        by_distance = [tasks.probes(filler, seed, kind=kind, distance=distance) for distance in (1, 3, 5, 10)]
        probes = [next(stream) for stream in itertools.islice(itertools.cycle(by_distance), n)]
        definition = f"Questions of the kind {kind!r}, 1 to 10 turns behind what they ask for."
        recall[kind] = RecallTask(label, definition, probes)
    probes = itertools.islice(tasks.probes(filler, seed, kind="topic", distance=1, fact=DOGECOIN), n)
    definition = 'Told "Dogecoin is cool" (in many words), then asked what the talk was about.'
    recall["dogecoin"] = RecallTask("what were we just talking about?", definition, list(probes))
    return recall


def beyond_context(filler: Filler, n: int, seed: int, in_view: View, kind: str) -> list[Probe]:
    """n Probes whose value is no longer in view; fewer, or none, if the talks of the data are too short for them."""
    beyond = []
    for distance in (40, 80, 160):
        # 80 tokens a turn is more than real chats have, so that the probe is not shortened to fit
        probes = tasks.probes(filler, seed, kind=kind, distance=distance, context=80 * distance)
        try:
            for probe in itertools.islice(probes, 2 * n):
                text = "\n".join(message["content"] for message in in_view(probe.messages))
                if len(beyond) < n and not contains_phrase(text, probe.value):
                    beyond.append(probe)
        except InputError:
            return beyond  # the data have no turns for talks that long
        if len(beyond) >= n:
            break
    return beyond


def recall_rows(
    backend: Backend,
    filler: Filler,
    n: int,
    seed: int,
    progress: Callable[[int], object],
    in_view: View | None = None,
    noted: View | None = None,
) -> tuple[list[Row], dict[str, list[Any]]]:
    """
    Rows on memory, n questions each, and the curve of recall over distance: {"x", "y", "low", "high", "n"}.
    in_view: as recall_tasks has it. noted: the view of a chat with memory, if that is to be asked too.
    progress: called with the number of questions that were answered.
    """
    source = "dataset/recall, values and phrasings that its training conversations never use; greedy, 40 new tokens"
    sampling = dataclasses.replace(GREEDY, max_new_tokens=NEW_TOKENS)
    recall = recall_tasks(filler, n, seed, in_view)
    prompts = [probe.messages for task in recall.values() for probe in task.probes]
    answers = iter(ask(backend, prompts, sampling, seed, progress))
    remembered = iter(ask(backend, list(map(noted, prompts)), sampling, seed, progress) if noted else ())
    rows: list[Row] = []
    right_by_chance: list[bool] = []
    curve: dict[str, list[Any]] = {"x": [], "y": [], "low": [], "high": [], "n": []}
    for name, task in recall.items():
        replies = [answer.text for answer in itertools.islice(answers, len(task.probes))]
        row = percent_row(
            "Memory",
            name,
            task.label,
            right_replies(task.probes, replies),
            seed=seed,
            better="higher",
            definition=task.definition,
            source=source,
        )
        if noted:
            replies_noted = [answer.text for answer in itertools.islice(remembered, len(task.probes))]
            row = dataclasses.replace(row, with_memory=mean_percent(right_replies(task.probes, replies_noted)))
        rows.append(row if task.probes else dataclasses.replace(row, note="no question reaches beyond it"))
        if name.startswith("recall_"):
            distance = name.removeprefix("recall_at_").removeprefix("recall_")
            curve["x"].append(int(distance) if distance.isdigit() else distance)
            curve["y"].append(row.value)
            curve["low"].append(row.low)
            curve["high"].append(row.high)
            curve["n"].append(row.n)
            right_by_chance += right_replies(task.probes, replies[1:] + replies[:1])
    rows.append(
        percent_row(
            "Memory",
            "recall_shuffled",
            "recall by chance (answers shuffled)",
            right_by_chance,
            seed=seed,
            definition="The same replies, each compared with the next question: what chance would reach.",
            source=source,
        )
    )
    return rows, curve


def right_replies(probes: Sequence[Probe], replies: Sequence[str]) -> list[bool]:
    """For each question, whether the reply is right."""
    return [probe.is_right(reply) for probe, reply in zip(probes, replies, strict=True)]


def view_of(engine: Engine) -> View:
    """The function that gives the messages of a chat that the engine keeps in its context for an answer."""
    return lambda messages: messages_in_view(messages, engine.template.prompt, tokens_left(engine))


def remembering_view_of(engine: Engine) -> View:
    """The same with memory, for one chat as it grows."""
    memory = Memory()
    return lambda messages: memory.in_view(messages, engine.template.prompt, tokens_left(engine))


def noted_view_of(engine: Engine) -> View:
    """The same with memory, which has followed the chat turn by turn as chat.py has it."""

    def noted(messages: list[Message]) -> list[Message]:
        remembering, in_view = remembering_view_of(engine), messages
        for end in range(1, len(messages) + 1):
            if messages[end - 1]["role"] == "user":
                in_view = remembering(messages[:end])
        return in_view

    return noted


def tokens_left(engine: Engine) -> int:
    """The tokens that the prompt of a question may have."""
    return engine.block_size - min(NEW_TOKENS, engine.block_size // 4)


def long_chat_row(engine: Engine, filler: Filler, seed: int) -> Row:
    """The time to the first token deep in a chat, without and with memory, each turn behind the one before."""
    probes = itertools.islice(tasks.probes(filler, seed, kind="recall", distance=40, context=80 * 40), LONG_CHATS)
    sampling = dataclasses.replace(GREEDY, max_new_tokens=1)
    prompt, n = engine.template.prompt, tokens_left(engine)
    milliseconds: dict[bool, list[float]] = {False: [], True: []}
    for probe, remembers in itertools.product(probes, milliseconds):
        memory = Memory() if remembers else None
        in_view = memory.in_view if memory else view.View().of
        turns = [end for end in range(1, len(probe.messages) + 1) if probe.messages[end - 1]["role"] == "user"]
        for end in turns:
            start = time.perf_counter()
            ids = prompt(in_view(probe.messages[:end], prompt, n))
            if end in turns[-TIMED_TURNS - 1 :]:  # the first of them fills the cache
                list(engine.generate(ids, sampling))
            if end in turns[-TIMED_TURNS:]:
                milliseconds[remembers].append(1000 * (time.perf_counter() - start))
    low, *_, high = sorted(milliseconds[False])
    return Row(
        "Memory",
        "ttft_long",
        "time to the first token in a long chat",
        statistics.median(milliseconds[False]),
        low,
        high,
        n=len(milliseconds[False]),
        unit="ms",
        better="lower",
        definition=f"The last {TIMED_TURNS} of 40 turns and more, greedy; median, fastest and slowest.",
        with_memory=statistics.median(milliseconds[True]),
    )
