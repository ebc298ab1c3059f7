"""
What every child knows, as questions and short answers drawn from tables that people like to read and add to.

    == Foods                            a table, with its title
    food / color / other                names of its columns
    | lemon / yellow / blue             rows
    | lime / green / red
    H: what color is {a food}?          a question about any of the rows
    | {a food} is which color?          or this
    B: {Color}.                         its answer, in any of these ways
    | {A food} is {color}.
    H: is {a food} {other}?             another question, with its own answers
    B: No, {a food} is {color}.

    == Who are you?                     without columns and rows: questions that stand for themselves
    H: what's your name?
    B: I'm Nano.

Braces are those of dataset/smalltalk/script.py; slots are the columns alone. A file may begin with a comment.
"""

import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from dataset.smalltalk.script import Draw, Template, Turn, check_template, lines_of, template
from dataset.smalltalk.typed import as_typed, draw_habits
from runtime.errors import InputError
from tokenization.chat_format import Message

HELD_OUT = 12  # of so many pairs of a row and a question, one is kept for val: its row is in train, asked otherwise
LONGEST = 14  # exchanges of a conversation
MOST_TABLES = 4  # in a conversation


@dataclass
class Table:
    """A table and the questions about it."""

    title: str
    columns: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)
    exchanges: list[tuple[Turn, Turn]] = field(default_factory=list)

    @functools.cached_property
    def pairs(self) -> dict[str, list[tuple[int, int]]]:
        """Split -> (row, exchange) of its questions."""
        pairs: dict[str, list[tuple[int, int]]] = {"train": [], "val": []}
        for row, exchange in itertools.product(range(len(self.rows)), range(len(self.exchanges))):
            pairs["val" if self.is_held_out(row, exchange) else "train"].append((row, exchange))
        return pairs

    def is_held_out(self, row: int, exchange: int) -> bool:
        """Of questions without a table none: nothing else tells their answers."""
        place = f"{self.title}/{[*self.rows[row].values()]}/{exchange}"
        return bool(self.columns) and crc32(place.encode()) % HELD_OUT == 0


def read_folder(folder: Path) -> list[Table]:
    """The tables of all files of a folder, in the order of their names. Raises InputError."""
    tables = [table for path in sorted(folder.glob("*.txt")) for table in read_tables(path)]
    if not tables:
        raise InputError(f"{folder}: no tables there; they are text files, NAME.txt, as those of data/basics")
    return tables


def read_tables(path: Path) -> list[Table]:
    """The tables of a file. Raises InputError that names the line."""
    tables: list[Table] = []
    turn: Turn | None = None  # to which a line with | adds
    for number, line in lines_of(path):
        place = f"{path}:{number}"
        key, _, rest = line.partition(":")
        if line.startswith("== "):
            tables.append(Table(line[3:].strip(), []))
            turn = None
        elif not tables:
            raise InputError(f"{place}: a table begins with == and its title")
        elif not tables[-1].columns and not tables[-1].exchanges and key != "H":
            tables[-1].columns = cells(line)
        elif line.startswith("|") and turn:
            turn.ways.append(template(line[1:].strip(), place))
        elif line.startswith("|"):
            row = cells(line[1:])
            if len(row) != len(tables[-1].columns):
                raise InputError(f"{place}: {len(row)} values, and the table has {len(tables[-1].columns)} columns")
            tables[-1].rows.append(dict(zip(tables[-1].columns, row, strict=True)))
        elif key in ("H", "B"):
            turn = Turn({"H": "user", "B": "assistant"}[key], number, [template(rest.strip(), place)])
            add_turn(tables[-1], turn, place)
        else:
            raise InputError(f"{place}: a line begins with ==, |, H: or B:, behind a table's title with its columns")
    for table in tables:
        table.rows = table.rows or [{}] * (not table.columns)
        check_table(table, path)
    return tables


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(" / ")]


def add_turn(table: Table, turn: Turn, place: str) -> None:
    if turn.role == "user":
        table.exchanges.append((turn, Turn("assistant", turn.line)))
    elif not table.exchanges or table.exchanges[-1][1].ways:
        raise InputError(f"{place}: a B: follows its H:")
    else:
        table.exchanges[-1] = (table.exchanges[-1][0], turn)


def check_table(table: Table, path: Path) -> None:
    """Raises InputError where something is missing, or a question asks for what is no column."""
    if not table.rows or not table.exchanges:
        raise InputError(f"{path}: {table.title}: a table needs rows and a question")
    for question, answer in table.exchanges:
        if not answer.ways:
            raise InputError(f"{path}:{question.line}: an H: needs its B:")
        for turn in (question, answer):
            for way in turn.ways:
                check_template(way, {}, tuple(table.columns), f"{path}:{turn.line}")


def conversation(tables: Sequence[Table], split: str, rng: random.Random) -> list[Message]:
    """Questions about one to four of the tables, and their answers; those of train, where a table has none for val."""
    habits = draw_habits(rng)
    chosen = rng.sample(tables, min(rng.randint(1, MOST_TABLES), len(tables)))
    asked: set[tuple[str, int]] = set()
    messages: list[Message] = []
    for _ in range(rng.randint(1, LONGEST)):
        table = rng.choice(chosen)
        row, exchange = rng.choice(table.pairs[split] or table.pairs["train"])
        if (table.title, row) in asked and rng.random() < 0.8:
            continue
        asked.add((table.title, row))
        for turn in table.exchanges[exchange]:
            text = filled(rng.choice(turn.ways), table.rows[row], rng)
            text = as_typed(text, habits, rng) if turn.role == "user" else text
            messages.append({"role": turn.role, "content": text})
    return messages


def filled(way: Template, row: dict[str, str], rng: random.Random) -> str:
    return Draw({}, rng, row).fill(way)
