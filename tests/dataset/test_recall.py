"""
What teaches and measures memory is right: an answer can be derived from the text alone, the distance is the one that is
stated, and what is held out for evaluation is never trained on.
"""

import collections
import importlib.util
import itertools
import random
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from dataset.folder import open_meta
from dataset.recall import phrasebook, tasks
from dataset.recall.drills import drill
from dataset.recall.filler import Exchange, Filler, Talk
from dataset.recall.phrasebook import Fact, contains_phrase
from dataset.recall.story import Question, Story
from memory.notes import NOTED
from runtime.errors import InputError

N = 300


@pytest.fixture(scope="module")
def folder(talk_dir):
    return talk_dir


@pytest.fixture(scope="module")
def train(folder):
    return Filler([folder], "train")


@pytest.fixture(scope="module")
def val(folder):
    return Filler([folder], "val")


@pytest.fixture(scope="module")
def made(train):
    return [tasks.conversation(train, seed=1, index=index) for index in range(N)]


@pytest.fixture(scope="module")
def asked(val):
    return list(itertools.islice(tasks.probes(val, seed=1), N))


def rows(messages):
    """(system message, [(human, bot), ...]); the bot's part of a probe's last exchange is empty."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    texts = [message["content"] for message in messages if message["role"] != "system"]
    return system, list(itertools.zip_longest(texts[::2], texts[1::2], fillvalue=""))


def told_in(messages, position):
    system, exchanges = rows(messages)
    return system if position < 0 else "\n".join(exchanges[position])


def test_the_value_stands_where_the_distance_says(made, asked):
    """Every question's value, and what must be beside it, was said in the chat, as many exchanges ago as stated."""
    for messages, question in [(whole.messages, q) for whole in made for q in whole.questions] + [
        (probe.messages, probe) for probe in asked
    ]:
        _, exchanges = rows(messages)
        assert question.text in exchanges[question.position][0].replace("\n", " ") + "."
        if question.kind in ("abstention", "who"):
            continue
        told_at = question.position - question.distance
        assert contains_phrase(told_in(messages, told_at), question.value), question
        before = "\n".join(told_in(messages, position) for position in range(-1, question.position))
        assert all(contains_phrase(before, value) for value in question.other_values), question


def test_a_probe_ends_with_its_question(asked):
    """The last message is the human's question, roles take turns, and the distance is what was asked for."""
    for probe in asked:
        roles = [message["role"] for message in probe.messages if message["role"] != "system"]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)] and roles[-1] == "user"
        assert probe.position == len(roles) // 2
    assert {probe.kind for probe in asked} == set(tasks.KINDS)


@pytest.mark.parametrize("distance", [1, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("kind", tasks.KINDS)
def test_the_distance_is_exact(val, kind, distance):
    """Every kind can be asked at every distance, and that is where its fact (or its decoy) was told."""
    probe = next(tasks.probes(val, seed=2, kind=kind, distance=distance))
    assert (probe.kind, probe.distance) == (kind, distance)
    value = probe.fact.key if kind == "who" else probe.value
    assert kind == "abstention" or contains_phrase(told_in(probe.messages, probe.position - distance), value)


def test_the_gold_answer_is_right_and_others_are_not(made, asked):
    """An oracle scores 100; an empty reply, a rival and the answer to another question score 0."""
    for question in [q for whole in made for q in whole.questions] + asked:
        assert question.is_right(question.answer), question
        assert question.is_right(question.answer.upper())
        assert not question.is_right("") and not question.is_right("oh nice, tell me more!")
        for rival in question.wrong_values:
            assert not question.is_right(f"{question.answer} {rival}")
    for one, other in itertools.pairwise(probe for probe in asked if probe.kind == "recall"):
        assert one.value in other.answer or not one.is_right(other.answer)


def test_the_newer_value_holds(val):
    """A corrected fact is asked for by its newer value; the older is a rival, was told, and before the newer."""
    for probe in itertools.islice(tasks.probes(val, seed=3, kind="correction"), 60):
        told_at = probe.position - probe.distance
        earlier = "\n".join(told_in(probe.messages, position) for position in range(told_at))
        assert not contains_phrase(earlier, probe.value)
        assert any(contains_phrase(earlier, rival) for rival in probe.wrong_values)


def test_abstention_asks_what_was_never_said(val):
    """What is asked is told by nobody in the chat: none of the facts in it is of that slot, subject and key."""
    for index in range(200):
        whole = tasks.conversation(val, seed=4, index=index)
        for question in whole.questions:
            if question.kind == "abstention":
                never = question.fact
                assert all(
                    (fact.slot, fact.subject, fact.key) != (never.slot, never.subject, never.key)
                    for _, fact in whole.told
                )


def test_facts_contradict_only_where_corrected(made):
    """Of a slot, subject and key there is one value, unless a newer one corrects it or one can have several."""
    for whole in made:
        kinds = {question.kind for question in whole.questions}
        counts = collections.Counter((fact.slot, fact.subject, fact.key) for _, fact in whole.told)
        assert kinds & {"correction", "two"} or max(counts.values(), default=1) == 1, whole.told


def test_held_out_values_are_never_trained(made, asked):
    """No held-out value, and no held-out topic, is told in training; evaluation has no other."""
    for whole in made:
        for _, fact in whole.told:
            assert not phrasebook.is_held_out(fact.value)
            assert fact.slot != "opinion" or not phrasebook.is_held_out(fact.key)
    for probe in asked:
        assert not probe.fact.value or phrasebook.is_held_out(probe.fact.value)


def patterns(split):
    """The human's phrasings of a split as (role, pattern): what stands in braces may be anything short."""
    pronouns = {name: f"(?:{word}|{phrasebook.SECOND_PERSON[name]})" for name, word in phrasebook.FIRST_PERSON.items()}
    for slot, roles in phrasebook.sections().items():
        for role in set(roles) & set(phrasebook.DIVIDED_ROLES):
            for line in phrasebook.phrasings(slot, role, split):
                parts = re.split(r"\{([^}]*)\}", line.rstrip("."))
                parts[::2] = map(re.escape, parts[::2])
                parts[1::2] = (pronouns.get(name, ".{1,60}") for name in parts[1::2])
                yield role, line, re.compile("".join(parts), re.I)


def test_held_out_phrasings_are_never_trained(made, asked):
    """No held-out question is asked in training, and no question of training in evaluation."""
    openers = [line.rstrip(",.") for line in phrasebook.phrasings("any", "wait", "train")]
    for split, texts in (
        ("held_out", [question.text for whole in made for question in whole.questions]),
        ("train", [probe.text for probe in asked]),
    ):
        asks = [(line, pattern) for role, line, pattern in patterns(split) if role not in ("tell", "more", "correct")]
        for text in texts:
            bare = re.sub(rf"^({'|'.join(openers)})[,.] ", "", text, flags=re.I)
            assert not [line for line, pattern in asks if pattern.fullmatch(bare)], text
    texts = [message["content"] for whole in made for message in whole.messages]
    for role, line, pattern in patterns("held_out"):
        if role in ("tell", "more", "correct"):
            assert not [text for text in texts if pattern.search(text)], line


def test_what_training_alone_has_does_not_give_away_what_is_held_out():
    """None of its lines has four words in a row, or most of its words, in common with a held-out one of its role."""
    for slot, roles in phrasebook.sections("recall_train.txt").items():
        for role in set(roles) & set(phrasebook.DIVIDED_ROLES):
            held_out = [re.findall(r"[\w{}']+", line.lower()) for line in phrasebook.phrasings(slot, role, "held_out")]
            for line in roles[role]:
                words = re.findall(r"[\w{}']+", line.lower())
                for other in held_out:
                    shared = {tuple(words[i : i + 4]) for i in range(len(words) - 3)}
                    assert not shared & {tuple(other[i : i + 4]) for i in range(len(other) - 3)}, line
                    assert len(set(words) & set(other)) < 0.6 * len(set(words) | set(other)), line


def test_drills_ask_for_what_they_told(train):
    """Every value that is asked for was told before, the newest counts, and the answer spells it as it was told."""
    drills = [drill(train, 1, index) for index in range(100)]
    questions = [(woven, question) for woven in drills for question in woven.questions]
    kinds = {"recall", "abstention", "two", "summary", "topic", "who"}
    assert len(questions) > 3 * len(drills) and {question.kind for _, question in questions} == kinds
    assert len({woven.messages[0]["content"] for woven in drills}) > 80
    for woven, question in questions:
        _, exchanges = rows(woven.messages)
        before = woven.messages[0]["content"] * (woven.messages[0]["role"] == "system")
        before += "\n".join("\n".join(exchange) for exchange in exchanges[: question.position])
        fact = question.fact
        newest = [told for at, told in woven.told if at < question.position]
        newest = [told for told in newest if (told.slot, told.subject, told.key) == (fact.slot, fact.subject, fact.key)]
        assert newest[-1:] == [fact] * (question.kind != "abstention")
        answer = exchanges[question.position][1]
        assert question.is_right(answer), (question, answer)
        for value in filter(None, (question.value, *question.other_values)):
            spelled = re.search(rf"(?i)(?<!\w){re.escape(value)}(?!\w)", answer)
            assert spelled and (spelled[0] in before or question.kind == "topic")


def test_every_role_has_phrasings_for_both_splits():
    """Every slot can be told and asked for in both splits, in at least two ways in the held-out one."""
    for slot in phrasebook.SLOTS:
        for role in ("tell", "ask"):
            assert len(phrasebook.phrasings(slot, role, "train")) >= 6
            assert len(phrasebook.phrasings(slot, role, "held_out")) >= 2
    for slot, roles in phrasebook.sections().items():
        for role in set(roles) & set(phrasebook.DIVIDED_ROLES):
            train, held_out = (phrasebook.phrasings(slot, role, split) for split in ("train", "held_out"))
            assert train and held_out and not set(train) & set(held_out), (slot, role)


def test_values_are_many_and_none_hides_in_another():
    """Slots that allow it have thousands of values; none is a part of another, so that presence proves knowledge."""
    vocabulary = phrasebook.vocabulary()
    assert all(len(vocabulary[slot]) > 2500 for slot in ("name", "home", "pet", "family", "trip"))
    assert all(len(vocabulary[slot]) > 500 for slot in phrasebook.SLOTS if slot != "opinion")
    everything = {value.lower() for values in vocabulary.values() for value in values}
    for value in everything:
        words = value.split()
        parts = itertools.combinations(range(len(words) + 1), 2)
        assert not everything & {" ".join(words[i:j]) for i, j in parts if j - i < len(words)}, value


def test_distances_are_spread_evenly(made):
    """Of the far distances none is asked much more often than another."""
    counts = collections.Counter((max(q.distance for q in whole.questions) - 1) // 10 for whole in made)
    assert set(counts) == {0, 1, 2, 3} and max(counts.values()) < 1.6 * min(counts.values())


def test_the_same_seed_gives_the_same_text(folder, made):
    """Conversations depend on the filler, the seed and the index alone, also in another process and another order."""
    again = Filler([folder], "train")
    assert [tasks.conversation(again, 1, index).messages for index in (7, 3)] == [made[7].messages, made[3].messages]
    assert tasks.conversation(again, 2, 3).messages != made[3].messages
    command = "from dataset.recall.tasks import Filler, conversation\n"
    command += f"print(conversation(Filler([{str(folder)!r}], 'train'), 1, 3).messages)"
    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(made[3].messages)


def test_the_filler_is_kept_in_order_and_val_stays_out(made, train, val):
    """Real turns stand whole and in the order of their conversation, and none of val's is in what is trained on."""

    def turns(filler):
        return {text for place in filler.places for e in filler.talk(place).exchanges for text in (e.human, e.bot)}

    mine, others = turns(train), turns(val)
    for whole in made:
        text = "\n".join(message["content"] for message in whole.messages)
        numbers = re.findall(r"\b(1\d\d) (\d+)\b", text)
        assert numbers == [pair for _, run in itertools.groupby(numbers, lambda pair: pair[0]) for pair in run]
        for _, run in itertools.groupby(numbers, lambda pair: pair[0]):
            places = [int(place) for _, place in run]
            assert all(a < b for a, b in itertools.pairwise(places))
        lines = set(re.sub(r"\.? (?=[A-Z]).*", "", text).splitlines())
        assert not lines & (others - mine)


def test_a_conversation_keeps_within_the_context(train):
    """No conversation is longer than the context it is made for, however far apart fact and question should be."""
    from tokenization.chat_format import render

    for context in (256, 1024):
        for index in range(40):
            messages = tasks.conversation(train, 5, index, context=context).messages
            assert len(render(messages, train.tokenizer)[0]) <= context


def test_dogecoin(val):
    """The original author's own case: Dogecoin is cool; what were we just talking about?"""
    fact = Fact("opinion", "user", "cool", "Dogecoin")
    probes = tasks.probes(val, 6, kind="topic", distance=1, fact=fact)
    for probe in itertools.islice(probes, 10):
        assert contains_phrase(probe.messages[-3]["content"], "dogecoin") and not contains_phrase(
            probe.messages[-1]["content"], "dogecoin"
        )
        assert probe.is_right("We were talking about dogecoin.") and not probe.is_right("We were talking about my dog.")


def script():
    spec = importlib.util.spec_from_file_location("recall_prepare", ROOT / "data" / "recall" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_prepare_writes_what_train_reads(folder, tmp_path, capsys):
    """data/recall/prepare.py writes a data folder in a streaming manner; twice the same seed gives the same bytes."""
    prepare = script()
    for name in "ab":
        settings = prepare.RecallConfig(
            filler=(str(folder),), count=40, tokenizer=str(folder), out_dir=str(tmp_path / name), show=2
        )
        prepare.prepare(settings)
    assert (tmp_path / "a/train.bin").read_bytes() == (tmp_path / "b/train.bin").read_bytes()
    meta, tokenizer = open_meta(tmp_path / "a")
    assert meta["sources"][0]["licence"] == "CC0" and sum(s["conversations"] for s in meta["splits"].values()) == 40
    assert "[Human]:" in capsys.readouterr().out


def test_an_answer_stands_where_it_was_asked_for(made):
    """Behind its question, even where the same words were said before, by the bot or its persona."""
    for woven in made:
        for question in woven.questions:
            asked, answer = woven.messages[woven.answered_at(question) - 1 :][:2]
            assert (asked["role"], answer["role"]) == ("user", "assistant")
            assert asked["content"].rstrip(".") == question.text.rstrip(".")
            assert answer["content"].rstrip(".") == question.answer.rstrip(".")


def test_a_chat_with_memory_has_what_it_is_asked_for(train, made):
    """Seen through memory/ a talk ends with a question's answer, and no fact that the answer needs has been lost."""
    prepare, asked, noted = script(), 0, 0
    for index, woven in enumerate(made[:150]):
        seen = prepare.remembered(woven, train, random.Random(index))
        if seen is None:
            continue
        question = next(q for q in woven.questions if woven.messages[woven.answered_at(q)] == seen[-1])
        before = "\n".join(message["content"] for message in woven.messages[: woven.answered_at(question)])
        in_view = "\n".join(message["content"] for message in seen[:-1])
        assert not contains_phrase(before, question.value) or contains_phrase(in_view, question.value)
        asked, noted = asked + 1, noted + (NOTED in in_view)
    assert asked > 20 and noted > 5


def test_without_filler_it_says_how_to_make_it(tmp_path):
    """A folder that is not prepared gives one line that names the command."""
    command = [sys.executable, "data/recall/prepare.py", f"--filler={tmp_path}", f"--out_dir={tmp_path / 'out'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "python data/chitchat/prepare.py" in result.stderr
    with pytest.raises(InputError, match="prepare.py"):
        Filler([tmp_path], "val")


@pytest.mark.parametrize(
    "noun, article",
    [("engineer", "an"), ("unicorn", "a"), ("usher", "an"), ("hour", "an"), ("dog", "a"), ("aunt", "an")],
)
def test_articles(noun, article):
    """a or an by the sound."""
    assert phrasebook.with_article(noun) == f"{article} {noun}"


def test_values_are_made_up_in_training_alone():
    rng = random.Random(1)
    names = {words: {phrasebook.draw_value(rng, "name", words) for _ in range(400)} for words in ("train", "held_out")}
    known = {words: set(phrasebook.values("name", words)) for words in ("train", "held_out")}
    made_up = names["train"] - known["train"]
    assert 60 < len(made_up) and not any(phrasebook.is_held_out(name) for name in made_up)
    assert names["held_out"] <= known["held_out"]


def test_each_side_keeps_its_own_way_of_writing():
    """People who write without capitals leave the bot its own, and the other way round."""
    exchanges = [Exchange("what now", "Tell me more.", 9, frozenset())] * 6
    story = Story(random.Random(1), "train", 7, 6, Talk(exchanges, None))
    story.ask(Question("recall", 6, 1, Fact("name", "user", "Rex"), "What's my name?", "It's Rex.", "Rex"))
    human, bot = list(story.exchanges())[-1]
    assert (human, bot) == ("what's my name?", "It's Rex.")


def test_answers_only_are_learned(made):
    """What is learned is the reply to a fact or a question: at least one in each talk, and no real reply alone."""
    for woven in made[:40]:
        replies = [message for message in woven.answers_weighted() if message["role"] == "assistant"]
        learned = [i for i, message in enumerate(replies) if message.get("weight") != 0]
        assert learned and set(learned) >= {question.position for question in woven.questions}
        assert set(learned) <= {position for position, _ in woven.told} | {q.position for q in woven.questions}
