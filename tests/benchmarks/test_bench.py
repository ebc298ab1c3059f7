"""
What bench.py says was measured: every engine does the same work on the same weights, the figures follow from the
timings, and what is not installed is said, not left out in silence.
"""

import collections
import json
import math
import sys

import pytest
import torch

import bench
from bench import BenchConfig
from benchmarks import decode, peers, training
from benchmarks.decode import decode_figures
from benchmarks.models import gpt_config_of
from benchmarks.peers import Timing, Workload
from benchmarks.start import seconds_of_start
from benchmarks.worker import Worker
from checkpoint import model_folder
from inference.settings import SamplingParams
from model import GPT, GPTConfig
from runtime.errors import InputError


@pytest.fixture
def folder(tiny, tokens, tmp_path):
    model_folder.save(tmp_path / "model", tiny, tokens, {})
    return str(tmp_path / "model")


@pytest.fixture
def in_here(monkeypatch):
    """Workers answer from this process: each new one would import torch for seconds. test_decode has real ones."""

    def start(self, name, function, /, **arguments):
        self.name, self.waiting = name, collections.deque()
        self.answers = function(iter(self.waiting.popleft, None), **arguments)

    def ask(self, request):
        self.waiting.append(request)
        return self.answer()

    monkeypatch.setattr(Worker, "__init__", start)
    monkeypatch.setattr(Worker, "ask", ask)
    monkeypatch.setattr(Worker, "answer", lambda self: next(self.answers))
    monkeypatch.setattr(Worker, "__exit__", lambda self, *error: self.answers.close())


def test_decode(folder, tmp_path, capsys):
    """The figures of ours and of two peers, in a table, in JSON and as a picture."""
    wanted = tmp_path / "decode.json"
    settings = dict(prompt_tokens=8, new_tokens=4, batch=3, runs=2, peers="hf,uncached", threads=1)
    bench.bench(BenchConfig(init_from=folder, json=str(wanted), plot=str(tmp_path / "d.png"), **settings))
    found, shown = json.loads(wanted.read_text(encoding="utf-8")), capsys.readouterr().out
    names = "decode_tokens_per_s prefill_tokens_per_s ttft_ms rss_mb bandwidth_gb_s bandwidth_share".split()
    assert all(math.isfinite(found[name]) and found[name] > 0 for name in names)
    assert found["decode_tokens_per_s_worst"] <= found["decode_tokens_per_s"] <= found["decode_tokens_per_s_best"]
    assert set(found["peers"]) == {"hf", "uncached"} and found["weights"] == "int8" and found["batch"] == 3
    for theirs in found["peers"].values():
        assert theirs["ratio_decode"] == pytest.approx(found["decode_tokens_per_s"] / theirs["decode_tokens_per_s"])
        assert theirs["label"] in shown
    assert "memory reads" in shown and (tmp_path / "d.png").stat().st_size > 5_000


def test_turns(folder, tmp_path, capsys, monkeypatch, in_here):
    """The first token by the length of the conversation before it."""
    monkeypatch.setattr(decode, "HISTORIES", (4, 20, 40, 4000))
    wanted = tmp_path / "turns.json"
    bench.bench(BenchConfig(what="turns", init_from=folder, runs=2, json=str(wanted), plot=str(tmp_path / "t.png")))
    found = json.loads(wanted.read_text(encoding="utf-8"))
    assert found["history_tokens"] == [4, 20, 40] and len(found["ttft_ms"]) == 3  # 4000 do not fit
    assert found["ttft_growth"] == pytest.approx(found["ttft_ms"][-1] / found["ttft_ms"][0])
    assert "it grows" in capsys.readouterr().out and (tmp_path / "t.png").exists()


def test_train(data_dir, tmp_path, capsys, in_here):
    """train.py and nanoGPT's loop on the same shape: the reference learns, and every token of its windows counts."""
    shape = dict(n_layer=1, n_head=2, n_embd=32, block_size=16, batch_size=2, data_dir=str(data_dir))
    settings = BenchConfig(what="train", runs=1, steps=4, threads=1, json=str(tmp_path / "t.json"), **shape)
    bench.bench(settings)
    found = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    for figures in (found, found["reference"]):
        assert figures["train_tokens_per_s"] > figures["supervised_tokens_per_s"] > 0 < figures["peak_rss_mb"]
    assert found["ratio_train_tokens_per_s"] == pytest.approx(
        found["train_tokens_per_s"] / found["reference"]["train_tokens_per_s"]
    )
    assert "nanoGPT's loop" in capsys.readouterr().out
    loop = training.reference_steps(training.RunSettings(**shape, steps=5, threads=1, seed=0))
    assert [tokens for _, tokens, _ in loop] == [32] * 5
    with pytest.raises(InputError, match="nowhere has no data"):
        bench.bench(BenchConfig(what="train", runs=1, data_dir="nowhere", threads=1))


def test_prepare(tmp_path, capsys):
    bench.bench(BenchConfig(what="prepare", messages=300, members=80, runs=1, json=str(tmp_path / "p.json")))
    assert json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["prepare_messages_per_s"] > 0
    assert {f"{kind}_of_80_seconds" for kind in ("zip", "tar.gz", "folder")} <= json.loads(
        (tmp_path / "p.json").read_text("utf-8")
    ).keys()
    assert "parse_messages_per_s" in capsys.readouterr().out


def test_all_engines_say_the_same(folder, tokens):
    """Greedy, in float32, ours, transformers and the uncached loop give the same tokens: the work is the same."""
    workload = Workload(folder=folder, weights="full", threads=1, batch=2, prompt_tokens=8, new_tokens=5, work="")
    prompts, said = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2]], {}

    ours = peers.Ours(workload)
    kept = [
        ours.engine.add_request(ids, SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=5))
        for ids in prompts
    ]
    while any(ours.engine.running):
        ours.engine.step()
    said["ours"] = [sequence.ids for sequence in kept]

    uncached, seen = peers.Uncached(workload), []
    model = uncached.model
    uncached.model = lambda ids, **more: seen.append(ids.tolist()) or model(ids, **more)
    uncached.run(prompts, 6)
    said["uncached"] = seen[-1]

    theirs = peers.Transformers(workload)
    with torch.inference_mode():
        said["hf"] = theirs.model.generate(
            torch.tensor(prompts), max_new_tokens=5, min_new_tokens=5, do_sample=False, repetition_penalty=1.0
        ).tolist()
    ban = said["hf"] if tokens.end_of_turn in sum(said["ours"], []) else None  # min_new_tokens forbids it to them
    assert said["ours"] == said["uncached"] and ban in (None, said["hf"]) and (ban or said["hf"] == said["ours"])


def test_every_run_has_prompts_nobody_has_seen(folder, monkeypatch, in_here):
    """A cache of an earlier prompt helps nobody; the first run is not counted."""
    asked = []

    class Counted(peers.EngineProcess):
        def run(self, prompts, profile=None):
            asked.append(prompts)
            return Timing(1.0, 2.0 + len(asked), 100.0)

    monkeypatch.setattr(decode, "EngineProcess", Counted)
    monkeypatch.setattr(decode, "memory_bandwidth", lambda threads, device: 10.0)
    found = decode_figures(BenchConfig(init_from=folder, prompt_tokens=8, new_tokens=11, batch=2, runs=3, threads=1))
    assert len({tuple(ids) for prompts in asked for ids in prompts}) == 8
    # the counted runs take 4, 5 and 6 seconds, the first token 1
    assert found["decode_tokens_per_s"] == pytest.approx(2 * 10 / 4) and found["prefill_tokens_per_s"] == 16
    assert found["decode_tokens_per_s_best"] == pytest.approx(2 * 10 / 3)


def test_what_is_missing_is_said(folder, capsys, monkeypatch, in_here):
    monkeypatch.setattr(peers, "is_missing", lambda name: name == "llamacpp")
    decode_figures(BenchConfig(init_from=folder, prompt_tokens=4, new_tokens=2, runs=1, peers="llamacpp", threads=1))
    told = capsys.readouterr().err
    assert "llamacpp is not installed and left out: pip install -r runs/requirements-bench.txt" in told


def test_bad_settings_are_one_line(folder):
    for settings, said in (
        (dict(peers="lama"), "lama is none of"),
        (dict(new_tokens=1), "at least 2"),
        (dict(runs=0), "at least 1"),
        (dict(what="prepare", plot="x.png"), "decode and turns"),
        (dict(what="train", steps=2), "above 2"),
    ):
        with pytest.raises(ValueError, match=said):
            BenchConfig(**settings)
    with pytest.raises(InputError, match="do not fit in the context"):
        decode_figures(BenchConfig(init_from=folder, prompt_tokens=60, new_tokens=60, threads=1))
    with pytest.raises(InputError, match="nowhere has no model"):
        decode_figures(BenchConfig(init_from="nowhere", threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["full", "bfloat16", "int8", "int4"])
def test_the_installed_peers_run(weights):
    """llama.cpp and CTranslate2, where they are installed, on a GPT-2 124M."""
    found = decode_figures(
        BenchConfig(weights=weights, peers="ctranslate2,llamacpp", runs=1, new_tokens=8, batch=2, threads=2)
    )
    assert set(found["peers"]) == {name for name in ("ctranslate2", "llamacpp") if not peers.is_missing(name)}


@pytest.mark.slow
def test_serve(tokens, tmp_path, capsys):
    """One client and many, bad requests and a soak, through serve.py: every figure is there, and nothing failed."""
    shape = GPTConfig(block_size=1024, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=32)
    model_folder.save(tmp_path / "model", GPT(shape), tokens, {})
    settings = dict(clients=3, slots=2, new_tokens=4, prompt_tokens=6, runs=1, bad=60, soak_minutes=0.05)
    settings |= dict(peers="llamacpp")
    wanted = tmp_path / "serve.json"
    bench.bench(BenchConfig(what="serve", init_from=str(tmp_path / "model"), json=str(wanted), **settings))
    found = json.loads(wanted.read_text(encoding="utf-8"))
    assert found["ratio_many"] == pytest.approx(found["many_tokens_per_s"] / found["one_tokens_per_s"])
    assert found["ratio_p95"] >= 1 and found["soak"]["requests"] > found["soak"]["left"] > 0
    assert found["soak"]["bad"] and found["soak"]["slots_leaked"] == 0 and sum(found["bad"]["statuses"].values()) == 60
    assert found["bad"]["chats"] and {int(status) // 100 for status in found["bad"]["statuses"]} <= {0, 2, 4}
    shown = capsys.readouterr().out
    assert "3 clients at once on 2 slots" in shown and "60 bad requests" in shown
    if not peers.is_missing("llamacpp"):
        assert all(rate > 0 for rate in found["peers"].values()) and len(found["peers"]) >= 2
        assert all(label in shown for label in found["peers"])


@pytest.mark.slow
def test_quality(talk_dir, tmp_path, monkeypatch):
    """train.py's recipe and nanoGPT's loop on the same words, in bits per byte."""
    monkeypatch.setattr(training, "RECIPE", "train_tiny.py")
    shape = dict(n_layer=1, n_head=2, n_embd=32, block_size=64, batch_size=2, reference_steps=3, minutes=0.2)
    wanted = tmp_path / "quality.json"
    bench.bench(BenchConfig(what="quality", data_dir=str(talk_dir), json=str(wanted), threads=1, **shape))
    found = json.loads(wanted.read_text(encoding="utf-8"))
    assert found["tokens"] > 0 and found["reference"]["tokens"] == 3 * 2 * 64
    for each in (found, found["reference"]):
        assert 0 < each["bits_per_byte"] < 10 and each["val_loss"] > 0


@pytest.mark.parametrize("what", ["decode", "turns"])
def test_a_profile_is_a_trace_of_our_engine(folder, tmp_path, capsys, monkeypatch, in_here, what):
    """--profile writes a Chrome trace with the operators of one more run; the figures are of the runs before it."""
    monkeypatch.setattr(decode, "HISTORIES", (4, 20))
    path = tmp_path / "trace.json"
    settings = dict(init_from=folder, weights="full", prompt_tokens=8, new_tokens=4, runs=1, threads=1)
    bench.bench(BenchConfig(what=what, profile=str(path), **settings))
    names = {event["name"] for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]}
    assert "aten::empty" in names and (what == "turns" or {"prefill", "decode"} <= names)
    assert f"wrote {path}" in capsys.readouterr().out


def test_a_profile_of_training(data_dir, tmp_path):
    """--what=train --profile hands the trace of one more run of train.py on."""
    path = tmp_path / "trace.json"
    shape = dict(n_layer=1, n_head=2, n_embd=32, block_size=16, batch_size=2, data_dir=str(data_dir))
    bench.bench(BenchConfig(what="train", runs=1, steps=3, threads=1, profile=str(path), **shape))
    names = {event["name"] for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]}
    assert any(name.startswith("aten::") for name in names)


def test_a_model_is_not_loaded_to_know_its_shape(folder, tiny, monkeypatch):
    """The context's length is read from config.json; the weights of a GPT-2 XL would take 6 GB."""
    monkeypatch.setattr(model_folder, "load", None)
    assert gpt_config_of(folder) == tiny.config


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_start():
    """The prompt, then the first letter; a chat that ends before has its error told."""
    prompt, letter = seconds_of_start(["tests/terminal/speaker.py", "--no_history"])
    assert 0 < prompt < letter
    with pytest.raises(InputError, match="did not start: error: nowhere has no model"):
        seconds_of_start(["chat.py", "--out_dir=nowhere"])
