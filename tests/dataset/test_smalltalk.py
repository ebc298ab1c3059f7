"""
Small talk: scripts are read as they are meant, and every topic in data/smalltalk is well written, as far as rules tell.

For one topic: python -m pytest -q tests/dataset/test_smalltalk.py -k dogs
"""

import itertools
import random
import re
import shutil
from collections import Counter

import pytest
from conftest import ROOT
from spellchecker import SpellChecker

from dataset.smalltalk.script import Choice, Draw, Slot, read_slots, read_topic
from dataset.smalltalk.talk import read_scripts, split_of, talk, topic_files
from dataset.smalltalk.typed import Habits, as_typed, draw_habits
from runtime.errors import InputError
from tokenization.chat_format import check

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


SCRIPT = """\
# Pets
pet = dog | cat | owl

== A new pet
who = my sister | my brother
about: {who:your sister|your brother}'s new {pet}
H: {who} has {a pet} called {name}
B: {A pet}! And {who:she|he} likes it? {A pet.2} would be {nice|good} too.
| How is {name}?
ask: what is it called?
answer: {Name}.
"""


def topic(tmp_path, text, name="pets"):
    """The scripts of a topic with this text; names are two."""
    (tmp_path / "slots.txt").write_text("name = Rex | Bo\n", encoding="utf-8")
    (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return read_topic(tmp_path / f"{name}.txt", read_slots(tmp_path / "slots.txt"))


def test_a_script_says_what_it_means(tmp_path):
    """A slot keeps its value, {a slot} has its article, {slot.2} differs, {slot:...} goes with the value."""
    (script,) = topic(tmp_path, SCRIPT)
    seen = set()
    for seed in range(200):
        draw = Draw(script.slots, random.Random(seed))
        told, reply, about = draw.say(script.turns[0]), draw.say(script.turns[1]), draw.say(script.about)
        who, pet, name = re.fullmatch(r"(my \w+) has an? (\w+) called (\w+)", told).groups()
        assert ("an owl" in told) == (pet == "owl") and about == f"{who.replace('my', 'your')}'s new {pet}"
        assert draw.say(script.questions[0][1]) == f"{name}."
        if reply.startswith("A"):
            second = re.fullmatch(r"An? (\w+)! And (she|he) likes it\? An? (\w+) would be (nice|good) too\.", reply)
            assert second[1] == pet != second[3] and (second[2] == "she") == (who == "my sister")
        else:
            assert reply == f"How is {name}?"
        seen.add((who, pet, name, reply[:3]))
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("wrong", "right", "line"),
    [
        ("H: {who} has", "H: {whom} has", ":7: no slot is called whom, did you mean who"),
        ("{who:she|he}", "{who:she|he|it}", ":8: {who:...} has 3 ways, the slot 2 values"),
        ("{nice|good}", "{nice|good", ":8: a brace is not closed"),
        ("{nice|good}", "{nice}", ":8: no slot is called nice"),
        ("{nice|good}", "{pet|good}", ":8: the slot pet among ways needs braces of its own"),
        ("{A pet.2}", "{A pet.4}", ":8: {pet.4}: the slot has only 3 values"),
        ("answer: {Name}.\n", "", ":10: an ask: needs its answer:"),
        ("B: {A pet}!", "H: {A pet}!", ":8: H: and B: take turns"),
        ("| How is {name}?", "B: How is {name}?", ":9: H: and B: take turns"),
        ("| How", "How", ":9: a line begins with"),
        ("about:", "kind: nice\nabout:", ":6: kind is one of anywhere"),
        ("== A new pet\n", "", ":5: a script begins with =="),
        ("dog | cat | owl", "dog | {pet}", "the slot pet is made of itself"),
    ],
)
def test_a_wrong_script_is_told_with_its_line(tmp_path, wrong, right, line):
    """One line that says where."""
    assert wrong in SCRIPT
    with pytest.raises(InputError) as error:
        topic(tmp_path, SCRIPT.replace(wrong, right))
    assert line in str(error.value)


def test_typing_habits_keep_what_matters():
    """Names and numbers are never misspelt, only their case may change; without habits a text stays as it is."""
    text = "My neighbors Rex and Bella gave me 12 pears because they really don't like them, you know."
    assert as_typed(text, Habits(), random.Random(1)) == text
    for seed in range(200):
        rng = random.Random(seed)
        typed = as_typed(text, draw_habits(rng), rng)
        assert {"rex", "bella", "12"} <= set(re.findall(r"\w+", typed.lower())) and 0.8 < len(typed) / len(text) < 1.1


def test_talks_are_whole_and_held_out_scripts_stay_out():
    """Every talk is a valid conversation; scripts of train and val are apart; the same seed gives the same talk."""
    scripts = read_scripts(FOLDER)
    for split, others in scripts.items():
        for seed in range(100):
            messages = talk(others, random.Random(seed))
            assert check({"messages": messages}) == messages == talk(others, random.Random(seed))
            roles = [message["role"] for message in messages if message["role"] != "system"]
            assert roles == [("user", "assistant")[i % 2] for i in range(len(roles))] and len(roles) % 2 == 0
        assert {split_of(script) for kind in others.by_kind.values() for script in kind} == {split}


def test_topics_are_chosen_by_name():
    """A pattern takes the topics that it fits, and one that fits none is named."""
    assert [path.stem for path in topic_files(FOLDER, ("dog*", "cats"))] == ["cats", "dogs"]
    titles = {s.title for path in topic_files(FOLDER, ("dogs",)) for s in read_topic(path, SLOTS)}
    chosen = read_scripts(FOLDER, ("dogs",))
    assert {s.title for split in chosen.values() for kind in split.by_kind.values() for s in kind} == titles
    with pytest.raises(InputError, match="no topic file dragons.txt"):
        topic_files(FOLDER, ("dogs", "dragons"))


def test_the_corpus_is_large_and_varied():
    """150 topics, 3,000 scripts; the bot says a longer line once in 2,000 at most, greetings aside; talks differ."""
    scripts = list(itertools.chain.from_iterable(read_topic(path, SLOTS) for path in TOPICS))
    assert len(TOPICS) >= 150 and len(scripts) >= 3000
    train = read_scripts(FOLDER)["train"]
    train.by_kind.update(opening=[], closing=[])  # greetings are said again and again
    talks = [talk(train, random.Random(seed)) for seed in range(6000)]
    assert len({str([message["content"] for message in messages]) for messages in talks}) > 0.97 * len(talks)
    said = [m["content"] for messages in talks for m in messages if m["role"] == "assistant"]
    common = Counter(text for text in said if len(text.split()) > 6).most_common(1)
    assert common[0][1] <= len(said) / 2000, common


def test_nobody_in_a_talk_has_the_name_of_another():
    """The scripts of one talk draw other values, as long as there are others."""
    slots = {"woman": [("Mei",), ("Ana",), ("Eva",)]}
    for seed in range(20):
        used = set()
        draws = [Draw(slots, random.Random(f"{seed}/{i}"), used=used) for i in range(3)]
        assert len({draw.value("woman", 0) for draw in draws[:2]}) == 2
        assert draws[0].value("woman", 0) == draws[0].value("woman", 0)


def test_a_name_is_nobody_else_in_its_script():
    """{name} beside {woman}, {man}, {name.2}: as many people; {name:she|he} goes with the name, whoever is taken."""
    for seed in range(30):
        draw = Draw(SLOTS, random.Random(seed))
        people = [draw.value(*slot) for slot in itertools.product(("name", "woman", "man"), (1, 2))]
        assert len(set(people)) == len(people), people
        slots = {"who": [("Mei",), ("Ben",), ("Ana",)]}
        draw = Draw(slots, random.Random(seed), used={"Mei"})
        assert slots["who"][draw.index("who", 1)] == (draw.value("who", 1),) != ("Mei",)


def test_a_new_subject_is_introduced(tmp_path, monkeypatch):
    """Nobody goes from one subject to another without a word; no two questions about what was said stand together."""
    monkeypatch.setattr("dataset.smalltalk.talk.draw_habits", lambda rng: Habits())
    (tmp_path / "slots.txt").write_text("name = Rex | Bo\n", encoding="utf-8")
    shutil.copy(FOLDER / "callbacks.txt", tmp_path)
    for name in ("boats", "cakes"):
        script = f"== One\nabout: {name}\nH: we have {name}\nB: So {name}.\nask: what was it?\nanswer: It was {name}.\n"
        (tmp_path / f"{name}.txt").write_text(script, encoding="utf-8")
    callbacks = (FOLDER / "callbacks.txt").read_text(encoding="utf-8")
    asks_leave = callbacks.partition("== new subject\n")[2].partition("B:")[0]
    train, followed = read_scripts(tmp_path)["train"], 0
    for seed in range(300):
        said = [message["content"] for message in talk(train, random.Random(seed))]
        begins = [i for i, text in enumerate(said) if text.endswith(("we have boats", "we have cakes"))]
        for first, second in itertools.pairwise(begins):
            followed += 1
            assert not said[second].startswith("we have") or said[second - 2] in asks_leave, said
            assert second - first in (2, 4, 6), said  # at most one question, and one turn that asks leave to go on
    assert followed > 20
