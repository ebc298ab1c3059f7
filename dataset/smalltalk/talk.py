"""
Whole talks, composed of scripts: a greeting, one to three subjects, questions about what was said before, a goodbye.

    scripts = read_scripts(Path("data/smalltalk"))
    messages = talk(scripts["train"], random.Random(1))
"""

import fnmatch
import functools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from dataset.smalltalk.script import KINDS, Draw, Script, Turn, read_slots, read_topic
from dataset.smalltalk.typed import Habits, as_typed, draw_habits
from runtime.errors import InputError, did_you_mean
from tokenization.chat_format import Message

HELD_OUT = 10  # of as many topics, and of as many scripts of the others, one is kept for val
N_SUBJECTS = ((1, 0.5), (2, 0.32), (3, 0.18))  # subjects of a talk, and how often it has as many
OPENING, CLOSING = 0.4, 0.3  # share of the talks that begin with a greeting, and end with a goodbye
WITH_PERSONA = 0.3  # share of the talks with a system message, where the script allows one
# share of the places where they stand: a subject's own question when it is over, when another one is over, ...
ASK_AT_ONCE, ASK_LATER, RECAP, ECHO = 0.15, 0.6, 0.12, 0.05
GIVEN = ("message", "said", "replied", "abouts", "first", "last")  # slots of callbacks.txt that a talk fills


@dataclass
class Scripts:
    """The scripts of one split. callbacks: those of callbacks.txt by title, which turn back to what was said."""

    by_kind: dict[str, list[Script]]
    callbacks: dict[str, list[Script]]

    @functools.cached_property
    def subjects(self) -> list[Script]:
        return [script for kind in ("anywhere", "itself", "alone") for script in self.by_kind[kind]]

    @functools.cached_property
    def personas(self) -> list[Script]:
        return [script for script in self.by_kind["anywhere"] if script.system]


@dataclass
class Talk:
    """A conversation as it grows."""

    scripts: Scripts
    rng: random.Random
    habits: Habits
    messages: list[Message] = field(default_factory=list)
    abouts: list[str] = field(default_factory=list)
    asked: list[tuple[Turn, Turn]] = field(default_factory=list)

    def add(self, role: str, text: str) -> None:
        text = as_typed(text, self.habits, self.rng) if role == "user" else text
        self.messages.append({"role": role, "content": text})

    def play(self, script: Script, draw: Draw) -> None:
        """Every turn of a script. A subject after another one may be announced."""
        changes = bool(self.abouts) and script.kind in ("anywhere", "itself") and self.rng.random() < 0.5
        for i, turn in enumerate(script.turns):
            text = draw.say(turn)
            if changes and i == 0:
                text = self.callback("change", message=text[:1].lower() + text[1:] if text[1:2].islower() else text)[0]
            self.add(turn.role, text)
        if script.about:
            self.abouts.append(draw.say(script.about))

    def ask(self, script: Script, draw: Draw) -> None:
        """One of the script's questions about what was said, and its answer. None is asked twice."""
        questions = [question for question in script.questions if question not in self.asked]
        if questions:
            question = self.rng.choice(questions)
            self.asked.append(question)
            for turn, role in zip(question, ("user", "assistant"), strict=True):
                self.add(role, draw.say(turn))

    def callback(self, title: str, **given: str) -> list[str]:
        """The turns of one of the callbacks."""
        script = self.rng.choice(self.scripts.callbacks[title])
        draw = Draw(script.slots, self.rng, given)
        return [draw.say(turn) for turn in script.turns]

    def turn_back(self, title: str) -> None:
        """Add a callback's turns, on the subjects so far or on the last two messages."""
        user, bot = self.messages[-2]["content"], self.messages[-1]["content"]
        given = {"abouts": listed(self.abouts), "first": self.abouts[0], "last": self.abouts[-1]} if self.abouts else {}
        for role, text in zip(
            ("user", "assistant"), self.callback(title, said=user, replied=bot, **given), strict=True
        ):
            self.add(role, text)


def talk(scripts: Scripts, rng: random.Random) -> list[Message]:
    """A conversation drawn from the scripts."""
    grown = Talk(scripts, rng, draw_habits(rng))
    first = rng.choice(scripts.subjects)
    if first.kind == "alone":
        n_subjects = 1
    else:
        n_subjects = rng.choices([n for n, _ in N_SUBJECTS], [share for _, share in N_SUBJECTS])[0]
    subjects = [first]
    persona = first if first.system else None
    if persona is None and first.kind == "anywhere" and rng.random() < WITH_PERSONA and scripts.personas:
        persona = rng.choice(scripts.personas)  # and what it says of itself is among the subjects
        subjects += [persona] if persona.topic != first.topic else []
    pool = scripts.by_kind["anywhere"] if persona else scripts.by_kind["anywhere"] + scripts.by_kind["itself"]
    while len(subjects) < n_subjects:
        script = rng.choice(pool)
        if script.topic not in {subject.topic for subject in subjects} and not script.system:
            subjects.append(script)
        elif len({script.topic for script in pool if not script.system}) <= len(subjects):
            break
    if first.kind != "alone":
        rng.shuffle(subjects)
    used: set[str] = set()
    draws = [Draw(subject.slots, rng, used=used) for subject in subjects]
    if persona:
        draw = draws[subjects.index(persona)] if persona in subjects else Draw(persona.slots, rng, used=used)
        assert persona.system
        grown.messages.append({"role": "system", "content": draw.say(persona.system)})
    elif first.kind != "alone" and rng.random() < OPENING and scripts.by_kind["opening"]:
        grown.play(*with_draw(rng.choice(scripts.by_kind["opening"]), rng))
    for i, (subject, draw) in enumerate(zip(subjects, draws, strict=True)):
        grown.play(subject, draw)
        if rng.random() < ASK_AT_ONCE:
            grown.ask(subject, draw)
        if i and rng.random() < ASK_LATER:
            earlier = rng.randrange(i)
            grown.ask(subjects[earlier], draws[earlier])
        if rng.random() < ECHO:
            grown.turn_back(rng.choice(("echo", "echo bot")))
        if grown.abouts and rng.random() < RECAP:
            titles = ("current", "recap", "first") if len(grown.abouts) > 1 else ("current", "recap")
            grown.turn_back(rng.choice(titles))
    if persona is None and first.kind != "alone" and rng.random() < CLOSING and scripts.by_kind["closing"]:
        grown.play(*with_draw(rng.choice(scripts.by_kind["closing"]), rng))
    return grown.messages


def with_draw(script: Script, rng: random.Random) -> tuple[Script, Draw]:
    return script, Draw(script.slots, rng)


def listed(texts: list[str]) -> str:
    """a, b and c"""
    return " and ".join(part for part in (", ".join(texts[:-1]), texts[-1]) if part)


def read_scripts(folder: Path, topics: Sequence[str] = ("*",)) -> dict[str, Scripts]:
    """Split -> its scripts, of the topics of a folder whose names match one of the patterns. Raises InputError."""
    slots = read_slots(folder / "slots.txt")
    callbacks: dict[str, list[Script]] = defaultdict(list)
    for script in read_topic(folder / "callbacks.txt", slots, GIVEN):
        callbacks[script.title].append(script)
    scripts = [script for path in topic_files(folder, topics) for script in read_topic(path, slots)]
    return {
        split: Scripts(by_kind(s for s in scripts if split_of(s) == split), callbacks) for split in ("train", "val")
    }


def topic_files(folder: Path, topics: Sequence[str] = ("*",)) -> list[Path]:
    """The files of the topics, in the order of their names. Raises InputError where a pattern fits none."""
    files = sorted(path for path in folder.glob("*.txt") if path.name not in ("slots.txt", "callbacks.txt"))
    names = [path.stem for path in files]
    for pattern in topics:
        if not fnmatch.filter(names, pattern):
            raise InputError(f"{folder} has no topic {pattern}, as its file is named{did_you_mean(pattern, names)}")
    return [path for path in files if any(fnmatch.fnmatch(path.stem, pattern) for pattern in topics)]


def by_kind(scripts: Iterable[Script]) -> dict[str, list[Script]]:
    kinds: dict[str, list[Script]] = {kind: [] for kind in KINDS}
    for script in scripts:
        kinds[script.kind].append(script)
    return kinds


def split_of(script: Script) -> str:
    """Which split a script belongs to; it stays there when others are added."""
    hashes = (crc32(text.encode()) for text in (script.topic, f"{script.topic}/{script.title}"))
    return "val" if any(number % HELD_OUT == 0 for number in hashes) else "train"
