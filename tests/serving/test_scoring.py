"""
What evaluation and load tools ask: log-probabilities of a prompt's own tokens, no reply at all, ids as text, and how
long replies take. The model's own forward pass is the oracle.
"""

import json
import math

import pytest
import torch
from served import HI, error_of, get

from inference.engine import MAX_SCORED_TOKENS, Engine
from inference.settings import SamplingParams

IDS = [65, 66, 67, 68, 32, 70, 71, 90, 91, 92] * 6  # of a context of 64


def true_logprobs(model, ids):
    """The log-probability of each id but the first, by one pass without a cache."""
    with torch.no_grad():
        logs = model(torch.tensor([ids]))[0].log_softmax(-1)
    return [float(logs[i, id]) for i, id in enumerate(ids[1:])]


@pytest.mark.parametrize("chunk", [1, 7, MAX_SCORED_TOKENS])
def test_a_prompt_is_scored_as_by_one_pass(server, monkeypatch, chunk):
    """In parts of any size, beside another sequence, and after a prompt that begins alike."""
    monkeypatch.setattr("inference.engine.MAX_SCORED_TOKENS", chunk)
    engine = Engine(server.engine.model, server.engine.tokenizer, slots=2)
    list(engine.generate(IDS[:20], SamplingParams(max_new_tokens=1)))
    other = engine.add_request(IDS[:30], SamplingParams(max_new_tokens=30, min_new_tokens=30))
    scored = engine.add_request(IDS, SamplingParams(max_new_tokens=1, logprobs=2), score_prompt=True)
    for _ in range(100):
        if scored not in engine.running:
            break
        engine.step()
    assert other.num_generated > 0 and [token.id for token in scored.prompt_logprobs] == IDS
    first, *rest = scored.prompt_logprobs
    assert first.logprob is None
    assert [token.logprob for token in rest] == pytest.approx(true_logprobs(engine.model, IDS), abs=1e-4)


def test_echo_with_logprobs(server):
    """As lm-eval asks: the prompt's tokens, the first without a score, then the reply's; whole and streamed."""
    body = {"prompt": [IDS], "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True, "seed": 1234}
    choice = server.post(body, "/v1/completions").json()["choices"][0]
    scores, decode = choice["logprobs"], server.engine.tokenizer.decode
    assert choice["text"].startswith(decode(IDS)) and scores["tokens"][: len(IDS)] == [decode([id]) for id in IDS]
    assert len(scores["tokens"]) == len(IDS) + 1 and scores["token_logprobs"][0] is scores["top_logprobs"][0] is None
    assert scores["token_logprobs"][1:-1] == pytest.approx(true_logprobs(server.engine.model, IDS), abs=1e-4)
    assert scores["text_offset"][-1] == len(decode(IDS))
    for score, top in list(zip(scores["token_logprobs"], scores["top_logprobs"], strict=True))[1:]:
        assert len(top) == 1 and score <= max(top.values()) + 1e-6
    stream = server.post({**body, "stream": True}, "/v1/completions").text
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]
    assert chunks[0]["choices"][0]["logprobs"]["token_logprobs"][: len(IDS)] == scores["token_logprobs"][: len(IDS)]


def test_no_reply_at_all(server):
    """max_tokens: 0: the prompt alone, up to the whole context; without echo there is nothing."""
    full = (IDS * 2)[:64]
    body = {"prompt": full, "max_tokens": 0, "logprobs": 0, "echo": True}
    found = server.post(body, "/v1/completions").json()
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "length" and choice["text"] == server.engine.tokenizer.decode(full)
    assert len(choice["logprobs"]["tokens"]) == 64 and found["usage"]["completion_tokens"] == 0
    nothing = server.post({"prompt": "well", "max_tokens": 0}, "/v1/completions").json()
    assert nothing["choices"][0]["text"] == "" and nothing["choices"][0]["logprobs"] is None
    assert error_of(server.post({**body, "prompt": full + [65]}, "/v1/completions"), 400)
    assert error_of(server.post({"messages": HI, "max_tokens": 0}), 400)["param"] == "max_tokens"


def test_an_echoed_text_begins_with_its_own_letters(server):
    """Not with the <|endoftext|> that stands before it, after which its first token has a score."""
    body = {"prompt": ["well then", "hm"], "max_tokens": 2, "logprobs": 1, "echo": True, "n": 2}
    choices = server.client().completions.create(model="tiny", **body).choices
    assert [choice.text[:2] for choice in choices] == ["we", "we", "hm", "hm"]
    assert "".join(choices[0].logprobs.tokens) == choices[0].text and choices[0].logprobs.text_offset[0] == 0
    assert all(math.isfinite(score) for score in choices[0].logprobs.token_logprobs)
    plain = server.post({"prompt": "hm", "max_tokens": 1, "echo": True}, "/v1/completions").json()
    assert plain["choices"][0]["text"].startswith("hm") and plain["choices"][0]["logprobs"] is None


def test_detokenize(server):
    text = "naïve café"
    ids = server.post({"prompt": text}, "/tokenize").json()["tokens"]
    assert server.post({"tokens": ids}, "/detokenize").json() == {"prompt": text}
    for ids in ([-1], [10**6]):
        assert error_of(server.post({"tokens": ids}, "/detokenize"), 400)["param"] == "tokens"


def test_latencies_are_counted(running):
    """A histogram each of the first token, of a token, and of a reply; Prometheus' own parser reads them."""
    server = running()
    parser = pytest.importorskip("prometheus_client.parser")
    for more in ({}, {"stream": True}):
        server.post({"messages": HI, "max_tokens": 5, "ignore_eos": True, **more})
    text = get(f"{server.url}/metrics").text
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name in ("first_token_seconds", "token_seconds", "reply_seconds"):
        assert samples[f"nanochatgpt_{name}_count", None] == samples[f"nanochatgpt_{name}_bucket", "+Inf"] == 2
    assert samples["nanochatgpt_reply_seconds_sum", None] >= samples["nanochatgpt_first_token_seconds_sum", None]
