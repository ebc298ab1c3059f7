"""
What people think of replies becomes what is learned: one format from the terminal and the page, of which the newest
verdict counts, an edit calls one reply bad and the other good, and pairs are made within a talk only. The model's own
failures become pairs of the same kind.
"""

import json
import types

import pytest
from conftest import script

from dataset.folder import open_meta, read_records
from inference.settings import BOX
from readers.source import Skipped
from runtime.errors import InputError
from serving.feedback import FeedbackFile
from serving.protocol import Feedback
from terminal.session import Session

HI = [{"role": "user", "content": "hi"}]
LATER = [*HI, {"role": "assistant", "content": "hey"}, {"role": "user", "content": "what is new?"}]


@pytest.fixture
def prepared(tmp_path):
    """Makes a function of the lines of feedback.jsonl: (records that are learned, pairs, what was skipped)."""

    def made(*lines, **flags):
        source = tmp_path / "feedback.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        module, out = script("feedback"), tmp_path / "out"
        settings = module.FeedbackConfig(source=(str(source),), out_dir=str(out), tokenizer="train:300", **flags)
        module.prepare(settings)
        pairs = out / "train.pairs.jsonl"
        kept = pairs.read_text(encoding="utf-8").splitlines() if pairs.exists() else []
        return list(read_records(out, "train")), [json.loads(pair) for pair in kept], open_meta(out)[0]["skipped"]

    return made


def line(conversation, message, **thought):
    return {"time": 1, "model": "m", "conversation": conversation, "message": message, **thought}


def said(record):
    """The text of a record's last message; that of the others is not learned."""
    *before, last = record["messages"]
    assert all(message["role"] != "assistant" or message["weight"] == 0 for message in before)
    assert last.get("weight", 1) == 1
    return last["content"]


def test_an_edit_is_learned_and_preferred(prepared):
    """To what it replaced; of what was said before nothing is learned."""
    records, pairs, skipped = prepared(line(LATER, "old", edit="new"))
    assert [said(record) for record in records] == ["new"] and skipped == {}
    assert [(said(pair), pair["rejected"]) for pair in pairs] == [("new", "old")]
    assert [message["content"] for message in pairs[0]["messages"]] == ["hi", "hey", "what is new?", "new"]
    assert prepared(line(LATER, "old", verdict="good"))[1] == []  # the earlier pairs are gone


def test_a_good_reply_is_preferred_to_the_bad_ones_of_its_talk(prepared):
    """As /bad, /retry, /bad, /retry, /good make them; a verdict on another talk makes no pair with them."""
    records, pairs, skipped = prepared(
        line(HI, "a", verdict="bad"),
        line(HI, "b", verdict="bad"),
        line(HI, "c", verdict="good"),
        line(LATER, "d", verdict="bad"),
        line([*HI, *LATER], "e", verdict="good"),
    )
    assert sorted(said(record) for record in records) == ["c", "e"]
    assert [(said(pair), pair["rejected"]) for pair in pairs] == [("c", "a"), ("c", "b")]
    assert skipped == {"bad reply, and none to the same is called good": 1}


def test_the_newest_verdict_counts(prepared):
    """What is taken back is nothing; an edit that is edited again is worse than the last one."""
    records, pairs, _ = prepared(
        line(HI, "a", verdict="good"),
        line(HI, "a", verdict=None),
        line(HI, "b", verdict="good"),
        line(HI, "b", edit="c"),
        line(HI, "c", edit="d"),
    )
    assert [said(record) for record in records] == ["d"]
    assert [(said(pair), pair["rejected"]) for pair in pairs] == [("d", "b"), ("d", "c")]


def test_private_details_are_masked(prepared):
    """In what is learned and in pairs, unless they are to be kept."""
    given = line(HI, "call +49 170 1234567", edit="mail ann@example.org")
    for flags, wanted in (
        ({}, ("mail [email]", "call [phone]")),
        ({"keep_private": True}, (given["edit"], given["message"])),
    ):
        _, (pair,), _ = prepared(given, **flags)
        assert (said(pair), pair["rejected"]) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": "a"},
        line(HI, "a"),
        line(HI, "a", verdict="so so"),
        line([{"role": "ai", "content": "x"}], "a", edit="b"),
    ],
)
def test_a_damaged_line_is_named(prepared, wrong):
    with pytest.raises(InputError, match=r"feedback.jsonl:2: "):
        prepared(line(HI, "a", verdict="good"), wrong)


def test_no_feedback_yet(monkeypatch, tmp_path):
    """Is a line that says how to make some."""
    module = script("feedback")
    monkeypatch.setattr(module, "FeedbackFile", lambda: FeedbackFile(str(tmp_path / "feedback.jsonl")))
    with pytest.raises(InputError, match="is not there yet: say /good"):
        list(module.conversations(module.FeedbackConfig(), Skipped()))


def test_terminal_and_page_write_the_same(tmp_path):
    """The same keys in the same order, for a verdict and for an edit."""
    chat = types.SimpleNamespace(messages=HI)
    for thought in ({"verdict": "bad"}, {"edit": "better"}):
        file = FeedbackFile(str(tmp_path / "feedback.jsonl"))
        session = types.SimpleNamespace(model="m", chat=chat, feedback=file)
        Session.feed_back(session, 1, "a", **thought)
        (row,) = map(json.loads, file.path.read_text(encoding="utf-8").splitlines())
        body = Feedback(conversation=HI, message="a", **thought).model_dump(exclude_unset=True)
        assert list(row) == ["time", "model", *body] and {**row, **body} == row
        file.path.unlink()


@pytest.mark.slow
def test_a_models_own_failures_become_pairs(talk_dir, tmp_path):
    """Where the model in the box fails at what it was told, the right answer is preferred to what it said."""
    module, out = script("repair"), tmp_path / "out"
    how = dict(tokenizer=str(BOX), talk=(str(talk_dir),), count=6, out_dir=str(out), val_share=0.0, threads=1)
    module.prepare(module.RepairConfig(**how))
    pairs = [json.loads(pair) for pair in (out / "train.pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert pairs and all(said(pair) != pair["rejected"] for pair in pairs)
    assert any("wrong answer" in reason for reason in open_meta(out)[0]["skipped"])
