"""
What is private is masked in the writings of many countries, what is not stays, and nobody is called by a number.
"""

import re
from pathlib import Path

import pytest

from readers.pii import StandIns, mask

HERE = Path(__file__).parent


def table(name):
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("# ")]


def masked_details(lines):
    """The lines in which what stands in braces became the word for its kind and nothing else changed."""
    for line in lines:
        text = line[3:]
        left, _, right = (re.escape(part) for part in re.split(r"\{|\}", text))
        if re.fullmatch(rf"{left}\[(?:link|email|phone|card|iban|id|secret)\]{right}", mask(re.sub("[{}]", "", text))):
            yield line


def test_private_details_of_the_world_are_masked():
    """At least 95% of 200 and more details from the numbering plans of 30 and more countries."""
    lines = table("private_details.txt")
    assert len(lines) >= 200 and len({line[:2] for line in lines}) >= 30
    missed = set(lines) - set(masked_details(lines))
    assert len(missed) <= 0.05 * len(lines), missed


def test_ordinary_numbers_and_words_stay():
    """At least 97% of 200 and more texts with dates, sums, versions, counts, codes and abbreviations."""
    lines = table("ordinary_numbers.txt")
    assert len(lines) >= 200
    changed = [f"{line} -> {mask(line)}" for line in lines if mask(line) != line]
    assert len(changed) <= 0.03 * len(lines), changed


def test_a_key_or_password_is_masked_and_talk_about_one_is_not():
    """What stands behind "password:" goes; a sentence with the word stays."""
    assert mask("the password: hunter22, ok?") == "the password:[secret] ok?"
    assert mask("my password is too long") == "my password is too long"


@pytest.mark.parametrize(
    "name",
    ["+49 170 1234567", "\u202a+49\u00a0170\u00a01234567\u202c", "ben@example.com", "U0A1B2C3D", "Ann (user4711)"],
)
def test_a_name_that_is_private_becomes_a_stand_in(name):
    """Each such person has a number of its own, the same each time; other names stay."""
    names = StandIns()
    assert [names[who] for who in ("Ann", name, "+1 555 010 4477", "Zoë 🦊", name)] == [
        "Ann",
        "Person 1",
        "Person 2",
        "Zoë 🦊",
        "Person 1",
    ]


NAMES = ["Ann", "Lee 2", "agent007", "~ Nev", "李雷", "d'Arc, Jean-Luc", "R2-D2", "WILLIAM", "Ben (work)", "🦊"]


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_name_stays(name):
    """Figures in a name do not make it private."""
    assert StandIns()[name] == name


def test_somebody_called_person_1_is_not_taken_for_a_stand_in():
    """A name that looks like a stand-in gets one itself, so that two people are never one."""
    names = StandIns()
    assert names["+49 170 1234567"] != names["Person 1"]
