"""
/openapi.json tells the truth about what comes back, the middlewares do each alone what they do in the server, and what
the log shows is a setting. serve.py imports nothing heavy before it must.
"""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import httpx
import pytest
from conftest import ROOT
from openai.types.chat import ChatCompletionChunk
from served import HI, get

from inference.settings import SamplingParams, SettingError, TalkConfig
from runtime.version import version
from serving import checks, log, response_models, response_object
from serving.checks import BodyLimit, KeyCheck, OriginCheck, RateLimit, RefusalPace
from serving.log import log_to_stdout
from serving.middleware import AccessLog, ResponseHeaders


def model_named(name):
    return vars(response_object).get(name) or vars(response_models)[name]


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/chat/completions", {"messages": HI, "max_tokens": 3}, "ChatCompletion"),
        ("/v1/chat/completions", {"messages": HI, "max_tokens": 3, "logprobs": True, "top_logprobs": 2, "n": 2}, None),
        ("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 3, "logprobs": 2}, "TextCompletion"),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 3}, "ResponseObject"),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 40, "temperature": 2, "metadata": {"a": 1}}, None),
        ("/tokenize", {"prompt": "hi"}, "TokenizeResponse"),
    ],
)
def test_what_comes_back_is_as_openapi_json_says(server, path, body, model):
    """The schema that the route names holds for a real answer, with no field more, and the error's for an error."""
    described = get(f"{server.url}/openapi.json").json()["paths"][path]["post"]["responses"]
    name = described["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert model in (None, name)
    model_named(name).model_validate(server.post(body, path).json(), strict=True)
    assert described["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
    response_models.ErrorResponse.model_validate(server.post({}, path).json(), strict=True)


@pytest.mark.parametrize(
    ("path", "body", "model", "client_type"),
    [
        (
            "/v1/chat/completions",
            {"messages": HI, "logprobs": True, "n": 2},
            "ChatCompletionChunk",
            ChatCompletionChunk,
        ),
        (
            "/v1/completions",
            {"prompt": ["a", "b"], "logprobs": 1, "echo": True},
            "TextCompletionChunk",
            None,
        ),  # its finish_reason is null until the end, in spite of the type
        ("/v1/responses", {"input": "hi"}, "ResponseEvent", None),
    ],
)
def test_events_are_as_openapi_json_says(server, path, body, model, client_type):
    """Each event is the model that the document names, and OpenAI's client's own type takes it."""
    document = get(f"{server.url}/openapi.json").json()
    content = document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert (
        content["schema"]["contentSchema"]["$ref"].endswith(f"/{model}") and model in document["components"]["schemas"]
    )
    limit = {"max_output_tokens" if "input" in body else "max_tokens": 3}
    text = server.post({**body, **limit, "stream": True}, path).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert len(events) > 3
    for event in events:
        model_named(model).model_validate(event, strict=True)
        if client_type:
            client_type.model_validate(event)


def test_every_reference_of_openapi_json_is_there(server):
    document = get(f"{server.url}/openapi.json").json()
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()


def test_one_version_number(server):
    """pyproject.toml's is that of /health and of /openapi.json."""
    (number,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version() == number == get(f"{server.url}/health").json()["version"]
    assert get(f"{server.url}/openapi.json").json()["info"]["version"] == number


def test_a_setting_out_of_range_has_its_name():
    """So that an error can name the parameter without reading a sentence."""
    for name, value in (("top_p", 2.0), ("logit_bias", {-1: 1.0}), ("seed", -1)):
        with pytest.raises(SettingError) as caught:
            SamplingParams(**{name: value})
        assert caught.value.name == name and str(caught.value).startswith(f"{name} (")


# the middlewares, each alone


async def hello(scope, receive, send):
    """An app that reads the body and answers 200."""
    while (await receive()).get("more_body"):
        pass
    await checks.respond(send, 200, b'"hello"')


def ask(app, path="/v1/models", method="GET", **asked):
    async def answer():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **asked)

    return asyncio.run(answer())


def test_a_key_is_asked_for():
    app = KeyCheck(hello, "secret")
    assert ask(app).status_code == ask(app, headers={"Authorization": "Bearer x"}).status_code == 401
    assert ask(app, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert ask(app, "/").status_code == ask(app, "/health").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "", "[", "127.0.0.1.evil.example", "localhost@evil.example"])
def test_another_host_is_refused(host):
    """Also one that is no host at all, which was a 500."""
    app = OriginCheck(hello, loopback=True, cors=())
    assert ask(app, headers={"Host": host}).status_code == 403
    assert ask(OriginCheck(hello, loopback=False, cors=()), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]", "[::1]:8000"])
def test_this_machine_is_let_in(host):
    assert ask(OriginCheck(hello, loopback=True, cors=()), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://localhost:1"])
def test_another_origin_is_refused(origin):
    app = OriginCheck(hello, loopback=True, cors=("https://friend.example",))
    error = ask(app, headers={"Origin": origin})
    assert error.status_code == 403 and error.json()["error"]["code"] == "origin"
    assert ask(app, headers={"Origin": "http://localhost"}).status_code == 200
    assert ask(app, headers={"Origin": "https://friend.example"}).status_code == 200


def test_a_preflight_is_answered_for_a_friend_only():
    app = ResponseHeaders(
        OriginCheck(hello, loopback=True, cors=("https://friend.example",)), ("https://friend.example",)
    )
    friend = ask(app, method="OPTIONS", headers={"Origin": "https://friend.example"})
    assert friend.status_code == 204 and friend.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert friend.headers["Access-Control-Allow-Methods"] == "GET, POST"
    other = ask(app, method="OPTIONS", headers={"Origin": "https://evil.example"})
    assert other.status_code == 403 and "Access-Control-Allow-Origin" not in other.headers
    assert other.headers["X-Frame-Options"] == "DENY"


def test_the_page_is_told_how_chat_py_talks(server, running):
    """The page asks for TalkConfig's DRY, or the one that the server was started with; requests take it."""
    fields = ("dry_multiplier", "dry_base", "penalty_window")
    talk = get(f"{server.url}/v1/models").json()["data"][0]["talk"]
    assert talk == {name: getattr(TalkConfig(), name) for name in fields}
    assert server.post({"messages": HI, "max_tokens": 3, **talk}).status_code == 200
    own = running(dry_multiplier=0.5, dry_base=3.0)
    talk = get(f"{own.url}/v1/models").json()["data"][0]["talk"]
    assert talk == {"dry_multiplier": 0.5, "dry_base": 3.0, "penalty_window": SamplingParams().penalty_window}


def test_a_bucket_empties_and_fills(monkeypatch):
    """Three requests at once, the fourth waits as long as it is told; the page is not counted."""
    clock = [0.0]
    monkeypatch.setattr(checks, "time", SimpleNamespace(monotonic=lambda: clock[0]))  # other threads go on
    app = RateLimit(hello, 3.0)

    def status(path="/v1/models"):
        try:
            app.check({"type": "http", "path": path, "client": ("ann", 1)}, httpx.Headers())
        except checks.APIError as error:
            return error.status, int(error.headers["Retry-After"])
        return 200

    assert [status() for _ in range(4)] == [200, 200, 200, (429, 1)]
    assert status("/app.js") == 200
    clock[0] += 0.34
    assert [status(), status()] == [200, (429, 1)]


def test_refusals_wait_for_their_turn_while_replies_are_made(monkeypatch):
    """
    Of 8 a second 2 come at once and the others an eighth later each; answers, other addresses and an idle server's
    refusals never wait, and the pace is the same again when its time has passed.
    """
    clock, waits, writing = [0.0], [], [True]
    monkeypatch.setattr(checks, "time", SimpleNamespace(monotonic=lambda: clock[0]))  # other threads go on

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(checks, "asyncio", SimpleNamespace(sleep=sleep))

    async def answer(scope, receive, send):
        await checks.respond(send, int(scope["path"][1:]), b"{}")

    async def drop(message):
        pass

    app = RefusalPace(answer, 8.0, lambda: writing[0])

    def waited(path, address="10.0.0.1"):
        waits.clear()
        asyncio.run(app({"type": "http", "path": path, "client": (address, 1)}, None, drop))
        return sum(waits)

    assert [waited("/400") for _ in range(4)] == [0, 0, 1 / 8, 2 / 8]
    assert [waited(path) for path in ("/200", "/429", "/500")] == [0, 0, 0]
    assert waited("/403", "10.0.0.2") == 0
    writing[0] = False
    assert waited("/404") == 0
    writing[0] = True
    assert waited("/404") == 3 / 8
    clock[0] = 10.0
    assert [waited("/400") for _ in range(3)] == [0, 0, 1 / 8]


def test_a_body_is_counted_as_it_comes():
    """Its length is announced, or it comes in pieces; what is not JSON is refused."""
    app = BodyLimit(hello, 10)

    async def pieces():
        for _ in range(3):
            yield b"12345"

    headers = {"Content-Type": "application/json"}
    assert ask(app, method="POST", content=b"1234567890", headers=headers).status_code == 200
    assert ask(app, method="POST", content=b"12345678901", headers=headers).status_code == 413
    assert ask(app, method="POST", content=b"1", headers={"Content-Type": "text/plain"}).status_code == 415
    with pytest.raises(checks.HTTPException, match="more than 10 bytes"):  # the app makes a 413 of it
        ask(app, method="POST", content=pieces(), headers=headers)


def test_each_request_is_a_line_and_a_count(caplog):
    """With the tokens where there are any; paths without a name are "other", and /metrics is counted only."""
    counts = {}

    async def app(scope, receive, send):
        scope["state"]["access"].prompt_tokens = 3
        await hello(scope, receive, send)

    logged = AccessLog(app, counts, {"/v1/models", "/metrics"})
    with caplog.at_level(logging.INFO, "serving"):
        for path in ("/v1/models", "/secret/path", "/metrics"):
            ask(logged, path)
        with pytest.raises(ZeroDivisionError):
            ask(AccessLog(lambda *_: 1 / 0, counts, ()))
    assert counts == {("/v1/models", 200): 1, ("other", 200): 1, ("/metrics", 200): 1, ("other", 0): 1}
    lines = [re.sub(r"\d\.\d\d s", "T s", record.getMessage()) for record in caplog.records]
    lines = [re.sub(r"req_[0-9a-f]{32}$", "ID", line) for line in lines]
    assert lines[:2] == ["GET /v1/models 200 3+0 tokens T s 127.0.0.1 ID", "GET other 200 3+0 tokens T s 127.0.0.1 ID"]
    assert lines[2:] == ["GET other 0 T s 127.0.0.1 ID"]


# the log, and the start


@pytest.mark.parametrize("level, shown", [("debug", "ab"), ("info", "b"), ("warning", "")])
def test_the_log_level_says_what_is_shown(capsys, level, shown):
    """Lines without a prefix on standard output, from the level on."""
    logger = logging.getLogger("serving")
    before = logger.handlers, logger.propagate, logger.level
    try:
        writer = log_to_stdout(level)
        logging.getLogger("serving.state").debug("a")
        logging.getLogger("serving.middleware").info("b")
        writer.flush()
    finally:
        logger.handlers, logger.propagate, logger.level = before
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in shown)


def test_a_terminal_that_stands_still_stops_nobody(monkeypatch):
    """Lines are taken while none can be written, the oldest give way to the newest, and they come in their order."""
    reads, written = threading.Event(), []

    class Terminal(io.StringIO):
        def write(self, text):
            reads.wait(10)
            written.append(text)

    monkeypatch.setattr(log.sys, "stdout", Terminal())
    monkeypatch.setattr(log, "MOST_LINES", 3)
    writer = log.LineWriter()
    for number in range(5):
        writer.handle(logging.makeLogRecord({"msg": str(number)}))
    assert not written
    reads.set()
    writer.flush()
    assert "".join(written).split()[-3:] == ["2", "3", "4"]


def test_help_imports_nothing_heavy():
    """--help and a wrong flag are answered before torch, numpy or FastAPI are imported."""
    program = "import json, sys, serve; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "fastapi", "uvicorn", "pydantic", "transformers"} & set(json.loads(done.stdout))
