"""
A hundred corrections change what the model in the box says: each situation of corrections.txt is asked, the reply is
edited into the wished answer as /edit bot does, and config/finetune_feedback.py learns the edits in minutes.

    pytest -s -m slow tests/training/test_corrections.py --basetemp=out-corrections
    python evaluate.py --init_from=out-corrections/... --groups=sense --groups=memory --data=data/personachat
"""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from evaluation.backends import LocalBackend
from evaluation.metrics import words
from evaluation.prompting import GREEDY, ask
from inference.loading import open_engine
from inference.settings import BOX, EngineConfig
from serving.feedback import FeedbackFile

OPENING = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello! how are you?"}]
MIN_LEARNED = 80  # of the hundred situations, in the words that were corrected


def corrections():
    """(situation, the same in words that are never learned, wished answer); every other one after a greeting."""
    lines = (Path(__file__).parent / "corrections.txt").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        *asked, wished = line.split(" | ")
        before = OPENING if number % 2 else []
        yield *([*before, {"role": "user", "content": text}] for text in asked), wished


def greedy_replies(folder, prompts):
    engine, _ = open_engine(EngineConfig(init_from=str(folder), threads=1), 16)
    return [answer.text.strip() for answer in ask(LocalBackend(engine), prompts, GREEDY, 1, lambda n: None)]


def n_alike(replies, wished):
    """How many replies are the wished ones, in every word and mark."""
    return sum(words(reply) == words(answer) for reply, answer in zip(replies, wished, strict=True))


@pytest.mark.slow
def test_a_hundred_corrections(tmp_path):
    """At least 80 of the greedy replies are then the wished ones; in other words not all, but more than before."""
    situations, reworded, wished = zip(*corrections(), strict=True)
    replies = greedy_replies(BOX, situations)
    before = n_alike(replies, wished), n_alike(greedy_replies(BOX, reworded), wished)
    feedback = FeedbackFile(str(tmp_path / "feedback.jsonl"))
    for situation, reply, answer in zip(situations, replies, wished, strict=True):
        feedback.append({"conversation": situation, "message": reply, "edit": answer})
    data, out = tmp_path / "data", tmp_path / "out"
    how = [f"--data_dir={data}", f"--out_dir={out}", "--threads=1", "--max_minutes=none"]  # none: on any machine alike
    for command in (
        ["data/feedback/prepare.py", f"--source={feedback.path}", f"--out_dir={data}"],
        ["train.py", "config/finetune_feedback.py", *how],
    ):
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    after = n_alike(greedy_replies(out, situations), wished), n_alike(greedy_replies(out, reworded), wished)
    print(f"\nwished replies in (the corrected words, other words): before {before}, after {after}; {out}")
    assert before[0] < 5 and after[0] >= MIN_LEARNED and after[1] > before[1]
