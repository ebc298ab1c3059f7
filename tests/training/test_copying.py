"""What --copy_probe says is what a model does: one that copies is told from one that does not."""

import re

import numpy as np
import pytest
import torch
from conftest import script

from dataset import copying
from dataset.folder import open_meta, open_split
from dataset.recall.filler import Filler
from model import GPT, GPTConfig
from runtime.device import choose_device
from training.validation import copy_accuracy


@pytest.fixture
def rows(talk_dir, tmp_path):
    """The val split of rows of random tokens, and their tokenizer."""
    copy = script("copy")
    copy.prepare(copy.CopyConfig(count=100, length=64, tokenizer=str(talk_dir), out_dir=str(tmp_path / "rows")))
    _, tokenizer = open_meta(tmp_path / "rows")
    return open_split(tmp_path / "rows", "val", tokenizer), tokenizer


def test_chance_and_perfect_copying(rows, monkeypatch):
    """Random weights copy nothing; a head that names what followed the last two tokens before copies nearly all."""
    split, tokenizer = rows
    device = choose_device("cpu", "float32", 1)
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=128, vocab_size=tokenizer.n_vocab, n_layer=1, n_head=2, n_embd=16))
    probes = copy_accuracy(model, np.array(split.ids), tokenizer, device)
    assert list(probes) == [16, 64]  # the others are longer than the context
    assert all(probe.share < 0.05 and abs(probe.gain) < 0.5 for probe in probes.values()), probes

    def hidden_states(ids):
        x = torch.full((*ids.shape, tokenizer.n_vocab), -9.0)
        for row, sequence in enumerate(ids.tolist()):
            for i, token in enumerate(sequence):
                earlier = [j for j in range(1, i) if sequence[j - 1 : j + 1] == [sequence[i - 1], token]]
                if earlier:
                    x[row, i, sequence[earlier[-1] + 1]] = 0.0
        return x

    monkeypatch.setattr(model, "hidden_states", hidden_states)
    monkeypatch.setattr(model, "head", lambda x: x)
    probes = copy_accuracy(model, np.array(split.ids), tokenizer, device)
    assert all(probe.share > 0.7 and probe.gain > 3 for probe in probes.values()), probes


def test_words_come_back_behind_other_talk(talk_dir):
    """What the last reply repeats was told in the first message, with real talk between them."""
    rng, filler = np.random.default_rng(1), Filler([talk_dir], "train")
    words = ["apple", "tree", "lamp", "stone", "river"]
    talks = [copying.remembered_talk(words, rng, filler) for _ in range(30)]
    assert max(len(talk) for talk in talks) > 8
    for talk in talks:
        told, said = ([word for word in re.findall(r"\w+", talk[i]["content"]) if word in words] for i in (0, -1))
        assert told == said and len(told) >= 3
