"""
Whole talks, composed of scripts: a greeting, one to three subjects, questions about what was said before, a goodbye.

    scripts = read_scripts(Path("data/smalltalk"))
    messages = talk(scripts["train"], random.Random(1))
"""

import fnmatch
import functools
import random
import re
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
N_SUBJECTS = ((1, 0.92), (2, 0.06), (3, 0.02))  # subjects of a talk, and how often it has as many
OPENING, CLOSING = 0.15, 0.1  # share of the talks that begin with a greeting, and end with a goodbye
WITH_PERSONA = 0.1  # share of the other talks that begin with a persona, where the first script allows one
# what follows a subject, and how often: a question about it or about an earlier one, a look back, else nothing
AFTERWARDS = {"ask": 0.02, "ask earlier": 0.2, "recap": 0.03, "echo": 0.01}
ANNOUNCED = 0.15  # share of the new subjects that the human asks leave to begin
LED_IN = 0.7  # share of the questions about what was said with a few words before them
# begins of messages that can follow another subject without a word before them
BEGINS = re.compile(r"(hello|hi|hey|excuse me|good|sorry|so|well|ok|oh|wait|anyway|guess|remind|can I (ask|tell))\b")
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

    def add_both(self, texts: list[str]) -> None:
        for role, text in zip(("user", "assistant"), texts, strict=True):
            self.add(role, text)

    def play(self, script: Script, draw: Draw) -> None:
        """Every turn of a script. A subject that follows another one is introduced."""
        new = bool(self.abouts) and script.kind in ("anywhere", "itself")
        if new and self.rng.random() < ANNOUNCED and not self.open_question:
            self.add_both(self.callback("new subject"))
            new = False
        for i, turn in enumerate(script.turns):
            text = draw.say(turn)
            self.add(turn.role, self.introduced(text) if new and i == 0 else text)
        if script.about:
            self.abouts.append(draw.say(script.about))

    @property
    def open_question(self) -> bool:
        return self.messages[-1]["content"].endswith("?")

    def introduced(self, text: str) -> str:
        """The first words on a subject, from somebody who spoke of another one before."""
        if self.open_question:
            return self.callback("leave a question", message=text)[0]
        if BEGINS.match(text):
            return text
        shout = re.search(r"!|\b[A-Z]{3,}\b", text)
        return self.callback("question" if "?" in text else "shout" if shout else "statement", message=text)[0]

    def ask(self, script: Script, draw: Draw, earlier: bool = False) -> None:
        """One of the script's questions about what was said, and its answer. None is asked twice."""
        questions = [question for question in script.questions if question not in self.asked]
        if questions:
            question = self.rng.choice(questions)
            self.asked.append(question)
            text, answer = (draw.say(turn) for turn in question)
            if self.rng.random() < LED_IN and not BEGINS.match(text):
                title = "remind me" if script.system else "remember" if earlier else "sure"
                text = self.callback(title, message=text)[0]
            self.add_both([text, answer])

    def callback(self, title: str, **given: str) -> list[str]:
        """The turns of one of the callbacks."""
        script = self.rng.choice(self.scripts.callbacks[title])
        draw = Draw(script.slots, self.rng, given)
        return [draw.say(turn) for turn in script.turns]

    def turn_back(self, title: str) -> None:
        """Add a callback's turns, on the subjects so far or on the last two messages."""
        user, bot = self.messages[-2]["content"], self.messages[-1]["content"]
        given = {"abouts": listed(self.abouts), "first": self.abouts[0], "last": self.abouts[-1]} if self.abouts else {}
        self.add_both(self.callback(title, said=user, replied=bot, **given))


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
        subjects.sort(key=lambda subject: subject is not persona)  # people greet whom they meet, then speak of the rest
    used: set[str] = set()
    draws = [Draw(subject.slots, rng, used=used) for subject in subjects]
    if persona:
        draw = draws[subjects.index(persona)] if persona in subjects else Draw(persona.slots, rng, used=used)
        assert persona.system
        grown.messages.append({"role": "system", "content": draw.say(persona.system)})
    elif first.kind != "alone" and rng.random() < OPENING and scripts.by_kind["opening"]:
        grown.play(*with_draw(rng.choice(scripts.by_kind["opening"]), rng, used))
    for i, (subject, draw) in enumerate(zip(subjects, draws, strict=True)):
        grown.play(subject, draw)
        then = rng.choices([*AFTERWARDS, ""], [*AFTERWARDS.values(), 1 - sum(AFTERWARDS.values())])[0]
        if then == "ask":
            grown.ask(subject, draw)
        elif then == "ask earlier" and i:
            earlier = rng.randrange(i)
            grown.ask(subjects[earlier], draws[earlier], earlier=True)
        elif then == "echo" and subject.kind != "alone":
            grown.turn_back(rng.choice(("echo", "echo bot")))
        elif then == "recap" and subject.kind != "alone" and grown.abouts:
            titles = ("current", "recap", "first") if len(grown.abouts) > 1 else ("current", "recap")
            grown.turn_back(rng.choice(titles))
    if persona is None and first.kind != "alone" and rng.random() < CLOSING and scripts.by_kind["closing"]:
        grown.play(*with_draw(rng.choice(scripts.by_kind["closing"]), rng, used))
    return grown.messages


def with_draw(script: Script, rng: random.Random, used: set[str]) -> tuple[Script, Draw]:
    return script, Draw(script.slots, rng, used=used)


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
            raise InputError(f"{folder} has no topic file {pattern}.txt{did_you_mean(pattern, names)}")
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
