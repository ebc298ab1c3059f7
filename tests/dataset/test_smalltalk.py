"""
Small talk: scripts are read as they are meant, and every topic in data/smalltalk is well written, as far as rules tell.

For one topic: python -m pytest -q tests/dataset/test_smalltalk.py -k dogs
"""

import random
import re

import pytest
from conftest import ROOT
from spellchecker import SpellChecker

from dataset.smalltalk.script import Choice, Draw, Slot, read_slots, read_topic
from dataset.smalltalk.talk import topic_files

FOLDER = ROOT / "data" / "smalltalk"
TOPICS = topic_files(FOLDER)
SLOTS = read_slots(FOLDER / "slots.txt")
KNOWN = set((FOLDER.parents[1] / "tests" / "dataset" / "smalltalk_words.txt").read_text(encoding="utf-8").split())
SPELLING = SpellChecker()
DRAWS = 25  # of each script: a rule is checked on what is said, not on how it is written
# values that the bot cannot know before somebody said them
TOLD = ("woman", "man", "name", "dogname", "catname", "city", "job", "number", "small_number")


def slots_of(template):
    """Every Slot of a template that stands for its value, however deep."""
    for part in template:
        if isinstance(part, Slot | Choice):
            for way in part.ways:
                yield from slots_of(way)
            if isinstance(part, Slot) and not part.ways:
                yield part


def style_problems(script):
    """What is wrong with the lines of a script, each with its line number."""
    if script.kind in ("anywhere", "itself", "alone") and not 4 <= len(script.turns) <= 32:
        yield script.line, f"{len(script.turns)} turns; 4 to 16 are usual, 32 the most"
    for turn in script.all_turns:
        texts = {Draw(script.slots, random.Random(seed)).say(turn) for seed in range(DRAWS)}
        if len(texts) < 2 and turn.role != "about":
            yield turn.line, "is always said alike: write other ways below it, with |"
        for text in texts:
            if "  " in text or re.search(r" [.,!?;:](?!\w)", text):
                yield turn.line, f"has a space too many: {text}"
            if len(text.split()) > 40:
                yield turn.line, f"has {len(text.split())} words, 40 at most: {text}"
            if turn.role in ("assistant", "answer"):
                if not re.match(r"[\"'(]?[A-Z0-9]", text):
                    yield turn.line, f"the bot begins with a capital: {text}"
                if not re.search(r"[.!?…][\"')]?$", text):
                    yield turn.line, f"the bot ends its sentences: {text}"
            if turn.role in ("assistant", "answer", "system"):
                words = {word for word in re.findall(r"(?<![\w'])[a-z]+(?:'[a-z]+)?", text) if word not in KNOWN}
                for word in SPELLING.unknown(words - {word for word in words if word.endswith("'s")}):
                    yield turn.line, f"is {word} a word? (if so, add it to tests/dataset/smalltalk_words.txt)"


def knowledge_problems(script):
    """Where the bot uses what nobody told it, or a question for later has an answer that was not given before."""
    for seed in range(DRAWS):
        draw, heard = Draw(script.slots, random.Random(seed)), ""
        for turn in [*([script.system] if script.system else []), *script.turns]:
            way = draw.rng.choice(turn.ways)
            text = draw.fill(way)
            if turn.role == "assistant" and script.kind == "anywhere" and not script.system:
                for slot in slots_of(way):
                    value = draw.value(slot.name, slot.number)
                    if slot.name in TOLD and value.lower() not in heard and value in text:
                        yield turn.line, f"the bot says {value}, and nobody told it in some ways of the turns before"
            heard += "\n" + text.lower()
        for _, answer in script.questions:
            for way in answer.ways:
                for slot in slots_of(way):
                    value = draw.value(slot.name, slot.number)
                    if value.lower() not in heard:
                        yield answer.line, f"answers {value}, which nobody said in some ways of the turns before"


@pytest.mark.parametrize("path", TOPICS, ids=lambda path: path.stem)
def test_a_topic_is_well_written(path):
    """Spelling, length, whole sentences, several ways for each turn, and nothing known that was not told."""
    problems = set()
    for script in read_topic(path, SLOTS):
        problems |= {(line, f"{script.title}: {text}") for line, text in style_problems(script)}
        problems |= {(line, f"{script.title}: {text}") for line, text in knowledge_problems(script)}
    lines = [f"{path.name}:{line}: {text}" for line, text in sorted(problems)]
    assert not lines, "\n" + "\n".join(lines)
