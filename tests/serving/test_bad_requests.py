"""
Whatever is not a request is answered with a 4xx that names what is wrong, and the server goes on.
"""

import json
import time

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from served import HI, error_of, get

from serving.errors import APIError
from serving.json_body import read_json
from serving.protocol import ChatRequest, CompletionRequest, DetokenizeRequest
from serving.responses import ResponsesRequest
from tokenization.chat_template import FolderTemplate, PlainText

REFUSED = [
    ({"messages": HI, "tools": [{"type": "function"}]}, "tools"),
    ({"messages": HI, "response_format": {"type": "json_object"}}, "response_format.type"),
    ({"messages": HI, "temperature": 3}, "temperature"),
    ({"messages": HI, "temperature": "hot"}, "temperature"),
    ({"messages": HI, "n": 0}, "n"),
    ({"messages": HI, "repetition_penalty": 5e-324}, "repetition_penalty"),  # it overflowed, and the engine died of it
    ({"messages": HI, "best": 1}, "best"),
    ({"messages": HI, "top_logprobs": 3}, "top_logprobs"),
    ({"messages": HI, "logit_bias": {"999999": 1}}, "logit_bias"),
    ({"messages": HI, "logit_bias": {"x": 1}}, "logit_bias"),
    ({"messages": HI, "stop": ""}, "stop"),
    ({"messages": HI, "stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": []}, "messages"),
    ({}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content"),
    ({"messages": [*HI, {"role": "system", "content": "late"}]}, "messages.1.role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, None),
]


@pytest.mark.parametrize("body, param", REFUSED)
def test_what_is_not_known_is_refused_by_name(shared, body, param):
    """With --strict nothing is ignored that could change the result."""
    error = error_of(shared(strict=True).post(body), 400)
    assert error["type"] == "invalid_request_error" and (param is None or error["param"] == param)


@pytest.mark.parametrize("model, body", [
    (CompletionRequest, {"prompt": [None] * 20_000}),
    (CompletionRequest, {"prompt": [["x"] * 20_000]}),
    (DetokenizeRequest, {"tokens": ["x"] * 20_000}),
    (ChatRequest, {"messages": [{"role": 7}] * 5_000}),
    (ChatRequest, {"messages": [{"role": "user", "content": [{"type": "text"}] * 20_000}]}),
    (ResponsesRequest, {"input": [{"role": 7}] * 5_000}),
])  # fmt: skip
def test_the_first_wrong_item_is_enough(model, body):
    """A list of many wrong items is refused for one of them: to tell of each would take the server a second."""
    with pytest.raises(ValidationError) as error:
        model.model_validate(body)
    assert 1 <= error.value.error_count() < 10


def test_an_object_of_too_many_names():
    """Each name that is not known is an error, too."""
    with pytest.raises(APIError, match="10,000 names"):
        read_json(json.dumps({f"x{i}": 1 for i in range(10_001)}).encode())
    assert len(read_json(json.dumps({f"x{i}": 1 for i in range(10_000)}).encode())) == 10_000


def test_context_overflow(running):
    """Both numbers in a 400; truncation: auto drops old turns."""
    server = running(truncation="disabled")
    long = [{"role": role, "content": "well then " * 5} for role in ("user", "assistant")] * 3 + HI
    error = error_of(server.post({"messages": long, "max_tokens": 20}), 400)
    assert error["code"] == "context_length_exceeded" and "64 tokens" in error["message"]
    found = server.post({"messages": long, "max_tokens": 20, "truncation": "auto", "seed": 1}).json()
    assert found["usage"]["total_tokens"] <= 65 and found["choices"][0]["finish_reason"] in ("stop", "length")
    with pytest.raises(openai.BadRequestError, match="context"):
        server.client().chat.completions.create(model="tiny", messages=long)


def test_a_template_that_takes_no_system_message(running, tokens, tmp_path):
    """What a folder's own chat template refuses is a 400 with its words; other chats go on."""
    server = running()
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}hi"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    server.engine.template = FolderTemplate(tokens, tmp_path)
    refused = {"messages": [{"role": "system", "content": "be kind"}, *HI]}
    for body in (refused, {**refused, "truncation": "auto"}):
        error = error_of(server.post(body), 400)
        assert error["param"] == "messages" and "no system role" in error["message"]
    assert server.post({"messages": HI, "max_tokens": 3}).status_code == 200


def test_no_completion_has_a_token_that_the_model_was_not_taught(running, tokens):
    """However much a request asks for our tags, a model of another program does not say them."""
    server = running()
    server.engine.template = PlainText(tokens)
    wanted = {str(token): 100 for token in (tokens.system, tokens.human, tokens.bot, tokens.end_of_turn)}
    body = {"prompt": "hi", "logit_bias": wanted, "max_tokens": 20, "n": 3, "stop": ["\0"], "logprobs": 0}
    for choice in server.post(body, "/v1/completions").json()["choices"]:
        assert not {"[System]:", "[Human]:", "[Bot]:"} & set(choice["logprobs"]["tokens"])


@pytest.mark.parametrize(
    ("max_body", "body", "status"),
    [
        (2**20, b'{"messages": [{"role": "user", "content": "%s"}]}' % (b"a b " * 2_500_000), 413),
        (2**24, b'{"messages": [{"role": "user", "content": "%s"}]}' % (b"a b " * 2_500_000), 400),
        (2**24, b"[" * 10_000_000, 400),
        (2**24, b'{"messages": %s' % (b'[{"role":' * 1_111_111), 400),
        (2**24, b'{"%s": 1}' % (b"x" * 10_000_000), 400),
        (2**24, b'{"seed": %s}' % (b"9" * 10_000_000), 400),
    ],
    ids=("too large", "a long message", "deep", "deep messages", "a long name", "a long number"),
)
def test_ten_megabytes(shared, max_body, body, status):
    """Whatever they hold: one clear error, in seconds, and the next request is served."""
    server = shared(max_body=max_body)
    begun = time.process_time()
    error = error_of(server.post(body), status)
    assert len(error["message"]) < 500 and time.process_time() - begun < 10
    assert server.chat(max_tokens=2, temperature=0).usage.completion_tokens == 2  # a sampled one may end sooner


def test_keys_rates_and_bodies(running):
    """Without the key 401, too often 429, too much 413, also in chunks; /health and the page need no key."""
    server = running(api_key="secret", max_rps=1.0, max_body=2000, trusted_proxies=("127.0.0.1",))
    one, other, third = ({"X-Forwarded-For": f"10.0.0.{i}"} for i in range(3))  # each has a rate of its own
    assert (
        error_of(server.post({"messages": HI}, headers={"Authorization": "Bearer wrong"}), 401)["code"]
        == "invalid_api_key"
    )
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    assert get(f"{server.url}/health").status_code == get(f"{server.url}/").status_code == 200
    assert get(f"{server.url}/metrics").status_code == 401
    found = [server.post({"messages": HI, "max_tokens": 1}, headers=one).status_code for _ in range(8)]
    assert found[0] == 200 and 429 in found
    assert error_of(server.post({"messages": HI, "user": "x" * 3000}, headers=other), 413)
    pieces = (b'{"messages": [' + b" " * 1500 for _ in range(4))
    headers = {"Content-Type": "application/json", "Authorization": "Bearer secret", **third}
    assert error_of(httpx.post(f"{server.url}/v1/chat/completions", content=pieces, headers=headers), 413)


def test_other_pages_and_names_are_kept_out(running):
    """A Host that is not this machine's, another page's Origin, a form's content type; --cors lets a page in."""
    server = running(cors=("https://friend.example",))
    assert error_of(server.post({"messages": HI}, headers={"Host": "evil.example"}), 403)
    assert error_of(server.post({"messages": HI}, headers={"Origin": "https://evil.example"}), 403)
    assert error_of(server.post({"messages": HI}, headers={"Content-Type": "text/plain"}), 415)
    friend = server.post({"messages": HI, "max_tokens": 1}, headers={"Origin": "https://friend.example"})
    assert friend.status_code == 200 and friend.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    own = server.post({"messages": HI, "max_tokens": 1}, headers={"Origin": server.url})
    assert own.status_code == 200 and "Access-Control-Allow-Origin" not in own.headers
    page = get(f"{server.url}/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/../serve.py", "/%2e%2e/serve.py", "/web/index.html", "/app.js/../../serve.py", "//etc/passwd"):
        assert get(server.url + path).status_code in (403, 404), path


BROKEN = [
    b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"messages":' * 20_000, b'{"a":1e999}',
    b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    b'{"messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 5000 + b"}",
    b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1e400}',
    b'{"messages":[{"role":"user","content":"x"}],"max_tokens":' + b"9" * 30 + b"}",
    b'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"1":Infinity}}',
]  # fmt: skip


def test_broken_bodies_are_4xx(server):
    """Bytes that are no JSON, nesting without end, numbers without end."""
    for body in BROKEN:
        for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/feedback"):
            response = server.post(body, path)
            assert 400 <= response.status_code < 500, (body[:60], path, response.text)
            assert response.json()["error"]["message"]
    lone = server.post(b'{"messages":[{"role":"user","content":"\\ud800 hi"}],"max_tokens":1}')
    assert lone.status_code in (200, 400)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


FIELDS = [
    "model", "messages", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "logit_bias", "stream", "logprobs",
    "top_k", "tools", "stream_options", "prompt", "user", "truncation", "frequency_penalty",
]  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5), valid=st.booleans())
def test_any_body_is_answered_or_refused(server, body, valid):
    """No body is a 5xx, and the server goes on."""
    if valid:
        body = {"messages": HI, "prompt": "hi", "max_tokens": 2, **body}
    for path in ("/v1/chat/completions", "/v1/completions"):
        status = server.post(json.dumps(body).encode("utf-8", "surrogatepass"), path).status_code
        assert status == 200 or 400 <= status < 500
