"""
prepare.py, run as people run it: what it prints, what it writes, and that a run which fails leaves the older data as
they were. Nothing here reaches the hub.
"""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from dataset.folder import open_meta, open_split
from dataset.prepare import PrepareConfig, prepare_folder
from readers.source import Skipped
from runtime.errors import InputError

SHARED = ROOT.parent / "shared" / "data" / "personachat"
DIALOGUES = """\
1 your persona: i have two dogs .
2 partner's persona: i volunteer .
3 hi ! how are you ?\tgreat . you ?
4 fine , thanks .\tgood !
1 your persona: i run .
2 partner's persona: i am shy .
3 __SILENCE__\thello
4 hi , who 's there ?\tme .
"""
CHITCHAT = {
    "a": {
        "messages": [
            [{"text": "Hello?", "sender": "1"}, {"text": "Anybody &lt;3 here?", "sender": "1"}],
            [{"text": "I&#39;m here", "sender": "2"}, {"text": "&nbsp;", "sender": "2"}],
        ]
    },
    "b": {"messages": [[{"text": "Hello?", "sender": "1"}]]},
    "c": {"messages": [[{"text": "[Bot]: hi", "sender": "9"}], [{"text": "no <|endoftext|>", "sender": "7"}]]},
}
FILES = ["meta.json", "tokenizer.json", "train.bin", "train.sup", "val.bin", "val.sup"]


def run(name, *words, cwd, **options):
    """The finished process of data/<name>/prepare.py."""
    script = ROOT / "data" / name / "prepare.py"
    return subprocess.run(
        [sys.executable, str(script), *words], cwd=cwd, capture_output=True, text=True, encoding="utf-8", **options
    )


def decoded(folder):
    """The text of both splits, the conversations in order."""
    _, tokenizer = open_meta(folder)
    splits = [open_split(folder, name, tokenizer) for name in ("train", "val")]
    text = "".join(tokenizer.decode(split.ids.tolist()) for split in splits)
    return [talk for talk in text.split("<|endoftext|>[") if talk]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_personachat_from_a_file(tmp_path):
    """The whole output, and both views of each dialogue in the files; a second run writes the same bytes."""
    (tmp_path / "dialogues.txt").write_text(DIALOGUES, encoding="utf-8")
    words = ["--source=dialogues.txt", "--out_dir=out", "--show=2", "--val_share=0"]
    done = run("personachat", *words, cwd=tmp_path)
    assert done.stderr == "" and done.returncode == 0
    assert done.stdout == (
        "PersonaChat: licence CC BY 4.0, https://huggingface.co/datasets/AlekseyKorshuk/persona-chat\n"
        "[System]: i have two dogs.\n[Human]: hi! how are you?\n[Bot]: great. you?\n"
        "[Human]: fine, thanks.\n[Bot]: good!\n"
        "\n"
        "[System]: i volunteer.\n[Bot]: hi! how are you?\n[Human]: great. you?\n"
        "[Bot]: fine, thanks.\n[Human]: good!\n"
        "4 conversations (0 of them val), 18 turns, 105 tokens, 30% supervised, longest 32 tokens\n"
        "wrote out (tokenizer gpt2); train: python train.py config/FILE.py --data_dir=out\n"
    )
    assert sorted(contents(tmp_path / "out")) == FILES
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["sources"][0]["licence"] == "CC BY 4.0" and meta["sources"][0]["files"] == ["dialogues.txt"]
    assert decoded(tmp_path / "out")[2:] == [
        "System]: i run.\n[Bot]: hello\n[Human]: hi, who's there?\n[Bot]: me.\n",
        "System]: i am shy.\n[Human]: hello\n[Bot]: hi, who's there?\n[Human]: me.\n",
    ]
    before = contents(tmp_path / "out")
    assert run("personachat", *words, cwd=tmp_path).stdout == done.stdout
    assert contents(tmp_path / "out") == before


def test_chitchat_from_a_file(tmp_path):
    """The whole output; a burst is a turn, HTML's entities are read, what has no reply is counted, tags are letters."""
    (tmp_path / "chats.json").write_text(json.dumps(CHITCHAT), encoding="utf-8-sig")  # with a byte order mark
    words = ["--source=chats.json", "--out_dir=out", "--tokenizer=train:300", "--val_share=0"]
    done = run("chitchat", *words, cwd=tmp_path)
    assert done.stderr == "" and done.returncode == 0
    first, skipped, counts, wrote = done.stdout.splitlines()
    assert first == "Chit-Chat Challenge: licence MIT, https://github.com/BYU-PCCL/chitchat-dataset"
    assert skipped == "skipped 1: without a reply"
    assert counts.startswith("4 conversations (0 of them val), 8 turns, ")
    assert wrote.startswith("wrote out (tokenizer bpe-")
    assert (tmp_path / "out" / "meta.json").exists()
    assert decoded(tmp_path / "out") == [
        "Human]: Hello?\nAnybody <3 here?\n[Bot]: I'm here\n",
        "Bot]: Hello?\nAnybody <3 here?\n[Human]: I'm here\n",
        "Human]: [Bot]: hi\n[Bot]: no <|endoftext|>\n",
        "Bot]: [Bot]: hi\n[Human]: no <|endoftext|>\n",
    ]
    meta, tokenizer = open_meta(tmp_path / "out")
    assert len(open_split(tmp_path / "out", "train", tokenizer).starts) == 5


@pytest.fixture
def hub(monkeypatch):
    """A function that has datasets.load_dataset give these splits; it returns PersonaChat's prepare.py, imported."""
    import datasets

    spec = importlib.util.spec_from_file_location("prepare", ROOT / "data" / "personachat" / "prepare.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def offer(splits):
        def load_dataset(name, config):
            assert (name, config) == (script.HUB_ID, None)
            return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return script

    return offer


@pytest.mark.parametrize("layout", ["nested", "flat"])
@pytest.mark.parametrize("gold", [True, False])
def test_personachat_from_the_hub(hub, tmp_path, layout, gold):
    """Nested and flat rows, with and without candidates, of the hub's splits give each dialogue once."""

    def row(id, persona, texts):
        steps = [{"history": texts[: i + 1], "candidates": ["no", texts[i + 1]]} for i in range(0, len(texts) - 1, 2)]
        steps = steps if gold else [{"history": step["history"]} for step in steps]
        if layout == "nested":
            return [{"personality": persona, "utterances": steps}]
        return [{"conv_id": id, "utterance_idx": i, "personality": persona, **step} for i, step in enumerate(steps)]

    talk = ["hi ?", "hello .", "who ?", "me ."]
    splits = {
        "train": row(0, ["i run ."], talk) + row(1, ["i swim ."], ["__SILENCE__", *talk[:3]]),
        "validation": row(1, ["i fly ."], ["one", "two", "three", "four"]),  # numbered as train's last
    }
    settings = PrepareConfig(out_dir=str(tmp_path), val_share=0, tokenizer="gpt2")
    script = hub(splits)
    prepare_folder(settings, script.__file__, script.conversations, script.ABOUT)
    assert decoded(tmp_path) == [
        "System]: i run.\n[Human]: hi?\n[Bot]: hello.\n[Human]: who?\n" + "[Bot]: me.\n" * gold,
        "System]: i swim.\n[Bot]: hi?\n[Human]: hello.\n" + "[Bot]: who?\n" * gold,
        "System]: i fly.\n[Human]: one\n[Bot]: two\n[Human]: three\n" + "[Bot]: four\n" * gold,
    ]


def test_a_hub_that_fails_is_one_line(hub, monkeypatch):
    """Whatever `datasets` raises, the user reads what would do instead."""
    import datasets

    script = hub({})
    for error in (ConnectionError("no\nroute"), datasets.exceptions.DatasetGenerationError("x"), ValueError("y")):
        monkeypatch.setattr(datasets, "load_dataset", lambda *words, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(InputError, match=r"cannot be loaded from the hub \(.*\); a file from parl.ai"):
            list(script.conversations(PrepareConfig(), Skipped()))


def test_an_unreachable_hub(tmp_path):
    """Offline: one line, which names the local file that would do; exit status 2; the older data stay."""
    (tmp_path / "meta.json").write_text("old")
    done = run("personachat", f"--out_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: AlekseyKorshuk/persona-chat: cannot be loaded from the hub (")
    assert done.stderr.endswith("); a file from parl.ai/downloads/convai2 would do: --source=train_both_original.txt\n")
    assert contents(tmp_path) == {"meta.json": b"old"}


def test_a_full_disk_and_a_cut_off_source_keep_the_old_data(tmp_path):
    """Each failure is one line and exit status 2, and the folder is as it was, to the byte."""
    resource = pytest.importorskip("resource")  # not on Windows
    (tmp_path / "good.txt").write_text(DIALOGUES, encoding="utf-8")
    (tmp_path / "cut.txt").write_text(DIALOGUES + "1 your persona: i am cut o\n2 hi", encoding="utf-8")
    assert run("personachat", "--source=good.txt", "--out_dir=out", cwd=tmp_path).returncode == 0
    before = contents(tmp_path / "out")

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # less than a tokenizer.json

    for source, message, options in (
        ("good.txt", "error: out: File too large\n", {"preexec_fn": small_disk}),
        ("cut.txt", "error: cut.txt:10: a tab and a reply are missing (the file may be cut off)\n", {}),
        ("none", "error: none: no such file or folder\n", {}),
    ):
        done = run("personachat", f"--source={source}", "--out_dir=out", cwd=tmp_path, **options)
        assert (done.returncode, done.stderr) == (2, message)
        assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "chats.json: No such file or directory"),
        ("", "chats.json: not the Chit-Chat Challenge's JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[1]", "chats.json: not the Chit-Chat Challenge's JSON (not one object)"),
        ('{"a": {}}', "chats.json: not the Chit-Chat Challenge's JSON ('messages' is missing"),
        ('{"a": {"messages": [[{"text": 1, "sender": 1}]]}}', "chats.json: not the Chit-Chat Challenge's JSON ("),
        ("{}", "chats.json: no conversation in it; nothing was written"),
    ],
)
def test_chitchat_names_a_wrong_file(tmp_path, monkeypatch, content, message):
    """One line with the file and what is wrong."""
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "data" / "chitchat" / "prepare.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("chats.json").write_text(content)
    with pytest.raises((InputError, OSError)) as error:
        settings = PrepareConfig(source=("chats.json",), out_dir="out")
        prepare_folder(settings, script.__file__, script.conversations, script.ABOUT)
    text = str(error.value) if content is not None else f"{error.value.filename}: {error.value.strerror}"
    assert text.startswith(message) and "\n" not in text
    assert not Path("out").exists()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_real_personachat(tmp_path):
    """The real dialogues with both personas: 2,000 views, those of a dialogue on one side, about half learned."""
    source = SHARED / "valid_both_original_no_cands.txt"
    done = run("personachat", f"--source={source}", f"--out_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0 and "2,000 conversations (" in done.stdout
    meta, _ = open_meta(tmp_path)
    assert all(meta["splits"][name]["conversations"] % 2 == 0 for name in ("train", "val"))
    assert 0.03 < meta["splits"]["val"]["conversations"] / 2000 < 0.07
    assert 0.3 < meta["sources"][0]["supervised"] / meta["sources"][0]["tokens"] < 0.5


@pytest.mark.slow
def test_all_of_chitchat_within_20_seconds(tmp_path):
    """The offline default, from the package, with a BPE of 8,192 tokens learned on the way."""
    pytest.importorskip("chitchat_dataset")
    begun = time.time()
    done = run("chitchat", "--tokenizer=train:8192", f"--out_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0 and time.time() - begun < 20, done.stderr
    assert "7,990 conversations (" in done.stdout  # 44 of 8,034 views are said word for word before
    assert "wrote . (tokenizer bpe-8192)" in done.stdout
