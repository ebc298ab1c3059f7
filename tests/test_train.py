"""
train.py loses nothing and lies about nothing: a resumed run is the uninterrupted one to the bit, accumulation and ranks
change no gradient, and whatever goes wrong is one line with the model that was there still there.
"""

import dataclasses
import importlib.util
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from checkpoint import model_folder, trainer_state
from dataset.folder import open_split
from dataset.loader import Loader
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.device import choose_device
from runtime.errors import InputError
from tokenization import tokenizer
from train import TrainConfig, train
from training import resume, validation
from training.optimizer import Optimizer
from training.run import Run
from training.schedule import get_lr
from training.step import Progress


def flags(config):
    """The command line of a TrainConfig."""
    default = dataclasses.asdict(TrainConfig())
    given = {name: value for name, value in dataclasses.asdict(config).items() if value != default[name]}
    return ["train.py", *(f"--{name}={value}" for name, value in given.items())]


def rows(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def state(folder):
    return trainer_state.load(folder)


def assert_same_weights(a, b):
    assert a["model"].keys() == b["model"].keys()
    for name in a["model"]:
        assert torch.equal(a["model"][name], b["model"][name]), name


def test_a_run_writes_what_it_says(settings, tmp_path, capsys):
    """The folder holds the model, the run's state, metrics.jsonl and loss.png; lines parse; the last says what next."""
    train(settings())
    out = tmp_path / "out"
    wanted = "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json chat.json"
    assert {p.name for p in out.iterdir()} == {*wanted.split(), "README.md", "trainer.pt", "metrics.jsonl", "loss.png"}
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [row["iter"] for row in rows(out) if "val" in row] == [0, 3, 6]
    assert [row["iter"] for row in rows(out) if "loss" in row] == [1, 2, 3, 4, 5, 6]
    lines = capsys.readouterr().out.splitlines()
    step = r"iter \d+: loss \d+\.\d{4}, val \d+\.\d{4}, lr \S+, \d+ ms, [\d,]+ tok/s, "
    step += r"\d+% of batch supervised, [\d,]+ MB, ETA .+"
    assert sum(bool(re.fullmatch(step, line)) for line in lines) == 6
    assert lines[-1].startswith(f"wrote {out} (") and lines[-1].endswith(f"python chat.py --out_dir={out}")
    chat = json.loads((out / "chat.json").read_text())
    assert chat["iter_num"] in (3, 6) and chat["settings"]["batch_size"] == 2
    best = min(row["val"] for row in rows(out) if "val" in row and row["iter"])
    assert chat["val_loss"] == pytest.approx(best) and f"val loss {best:.4f}" in lines[-1]
    AutoModelForCausalLM.from_pretrained(out)


@pytest.mark.skipif(sys.platform != "linux", reason="names of folders that are no text")
@pytest.mark.parametrize("name", [b"caf\xe9", b"cost $x^$ and $_", "日本 🐆".encode()], ids=str)
def test_a_folder_may_have_any_name(settings, tmp_path, name):
    """A name that is no UTF-8, or that matplotlib would take for a formula, is in no picture's and no file's way."""
    folder = os.path.join(str(tmp_path), os.fsdecode(name))
    train(settings(out_dir=folder, max_iters=3))
    assert json.loads((Path(folder) / "chat.json").read_text())["settings"]["out_dir"] == folder
    train(settings(out_dir=folder, max_iters=4, init_from="resume"))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_resume_is_bit_identical(settings, tmp_path, dropout):
    """Stopped at step 3 and resumed to 6, the weights, moments and losses are those of six steps in one go."""
    more = dict(dropout=dropout, gradient_accumulation_steps=2, batch_size=1)
    train(settings(out_dir=str(tmp_path / "whole"), **more))
    half = settings(out_dir=str(tmp_path / "half"), **more)
    whole, at_3 = state(tmp_path / "whole"), {}

    def stop_at_3(folder, content, save=trainer_state.save):
        save(folder, content)
        at_3.update(iter_num=content["progress"]["iter_num"])
        if content["progress"]["iter_num"] == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer_state, "save", stop_at_3)
        train(half)
    assert at_3["iter_num"] == 3
    torch.manual_seed(99)  # what the process did before does not count
    train(dataclasses.replace(half, init_from="resume"))
    resumed = state(tmp_path / "half")
    assert_same_weights(whole, resumed)
    for kind in ("m", "v", "moving"):
        a, b = whole["optimizer"][kind], resumed["optimizer"][kind]
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    kept = ("iter", "loss", "val", "lr", "tokens")
    lines = [[{k: row[k] for k in kept if k in row} for row in rows(tmp_path / name)] for name in ("whole", "half")]
    assert lines[0] == lines[1]
    assert whole["rows_drawn"] == resumed["rows_drawn"] == 12


def test_dropout_differs_from_step_to_step(settings, tmp_path):
    """With a learning rate of 0 the loss still changes from step to step, since dropout draws anew."""
    train(settings(learning_rate=0.0, dropout=0.5, batch_size=8, data_dir=settings().data_dir))
    losses = [row["loss"] for row in rows(tmp_path / "out") if "loss" in row]
    assert len(set(losses)) == len(losses)


def test_accumulation_equals_a_big_batch(settings, tmp_path):
    """4 micro-batches of 1 row and 1 of 4 rows take the same steps, though the rows' supervised tokens differ."""
    for name, rows_, steps in (("big", 4, 1), ("small", 1, 4)):
        train(
            settings(out_dir=str(tmp_path / name), batch_size=rows_, gradient_accumulation_steps=steps, block_size=40)
        )
    a, b = state(tmp_path / "big"), state(tmp_path / "small")
    for name, one in a["model"].items():
        other = b["model"][name]
        if name.endswith("c_attn.bias"):  # that of the keys changes no output: its gradient is rounding alone
            (q, _, v), (other_q, _, other_v) = one.chunk(3), other.chunk(3)
            one, other = torch.cat([q, v]), torch.cat([other_q, other_v])
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=name)
    assert [r["loss"] for r in rows(tmp_path / "big") if "loss" in r] == pytest.approx(
        [r["loss"] for r in rows(tmp_path / "small") if "loss" in r], abs=1e-4
    )


def assert_close(one, two):
    """Two folders hold the same run but for the order of sums: states and losses to 1e-5."""
    a, b = state(one), state(two)
    for name, mine in a["model"].items():
        other = b["model"][name]
        if name.endswith("c_attn.bias"):  # that of the keys changes no output: its gradient is rounding alone
            (q, _, v), (other_q, _, other_v) = mine.chunk(3), other.chunk(3)
            mine, other = torch.cat([q, v]), torch.cat([other_q, other_v])
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5, msg=name)
    losses = [[row.get("val", row.get("loss")) for row in rows(folder)] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    (model, _, _), (other, _, _) = model_folder.load(one), model_folder.load(two)
    idx = torch.arange(20)[None]
    torch.testing.assert_close(model(idx), other(idx), atol=1e-4, rtol=1e-4)


def torchrun(config):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *flags(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo under torchrun")
@pytest.mark.parametrize("how", [{}, {"muon": True}, {"shard": True}, {"shard": True, "lora_rank": 4}], ids=str)
def test_two_processes_equal_one(settings, tmp_path, how):
    """2 gloo processes with accumulation, by DDP or sharded, take one process's steps with the same global batch."""
    one = settings(out_dir=str(tmp_path / "one"), batch_size=4, block_size=40, **{**how, "shard": False})
    train(one)
    two = dict(out_dir=str(tmp_path / "two"), batch_size=1, gradient_accumulation_steps=2, block_size=40, threads=1)
    torchrun(settings(**two, **how))
    assert_close(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo under torchrun")
def test_a_sharded_run_goes_on_in_one_piece_and_back(settings, tmp_path):
    """trainer.pt and the model folder are the same files: 2 sharded processes, 2 by DDP, 2 sharded equal one run."""
    alike = dict(batch_size=4, block_size=40)
    two = dict(out_dir=str(tmp_path / "two"), batch_size=2, block_size=40, threads=1)
    for n, shard in ((3, True), (6, False), (9, True)):
        how = dict(init_from="resume") if n > 3 else {}
        # the rate falls over the whole run, whichever part of it is taken
        torchrun(settings(max_iters=n, warmup_iters=100, shard=shard, **two, **how))
    train(settings(out_dir=str(tmp_path / "one"), max_iters=9, warmup_iters=100, overwrite=True, **alike))
    assert_close(tmp_path / "one", tmp_path / "two")


def test_unlikelihood_trains(settings, tmp_path):
    """The term changes what is learned, and the loss that is told has it."""
    for weight in (0.0, 1.0):
        train(settings(unlikelihood=weight, out_dir=str(tmp_path / f"{weight}")))
    without, having = (rows(tmp_path / f"{weight}") for weight in (0.0, 1.0))
    assert without[0]["val"] == having[0]["val"] and without[-1]["val"] != having[-1]["val"]
    assert having[1]["loss"] > without[1]["loss"]


def test_shard_is_for_torchrun(settings):
    """--shard in one process, or with Muon, is refused in one line."""
    with pytest.raises(InputError, match="--shard=true .* processes of torchrun"):
        train(settings(shard=True))
    with pytest.raises(ValueError, match="shard goes with AdamW"):
        settings(shard=True, muon=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_saves_and_says_how_to_go_on(settings, tmp_path):
    """Ctrl-C ends the step, saves, and prints a command that, run as printed, goes on from there."""
    config = settings(max_iters=100_000, eval_interval=50_000, out_dir=str(tmp_path / "a run"))
    process = subprocess.Popen(
        [sys.executable, *flags(config)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen = ""
    while "iter 5:" not in seen:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        seen += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    last = out.splitlines()[-1]
    stopped = re.fullmatch(r"stopped at iter (\d+), saved to .*; go on: (python train.py .*--init_from=resume)", last)
    assert stopped, last
    assert state(tmp_path / "a run")["progress"]["iter_num"] == int(stopped[1])
    model_folder.load(tmp_path / "a run")  # somebody can talk to it already
    command = f"{stopped[2]} --max_iters={int(stopped[1]) + 3}".replace("python", sys.executable, 1)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert state(tmp_path / "a run")["progress"]["iter_num"] == int(stopped[1]) + 3


@pytest.mark.parametrize(
    ("environment", "start"),
    [
        ({}, "python"),
        ({"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}, "torchrun --nproc_per_node=4"),
        ({"LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"}, "torchrun --nnodes=2 ... --nproc_per_node=8"),
    ],
)
def test_the_command_that_resumes(monkeypatch, environment, start):
    """As it was started: alone, or by torchrun, with all else as it was but where it starts."""
    monkeypatch.setattr("sys.argv", ["train.py", "config/a b.py", "--init_from=gpt2", "--overwrite", "--max_iters=9"])
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resume.resume_command() == f"{start} train.py 'config/a b.py' --max_iters=9 --init_from=resume"


def test_a_time_budget_is_kept(settings, tmp_path, monkeypatch):
    """--max_minutes ends the run in time, saves and evaluation included, with the rate decayed to its end."""
    now = 1e9  # by a clock of which a step takes one second, an evaluation five, the two saves half of one each

    def takes(seconds, function):
        def timed(*args, **how):
            nonlocal now
            now += seconds
            return function(*args, **how)

        return timed

    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(Optimizer, "step", takes(1, Optimizer.step))
    monkeypatch.setattr(validation, "mean_loss", takes(5, validation.mean_loss))
    monkeypatch.setattr(trainer_state, "save", takes(0.5, trainer_state.save))
    monkeypatch.setattr(model_folder, "save", takes(0.5, model_folder.save))
    train(settings(max_iters=10**6, eval_interval=10**6, max_minutes=2))
    assert 118 <= now - 1e9 <= 121  # with the step in which they end
    lrs = [row["lr"] for row in rows(tmp_path / "out") if "lr" in row]
    assert len(lrs) > 100 and max(lrs) > 0.9e-2 and lrs[-1] < 0.15e-2
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_schedule():
    """Warm-up from above 0, the peak, half way down in the middle, a tenth at the end; with minutes, by the clock."""
    config = TrainConfig(learning_rate=1.0, warmup_iters=10, max_iters=110)
    assert get_lr(0, 0, 0, config) == pytest.approx(1 / 11)
    assert get_lr(10, 0, 0, config) == 1.0
    assert get_lr(60, 0, 0, config) == pytest.approx(0.55)
    assert get_lr(110, 0, 0, config) == pytest.approx(0.1)
    assert get_lr(110, 0, 0, dataclasses.replace(config, min_lr=0.0)) == pytest.approx(0.0)
    timed = dataclasses.replace(config, max_minutes=1.0)
    assert get_lr(20, 30, 0, timed) == pytest.approx(0.55)  # half the time is gone, if not half the steps
    assert get_lr(20, 50, 10, timed) == pytest.approx(0.1)  # the last 10 s belong to the end's save
    assert get_lr(0, 6, 0, timed) < 0.1  # ten steps of warm-up are ten, however slow they are
    slow = dataclasses.replace(timed, warmup_iters=None)  # nobody said how many: a twentieth of the time at most
    assert get_lr(0, 6, 0, slow) > 0.9 and get_lr(0, 0, 0, slow) == pytest.approx(1 / 51)
    assert not math.isnan(get_lr(0, 0, 0, TrainConfig(warmup_iters=5, max_iters=5)))


def test_another_run_is_not_overwritten(settings, tmp_path):
    """A folder that holds a model is refused, with the three ways out; --overwrite=true replaces it."""
    train(settings(max_iters=1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="--init_from=resume .*--out_dir=OTHER .*--overwrite=true"):
        train(settings(max_iters=1))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    train(settings(max_iters=2, overwrite=True))
    assert state(tmp_path / "out")["progress"]["iter_num"] == 2


def test_resume_with_other_settings_is_refused(settings, tmp_path):
    """What would make it another run is named with both values; what may change does, dropout too."""
    train(settings(max_iters=2))
    with pytest.raises(InputError, match="batch_size=2, not 3: resume needs --batch_size=2"):
        train(settings(init_from="resume", batch_size=3))
    with pytest.raises(InputError, match="has not kept its start: resume needs --start_share=0"):
        train(settings(init_from="resume", start_share=0.5))
    train(settings(init_from="resume", max_iters=3, dropout=0.5, learning_rate=1e-4))
    assert state(tmp_path / "out")["model_args"]["dropout"] == 0.5
    with pytest.raises(InputError, match="nothing has no trainer.pt"):
        train(settings(init_from="resume", out_dir=str(tmp_path / "nothing")))


def test_eval_only_writes_nothing(settings, tmp_path, capsys):
    """eval_only prints the loss on val of a new model, or of the one that stopped, and changes no file."""
    train(settings(eval_only=True))
    assert re.search(r"iter 0: val \d", capsys.readouterr().out) and not (tmp_path / "out").exists()
    train(settings(max_iters=4))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    train(settings(init_from="resume", max_iters=9, eval_only=True))
    out = capsys.readouterr().out
    val = [row["val"] for row in rows(tmp_path / "out") if "val" in row][-1]
    assert f"iter 4: val {val:.4f}" in out and "wrote" not in out
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def spoil(monkeypatch, when, how):
    """Have `how(optimizer)` happen behind the steps whose numbers are in `when`."""
    step, steps = Optimizer.step, itertools.count(1)

    def spoiled(self, *args):
        step(self, *args)
        if next(steps) in when:
            how(self)

    monkeypatch.setattr(Optimizer, "step", spoiled)


def fail(*args):
    raise MemoryError


def to_nan(optimizer):
    optimizer.parameters[0].data.fill_(float("nan"))


def test_a_loss_that_is_no_number_stops_with_the_old_model_kept(settings, tmp_path, monkeypatch, capsys):
    """Weights that turn NaN at step 5: two steps are skipped, the third is one line; the model of step 4 is there."""
    spoil(monkeypatch, {5}, to_nan)
    with pytest.raises(InputError, match="iter 7: the loss is nan, the third .*the model in .* is from before; try a"):
        train(settings(max_iters=20, eval_interval=4))
    assert model_folder.load(tmp_path / "out")[2]["iter_num"] == 4
    assert capsys.readouterr().out.count("the loss is nan; the step is skipped") == 2


def test_a_spoiled_model_is_not_saved(settings, tmp_path, monkeypatch):
    """When the weights turn NaN in the very step before an evaluation, the run stops before it saves them."""
    spoil(monkeypatch, {6}, to_nan)
    with pytest.raises(InputError, match="iter 6: the loss on val is nan; the model in .* is from before"):
        train(settings())
    assert state(tmp_path / "out")["progress"]["iter_num"] == 3
    assert model_folder.load(tmp_path / "out")[2]["iter_num"] == 3


def test_a_leap_is_shortened(settings, tmp_path, capsys):
    """
    A batch with a wild gradient takes a step of about the usual size: it is told, the weights stay near, and
    nothing is left out.
    """
    moves = []
    step = Optimizer.step

    def measured(self, lr, muon_lr, scale, is_good):
        moves.append((self.grad_norm() * scale).item())
        step(self, lr, muon_lr, scale, is_good)

    get_batch = Loader.get_batch

    def odd(self, batch_size):
        batch = get_batch(self, batch_size)
        if self.rows_drawn == 2 * 61:
            batch.targets[batch.targets >= 0] = 7  # a token that never comes
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "get_batch", odd)
        patch.setattr(Optimizer, "step", measured)
        train(settings(max_iters=64, eval_interval=64, log_interval=1, grad_clip=None))
    out = capsys.readouterr().out
    told = r"iter 60: the gradient is \d+ times the usual, the loss \d+\.\d\d after \d\.\d\d; it is shortened"
    assert re.search(told, out)
    assert state(tmp_path / "out")["progress"]["good"] == 64
    assert moves[60] < 5 * max(moves[50:60])


@pytest.fixture
def gpt2(tmp_path, tokens, data_dir):
    """A GPT-2 folder with the data's tokenizer and a context of 32."""
    shape = dict(n_layer=1, n_head=2, n_embd=32, n_positions=32, vocab_size=tokens.n_vocab)
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(tmp_path / "gpt2")
    shutil.copy(data_dir / "tokenizer.json", tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_block_size_beyond_the_models_is_lowered(settings, gpt2, tmp_path, capsys):
    """A row cannot be longer than the positions of the model that is started from: it is said, and done."""
    train(settings(init_from=str(gpt2), block_size=64, max_iters=1))
    assert f"block_size 64 is lowered to 32, the context of {gpt2}" in capsys.readouterr().out
    assert model_folder.load(tmp_path / "out")[0].config.block_size == 32


def test_fine_tuning_keeps_the_longer_context(settings, gpt2, tmp_path):
    """Rows of 16 tokens leave the model its 32 positions; gradient checkpointing and bfloat16 go with it."""
    train(settings(init_from=str(gpt2), block_size=16, gradient_checkpointing=True, dtype="bfloat16"))
    assert model_folder.load(tmp_path / "out")[0].config.block_size == 32


def test_a_share_of_the_start_is_kept(settings, tmp_path):
    """What is saved lies between the start and what was learned, where the share says; after a stop as well."""
    first = settings(start_share=0.25)
    train(settings(out_dir=str(tmp_path / "start")))
    for more in ({"init_from": str(tmp_path / "start"), "max_iters": 3}, {"init_from": "resume", "max_iters": 6}):
        train(dataclasses.replace(first, **more, patience=0, min_lr=0.0, learning_rate=1e-3))
        learned = dict(state(first.out_dir)["model"])
        saved, start = (dict(model_folder.load(f).model.state_dict()) for f in (first.out_dir, tmp_path / "start"))
        for name, weights in saved.items():
            assert torch.allclose(weights, 0.75 * learned[name] + 0.25 * start[name], atol=1e-6), name
        assert any(not torch.equal(learned[name], start[name]) for name in saved)


def test_lora_is_merged_and_resumed(settings, gpt2, tmp_path):
    """--lora_rank writes a plain GPT-2 that is no longer the one it started from, and goes on from where it stopped."""
    before = GPT2LMHeadModel.from_pretrained(gpt2).state_dict()
    how = settings(init_from=str(gpt2), block_size=16, lora_rank=2, max_iters=3, batch_size=1)
    train(how)
    after = GPT2LMHeadModel.from_pretrained(tmp_path / "out").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.endswith("weight") and ".h.0." in name for name in changed)
    train(dataclasses.replace(how, init_from="resume", max_iters=5))
    assert state(tmp_path / "out")["progress"]["iter_num"] == 5
    with pytest.raises(InputError, match="resume needs --lora_rank=2"):
        train(dataclasses.replace(how, init_from="resume", lora_rank=3))


def test_a_tokenizer_that_does_not_match_is_one_line(settings, gpt2, tmp_path):
    """The model's and the data's tokenizers must be the same: said before anything is written."""
    other = tokenizer.train(["quite other words"] * 3, 270)
    (gpt2 / "tokenizer.json").write_text(json.dumps(other.to_json()))
    with pytest.raises(InputError, match="must be the same; prepare the data with --tokenizer="):
        train(settings(init_from=str(gpt2)))
    assert not (tmp_path / "out").exists()


def test_missing_data_is_one_line(settings, tmp_path):
    """A data folder that is not there is named, with a command that makes one."""
    with pytest.raises(InputError, match="has no data .*prepare.py"):
        train(settings(data_dir=str(tmp_path / "none")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["wandb", "tensorboard"])
def test_a_missing_package_is_one_line(settings, tmp_path, monkeypatch, package):
    """--wandb_log and --tensorboard_log without the package say what to install, before a step is taken."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(InputError, match=f"pip install {package}"):
        train(settings(**{f"{package}_log": True}))
    assert not (tmp_path / "out").exists()


def test_tensorboard_has_every_row(settings, tmp_path):
    """What metrics.jsonl has, TensorBoard's own reader finds."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(settings(tensorboard_log=True))
    events = accumulator.EventAccumulator(str(tmp_path / "out")).Reload()
    for name in ("loss", "val", "lr"):
        wanted = [(row["iter"], pytest.approx(row[name])) for row in rows(tmp_path / "out") if name in row]
        assert [(event.step, event.value) for event in events.Scalars(name)] == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        dict(n_head=0),
        dict(n_embd=30, n_head=4),
        dict(n_layer=0),
        dict(batch_size=0),
        dict(block_size=4),
        dict(dropout=1.5),
        dict(seed=-1),
        dict(max_minutes=0.0),
        dict(learning_rate=-1.0),
        dict(beta2=1.0),
        dict(grad_clip=-1.0),
        dict(min_lr=2e-3),
        dict(out_dir=""),
        dict(out_dir=" "),
        dict(epochs=0.0),
        dict(keep=-1),
        dict(save_minutes=0.0),
        dict(eval_interval=0),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_named(wrong):
    """TrainConfig refuses what cannot run, with the setting's name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_no_compiler_is_one_line(settings, tmp_path, monkeypatch, capsys):
    """--compile=true without a C++ compiler goes on without it and says so."""
    monkeypatch.setattr("training.parallel.shutil.which", lambda name: None)
    train(settings(compile=True, max_iters=1))
    assert "torch.compile needs a C++ compiler, which is not here: going on without it" in capsys.readouterr().out


def test_a_profile_is_written(settings, tmp_path, capsys):
    """--profile gives a Chrome trace with a step's operators in it, and the run's last line tells where."""
    train(settings(max_iters=12, profile=str(tmp_path / "trace.json")))
    names = {event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::mm" in names
    assert "trace.json: open it in" in capsys.readouterr().out.splitlines()[-1]


def test_val_is_measured_over_supervised_tokens(settings, tmp_path, data_dir, tokens):
    """The loss that is written for the last step is that of the saved model over all of val's supervised tokens."""
    train(settings(eval_iters=99, batch_size=1, learning_rate=1e-3))
    model, tokenizer, _ = model_folder.load(tmp_path / "out")
    split = open_split(data_dir, "train", tokenizer)  # val is empty: train stands in
    total, n = 0.0, 0
    for start, end in zip(split.starts, split.starts[1:], strict=False):
        ids = torch.tensor(split.ids[start:end].astype("int64"))
        learned = torch.tensor(split.supervised[start:end]).bool()
        with torch.no_grad():
            logp = model(ids[None, :-1]).log_softmax(-1)[0].gather(1, ids[1:, None])[:, 0]
        total, n = total - logp[learned[1:]].sum().item(), n + int(learned[1:].sum())
    assert rows(tmp_path / "out")[-1]["val"] == pytest.approx(total / n, abs=1e-4)


def test_signals_are_as_before_after_a_run(settings):
    """train gives Ctrl-C back: in one process many runs may follow each other."""
    before = signal.getsignal(signal.SIGINT)
    train(settings(max_iters=1))
    assert signal.getsignal(signal.SIGINT) is before
    assert choose_device("cpu").world_size == 1 and "RANK" not in os.environ


def test_one_run_at_a_time(settings, tmp_path):
    """A folder that a run writes to is refused to another, and free again when its owner is gone, even by SIGKILL."""
    out = tmp_path / "out"
    code = (
        "import pathlib, time; from training.resume import only_run\n"
        f"with only_run(pathlib.Path({str(out)!r}), True, {{}}):"
    )
    with subprocess.Popen([sys.executable, "-c", code + " print(1, flush=True); time.sleep(60)"], stdout=-1) as owner:
        owner.stdout.readline()
        with pytest.raises(InputError, match="another run is writing to"):
            train(settings(max_iters=2))
        owner.kill()
    train(settings(max_iters=2))
    assert not (out / ".lock").exists()


def test_what_another_run_has_just_saved_is_not_replaced(settings, tmp_path, monkeypatch):
    """A run that began before another one saved, and is ready once that has ended, is refused, new or resumed."""
    train(settings(max_iters=2))
    build_model = Run.build_model

    def meanwhile(run, state):
        os.utime(run.out_dir / "trainer.pt")
        return build_model(run, state)

    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    for how in (dict(overwrite=True), dict(init_from="resume", max_iters=9)):
        with monkeypatch.context() as patch, pytest.raises(InputError, match="another run has just saved"):
            patch.setattr(Run, "build_model", meanwhile)
            train(settings(**how))
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    train(settings(max_iters=9, init_from="resume"))


def test_a_crash_before_the_first_evaluation_costs_save_minutes(settings, tmp_path, monkeypatch):
    """The state is saved every save_minutes from the first step on, not only behind an evaluation."""
    spoil(monkeypatch, {5}, fail)
    with pytest.raises(MemoryError):
        train(settings(max_iters=20, eval_interval=20, save_minutes=1e-6))
    assert state(tmp_path / "out")["progress"]["iter_num"] == 4
    assert model_folder.load(tmp_path / "out")[2]["val_loss"] is None  # nor is the folder without a model


@pytest.mark.parametrize("name", ["mean_loss", "copy_accuracy"])
def test_an_evaluation_that_fails_saves_first(settings, tmp_path, name):
    """The steps before it are kept, whatever it is that fails, and the run goes on from there."""
    measure, calls = getattr(validation, name), itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, name, lambda *args: fail() if next(calls) else measure(*args))
        with pytest.raises(MemoryError):
            train(settings(max_iters=20, eval_interval=7, copy_probe=True))
    assert state(tmp_path / "out")["progress"]["iter_num"] == 7
    train(settings(max_iters=8, init_from="resume"))


def test_a_better_model_is_never_replaced(settings, tmp_path):
    """Started from the folder that it writes to, a run whose loss only rises leaves the model as it was."""
    train(settings(max_iters=20, learning_rate=1e-2))
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    train(settings(max_iters=3, init_from=str(tmp_path / "out"), learning_rate=1.0, warmup_iters=0, overwrite=True))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_what_is_rare_is_learned(settings, tmp_path, monkeypatch):
    """Of talks of which 5% are in another language, these end within 0.1 nat of a run without any guard."""
    rng = random.Random(0)
    usual, rare = (
        "well maybe sure okay rain dogs cats park again right".split(),
        "да нет дождь кошка парк опять может".split(),
    )
    words = [rare if i % 20 == 0 else usual for i in range(400)]
    talks = [[("user", " ".join(rng.choices(w, k=4))), ("assistant", " ".join(rng.choices(w, k=5)))] for w in words]
    records = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in talks]
    about = {"name": "rare", "licence": "MIT", "url": "none"}
    folder = PrepareConfig(out_dir=str(tmp_path / "data"), tokenizer="train:400", val_share=0)
    prepare_folder(folder, "", lambda settings, skipped: iter(records), about)
    only = PrepareConfig(out_dir=str(tmp_path / "rare"), tokenizer=str(tmp_path / "data"), val_share=0)
    prepare_folder(only, "", lambda settings, skipped: iter(records[::20]), about)

    losses = []
    for name in ("guarded", "free"):
        if name == "free":
            monkeypatch.setattr(Progress, "usual_norm", None)
        out = str(tmp_path / name)
        shape = dict(n_embd=48, batch_size=1, block_size=64, patience=0)
        often = dict(max_iters=700, eval_interval=700, log_interval=100)
        train(settings(data_dir=str(tmp_path / "data"), out_dir=out, **shape, **often))
        model, tokenizer, _ = model_folder.load(out)
        batch = next(Loader(open_split(tmp_path / "rare", "train", tokenizer), 64, tokenizer).epoch(20))
        losses.append(model.loss(**choose_device("cpu", "float32", 1).tensors(batch.arrays)).item())
    assert abs(losses[0] - losses[1]) < 0.1 and losses[0] < 3
