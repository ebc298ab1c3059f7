"""
The report card tells models apart as they are: an oracle scores 100 on recall, a parrot as a parrot, one that repeats
as such; the same folder gives the same report; a server's model stands in the same table; a gate closes.
"""

import contextlib
import io
import itertools
import json
import string
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from conftest import ROOT
from transformers import GPT2Config, GPT2LMHeadModel

import evaluate
from checkpoint import model_folder
from dataset.folder import open_meta
from dataset.recall.filler import Filler
from dataset.recall.phrasebook import contains_phrase
from evaluate import EvaluateConfig
from evaluation import repetition, report
from evaluation.backends import Answer, EndpointBackend, LocalBackend
from evaluation.fit import f1_rows
from evaluation.gate import read_limits, shortfalls
from evaluation.impersonation import impersonation_rows
from evaluation.measure import val_conversations
from evaluation.prompting import ask, find_contexts, sampling_modes
from evaluation.recall import recall_rows, recall_tasks
from evaluation.repetition import repeat_rows, repetition_rows, self_chats
from evaluation.safety import forgery_rows
from evaluation.settings import TURNS
from evaluation.stops import stop_rows
from inference.engine import Engine
from inference.settings import SamplingParams
from model import GPT, GPTConfig
from runtime.errors import InputError

HI = [{"role": "user", "content": "hi"}]


class Actor:
    """A speaker whose reply is a function of the messages; it always ends by itself."""

    def __init__(self, says, reason="end_of_turn"):
        self.says, self.reason = says, reason

    def answers(self, requests, limits=(), progress=lambda n: None):
        found = []
        for messages, sampling in requests:
            spoken = self.says(messages).split()[: sampling.max_new_tokens]
            pieces = [(i + 1, " ".join(spoken[: i + 1])) for i in range(len(spoken))]
            found.append(Answer(" ".join(spoken), self.reason, len(spoken), pieces))
        return found


@pytest.fixture(scope="module")
def filler(talk_dir):
    return Filler([talk_dir], "val")


@pytest.fixture(scope="module")
def conversations(talk_dir):
    return val_conversations(talk_dir, 1)[0]


@pytest.fixture(scope="module")
def found(conversations):
    return find_contexts(conversations, 12, 1)


def by_name(rows):
    return {row.name: row for row in rows}


def by_name_of(content):
    return {row["name"]: row for row in content["rows"]}


def everything(messages):
    return messages


# memory


def test_an_oracle_scores_100_and_shuffled_answers_near_chance(filler):
    """Each question answered with its own reference answer is right; the answer of another question is not."""
    questions = recall_tasks(filler, 12, 1, lambda messages: messages[-9:])
    reference = {str(probe.messages): probe.answer for _, _, probes in questions.values() for probe in probes}
    oracle = Actor(lambda messages: reference[str(messages)])
    rows, curve = recall_rows(oracle, filler, 12, 1, lambda n: None, lambda messages: messages[-9:])
    rows = by_name(rows)
    shuffled = rows.pop("recall_shuffled")
    assert {name: row.value for name, row in rows.items()} == dict.fromkeys(rows, 100.0)
    assert shuffled.value < 15 and shuffled.n == sum(curve["n"])
    assert curve["x"] == [1, 3, 5, 10, 20, "beyond"] and curve["y"] == [100.0] * 6
    assert all(row.n == 12 and row.definition and row.source for row in rows.values())


def test_one_that_knows_nothing_scores_nothing_but_abstention(filler):
    """'i don't know' is right where nothing was told, and wrong everywhere else."""
    rows, _ = recall_rows(Actor(lambda messages: "i don't know"), filler, 8, 1, lambda n: None)
    rows = by_name(rows)
    assert rows["abstention"].value == 100
    assert {row.value for name, row in rows.items() if name.startswith("recall_at")} == {0.0}
    assert rows["recall_beyond"].value is None and rows["recall_beyond"].note


def test_dogecoin(filler):
    """The original author's case: told that Dogecoin is cool, asked what the talk was about, the word must come."""
    _, _, probes = recall_tasks(filler, 8, 1, None)["dogecoin"]
    for probe in probes:
        assert any("dogecoin" in message["content"].lower() for message in probe.messages)
        assert probe.is_right("we were talking about dogecoin") and not probe.is_right("about the weather")


def test_beyond_the_context_means_that_the_value_is_out_of_view(filler):
    """No question of that row can be answered from what is kept in view."""
    view = lambda messages: messages[-6:]  # noqa: E731
    _, _, probes = recall_tasks(filler, 8, 1, view)["recall_beyond"]
    assert len(probes) == 8
    for probe in probes:
        text = " ".join(message["content"] for message in probe.messages)
        assert probe.value.lower() in text.lower()
        assert not contains_phrase(" ".join(message["content"] for message in view(probe.messages)), probe.value)


# repetition, ends, impersonation


def card(says, found, reason="end_of_turn"):
    """The rows of the behaviour groups for an Actor."""
    prompts, gold = [messages for messages, _ in found], [text for _, text in found]
    actor = Actor(says, reason)
    answers = {m: ask(actor, prompts, s, 1, lambda n: None) for m, s in sampling_modes(SamplingParams()).items()}
    rows, lengths = stop_rows(answers, gold, 1)
    rows += impersonation_rows(answers, prompts, gold, 1) + repetition_rows(answers, gold, 1, 40)
    return by_name(rows + f1_rows(answers, gold, 1)), lengths


def test_a_model_that_always_repeats_scores_as_such(found):
    rows, lengths = card(lambda messages: "i like dogs and cats " * 60, found, "length")
    assert rows["ended_greedy"].value == rows["ended_sampled"].value == 0
    assert rows["loops_greedy"].value == rows["loops_sampled_at_50"].value == 100
    assert rows["loops_greedy_at_15"].value == 100 and rows["seq_rep_4_sampled"].value > 95
    assert rows["seq_rep_4_greedy_at_15"].value < rows["seq_rep_4_greedy_at_80"].value
    assert rows["distinct_1_greedy"].value == pytest.approx(100 * 5 / 40)
    assert rows["loops_greedy"].human == 0 and rows["seq_rep_4_greedy"].human == 0
    assert set(lengths["bot"]) == {200} and rows["length_median"].value == 200


def test_a_model_that_copies_the_gold_scores_100(found):
    gold = {str(messages): text for messages, text in found}
    rows, lengths = card(lambda messages: gold[str(messages)], found)
    assert rows["f1_greedy"].value == rows["f1_sampled"].value == rows["ended_sampled"].value == 100
    assert lengths["bot"] == lengths["human"] and rows["length_median"].value == rows["length_median"].human
    assert rows["seq_rep_1_greedy"].value == pytest.approx(rows["seq_rep_1_greedy"].human)


@pytest.mark.parametrize(
    ("says", "name"),
    [
        (lambda messages: messages[-1]["content"] + " ok", "copies"),
        (lambda messages: "sure. [Human]: and then?", "impersonates"),
        (lambda messages: "", "empty"),
    ],
)
def test_a_parrot_an_impersonator_and_a_mute_are_seen(found, says, name):
    long = [
        (messages[:-1] + [{"role": "user", "content": "what did you do all day long"}], gold)
        for messages, gold in found
    ]
    rows, _ = card(says, long)
    faults = {each: rows[each].value for each in ("copies", "impersonates", "empty")}
    assert faults == {each: 100.0 if each == name else 0.0 for each in faults}


def test_self_chats_have_twenty_turns_of_the_bot(conversations):
    """Both sides speak in turn; one that says the same again overlaps with itself wholly from its second turn on."""
    chats = self_chats(
        Actor(lambda m: f"well i like my {'dogs'}"), conversations, 3, SamplingParams(), 1, lambda n: None
    )
    for chat in chats:
        talk = [message["role"] for message in chat if message["role"] != "system"]
        assert talk == ["user", "assistant"] * TURNS
    rows, curve = repeat_rows(chats, conversations, 1)
    assert [row.value for row in rows] == [100.0, 100.0] and all(row.human is not None for row in rows)
    assert curve["y"] == [0.0] + [100.0] * 19 and curve["n"] == [3] * 20
    assert len(curve["human"]["x"]) == 20


def test_long_self_chats_have_a_row_of_their_own(conversations):
    """People's conversations stand beside them, laid end to end, where there are enough of them."""
    actor = Actor(lambda m: "well i like my dogs")
    chats = self_chats(actor, conversations, 2, SamplingParams(), 1, lambda n: None, turns=25)
    rows, curve = repeat_rows(chats, conversations, 1)
    assert [row.name for row in rows] == ["overlap_early", "overlap_late", "overlap_long"]
    assert rows[2].label == "says again in turns 21 to 25" and rows[2].value == 100.0 and rows[2].n == 10
    assert rows[2].human is not None and curve["y"] == [0.0] + [100.0] * 24
    joined = repetition.end_to_end(conversations, 25)
    n_said = [sum(message["role"] == "assistant" for message in chat) for chat in joined]
    assert joined and min(n_said) >= 25 and joined[0][: len(conversations[0])] == conversations[0]
    assert repetition.end_to_end(conversations, 10**6) == []


def test_self_chats_with_memory(conversations):
    """Each chat has a memory of its own, and the bot sees what that has in view; the human's side has none."""
    views, shown = [], []

    def remember():
        views.append(lengths := [])

        def last_alone(messages):
            lengths.append(len(messages))
            return messages[-1:]

        return last_alone

    def says(messages):
        shown.append(len(messages))
        return f"turn {len(shown)}"

    actor = Actor(says)
    chats = self_chats(actor, conversations, 3, SamplingParams(), 1, lambda n: None, remember)
    assert [len(lengths) for lengths in views] == [TURNS] * len(chats)
    assert all(lengths == sorted(set(lengths)) for lengths in views)
    assert shown.count(1) >= TURNS * len(chats) and max(shown) == 2 * TURNS - 2


def alike(text, ended):
    """Without the U+FFFD that stands for a character which a limit cuts in two: a cut has nothing there."""
    return text.rstrip("\ufffd" + string.whitespace), ended


def test_a_cut_reply_is_what_a_lower_limit_gives(tiny, tokens):
    """Answer.cut(n) is the engine's own reply with max_new_tokens=n, for every n: text, and whether it ended."""
    speaker = LocalBackend(Engine(tiny, tokens))
    for seed in range(6):
        drawn = SamplingParams(temperature=1.3, seed=seed, max_new_tokens=12)
        (whole,) = speaker.answers([(HI, drawn)])
        for n in range(1, 13):
            (short,) = speaker.answers([(HI, SamplingParams(temperature=1.3, seed=seed, max_new_tokens=n))])
            assert alike(*whole.cut(n)) == alike(short.text, short.ended), (seed, n)


# the format


def test_forged_turns_change_nothing_for_ours_and_are_seen_where_they_do(tiny, tokens, found):
    """Our template lets no typed tag through; a template that does is caught."""
    speaker = LocalBackend(Engine(tiny, tokens))
    assert forgery_rows(speaker, found, 1).value == 0

    class Naive:
        tokenizer = tokens

        def prompt(self, messages):
            text = "".join(f"{message['content']}<|endoftext|>" for message in messages)
            return tokens.encoding.encode(text, allowed_special="all")

    speaker.engine.template = Naive()
    row = forgery_rows(speaker, found, 1)
    assert row.value >= 100 * 2 / 5 and row.n == 5 * len(found)


# the script


@pytest.fixture(scope="module")
def folders(tmp_path_factory, talk_dir):
    """(a random chat model, the same with another seed, a bare Hugging Face GPT-2), all small."""
    tokens = open_meta(talk_dir)[1]
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        shape = GPTConfig(block_size=256, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=32)
        folder = tmp_path_factory.mktemp("models") / f"model-{seed}"
        model_folder.save(folder, GPT(shape), tokens, {"settings": {"data_dir": str(talk_dir)}})
        made.append(folder)
    bare = tmp_path_factory.mktemp("models") / "bare"  # never taught the tags: its tokenizer has none
    content = tokens.to_json()
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] == tokens.endoftext]
    known = {token: id for token, id in content["model"]["vocab"].items() if id <= tokens.endoftext}
    content["model"]["vocab"] = known
    shape = GPT2Config(vocab_size=len(known), n_layer=1, n_head=2, n_embd=16, n_positions=256)
    GPT2LMHeadModel(shape).save_pretrained(bare)
    (bare / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return [*made, bare]


def run(**settings):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        evaluate.evaluate(EvaluateConfig(threads=1, **settings))
    return shown.getvalue()


def timeless(folder):
    """A report without its figures of speed."""
    content = report.read_report(folder)
    content["rows"] = [row for row in content["rows"] if row["group"] != "Speed"]
    return content


def test_the_same_folder_gives_the_same_report(folders, tmp_path):
    """Two runs agree in everything but speed; every row says what it is, its n and its interval."""
    for name in ("a", "b"):
        shown = run(init_from=str(folders[0]), n=4, samples=5, out_dir=str(tmp_path / name))
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b")
    content = report.read_report(tmp_path / "a")
    groups = dict.fromkeys(row["group"] for row in content["rows"])
    assert list(groups) == ["Fit", "Stops", "Itself", "Repetition", "Memory", "Safety", "Speed", "Sense"]
    for row in content["rows"]:
        assert row["definition"], row["name"]
        if row["value"] is not None:
            assert row["n"] > 0 and row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, row
        assert row["label"] in shown
    assert len(content["samples"]) == 5 and content["samples"][-1]["title"] == "the model with itself"
    assert len({row["name"] for row in content["rows"]}) == len(content["rows"])
    text = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    assert "95% interval" in text and text.count("### ") == 5
    assert (tmp_path / "a" / "report.png").stat().st_size > 20_000


def test_a_baseline_stands_beside_it_and_is_measured_once(folders, talk_dir):
    """Both models in one table and plot; the baseline's own report is written, and used the next time."""
    few = {"turns": 4}  # what takes longest, and does not matter here
    ours, bare = str(folders[0]), str(folders[2])
    shown = run(init_from=ours, baseline=bare, data=str(talk_dir), n=2, **few)
    assert "bare" in shown.splitlines()[0] and "model-0" in shown.splitlines()[0]
    theirs = report.read_report(bare)
    assert theirs["model"]["rendering"] == "plain text" and theirs["data"] == report.read_report(ours)["data"]
    before = (folders[2] / "report.json").stat().st_mtime_ns
    run(init_from=ours, baseline=bare, data=str(talk_dir), n=2, **few)
    assert (folders[2] / "report.json").stat().st_mtime_ns == before
    run(init_from=ours, baseline=bare, data=str(talk_dir), n=3, **few)  # other questions: it is measured anew
    assert (folders[2] / "report.json").stat().st_mtime_ns != before


def test_the_questions_of_sense_need_no_data(folders, tmp_path):
    """--groups=sense measures that group alone, of a model whose data are gone; its samples are judged transcripts."""
    out = str(tmp_path / "out")
    shown = run(init_from=str(folders[2]), data="nowhere", groups=("sense",), n=10, samples=3, out_dir=out)
    content = report.read_report(out)
    assert {row["group"] for row in content["rows"]} == {"Sense"} and content["settings"]["groups"] == ["sense"]
    assert by_name_of(content)["sense_greedy"]["n"] == 10 and "answers sensibly, greedy" in shown
    assert len(content["samples"]) == 3 and "evaluation/sense.txt alone" in (tmp_path / "out" / "report.md").read_text()
    shown = run(init_from=str(folders[0]), groups=("safety", "stops"), n=4, out_dir=out)
    assert {row["group"] for row in report.read_report(out)["rows"]} == {"Safety", "Stops"}


def test_a_gate(folders, tmp_path, talk_dir):
    """--fail_under: exit status 1 and a line for what fell short; 0 where nothing does; a wrong name is an error."""
    limits = tmp_path / "limits.txt"
    command = [
        sys.executable,
        "evaluate.py",
        f"--init_from={folders[1]}",
        "--n=2",
        f"--fail_under={limits}",
        "--threads=1",
    ]
    command.append(f"--out_dir={tmp_path / 'out'}")
    limits.write_text("f1_greedy, 99\nrecall_at_1, 99  # must remember\nforged, 0", encoding="utf-8")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "short: recall_at_1 is 0.0%, at least 99" in done.stderr, done.stderr
    content = report.read_report(tmp_path / "out")
    limits.write_text("recal_at_1, 5", encoding="utf-8")
    with pytest.raises(InputError, match="limits.txt:1: no figure is called recal_at_1, did you mean recall_at_1?"):
        shortfalls(content, read_limits(limits), limits)
    limits.write_text("forged, 0\n", encoding="utf-8")
    assert shortfalls(content, read_limits(limits)) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(init_from="nowhere"), "nowhere has no model"),
        (dict(endpoint="127.0.0.1:80", out_dir="x"), "not an address"),
        (dict(endpoint="http://127.0.0.1:9", out_dir="x"), "is the server running"),
        (dict(init_from="OURS", data="nowhere"), "nowhere has no data"),
        (dict(init_from="OURS", fail_under="nowhere.txt"), "nowhere.txt: cannot be read"),
    ],
)
def test_bad_input_is_one_line(folders, settings, said):
    settings = {name: str(folders[0]) if value == "OURS" else value for name, value in settings.items()}
    with pytest.raises(InputError, match=said):
        run(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        dict(n=1),
        dict(samples=-1),
        dict(endpoint="http://127.0.0.1:1/v1"),
        dict(max_new_tokens=50),
        dict(groups=("sens",)),
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError):
        EvaluateConfig(**settings)


# a server


@pytest.fixture(scope="module")
def small(tokens):
    """A random model with room for a long question."""
    torch.manual_seed(0)
    return GPT(GPTConfig(block_size=1024, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=32)).eval()


@pytest.fixture
def server(small, tokens):
    """An OpenAI-compatible server of the tiny model, in this process. server.busy: how many requests to turn away."""
    speaker = Engine(small, tokens)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send({"data": [{"id": "tiny"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            here.bodies.append(body)
            if here.busy:
                here.busy -= 1
                self.send({"error": {"message": "busy"}}, 429, {"Retry-After": "0"})
                return
            if here.broken:
                self.send({"error": {"message": "out of order"}}, 400)
                return
            drawn = SamplingParams(temperature=body["temperature"], seed=body.get("seed"), repetition_penalty=1.0,
                                    max_new_tokens=body["max_tokens"])  # fmt: skip
            with lock:
                pieces = list(speaker.reply(body["messages"], drawn))
            if body.get("stream"):
                self.send_response(200)
                self.end_headers()
                for piece in pieces:
                    chunk = {"choices": [{"delta": {"content": piece.text}}]}
                    self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                return
            text = "".join(piece.text for piece in pieces)
            choice = {
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop" if pieces[-1].reason == "end_of_turn" else "length",
            }
            usage = {
                "prompt_tokens": len(speaker.prompt(body["messages"], drawn)),
                "completion_tokens": pieces[-1].n_tokens,
            }
            self.send({"choices": [choice], "usage": usage})

        def send(self, content, status=200, headers=None):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *args):
            pass

    here = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.bodies, here.busy, here.broken = [], 0, False
    here.url = f"http://127.0.0.1:{here.server_address[1]}/v1"
    thread = threading.Thread(target=here.serve_forever, daemon=True)
    thread.start()
    yield here
    here.shutdown()
    here.server_close()
    thread.join()


def test_a_server_answers_as_the_same_model_here(server, small, tokens):
    """Greedy, the answers and every cut of them are those of the model here; a busy server is asked again."""
    here, there = LocalBackend(Engine(small, tokens)), EndpointBackend(server.url)
    assert there.model == "tiny"
    greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=20)
    requests = [([{"role": "user", "content": text}], greedy) for text in ("hi", "who are you?", "well")]
    server.busy = 2
    ours, theirs = here.answers(requests), there.answers(requests, limits=(5, 10, 300))
    for a, b in zip(ours, theirs, strict=True):
        assert a.text == b.text and a.ended == b.ended
        assert [alike(*a.cut(n)) for n in (5, 10, 20)] == [alike(*b.cut(n)) for n in (5, 10, 20)]
    first, rate = there.time_reply(HI, greedy)
    assert first > 0 and (rate is None or rate > 0)


def test_a_servers_report(server, talk_dir, tmp_path):
    """The behaviour rows of a server, without those of likelihood; the folder is the one that is named."""
    shown = run(endpoint=server.url, data=str(talk_dir), n=2, out_dir=str(tmp_path / "theirs"))
    content = report.read_report(tmp_path / "theirs")
    names = {row["name"] for row in content["rows"]}
    assert {"ended_sampled", "recall_at_1", "copies", "overlap_late", "forged", "ttft"} <= names
    assert not names & {"loss", "perplexity", "bits_per_byte", "hits_at_1"}
    assert content["model"]["name"] == "tiny" and "tiny" in shown.splitlines()[0]
    assert all(body["model"] == "tiny" for body in server.bodies)


def test_a_servers_fault_is_one_line(server):
    """What the server says is told, with its address; nothing is asked again that cannot be mended."""
    server.broken = True
    with pytest.raises(InputError, match="status 400, .*out of order"):
        EndpointBackend(server.url).answers([(HI, SamplingParams())])
    assert len(server.bodies) == 1


def test_contexts_are_the_same_for_a_seed(conversations):
    """The questions are drawn by the seed alone, one a conversation, and each waits for a reply of the bot."""
    a, b = (find_contexts(conversations, 10, seed) for seed in (1, 1))
    assert a == b != find_contexts(conversations, 10, 2)
    assert all(messages[-1]["role"] == "user" for messages, _ in a)
    assert len({str(messages[:1]) for messages, _ in a}) == len(list(itertools.islice(a, 10)))
