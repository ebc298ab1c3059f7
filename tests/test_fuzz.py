"""
Whatever flags and files a command is given, it ends with 0 or with 2 and one line, never with a traceback: random
combinations of settings, config files, model folders, data folders and chats, run in this process.
"""

import dataclasses
import io
import json
import random
import shutil
import signal
import sys
import typing

import pytest
import torch
from conftest import script
from transformers import GPT2Config, GPT2LMHeadModel

import chat
import configurator
import sample
import serve
import train
from configurator import is_literal, union_members

TINY = (
    "--n_layer=1 --n_head=2 --n_embd=16 --block_size=32 --batch_size=2 --max_iters=2 --eval_interval=2 --eval_iters=1"
)
TINY += " --device=cpu --dtype=float32 --warmup_iters=1 --threads=1 --log_interval=1 --patience=0"
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "1e-9",
    "1e9",
    "2**62",
    "2**64",
    "1e308",
    "nan",
    "inf",
    "none",
    "x",
    "",
    "1,5",
]
TEXTS = ["", " ", "x", "é🐆", "none", "-", "a b", "*", "..", "\udce9", "1e3", "FILE:none", "/dev/null/x", "x" * 300]
# what would only take long, or be another program's
VALUES = {
    "max_iters": ["0", "1", "2", "3", "-1", "x"],
    "gradient_accumulation_steps": ["0", "1", "2", "-1", "1.5"],
    "eval_iters": ["0", "1", "2", "-1"],
    "epochs": ["0", "0.01", "1", "2", "-1", "none", "nan"],
    "max_minutes": ["0", "1e-9", "0.001", "-1", "none", "nan"],
    "max_new_tokens": ["0", "1", "5", "-1", "x"],
    "num_samples": ["0", "1", "2", "-1"],
    "compile": ["false", "none", "maybe"],
    "wandb_log": ["false", "maybe"],
    "tensorboard_log": ["false", "maybe"],
    "shard": ["true", "false"],
    "device": ["cpu", "cuda", "mps", "cpu:0", "cpu:x", "cuda:99", "cuda:x", "tpu", "auto", ""],
    "dtype": ["float32", "float16", "bfloat16", "auto", "half", ""],
    "threads": ["0", "1", "-1", "10**6", "2**40", "none"],
    "limit": ["0", "1", "5", "-1", "none"],
    "show": ["0", "1", "3", "-1"],
}
PATHS = ("out_dir", "init_from", "data_dir", "source", "tokenizer", "profile")
LINES = [
    "max_iters = 1",
    "learning_rate = 1e-3 * 2",
    "dataset = 'shakespeare_char'",
    "always_save_checkpoint = False",
    "out_dir = 'x\\0y'",
    "init_from = 'resume'",
    "temperature = 0",
    "stop = ['a', '']",
    "batch_size = _rows",
    "_rows = 2",
    "import os",
    "n_layer: int = 1",
    "max_iters = 10**10**10",
    "\ufeff",
    "top_k = 0",
    "x = (",
    "grad_clip = None",
    "lora_rank = [4]",
]
OPENINGS = ["", "{", "[", '{"a": 1}', "null", "\udcff\udcfe", "PK\x03\x04", "hi\n", "[[[[" * 50, '"x"', "{}\n{}\n"]


@pytest.fixture(scope="module")
def places(tmp_path_factory, data_dir, learned):
    """Folders and files of all kinds, whole and damaged, by name."""
    root = tmp_path_factory.mktemp("places")
    run = [*TINY.split(), f"--data_dir={data_dir}", f"--out_dir={root / 'run'}"]
    train.train(configurator.load(train.TrainConfig, run))
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=32)).save_pretrained(root / "gpt2")
    for name in ("run", "gpt2"):
        for i, path in enumerate(sorted((root / name).iterdir())):
            harmed = root / f"{name}_without_{path.name}"
            shutil.copytree(root / name, harmed)
            (harmed / path.name).unlink()
            shutil.copytree(harmed, root / f"{name}_odd_{path.name}")
            odd = OPENINGS[i % len(OPENINGS)].encode("utf-8", "surrogateescape")
            (root / f"{name}_odd_{path.name}" / path.name).write_bytes(odd)
    for path in data_dir.iterdir():
        shutil.copytree(data_dir, root / f"data_without_{path.name}")
        (root / f"data_without_{path.name}" / path.name).write_bytes(b"\x00")
    torch.save({"model": {}, "config": {}}, root / "ckpt.pt")
    rows = [{"messages": [{"role": role, "content": "hi"} for role in ("user", "assistant")]}]
    (root / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 3))
    (root / "chats.txt").write_text("Ann: hi\nBob: hello\nAnn: bye\nBob: bye\n" * 3)
    (root / "empty").write_bytes(b"")
    shutil.copytree(data_dir, root / "data")
    shutil.copytree(learned, root / "learned")
    return {path.name: path for path in root.iterdir()}


def value_for(rng, name, hint, places, work):
    """A text that may or may not be a value of this setting."""
    if name in VALUES:
        return rng.choice(VALUES[name])
    members = union_members(hint)
    if name in PATHS:
        path = rng.choice([*places.values(), work / "new", work / "run"])
        if path.is_dir() and path.parent != work and rng.random() < 0.9:  # what is written to is a copy
            shutil.copytree(path, work / path.name, dirs_exist_ok=True)
            path = work / path.name
        known = ["gpt2", "scratch", "resume", "train:300", "train:x", "no/such"]
        return rng.choice([str(path)] * 6 + known + TEXTS)
    if bool in members:
        return rng.choice(["true", "false", "maybe", ""])
    literal = [str(choice) for member in members if is_literal(member) for choice in typing.get_args(member)]
    if literal:
        return rng.choice([*literal, *literal, "x", "", "0"])
    if dict in (typing.get_origin(member) for member in members):
        return rng.choice(["1:2", "10**6:1", "-1:2", "a:b", "1:nan", ":", "99999:1"])
    return rng.choice(TEXTS if any(member is str for member in members) else NUMBERS)


def command(rng, places, work):
    """A random (script, settings, what is on standard input, flags)."""
    mychats = script("mychats")
    sys.modules[mychats.__name__] = mychats  # where --help finds its source
    verb = rng.choices(["train", "chat", "sample", "prepare", "serve"], [10, 3, 3, 3, 1])[0]
    main, settings = {
        "train": (train.train, train.TrainConfig),
        "chat": (chat.chat, chat.ChatConfig),
        "sample": (sample.sample, sample.SampleConfig),
        "prepare": (mychats.prepare, mychats.MyChatsConfig),
        "serve": (lambda config: None, serve.ServeConfig),  # it would go on for ever
    }[verb]
    shutil.copytree(places["run"], work / "run")
    words = {
        "train": [*TINY.split(), f"--data_dir={places['data']}", f"--out_dir={work / rng.choice(['new', 'run'])}"],
        "prepare": [f"--source={places[rng.choice(['chats.jsonl', 'chats.txt'])]}", f"--out_dir={work / 'new'}"],
    }.get(verb, [f"--out_dir={places['learned']}", "--max_new_tokens=3", "--device=cpu", "--threads=1"])
    if verb == "prepare":
        words += ["--tokenizer=train:300", "--bot=Bob"]
    hints = typing.get_type_hints(settings)
    names = [field.name for field in dataclasses.fields(settings)]
    changed = rng.sample(names, rng.randint(0, 4)) + rng.choices([n for n in names if n in PATHS], k=rng.randint(0, 1))
    for name in changed:
        words.append(f"--{name}={value_for(rng, name, hints[name], places, work)}")
    if rng.random() < 0.1:
        words.append(
            rng.choice(["--dataset=x", "--lr=1", "--help", "-h", "--", "--=1", "x.py", "--threds", "--n_layer"])
        )
    if rng.random() < 0.15:
        lines = "\n".join(rng.choices(LINES, k=rng.randint(0, 3)))
        (work / "a.py").write_text(lines, encoding="utf-8")
        words.append(str(work / "a.py"))
    asked = b"".join(
        rng.choices([b"hi\n", b"\n", b"\xff\n", "naïve 🐆\n".encode(), b"well " * 200 + b"\n"], k=rng.randint(0, 3))
    )
    return main, settings, asked, words, train.remembered if verb == "train" else None


def status(main, settings, remembered):
    """The exit status that the command would have."""
    try:
        configurator.main(main, settings, remembered)
    except SystemExit as ended:
        return ended.code or 0
    return 0


def ends_well(seed, places, work, monkeypatch):
    """Run a random command; None if it ended with 0 or with 2 and one line, else what it was and said."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    main, settings, asked, words, remembered = command(random.Random(seed), places, work)
    monkeypatch.setattr(sys, "argv", ["x.py", *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(asked), encoding="utf-8"))
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")  # as the real one is
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    monkeypatch.chdir(work)
    handler = signal.getsignal(signal.SIGINT)
    try:
        code = status(main, settings, remembered)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {settings.__name__} {words} raised {error!r}") from error
    finally:
        signal.signal(signal.SIGINT, handler)
    errors.seek(0)
    said = errors.read()
    line = said.splitlines()[-1] if said else ""
    assert code == 0 or code == 2 and line.startswith("error: ") and len(line) > 15, (
        f"seed {seed}: {words}: {code} {said}"
    )
    return code


@pytest.mark.parametrize("part", range(6))
def test_any_command_ends_with_0_or_2(places, tmp_path, monkeypatch, part):
    """Of ten random commands none ends otherwise."""
    for seed in range(10 * part, 10 * (part + 1)):
        ends_well(seed, places, tmp_path / "work", monkeypatch)


@pytest.mark.slow
def test_two_thousand_commands_end_with_0_or_2(places, tmp_path, monkeypatch):
    """As above; and of so many some end with each."""
    codes, failures = [], []
    for seed in range(1000, 3000):
        try:
            codes.append(ends_well(seed, places, tmp_path / "work", monkeypatch))
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)
    assert codes.count(0) > 200 and codes.count(2) > 200
