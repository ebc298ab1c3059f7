"""
Nothing that happens to a run loses what it had saved: killed at any instant, told to stop, or out of disk, it goes on
to the bit where it was. Real processes, real signals, a real full disk.
"""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT
from test_train import assert_same_weights, flags, rows, state

from checkpoint import model_folder
from train import TrainConfig

if sys.platform != "win32":
    import fcntl
    import termios

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and mounts of a Unix"),
]
MODEL = "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json chat.json".split()
MODEL += ["README.md"]
UNFINISHED = {".writing", ".committed", ".trainer.pt.new"}  # what is there only while a save goes on
STEP, EVALUATION = r"iter (\d+): loss ", r"iter (\d+): val "


@pytest.fixture
def command(data_dir, tmp_path):
    """The command line of a tiny run to the folder `out` of tmp_path."""

    def made(*more, out="out", **changes):
        shape = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, batch_size=2, learning_rate=1e-2, warmup_iters=2)
        often = dict(eval_interval=3, eval_iters=1, log_interval=1, device="cpu", dtype="float32", threads=1)
        config = TrainConfig(data_dir=str(data_dir), out_dir=str(tmp_path / out), **{**shape, **often, **changes})
        return [sys.executable, *flags(config), *more]

    return made


def finished(command):
    """The output of a command that ends well."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return done.stdout


def begun(command):
    both = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return subprocess.Popen(command, cwd=ROOT, text=True, **both)


def read_until(process, pattern, times=1):
    """What a process says up to the line that is the n-th of this pattern."""
    said = []
    while times:
        said.append(process.stdout.readline())
        assert said[-1], f"it ended before it was time: {''.join(said)}"
        times -= bool(re.match(pattern, said[-1]))
    return "".join(said)


def numbers(folder):
    """The rows of metrics.jsonl without the speed."""
    kept = ("iter", "loss", "val", "lr", "tokens")
    return [{name: row[name] for name in kept if name in row} for row in rows(folder)]


def assert_same_run(whole, resumed):
    """Two folders hold the same weights, moments, model, losses and place in the data, to the bit."""
    a, b = state(whole), state(resumed)
    assert_same_weights(a, b)
    assert a["optimizer"].keys() == b["optimizer"].keys()
    for kind in ("m", "v", "moving"):
        assert all(torch.equal(moment, b["optimizer"][kind][name]) for name, moment in a["optimizer"][kind].items())
    assert a["rows_drawn"] == b["rows_drawn"]
    assert a["progress"] | {"elapsed": 0} == b["progress"] | {"elapsed": 0}
    assert numbers(whole) == numbers(resumed)
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


def kill(process, how, rng, out):
    """SIGKILL a run: some time after its start, after some of its lines, or in the midst of a save. What it said."""
    said = ""
    if how == "start":
        time.sleep(rng.uniform(0, 3))
    else:
        said = read_until(process, STEP, rng.randint(1, 12) if how == "line" else rng.randint(4, 12))
        time.sleep(rng.uniform(0, 0.03))
    if how == "save":
        deadline = time.time() + 20
        while time.time() < deadline and not UNFINISHED.intersection(os.listdir(out)):
            pass
        time.sleep(rng.uniform(0, 0.004))
    process.kill()
    said += process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, said
    return said


def test_twenty_kills(command, tmp_path):
    """
    A run that saves at each step and is killed 20 times loses at most the step it was in, always leaves a model that
    loads, resumes from the very folder that the kill left, and ends as the run that nobody killed, to the bit.
    """
    out, whole = tmp_path / "out", tmp_path / "whole"
    settings = dict(max_iters=300, save_minutes=1e-9, dropout=0.1)
    finished(command(out="whole", **settings))
    rng = random.Random(20)
    hows = ["save"] * 9 + ["line"] * 7 + ["start"] * 4
    rng.shuffle(hows)
    had_model, reached, torn = False, 0, 0
    for i, how in enumerate(hows):
        has_state = (out / "trainer.pt").exists()
        assert has_state or not reached
        said = kill(
            begun(command("--init_from=resume" if has_state else "--overwrite=true", **settings)), how, rng, out
        )
        where = f"kill {i} ({how}): {said}"
        found = set(os.listdir(out)) if out.exists() else set()
        torn += bool(found & UNFINISHED)
        had_model = had_model or bool(found & {"config.json", ".committed"})
        steps = [int(n) for n in re.findall(STEP, said)]
        assert not has_state or not steps or steps[0] == reached + 1, where
        if had_model:  # in a copy, since a reader finishes a save that was cut short: the resume shall do that itself
            model, _, chat = model_folder.load(shutil.copytree(out, tmp_path / "copy"))
            shutil.rmtree(tmp_path / "copy")
            assert all(p.isfinite().all() for p in model.parameters()) and chat["iter_num"] % 3 == 0, where
        if "trainer.pt" in found:
            now = state(out)["progress"]["iter_num"]
            assert now >= max(reached, steps[-1] - 1 if steps else 0), where
            reached = now
        else:
            assert not steps or steps[-1] <= 4, where  # the first save is that of step 3
    assert torn >= 3, "the kills missed the saves"
    assert 0 < reached < 300
    said = finished(command("--init_from=resume", **settings))
    assert f"iter {reached + 1}: loss " in said and said.splitlines()[-1].startswith("wrote ")
    assert_same_run(whole, out)
    assert not UNFINISHED.intersection(os.listdir(out))


def test_kills_do_not_use_up_patience(command, tmp_path):
    """A run that is killed and resumed more often than `patience`, each time before its next evaluation, goes on."""
    settings = dict(max_iters=2000, eval_interval=100, patience=2)
    for i in range(4):
        process = begun(command(*["--init_from=resume"] * (i > 0), **settings))
        try:
            said = read_until(process, r"iter 102: loss ")
        finally:
            process.kill()
            process.communicate()
        assert "stopped early" not in said
        assert state(tmp_path / "out")["progress"]["worse"] == 0, f"after {i} resumes"


@pytest.mark.parametrize("line", [STEP, EVALUATION], ids=["step", "save"])
def test_sigterm_saves(command, tmp_path, line):
    """SIGTERM, in a step or in a save, ends with 0 and the command to go on, which ends as the run without it."""
    finished(command(out="whole", max_iters=120))
    process = begun(command(max_iters=120))
    said = read_until(process, line, 7)
    process.send_signal(signal.SIGTERM)
    said += process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0, said
    stopped = r"stopped at iter (\d+), saved to (\S+); go on: (python train.py \S.* --init_from=resume)"
    stopped = re.fullmatch(stopped, said.splitlines()[-1])
    assert stopped and stopped[2] == str(tmp_path / "out"), said
    assert state(tmp_path / "out")["progress"]["iter_num"] == int(stopped[1]) < 120
    assert int(stopped[1]) - int(re.findall(STEP, said)[-1]) == 0
    model_folder.load(tmp_path / "out")
    done = subprocess.run(
        stopped[3].replace("python", sys.executable, 1), shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"iter {int(stopped[1]) + 1}: loss " in done.stdout
    assert_same_run(tmp_path / "whole", tmp_path / "out")


def test_a_closed_terminal_saves(command, tmp_path):
    """Though nothing can be said any more, and though the shell sends SIGHUP once more, the last step is saved."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        command(max_iters=10**5, eval_interval=10**5),
        cwd=ROOT,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its controlling terminal
    )
    os.close(its)
    said = b""
    while b"iter 7: loss" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.wait(60)
    assert state(tmp_path / "out")["progress"]["iter_num"] >= 7
    assert model_folder.load(tmp_path / "out")[2]["val_loss"] is None


@pytest.mark.parametrize("shard", [False, True])
def test_sigterm_under_torchrun(command, tmp_path, shard):
    """Two processes save what they agree on, once, and the command to go on is torchrun's; its own status is 1."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    process = begun([*torchrun, *command(max_iters=10**5, shard=shard)[1:]])
    said = read_until(process, STEP, 7)
    process.send_signal(signal.SIGTERM)
    said += process.stdout.read()
    process.stdout.close()
    process.wait()
    found = re.findall(r"stopped at iter (\d+), saved to .*; go on: torchrun (--nproc_per_node=2 train.py .*)", said)
    assert len(found) == 1, said
    last, more = int(found[0][0]), found[0][1]
    assert state(tmp_path / "out")["progress"]["iter_num"] == last
    on = f"{shlex.join(torchrun[:-1])} {more} --max_iters={last + 3}"
    done = subprocess.run(on, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"iter {last + 1}: loss " in done.stdout, done.stderr


@pytest.fixture
def disk(tmp_path):
    """A folder that is a disk of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def occupied(*paths):
    """The bytes that files take on a disk whose blocks have 4096."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in paths)


@pytest.mark.parametrize("fits", ["nothing", "half the weights", "the weights", "the model"])
def test_a_full_disk_keeps_the_old_checkpoint(command, disk, fits):
    """However far a save gets before the disk is full: one line says so, and what was saved is there and resumes."""
    out, filler = disk / "out", disk / "filler"
    finished(command(out="disk/out", max_iters=4))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    weights, model = occupied(out / "model.safetensors"), occupied(*(out / name for name in MODEL))
    trainer = occupied(out / "trainer.pt")
    assert weights < model < trainer
    room = {"nothing": 0, "half the weights": weights // 2, "the weights": (weights + model) // 2}
    room["the model"] = (model + trainer) // 2
    with open(filler, "wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(disk).free - room[fits]))
    again = command("--init_from=resume", out="disk/out", max_iters=9)
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=120)
    after = {path.name: path.read_bytes() for path in out.iterdir()}

    assert done.returncode == 2, done.stdout + done.stderr
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    written = {"metrics.jsonl"} if fits != "nothing" else set()  # the steps that were taken are facts, and stay
    if fits == "the model":
        written |= {"chat.json", "config.json", "model.safetensors"}  # saved whole, before the state was to be
    assert changed <= written
    assert after["metrics.jsonl"].startswith(before["metrics.jsonl"])
    assert model_folder.load(out)[2]["iter_num"] == (6 if fits == "the model" else 4)
    assert state(out)["progress"]["iter_num"] == 4
    filler.unlink()
    finished(again)
    assert state(out)["progress"]["iter_num"] == 9
    model_folder.load(out)

    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "No space left on device" in line
    assert "is kept" in line or str(out) in line
