"""What a model remembers of a chat."""

import dataclasses
import itertools

from dataset.recall import tasks
from dataset.recall.phrasebook import Fact, contains_phrase
from evaluation.prompting import GREEDY, ask
from evaluation.report import Row, percent
from runtime.errors import InputError
from tokenization.context import messages_in_view

DISTANCES = (1, 3, 5, 10, 20)
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


def recall_questions(filler, n, seed, visible):
    """{row's name: (label, definition, Probes)}. visible(messages): what a model keeps in view; None if not known."""
    questions = {}
    for distance in DISTANCES:
        ago = f"{distance} turn{'s' * (distance > 1)}"
        probes = itertools.islice(tasks.probes(filler, seed, kind="recall", distance=distance), n)
        definition = f"Asked for what it was told {ago} ago: the reply has the value, and no other of its sort."
        questions[f"recall_at_{distance}"] = (f"recall after {ago}", definition, list(probes))
    definition = "Asked for what was told so long ago that it is no more in view."
    questions["recall_beyond"] = ("recall beyond the context", definition, beyond_context(filler, n, seed, visible))
    for kind, label in KINDS.items():
        kinds = (tasks.probes(filler, seed, kind=kind, distance=distance) for distance in (1, 3, 5, 10))
        probes = [next(each) for each in itertools.islice(itertools.cycle(list(kinds)), n)]
        questions[kind] = (label, f"Questions of the kind {kind!r}, 1 to 10 turns behind what they ask for.", probes)
    probes = itertools.islice(tasks.probes(filler, seed, kind="topic", distance=1, fact=DOGECOIN), n)
    definition = 'Told "Dogecoin is cool" (in many words), then asked what the talk was about.'
    questions["dogecoin"] = ("what were we just talking about?", definition, list(probes))
    return questions


def beyond_context(filler, n, seed, visible):
    """n Probes whose value is no more in view; fewer if they are hard to find."""
    found = []
    for distance in (40, 80, 160) if visible else ():
        probes = tasks.probes(filler, seed, kind="recall", distance=distance, context=80 * distance)
        try:
            for probe in itertools.islice(probes, 2 * n):
                text = "\n".join(message["content"] for message in visible(probe.messages))
                if len(found) < n and not contains_phrase(text, probe.value):
                    found.append(probe)
        except InputError:
            return found  # the data have no turns for talks that long
        if len(found) >= n:
            break
    return found


def recall_rows(speaker, filler, n, seed, progress, visible=None):
    """(Rows, curve) on memory. visible: as recall_questions has it."""
    source = "recall.py, values and phrasings that its training conversations never use; greedy, 40 new tokens"
    sampling = dataclasses.replace(GREEDY, max_new_tokens=40)
    questions = recall_questions(filler, n, seed, visible)
    every = [probe for _, _, probes in questions.values() for probe in probes]
    answers = iter(ask(speaker, [probe.messages for probe in every], sampling, seed, progress))
    rows, shuffled = [], []
    curve = {name: [] for name in ("x", "y", "low", "high", "n")}
    for name, (label, definition, probes) in questions.items():
        replies = [answer.text for answer in itertools.islice(answers, len(probes))]
        more = {"better": "higher", "definition": definition, "source": source}
        if not probes:
            rows.append(Row("Memory", name, label, None, unit="%", note="no question reaches beyond it", **more))
        else:
            right = [probe.is_right(reply) for probe, reply in zip(probes, replies, strict=True)]
            rows.append(percent("Memory", name, label, right, seed, **more))
        if name.startswith("recall_"):
            x = name.removeprefix("recall_at_").removeprefix("recall_")
            row = rows[-1]
            for key, value in zip(
                curve, (int(x) if x.isdigit() else x, row.value, row.low, row.high, row.n), strict=True
            ):
                curve[key].append(value)
            shuffled += [probe.is_right(reply) for probe, reply in zip(probes, replies[1:] + replies[:1], strict=True)]
    definition = "The same replies, each held against the next question: what chance would reach."
    more = {"definition": definition, "source": source}
    rows.append(percent("Memory", "recall_shuffled", "recall by chance (answers shuffled)", shuffled, seed, **more))
    return rows, curve


def visible_messages(engine):
    """What the engine keeps in view of a chat, as a function of its messages."""
    room = engine.block_size - min(40, engine.block_size // 4)
    return lambda messages: messages_in_view(messages, engine.template.prompt, room)
