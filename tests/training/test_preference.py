"""
Training by preference is DPO as it is written: its loss on worked numbers and by TRL, its log-probabilities those of
each conversation alone, the reference the model that the run began with, to the bit after a stop; and it does what it
is for.
"""

import dataclasses
import json
import math
import sys
import types

import numpy as np
import pytest
import torch
from conftest import talk
from test_train import assert_close, assert_same_weights, state, torchrun

from dataset.folder import open_meta
from dataset.loader import Loader
from dataset.pairs import open_pairs
from dataset.prepare import PrepareConfig, prepare_folder
from model import GPT
from runtime.device import Device
from runtime.errors import InputError
from tokenization import chat_format
from train import train
from training import preference

CPU = Device("cpu", "cpu", "float32")
BLOCK = 64
HOW = dict(block_size=BLOCK, dpo_beta=0.5, learning_rate=3e-3)


def records():
    """Nine talks with a better last answer and a worse one; of two of them there is a second worse one."""
    for i in range(9):
        messages = talk(1 + i % 2, i)
        yield {"messages": messages, "rejected": f"no way {i}"}
        if i < 2:
            yield {"messages": messages, "rejected": "no"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder of records(), none of them val."""
    folder = tmp_path_factory.mktemp("pairs")
    about = {"name": "pairs", "licence": "CC0", "url": "none"}
    settings = PrepareConfig(out_dir=str(folder), tokenizer="train:400", val_share=0)
    prepare_folder(settings, "", lambda *_: records(), about)
    return folder


@pytest.fixture
def loader(folder):
    _, tokenizer = open_meta(folder)
    pairs, n_too_long = open_pairs(folder, "train", tokenizer, BLOCK)
    assert n_too_long == 0
    return Loader(pairs, BLOCK, tokenizer, group=2)


def test_the_loss_on_worked_numbers():
    """Gains of 2 against -1 nats, and of 0 against 0: at beta 0.1 log(1 + e^-0.3) and log 2."""
    now, start = torch.tensor([[-3.0, -8.0], [-4.0, -5.0]]), torch.tensor([[-5.0, -7.0], [-4.0, -5.0]])
    wanted = (math.log1p(math.exp(-0.3)) + math.log(2)) / 2
    assert preference.dpo_loss(now, start, 0.1).item() == pytest.approx(wanted)
    assert wanted == pytest.approx(0.623751, abs=1e-6)


def test_the_loss_is_trls():
    """Of random log-probabilities, and its gradient."""
    trainer = pytest.importorskip(
        "trl.trainer.dpo_trainer", reason="pip install trl==0.19.1 'transformers<5'"
    ).DPOTrainer
    settings = dict(beta=0.3, label_smoothing=0.0, loss_type="sigmoid", f_divergence_type="reverse_kl")
    accelerator = types.SimpleNamespace(device="cpu")
    oracle = types.SimpleNamespace(accelerator=accelerator, reference_free=False, f_divergence_params=None, **settings)
    now, start = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0)) * 9
    now.requires_grad_()
    wanted = trainer.dpo_loss(oracle, *now.T, *start.T)[0].mean()
    found = preference.dpo_loss(now, start, 0.3)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(loss, now)[0] for loss in (found, wanted)))


def test_the_files_hold_every_pair_once(folder):
    """A worse answer more to the same talk is a pair more, the better one is learned once; meta.json counts them."""
    lines = (folder / "train.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    assert sorted(pair["rejected"] for pair in pairs) == sorted(["no", "no", *(f"no way {i}" for i in range(9))])
    meta, _ = open_meta(folder)
    assert meta["splits"]["train"]["conversations"] == 9 and meta["splits"]["train"]["pairs"] == 11
    assert meta["skipped"] == {}


def test_log_probabilities_are_those_of_each_conversation_alone(folder, loader, tiny, monkeypatch):
    """In packed batches of whole pairs, the logits in pieces: as the plain logits of one conversation give them."""
    _, tokenizer = open_meta(folder)
    model = GPT(dataclasses.replace(tiny.config, vocab_size=tokenizer.n_vocab)).eval()
    monkeypatch.setattr(preference, "MAX_LOGITS", 5 * model.config.n_rows)
    with torch.no_grad():
        found = preference.log_probabilities_of_all(loader, model, 2, CPU)
    lines = (folder / "train.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    for pair, row in zip(map(json.loads, lines), found, strict=True):
        for answer, value in zip((pair["messages"][-1]["content"], pair["rejected"]), row, strict=True):
            prompt = chat_format.prompt(pair["messages"][:-1], tokenizer)
            said = tokenizer.encode(" " + answer) + [tokenizer.end_of_turn]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + said[:-1]]))[0, len(prompt) - 1 :]
            wanted = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None]).sum().item()
            assert value == pytest.approx(wanted, abs=1e-3)


def test_both_of_a_pair_are_in_one_batch(loader):
    """With what they are judged by, in every batch of an epoch, each pair once."""
    loader.reference = np.arange(22, dtype=np.float32).reshape(-1, 2)
    batches = list(loader.epoch(2))
    assert len(batches) > 1 and sorted(np.concatenate([b.reference[:, 0] for b in batches])) == list(range(0, 22, 2))
    for batch in batches:
        n_conversations = int((batch.idx[0, : batch.n_filled] == loader.tokenizer.endoftext).sum())
        assert n_conversations == 2 * len(batch.reference) == 2 * batch.n_averaged


def test_a_pair_that_is_too_long_loses_its_first_turns_or_is_left_out(folder, tmp_path):
    """The question stays; if even that and the longer answer do not fit, the pair is counted as left out."""
    _, tokenizer = open_meta(folder)
    messages = talk(20, 3)
    (tmp_path / "train.pairs.jsonl").write_text(
        json.dumps({"messages": messages, "rejected": "no"})
        + "\n"
        + json.dumps({"messages": messages, "rejected": "so much rain " * 99})
    )
    pairs, n_too_long = open_pairs(tmp_path, "train", tokenizer, BLOCK)
    assert n_too_long == 1 and len(pairs.starts) == 3 and np.diff(pairs.starts).max() <= BLOCK + 1
    shown = chat_format.parse(pairs.ids[: pairs.starts[1]].tolist(), tokenizer)
    assert [each["content"] for each in shown[-2:]] == [each["content"] for each in messages[-2:]]
    assert open_pairs(tmp_path, "val", tokenizer, BLOCK)[0].starts.tolist() == [0]
    (tmp_path / "train.pairs.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(InputError, match=r"train.pairs.jsonl:1: no pair"):
        open_pairs(tmp_path, "train", tokenizer, BLOCK)


@pytest.mark.parametrize(
    "more", [{}, {"lora_rank": 4, "learning_rate": 3e-2}, {"sft_weight": 0.0}], ids=["full", "lora", "pairs alone"]
)
def test_it_comes_to_prefer_what_people_do(settings, folder, tmp_path, capsys, more):
    """At the start nothing is gained; after some steps all pairs are preferred, and the loss is below log 2."""
    train(settings(**{"data_dir": str(folder), "max_iters": 40, "eval_interval": 40, **HOW, **more}))
    said = [line for line in capsys.readouterr().out.splitlines() if "are preferred" in line]
    assert said[0] == "    0% of the pairs are preferred as they should be, loss 0.6931"
    assert said[-1].startswith("    100%") and float(said[-1].split()[-1]) < 0.5


def test_the_step_is_the_sum_of_both_means(settings, folder, tmp_path, capsys):
    """Whatever the micro-batches: the first loss is sft_weight times the loss per token, and log 2."""
    for n, name in ((1, "one"), (3, "three")):
        how = dict(HOW, data_dir=str(folder), out_dir=str(tmp_path / name), max_iters=1, learning_rate=0.0)
        train(settings(**how, batch_size=30 // n, gradient_accumulation_steps=n, sft_weight=0.25))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("iter 1: loss")]
    losses = [float(line.split()[3].strip(",")) for line in lines]
    assert losses[0] == pytest.approx(0.25 * math.log(400) + math.log(2), abs=0.1)
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_a_stopped_run_ends_as_the_whole_one(settings, folder, tmp_path, capsys):
    """To the bit: the reference is that of the first start. With other pairs it does not go on, in one line."""
    how = dict(HOW, data_dir=str(folder))
    train(settings(**how, max_iters=6, out_dir=str(tmp_path / "whole")))
    train(settings(**how, max_iters=3))
    train(settings(**how, max_iters=6, init_from="resume"))
    assert_same_weights(state(tmp_path / "whole"), state(tmp_path / "out"))
    pairs = folder / "train.pairs.jsonl"
    before = pairs.read_text(encoding="utf-8")
    pairs.write_text(before.replace("no way", "yes"), encoding="utf-8")
    with pytest.raises(InputError, match="the pairs of the data have changed"):
        train(settings(**how, max_iters=7, init_from="resume"))
    pairs.write_text(before, encoding="utf-8")


def test_data_without_pairs_are_learned_as_they_are(settings, tmp_path, capsys):
    """It is said, and the run is the one without preference to the bit."""
    train(settings(out_dir=str(tmp_path / "plain")))
    train(settings(dpo_beta=0.1, sft_weight=0.5))
    assert "has no pairs of a better and a worse answer" in capsys.readouterr().out
    assert_same_weights(state(tmp_path / "plain"), state(tmp_path / "out"))


def test_what_does_not_go_together_is_refused(settings):
    for other in ("shard", "find_lr"):
        with pytest.raises(ValueError, match="dpo_beta goes with neither"):
            settings(dpo_beta=0.1, **{other: True})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo under torchrun")
def test_two_processes_equal_one(settings, folder, tmp_path):
    """By DDP with accumulation: the same steps on the same pairs, judged by the same reference."""
    how = dict(HOW, data_dir=str(folder), sft_weight=0.5, eval_iters=99)  # one process reads more in a batch
    train(settings(out_dir=str(tmp_path / "one"), **{**how, "batch_size": 8}))
    two = dict(out_dir=str(tmp_path / "two"), batch_size=2, gradient_accumulation_steps=2, threads=1)
    torchrun(settings(**two, **how))
    assert_close(tmp_path / "one", tmp_path / "two")
