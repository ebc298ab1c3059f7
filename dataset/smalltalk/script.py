"""
Scripts: conversations with several ways to say each turn, as text that people like to write.

    # A file is a topic. It begins with a comment that says what it is about.
    pet = dog | cat                     a slot: one value is drawn for each conversation; {pet} stands for it

    == A new pet                        a script, with its title
    who = my sister | my brother        a slot of this script alone
    about: {who:your sister|your brother}'s new {pet}
    H: {who} has got a {pet}            the human says this
    | guess what, {who} got {a pet}     or this
    B: How lovely! What did {who:she|he} call it?
    H: {name}
    B: {Name} is a good name for {a pet}.
    ask: what was the {pet} called?     a question for later, when they speak of something else
    answer: It is called {name}.

In braces: {pet} the value drawn, {Pet} with a capital, {a pet} with its article, {pet.2} a second value that differs
from the first; {who:she|he} the alternative in the place that the value of `who` has in its list; {nice|good} one of
these by chance. Braces may stand in alternatives and values. Slots of all topics are in slots.txt.

`kind:` under the title says where a script may stand; without it anywhere, since the bot says nothing about itself.
itself: the bot speaks of itself as the program that it is. opening, closing: greetings, goodbyes. alone: never with
others.
A script that begins with `S:` has a persona, and the bot speaks as that person.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import InputError, did_you_mean

KINDS = ("anywhere", "itself", "opening", "closing", "alone")
SPEAKERS = {"S": "system", "H": "user", "B": "assistant"}
SLOT_NAME = re.compile(r"([aA] )?([A-Za-z][a-z_]*)(?:\.(\d))?")
SLOT_LINE = re.compile(r"([a-z][a-z_]*) = (.*)")


@dataclass(frozen=True)
class Slot:
    """A slot in braces. ways: of {who:she|he}, else empty."""

    name: str
    number: int = 1
    capital: bool = False
    article: bool = False
    ways: "tuple[Template, ...]" = ()


@dataclass(frozen=True)
class Choice:
    """{nice|good}"""

    ways: "tuple[Template, ...]"


Template = tuple[str | Slot | Choice, ...]


@dataclass
class Turn:
    """What one speaker says, in several ways. role: system, user, assistant; or ask, answer, about."""

    role: str
    line: int
    ways: list[Template] = field(default_factory=list)


@dataclass
class Script:
    """One conversation with its alternatives. slots: its own over those of its file over the shared ones."""

    topic: str
    title: str
    line: int
    slots: dict[str, list[Template]]
    kind: str = "anywhere"
    system: Turn | None = None
    about: Turn | None = None
    turns: list[Turn] = field(default_factory=list)
    questions: list[tuple[Turn, Turn]] = field(default_factory=list)  # (ask, answer)

    @property
    def all_turns(self) -> Iterator[Turn]:
        """Every Turn of it: the system message, the turns, the questions, what it is about."""
        yield from (turn for turn in (self.system, *self.turns, self.about) if turn is not None)
        for pair in self.questions:
            yield from pair


class Draw:
    """
    The values of the slots in one script of a conversation: drawn when they are first asked for, and then kept. used:
    the values of the conversation's other scripts, since two people called Mei would be taken for one.
    """

    def __init__(
        self,
        slots: Mapping[str, list[Template]],
        rng: random.Random,
        given: Mapping[str, str] = {},
        used: set[str] | None = None,
    ) -> None:
        self.slots, self.rng, self.given = slots, rng, given
        self.used = set() if used is None else used
        self.indices: dict[tuple[str, int], int] = {}
        self.texts: dict[tuple[str, int], str] = {}
        self.column = rng.random()  # from 0 to 1: how far down the ways of each turn stands the one that is said

    def say(self, turn: Turn) -> str:
        """One of the ways of a turn, filled: in all turns the one in the same place: these were written together."""
        return self.fill(turn.ways[int(self.column * len(turn.ways))])

    def fill(self, template: Template) -> str:
        """The text of a template."""
        return "".join(part if isinstance(part, str) else self.part(part) for part in template)

    def part(self, part: Slot | Choice) -> str:
        if isinstance(part, Choice):
            return self.fill(self.rng.choice(part.ways))
        if part.ways:
            text = self.fill(part.ways[self.index(part.name, part.number)])
        else:
            text = self.value(part.name, part.number)
        if part.article:
            text = f"{'an' if text[:1].lower() in 'aeiou' else 'a'} {text}"
        return text[:1].upper() + text[1:] if part.capital else text

    def value(self, name: str, number: int) -> str:
        if name in self.given:
            return self.given[name]
        if (name, number) not in self.texts:
            self.texts[name, number] = self.fill(self.slots[name][self.index(name, number)])
            self.used.add(self.texts[name, number])
        return self.texts[name, number]

    def index(self, name: str, number: int) -> int:
        """Which of the slot's values: none that another number of it has, and if there are others, none in use."""
        if (name, number) not in self.indices:
            values = self.slots[name]
            taken = {index for (other, _), index in self.indices.items() if other == name}
            free = [i for i in range(len(values)) if i not in taken]
            unused = [i for i in free if values[i][0] not in self.used]
            self.indices[name, number] = self.rng.choice(unused or free)
        return self.indices[name, number]


def read_slots(path: Path) -> dict[str, list[Template]]:
    """The slots of a file that has nothing else. Raises InputError."""
    slots: dict[str, list[Template]] = {}
    for number, line in lines_of(path):
        add_slot(line, slots, f"{path}:{number}")
    for name, values in slots.items():
        for value in values:
            check_template(value, slots, (), f"{path}: {name}")
    return slots


def read_topic(path: Path, shared: Mapping[str, list[Template]], given: tuple[str, ...] = ()) -> list[Script]:
    """
    The scripts of a file. shared: slots that all files have. given: names of slots that whoever fills them will give.
    Raises InputError that names the line.
    """
    slots = dict(shared)
    scripts: list[Script] = []
    turn: Turn | None = None  # to which a line with | adds
    for number, line in lines_of(path):
        place = f"{path}:{number}"
        key, _, rest = line.partition(":")
        if line.startswith("== "):
            scripts.append(Script(path.stem, line[3:].strip(), number, dict(slots)))
            turn = None
        elif line.startswith("|"):
            if turn is None:
                raise InputError(f"{place}: a | goes on with a turn, and there is none above it")
            turn.ways.append(template(line[1:].strip(), place))
        elif SLOT_LINE.match(line):
            add_slot(line, scripts[-1].slots if scripts else slots, place)
            turn = None
        elif not scripts:
            raise InputError(f"{place}: a script begins with == and its title")
        elif key == "kind":
            if rest.strip() not in KINDS:
                raise InputError(f"{place}: kind is one of {', '.join(KINDS)}, not {rest.strip()}")
            scripts[-1].kind = rest.strip()
        elif key in (*SPEAKERS, "ask", "answer", "about"):
            turn = Turn(SPEAKERS.get(key, key), number, [template(rest.strip(), place)])
            add_turn(scripts[-1], turn, place)
        else:
            raise InputError(
                f"{place}: a line begins with S:, H:, B:, |, about:, ask:, answer:, kind:, a slot's name or =="
            )
    for script in scripts:
        check_script(script, path, given)
    return scripts


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that are not empty and no comments."""
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def add_slot(line: str, slots: dict[str, list[Template]], place: str) -> None:
    matched = SLOT_LINE.match(line)
    if matched is None:
        raise InputError(f"{place}: a slot is a line `name = value | value`")
    values = [template(value.strip(), place) for value in split_ways(matched[2], place)]
    if len(set(values)) < len(values):
        raise InputError(f"{place}: a value of {matched[1]} stands there twice")
    slots[matched[1]] = values


def add_turn(script: Script, turn: Turn, place: str) -> None:
    """Put a turn where it belongs. Raises InputError if it cannot stand there."""
    if turn.role == "about":
        script.about = turn
    elif turn.role == "ask":
        script.questions.append((turn, Turn("answer", turn.line)))
    elif turn.role == "answer":
        if not script.questions or script.questions[-1][1].ways:
            raise InputError(f"{place}: an answer: follows its ask:")
        script.questions[-1] = (script.questions[-1][0], turn)
    elif turn.role == "system":
        if script.turns or script.system:
            raise InputError(f"{place}: S: comes once, before the other turns")
        script.system = turn
    else:
        expected = "user" if len(script.turns) % 2 == 0 else "assistant"
        if turn.role != expected:
            raise InputError(f"{place}: H: and B: take turns, and H: begins")
        script.turns.append(turn)


def check_script(script: Script, path: Path, given: tuple[str, ...]) -> None:
    """Raises InputError if something is missing in a script, or a template asks for what is not there."""
    place = f"{path}:{script.line}"
    if not script.turns or len(script.turns) % 2:
        raise InputError(f"{place}: {script.title}: the last turn is the bot's")
    for ask, answer in script.questions:
        if not answer.ways:
            raise InputError(f"{path}:{ask.line}: an ask: needs its answer:")
    for turn in script.all_turns:
        for way in turn.ways:
            check_template(way, script.slots, given, f"{path}:{turn.line}")


def check_template(
    parts: Template,
    slots: Mapping[str, list[Template]],
    given: tuple[str, ...],
    place: str,
    inside: tuple[str, ...] = (),
) -> None:
    """Raises InputError for a slot that is not there, has too few values, or is made of itself."""
    for part in parts:
        if isinstance(part, str):
            continue
        for way in part.ways:
            check_template(way, slots, given, place, inside)
            if way in [(name,) for name in slots]:
                raise InputError(f"{place}: the slot {way[0]} among ways needs braces of its own: {{{{{way[0]}}}|...}}")
        if isinstance(part, Slot) and part.name not in given:
            if part.name not in slots:
                raise InputError(f"{place}: no slot is called {part.name}{did_you_mean(part.name, [*slots, *given])}")
            n_values = len(slots[part.name])
            if part.ways and len(part.ways) != n_values:
                raise InputError(f"{place}: {{{part.name}:...}} has {len(part.ways)} ways, the slot {n_values} values")
            if part.number > n_values:
                raise InputError(f"{place}: {{{part.name}.{part.number}}}: the slot has only {n_values} values")
            if part.name in inside:
                raise InputError(f"{place}: the slot {part.name} is made of itself")
            for value in slots[part.name]:
                check_template(value, slots, given, place, (*inside, part.name))


def template(text: str, place: str) -> Template:
    """The parts of a text with braces. Raises InputError."""
    if not text:
        raise InputError(f"{place}: nothing is said")
    return parse(text, place)


def parse(text: str, place: str) -> Template:
    parts: list[str | Slot | Choice] = []
    start = 0
    for begin, end in braces(text, place):
        parts += [text[start:begin]] if begin > start else []
        parts.append(in_braces(text[begin + 1 : end], place))
        start = end + 1
    parts += [text[start:]] if start < len(text) else []
    return tuple(parts)


def in_braces(text: str, place: str) -> Slot | Choice:
    """What stands between two braces."""
    head, colon, rest = text.partition(":")
    matched = SLOT_NAME.fullmatch(head if colon and SLOT_NAME.fullmatch(head) else text)
    if matched:
        ways = tuple(parse(way, place) for way in split_ways(rest, place)) if colon else ()
        name = matched[2]
        capital = name[0].isupper() or matched[1] == "A "
        return Slot(name[0].lower() + name[1:], int(matched[3] or 1), capital, bool(matched[1]), ways)
    ways = split_ways(text, place)
    if len(ways) < 2:
        raise InputError(f"{place}: {{{text}}} is neither a slot nor ways with | between them")
    return Choice(tuple(parse(way, place) for way in ways))


def braces(text: str, place: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of the outermost braces of a text."""
    depth = begin = 0
    for i, letter in enumerate(text):
        if letter == "{":
            begin = i if depth == 0 else begin
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                yield begin, i
        if depth < 0:
            break
    if depth:
        raise InputError(f"{place}: a brace is not closed, or was not opened: {text}")


def split_ways(text: str, place: str) -> list[str]:
    """A text's parts between the | that stand in no braces."""
    spans = list(braces(text, place))
    cuts = [i for i, letter in enumerate(text) if letter == "|" and not any(b < i < e for b, e in spans)]
    return [text[a:b] for a, b in zip([0, *(i + 1 for i in cuts)], [*cuts, len(text)], strict=True)]
