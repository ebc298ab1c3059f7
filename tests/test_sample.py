"""sample.py continues a text as the model would, from the flag, from a file, and beyond the context's end."""

import subprocess
import sys

import pytest
from conftest import ROOT

from checkpoint import model_folder
from inference.engine import Engine
from inference.settings import SamplingParams
from runtime.errors import InputError
from sample import SampleConfig, sample

PLAIN = dict(device="cpu", repetition_penalty=1.0)


@pytest.fixture
def folder(tmp_path, tiny, tokens):
    model_folder.save(tmp_path / "out", tiny, tokens, {})
    return str(tmp_path / "out")


def test_the_continuation_is_the_models(folder, tiny, tokens, capsys):
    """Greedily, what is printed is the start and what the engine generates behind <|endoftext|> and the start."""
    sample(SampleConfig(out_dir=folder, start="hello", temperature=0.0, max_new_tokens=20, **PLAIN))
    ids = [tokens.endoftext, *tokens.encode("hello")]
    sampling = SamplingParams(temperature=0.0, max_new_tokens=20, repetition_penalty=1.0)
    new = [
        t.id
        for t in Engine(tiny, tokens).generate(ids, sampling, stop_token_ids=(tokens.endoftext,))
        if t.id is not None
    ]
    assert capsys.readouterr().out == "hello" + tokens.decode(new) + "\n"


def test_a_seed_repeats_and_samples_differ(folder, capsys):
    """--seed gives the same samples each time; the samples of a run differ."""
    outs = []
    for _ in range(2):
        sample(SampleConfig(out_dir=folder, start="a", seed=3, num_samples=3, max_new_tokens=20, **PLAIN))
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]
    samples = outs[0].split("\n---------------\n")
    assert len(samples) == 4 and samples[3] == "" and len(set(samples[:3])) == 3


def test_a_start_from_a_file(folder, tmp_path, capsys):
    """FILE: reads the start, newlines, emoji and all; a file that is not there, or no text, is one line."""
    (tmp_path / "prompt.txt").write_text("naïve\n🐆", encoding="utf-8")
    sample(SampleConfig(out_dir=folder, start=f"FILE:{tmp_path / 'prompt.txt'}", max_new_tokens=1, **PLAIN))
    assert capsys.readouterr().out.startswith("naïve\n🐆")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes", "none", "."):
        with pytest.raises(InputError, match="cannot be read"):
            sample(SampleConfig(out_dir=folder, start=f"FILE:{tmp_path / name}"))


def test_a_text_longer_than_the_context_goes_on(folder, monkeypatch, capsys):
    """200 tokens come from a context of 64; a start that fills the context goes on too, a longer one is an error."""
    monkeypatch.setattr("inference.sequence.sample_token", lambda *args: 65)
    sample(SampleConfig(out_dir=folder, max_new_tokens=200, **PLAIN))
    one = capsys.readouterr().out.strip()[:1]
    for start in ("", "!" * 63):
        sample(SampleConfig(out_dir=folder, start=start, max_new_tokens=200, **PLAIN))
        assert capsys.readouterr().out == start + one * 200 + "\n"
    with pytest.raises(InputError, match="--start has 65 tokens, the context 64"):
        sample(SampleConfig(out_dir=folder, start="!" * 64, **PLAIN))


def test_a_stop_word_ends_it_unseen(folder, tokens, monkeypatch, capsys):
    """What comes before the stop word is shown, with its white space; the word and the rest are not."""
    script = iter(tokens.encode(" one two STOP three"))
    monkeypatch.setattr("inference.sequence.sample_token", lambda *args: next(script))
    sample(SampleConfig(out_dir=folder, start="zero", stop=("STOP",), **PLAIN))
    assert capsys.readouterr().out == "zero one two \n"


def test_the_end_of_the_document_ends_it(folder, tokens, monkeypatch, capsys):
    """<|endoftext|> is not shown, and nothing follows it; half a character at the end is shown as what it is."""
    script = iter([*tokens.encode(" one"), "🐆".encode()[0], tokens.endoftext])
    half = next(id for id, piece in tokens.bytes.items() if piece == "🐆".encode()[:1])
    script = iter([*tokens.encode(" one"), half, tokens.endoftext])
    monkeypatch.setattr("inference.sequence.sample_token", lambda *args: next(script))
    sample(SampleConfig(out_dir=folder, **PLAIN))
    assert capsys.readouterr().out == " one\ufffd\n"


def test_a_reader_who_leaves_is_no_error(folder):
    """`sample.py | head`: when nobody reads on, it ends without a traceback."""
    command = [sys.executable, "sample.py", f"--out_dir={folder}", "--max_new_tokens=3000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) != 0 and "Traceback" not in err and "Exception" not in err
