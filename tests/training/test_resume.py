"""
A run goes on with what it was told, says what has changed since, and keeps what is not its own; its last checkpoints
are whole, each of them.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import talk
from test_train import rows, state

import configurator
import train as script
from checkpoint import model_folder, trainer_state
from dataset.folder import Split, open_meta
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.errors import InputError
from train import TrainConfig, train
from training import resume
from training.optimizer import Optimizer


def resumed(*flags):
    """The settings of `python train.py --init_from=resume FLAGS`."""
    return configurator.load(TrainConfig, ["--init_from=resume", *flags], script.remembered)


def test_a_run_is_resumed_without_its_flags(settings, tmp_path):
    """All that it was told holds; a flag overrides; what it was told of its start and of the folder does not."""
    first = settings(max_iters=3, dropout=0.1, learn="all", grad_clip=None, overwrite=True)
    train(first)
    out = f"--out_dir={tmp_path / 'out'}"
    assert resumed(out) == dataclasses.replace(first, init_from="resume", overwrite=False)
    (tmp_path / "a.py").write_text("max_iters = 5\ngrad_clip = 0.5\n")
    told = resumed(out, str(tmp_path / "a.py"), "--grad_clip=0.25")
    assert (told.max_iters, told.grad_clip, told.dropout, told.learn) == (5, 0.25, 0.1, "all")
    train(told)
    assert state(tmp_path / "out")["progress"]["iter_num"] == 5
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert resumed(f"--out_dir={tmp_path / 'moved'}").out_dir == str(tmp_path / "moved")
    assert configurator.load(TrainConfig, [out], script.remembered) == TrainConfig(out_dir=str(tmp_path / "out"))


def test_epochs_are_steps(settings, talk_dir, tmp_path, capsys):
    """Two epochs pass every row twice; more are asked for by epochs or by max_iters, whichever is said."""
    config = settings(data_dir=str(talk_dir), epochs=2.0, max_iters=10**6, eval_interval=10**6, batch_size=7)
    train(config)
    drawn = state(tmp_path / "out")["rows_drawn"]
    steps = state(tmp_path / "out")["progress"]["iter_num"]
    assert f"epochs=2: {steps} steps" in capsys.readouterr().out
    tokens = rows(tmp_path / "out")[-2]["tokens"]
    assert drawn == 7 * steps
    assert tokens == pytest.approx((talk_dir / "train.bin").stat().st_size, rel=0.1)  # two bytes a token
    out = f"--out_dir={tmp_path / 'out'}"
    assert resumed(out).epochs == 2 and resumed(out, "--epochs=3").epochs == 3
    assert resumed(out, "--max_iters=9").epochs is None
    train(resumed(out))
    assert "the run has taken its" in capsys.readouterr().out
    assert state(tmp_path / "out")["progress"]["iter_num"] == steps


def test_data_that_changed_are_told(settings, tmp_path, capsys):
    """Made anew with more in them, or with other words learned, they are told of; as they were, not."""
    about = {"name": "talk", "licence": "CC0", "url": "none"}
    data = PrepareConfig(out_dir=str(tmp_path / "data"), tokenizer="gpt2", val_share=0)

    def prepare(n, **first):
        records = [{"messages": talk(2, i)} for i in range(n)]
        records[0]["messages"][1].update(first)
        prepare_folder(data, "", lambda settings, skipped: iter(records), about)

    prepare(5)
    train(settings(data_dir=data.out_dir, max_iters=1))
    for i, (change, told) in enumerate([((5,), False), ((9,), True), ((9,), False)]):
        prepare(*change)
        train(settings(data_dir=data.out_dir, max_iters=2 + i, init_from="resume"))
        assert ("have changed since" in capsys.readouterr().out) == told
    prepare(9, weight=0)
    train(settings(data_dir=data.out_dir, max_iters=9, init_from="resume"))
    assert "have changed since" in capsys.readouterr().out


def test_every_token_counts_for_the_fingerprint():
    """Another id, another supervised token, or one more give another number; the same give the same."""
    ids, supervised, starts = np.arange(50, dtype=np.uint16), np.ones(50, np.uint8), np.array([0, 50])
    split = Split(ids, supervised, starts)
    other, unlearned = ids.copy(), supervised.copy()
    other[49], unlearned[0] = 7, 0
    changed = [
        Split(other, supervised, starts),
        Split(ids, unlearned, starts),
        Split(ids[:-1], supervised[:-1], starts),
    ]
    numbers = {resume.fingerprint([each]) for each in (split, *changed)}
    assert len(numbers) == 4 and resume.fingerprint([Split(ids.copy(), supervised, starts)]) in numbers


def test_fewer_processes_are_told(settings, tmp_path, data_dir):
    """What a step holds changes with the number of processes: it is said."""
    train(settings(max_iters=1))
    told, (_, tokens) = [], open_meta(data_dir)
    data = state(tmp_path / "out")["data"]
    for world_size in (1, 3):
        resume.load_resumable(settings(init_from="resume", max_iters=1), tokens, data, world_size, told.append)
    assert told == ["1 processes trained it and 3 go on: a step has 3 times the tokens"]


FOREIGN = [
    b'{"note": "my own"}',
    b"garbage",
    b"\xff\xfe{\x00",
    b"[1, 2]",
    b"[" * 100_000,
    b'{"iter": "x"}',
    b"",
    b"null",
]


def test_foreign_lines_of_metrics_are_kept(settings, tmp_path):
    """What a run did not write stays where it is, a line that a crash cut goes, and what comes again comes once."""
    train(settings(max_iters=4))
    path = tmp_path / "out" / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    later = b'{"iter": 9, "loss": 1.0}'
    path.write_bytes(b"\r\n".join([*FOREIGN, *lines, later, b'{"iter": 2, "lo']))
    train(settings(max_iters=6, init_from="resume"))
    found = path.read_bytes().splitlines()
    assert found[: len(FOREIGN) + len(lines)] == [*FOREIGN, *lines]
    assert [json.loads(line)["iter"] for line in found[len(FOREIGN) + len(lines) :]] == [5, 6, 6]


def test_metrics_are_strict_json(settings, tmp_path, capsys):
    """Where the loss is no number, metrics.jsonl has null, and the run's lines say nan."""
    with pytest.raises(InputError, match="the loss is nan"):
        train(settings(learning_rate=1e30, grad_clip=0.0, max_iters=20, eval_interval=20))

    def refuse(constant):
        raise AssertionError(constant)

    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line, parse_constant=refuse).get("loss", 0) for line in lines]
    assert None in losses
    assert "loss nan" in capsys.readouterr().out


@pytest.mark.parametrize("content", [{}, {"model": {}, "config": {}}, {"config": 1}])
def test_a_foreign_state_is_one_line(tmp_path, content):
    """A trainer.pt that another program wrote is named."""
    torch.save(content, tmp_path / "trainer.pt")
    with pytest.raises(InputError, match=r"trainer.pt: not the state of a run of train.py"):
        resumed(f"--out_dir={tmp_path}")


def test_the_last_checkpoints_are_kept(settings, tmp_path):
    """--keep=2 leaves two whole folders, which load and resume; without it there is none; foreign folders stay."""
    (tmp_path / "out" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-1" / "mine").write_text("x")
    train(settings(max_iters=8, eval_interval=2, keep=2))
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-6", "checkpoint-8"]
    for step in (6, 8):
        folder = out / f"checkpoint-{step}"
        assert state(folder)["progress"]["iter_num"] == model_folder.load(folder)[2]["iter_num"] == step
        model, weights = model_folder.load(folder).model, state(folder)["model"]
        assert torch.equal(model.transformer.h[0].attn.c_attn.weight, weights["transformer.h.0.attn.c_attn.weight"])
    train(resumed(f"--out_dir={out / 'checkpoint-6'}", "--max_iters=7", "--keep=0"))
    assert state(out / "checkpoint-6")["progress"]["iter_num"] == 7
    assert state(out)["progress"]["iter_num"] == 8  # whose file it shares no more
    train(settings(max_iters=6, eval_interval=2, keep=2, overwrite=True))  # a new run: what is later is not its own
    assert sorted(path.name for path in out.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (1, 4, 6, 8)]


def test_a_checkpoint_that_was_given_is_kept(settings, tmp_path):
    """Neither the folder that a run begins from goes nor what a link stands for, however many are kept."""
    train(settings(max_iters=3, keep=3))
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    shutil.copytree(out / "checkpoint-3", elsewhere)
    (out / "checkpoint-2").symlink_to(elsewhere)
    start = str(out / "checkpoint-3")
    often = dict(eval_interval=4, keep=1)
    train(settings(init_from=start, max_iters=8, overwrite=True, **often))
    train(settings(init_from="resume", max_iters=12, **often))
    assert sorted(path.name for path in out.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (12, 2, 3)]
    assert model_folder.load(elsewhere)[2]["iter_num"] == model_folder.load(start)[2]["iter_num"] == 3


def test_a_disk_without_links_copies(settings, tmp_path, monkeypatch):
    """Where a file cannot have two names, the checkpoint's state is a copy."""

    def refuse(*args):
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    train(settings(max_iters=3, keep=1))
    assert trainer_state.load(tmp_path / "out" / "checkpoint-3")["rows_drawn"] == 6


@pytest.mark.parametrize("how", [dict(dtype="float16"), dict(dtype="float16", muon=True, unlikelihood=0.5)], ids=str)
def test_float16_learns_on_a_cpu(settings, tmp_path, how):
    """The loss falls as in float32."""
    for dtype in ("float32", "float16"):
        train(settings(**{**how, "dtype": dtype}, max_iters=40, eval_interval=40, out_dir=str(tmp_path / dtype)))
    full, half = (rows(tmp_path / dtype) for dtype in ("float32", "float16"))
    assert half[-1]["val"] < half[0]["val"] - 1 and half[-1]["val"] == pytest.approx(full[-1]["val"], abs=0.3)


def test_float16_does_not_look_for_its_scale_for_ever(settings, monkeypatch):
    """Gradients that are infinite at any scale of the loss end the run, once that is 1: 16 halvings, 3 steps."""
    monkeypatch.setattr(Optimizer, "grad_norm", lambda self: torch.tensor(float("inf")))
    with pytest.raises(InputError, match="iter 18: the gradient is inf, the third step in a row that fails"):
        train(settings(dtype="float16", max_iters=40, eval_interval=40))


def test_a_model_is_not_written_beside_an_adapter(settings, tmp_path):
    """It would be loaded with the adapter merged into it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").write_text("{}", encoding="utf-8")
    for how in (dict(), dict(overwrite=True), dict(init_from=str(tmp_path / "out"))):
        with pytest.raises(InputError, match="holds a LoRA adapter.*--out_dir=OTHER"):
            train(settings(**how))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["adapter_config.json"]


@pytest.mark.parametrize(
    "how, message",
    [
        (dict(freeze_layers=99), r"freeze_layers \(99\) must be at most n_layer \(1\)"),
        (dict(freeze_layers=1, lora_rank=2), "nothing is left to train: freeze_layers=1 with lora_rank=2"),
        (dict(n_layer=10**9, n_embd=10**4, n_head=1), r"need .* GB on cpu, .* are free: try a smaller one"),
    ],
)
def test_a_model_that_cannot_be_trained_is_one_line(settings, tmp_path, how, message):
    """Nothing to train, or more than memory holds: said before anything is written."""
    with pytest.raises(InputError, match=message):
        train(settings(**how))
    assert not (tmp_path / "out").exists()
