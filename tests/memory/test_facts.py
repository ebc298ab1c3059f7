"""
What people say of themselves is found, and little else: by examples here, and on Multi-Session Chat's annotations where
the data are there (../shared/data/msc): people noted after each turn what it says of the speaker.
"""

import gzip
import json
import re

import pytest
from conftest import ROOT

from memory.facts import facts, key_of

MSC = ROOT / "../shared/data/msc"


def texts(message):
    return [fact.text for fact in facts(message)]


@pytest.mark.parametrize(
    "message, expected",
    [
        ("i live in oslo.", ["i live in oslo"]),
        ("hi! my name is Ann, what's yours?", ["my name is Ann"]),
        ("Well, I'm a nurse and I have two dogs!", ["I'm a nurse", "I have two dogs"]),
        ("no, i don’t like fish. do you?", ["i don't like fish"]),
        ("just relaxing with my two cats", ["just relaxing with my two cats"]),
        ("i was born in 1980; i've never been to spain", ["i was born in 1980", "i've never been to spain"]),
        ("call me Bo", ["call me Bo"]),
        ("i'm 31", []),  # too short to stand alone
        ("i am 31 years old", ["i am 31 years old"]),
        ("hi, i am ann", ["my name is ann"]),
        ("I'm Ann Lee. who are you?", ["my name is Ann Lee"]),
        ("hello, i'm bob from oslo", ["my name is bob", "i am from oslo"]),
        ("I'm Quenya!", ["my name is Quenya"]),
        ("I am German", ["I am German"]),
        ("for me there is no better soup than borscht", ["for me there is no better soup than borscht"]),
        ("What I do for fun is rowing. there is no better way", ["What I do for fun is rowing"]),
        ("tom here", ["my name is tom"]),
    ],
)
def test_what_is_told_is_found(message, expected):
    """A statement about oneself, in one's own words, without what leads up to it."""
    assert texts(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "how are you?",
        "i'm good, thanks.",
        "i am so sorry to hear that",
        "do i have to go?",
        "i think you are right",
        "i don't know what you mean",
        "what do you do? are you my friend?",
        "i love that!",
        "i have never had one",
        "that is my point exactly, my god",
        "you have two dogs",
        "I'm Dutch. and I am Here",
        "i'm tall, i'm back",
        "WELL I AM TIRED",
        "",
        "\n\ufffd 🐕 [Bot]: <|endoftext|>",
    ],
)
def test_small_talk_is_no_fact(message):
    """Moods, thoughts, questions, remarks on the other, and what is no sentence are not noted."""
    assert texts(message) == []


@pytest.mark.parametrize(
    "older, newer",
    [
        ("my name is ann", "people call me anna"),
        ("i live in oslo", "we moved to bergen last week"),
        ("i've settled down in oslo", "my flat is in bergen now"),
        ("i work as a nurse", "my job is teaching now"),
        ("my favourite color is red", "my favorite color is blue"),
        ("my dog's name is rex", "my dog's name is bello"),
        ("i go by ann", "they call me anna"),
        ("alien is my favorite film", "nothing beats psycho, i love that movie"),
        ("i write for a living", "i work at the zoo"),
        ("i'm off to rome next week", "my suitcase is packed for oslo"),
        ("my hobby is chess", "what i do for fun is rowing"),
    ],
)
def test_a_correction_has_the_key_of_what_it_corrects(older, newer):
    """So that the newer one takes its place."""
    assert key_of(older) == key_of(newer) != key_of("my sister is tall")


def test_a_long_text_is_read_quickly():
    """Patterns look at each place once: 200,000 letters are no trouble, whatever they are."""
    for text in ("i " * 100_000, "and " * 50_000, "my dog " * 30_000, "x" * 200_000, "i really " * 20_000):
        facts(text)


@pytest.mark.skipif(not MSC.exists(), reason="needs ../shared")
def test_facts_of_multi_session_chat():
    """Sessions 3 and 4, which the rules were not written with: of the turns with facts, and of the facts themselves."""
    noted = right = told = found = n_facts = n_right = n_told = n_found = 0
    for session in ("session_3", "session_4"):
        with gzip.open(MSC / session / "valid.txt.gz", "rt", encoding="utf-8") as rows:
            for turn in (turn for row in rows for turn in json.loads(row)["dialog"]):
                gold = [part for part in re.split(r"(?<=[.!])\s+", turn.get("persona_text", "")) if part.strip()]
                guesses = texts(turn["text"])
                noted, right = noted + bool(guesses), right + bool(guesses and gold)
                told, found = told + bool(gold), found + bool(guesses and gold)
                n_facts, n_told = n_facts + len(guesses), n_told + len(gold)
                n_right += sum(any(is_in(line, [guess]) for line in gold) for guess in guesses)
                n_found += sum(is_in(line, guesses) for line in gold)
    print(f"turns: precision {right / noted:.3f}, recall {found / told:.3f} of {told}")
    print(f"facts: precision {n_right / n_facts:.3f}, recall {n_found / n_told:.3f} of {n_told}")
    assert right / noted > 0.88 and found / told > 0.52
    assert n_right / n_facts > 0.48 and n_found / n_told > 0.29


COMMON = """i i'm im my we me our a an the is am are was were be been to of in on at and or for with it that this do
does did have has had very really so not as by from you your just also but i've""".split()


def is_in(line, guesses):
    """Whether half of the words that matter in an annotation stand in the guesses, whatever their endings."""
    wanted, there = content(line), set().union(*map(content, guesses)) if guesses else set()
    return bool(wanted) and 2 * len(wanted & there) >= len(wanted)


def content(text):
    words = [word for word in re.findall(r"[a-z0-9']+", text.lower()) if word not in COMMON]
    return {re.sub(r"(ing|ed|es|s|er|e)$", "", word) if len(word) > 4 else word.rstrip("s") for word in words}
