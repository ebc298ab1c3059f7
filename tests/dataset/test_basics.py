"""What every child knows: tables are read as they are meant, and those in data/basics are well written."""

import itertools
import random
import re

import pytest
from conftest import ROOT
from test_smalltalk import KNOWN, SPELLING

from dataset.basics import conversation, filled, read_folder, read_tables
from runtime.errors import InputError
from tokenization.chat_format import check

FILES = sorted((ROOT / "data" / "basics").glob("*.txt"))
WORD = re.compile(r"(?<![\w'])[a-z]+(?:'[a-z]+)?")
SENTENCE = re.compile(r"[\"']?[A-Z0-9].*[.!?][\"']?")
FOODS = """\
# Food
== Foods
food / color / other
| lemon / yellow / blue
| lime / green / red
| apple / red / blue
H: what color is {a food}?
| {a food} is which color?
B: {Color}.
| {A food} is {color}.
H: is {a food} {other}?
B: No, {a food} is {color}.
"""


def tables_of(tmp_path, text=FOODS):
    (tmp_path / "foods.txt").write_text(text, encoding="utf-8")
    return read_tables(tmp_path / "foods.txt")


def said(table):
    """(row, role, text) of every way of every question, about every row."""
    for row, (ask, answer) in itertools.product(table.rows, table.exchanges):
        for turn in (ask, answer):
            for way in turn.ways:
                yield row, turn.role, filled(way, row, random.Random(0))


def test_a_table_is_asked_about(tmp_path):
    """Every question about every row, with its answer; one pair in twelve is left to val alone."""
    (table,) = tables_of(tmp_path)
    texts = {text for _, _, text in said(table)}
    assert {"what color is a lemon?", "Green.", "An apple is red.", "No, a lime is green."} <= texts
    assert sorted(table.pairs["train"] + table.pairs["val"]) == [*itertools.product(range(3), range(2))]
    for seed in range(50):
        messages = conversation([table], "train", random.Random(seed))
        assert check({"messages": messages}) == messages == conversation([table], "train", random.Random(seed))
        assert {m["content"] for m in messages if m["role"] == "assistant"} <= texts


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("| lime / green / red", "| lime / green", r"foods.txt:5: 2 values, and the table has 3 columns"),
        ("{a food}?", "{a fruit}?", r"foods.txt:7: no slot is called fruit"),
        ("B: No, {a food} is {color}.\n", "", r"foods.txt:11: an H: needs its B:"),
        ("B: {Color}.", "B: {Color}.\nB: Blue.", r"foods.txt:10: a B: follows its H:"),
        ("== Foods\n", "", r"foods.txt:2: a table begins with == and its title"),
        ("B: {Color}.", "C: {Color}.", r"foods.txt:9: a line begins with ==, \|, H: or B:"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path, old, new, line):
    with pytest.raises(InputError, match=line):
        tables_of(tmp_path, FOODS.replace(old, new, 1))


def test_questions_without_a_table_stay_in_train(tmp_path):
    """Their answers stand nowhere else; val asks what train asks, where it has nothing of its own."""
    (table,) = tables_of(tmp_path, "== Who are you?\n" + "".join(f"H: who {i}?\nB: Nano {i}.\n" for i in range(40)))
    assert len(table.pairs["train"]) == 40 and conversation([table], "val", random.Random(1))


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_tables_is_told(tmp_path, there):
    with pytest.raises(InputError, match="no tables there; they are text files"):
        read_folder(tmp_path if there else tmp_path / "nowhere")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_tables_are_well_written(path):
    """Right spelling, whole sentences of the bot's, none longer than 20 words; no row twice, none alone."""
    problems, places = [], {}  # a word -> a line of the bot's with it
    for table in read_tables(path):
        rows = [tuple(row.values()) for row in table.rows]
        problems += [f"{table.title}: {row} stands there twice" for row in rows if rows.count(row) > 1]
        for _, role, text in said(table):
            if role == "assistant":
                places.update(dict.fromkeys(WORD.findall(text), f"{table.title}: {text}"))
                if not SENTENCE.fullmatch(text):
                    problems.append(f"{table.title}: the bot writes whole sentences: {text}")
            if text.count(" ") >= 20 or "  " in text:
                problems.append(f"{table.title}: {text}")
    unknown = SPELLING.unknown(word for word in places.keys() - KNOWN if not word.endswith("'s"))
    problems += [f"{places[word]}: is {word} a word?" for word in unknown]
    assert not problems, "\n".join(sorted(set(problems))[:40])
