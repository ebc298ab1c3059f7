"""
One client cannot harm another: whatever a request says, its work for the engine's thread is bounded, it arrives in time
or is closed, nothing in it is an error of the server, and a signal is never lost.
"""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import httpx
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from served import HI, error_of, get

from checkpoint import model_folder
from inference.settings import SamplingParams
from inference.streaming import StopWordFilter
from serving import connections, feedback
from serving.checks import OriginCheck, client_address
from serving.connections import Connections, protocol_class
from serving.errors import APIError
from serving.json_body import read_json

# stop words


def first_stop(text, stop):
    """The text before the stop word that is whole first, of those that end together the longest."""
    hits = [(text.find(word) + len(word), -len(word)) for word in stop if word in text]
    return text[: sum(min(hits))] if hits else text


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.text("ab ", max_size=4), max_size=12), stop=st.lists(st.text("ab ", min_size=1, max_size=5)))
def test_a_stop_word_is_found_as_a_plain_search_finds_it(pieces, stop):
    """However the text is cut into pieces: what is shown is the text before the stop word, and none of it too early."""
    held, shown = StopWordFilter(stop, strip=False), ""
    for piece in pieces:
        if not held.stopped:
            shown += held.add(piece)
        assert not any(word in shown for word in stop)
    assert shown + ("" if held.stopped else held.flush()) == first_stop("".join(pieces), stop)


@pytest.mark.parametrize("stop", [["a" * 200_000], [f"{'a' * 999}{i}" for i in range(128)], ["b", "a " * 50_000]])
def test_a_long_stop_word_costs_nothing(stop):
    """Text that goes on beginning one is as fast as any; it was 11 s for each token."""
    for text in ("a", " ", "the "):
        held, begun = StopWordFilter(stop), time.process_time()
        for _ in range(300):
            held.add(text)
        assert time.process_time() - begun < 1


@pytest.mark.parametrize("stop", ["z" * 257, ["z"] * 129, ["z" * 1_000_000]])
def test_stop_words_have_a_bound(server, stop):
    assert error_of(server.post({"messages": HI, "stop": stop}), 400)["param"].startswith("stop")


def test_many_biases_are_made_into_arrays_once():
    sampling = SamplingParams(logit_bias={i: 1.0 for i in range(1024)})
    assert sampling.bias_arrays is sampling.bias_arrays and len(sampling.bias_arrays[0]) == 1024


def test_more_choices_than_slots_and_queue(running):
    """100 prompts are one request: they are taken one after another, where each was "busy" for ever."""
    server = running(slots=2, queue=0)
    found = server.post({"prompt": ["a"] * 100, "max_tokens": 1}, "/v1/completions")
    assert found.status_code == 200 and len(found.json()["choices"]) == 100


# bytes


@pytest.mark.parametrize("field", ["instructions", "user", "metadata"])
@pytest.mark.parametrize("text", [b'"\\ud800"', b'"x\\udfffy"', b'{"\\ud800": "a"}', b'{"a": NaN}', b'{"a": 1e999}'])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_echoed_can_be_sent(server, field, text, stream):
    """/v1/responses sends back what it got: a lone surrogate is replaced, a number that JSON has not is refused."""
    body = b'{"input": "a", "max_output_tokens": 1, "stream": %s, "%s": %s}'
    response = server.post(body % (json.dumps(stream).encode(), field.encode(), text), "/v1/responses")
    assert response.status_code in (200, 400) and "Internal" not in response.text
    assert response.status_code == 400 or field == "metadata" or b"{" not in text


@pytest.mark.parametrize("body", [b"\xff", b'"\xed\xa0\x80"', b"[1e999]", b"[-Infinity]", b"[" * 65 + b"]" * 65])
def test_a_body_that_could_fail_later_is_refused(body):
    with pytest.raises(APIError, match="not JSON"):
        read_json(body)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60) | st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_what_is_read_can_be_written(body):
    """Any bytes are refused, or become what JSON and UTF-8 hold."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        content = read_json(raw)
    except APIError as error:
        assert error.status == 400 and isinstance(body, bytes)
    else:
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def test_deep_metadata_and_feedback_are_refused(server):
    deep = b"[" * 900 + b"]" * 900
    for path, body in (
        ("/v1/responses", b'{"input": "a", "metadata": {"a": %s}}'),
        ("/feedback", b'{"conversation": [%s], "message": "a", "verdict": "good"}'),
    ):
        assert error_of(server.post(body % deep, path), 400)["code"] == "invalid_json"


def test_a_bug_of_ours_is_told_as_an_error(server, monkeypatch):
    """The only 500: with OpenAI's error object and the request's name, not a line of text."""
    monkeypatch.setattr(type(server.scheduler), "submit", lambda *_: 1 / 0)
    response = server.post({"messages": HI})
    assert error_of(response, 500)["type"] == "server_error"


# names and addresses


@pytest.mark.parametrize("host", ["localhost:evil", "evil@localhost", "local\thost", "localhost, evil", "[::1", "::1"])
def test_a_host_that_only_looks_like_this_machine(host):
    check = OriginCheck(None, loopback=True, cors=())
    with pytest.raises(APIError) as caught:
        check.check({"path": "/health", "method": "GET"}, httpx.Headers({"host": host}))
    assert caught.value.status == 403


def test_an_address_in_the_log_is_an_address():
    assert client_address({"client": ("10.1.2.3", 1)}) == "10.1.2.3"
    assert client_address({"client": ("9.9.9.9 \x9b31mPOST /v1 200", 1)}) == "?"


def test_a_forwarded_address_is_believed_of_trusted_proxies_only(running):
    """Else anybody on this machine has as many rates as addresses to make up."""
    statuses = {}
    for trusted in ((), ("127.0.0.1",)):
        server = running(max_rps=1.0, trusted_proxies=trusted)
        found = [server.post({}, headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code for i in range(4)]
        statuses[trusted] = 429 in found
    assert statuses == {(): True, ("127.0.0.1",): False}


# connections


@pytest.fixture
def silent():
    """Makes connections that send so much and no more."""
    made = []

    def connected(url, sent=b""):
        host, port = url.removeprefix("http://").split(":")
        made.append(socket.create_connection((host, int(port))))
        made[-1].sendall(sent)
        return made[-1]

    yield connected
    for connection in made:
        connection.close()


def is_open(connection):
    connection.settimeout(0.02)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


HALVES = [b"", b"GET / HT", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"]
HALVES.append(HALVES[-1] + b"Content-Length: 9\r\n\r\n{")


def test_a_request_that_does_not_arrive_is_closed(running, silent):
    """Silent, half a head, half a body, and a second request that stops in the middle; not before its time."""
    patient, server = running(), running(max_arrival=0.3)
    early = [silent(patient.url, half) for half in HALVES]
    late = [silent(server.url, half) for half in HALVES]
    second = silent(server.url, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert second.recv(10_000).startswith(b"HTTP/1.1 200")
    second.sendall(b"GET / HT")
    deadline = time.monotonic() + 15  # of max_arrival's 20
    while any(map(is_open, [*late, second])):
        assert time.monotonic() < deadline
    assert all(map(is_open, early))


def test_a_long_reply_outlives_the_deadline_of_arrival(running, monkeypatch):
    server = running(max_arrival=0.3)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.1), step())[1])
    body = {"messages": HI, "max_tokens": 10, "logit_bias": {str(server.engine.tokenizer.encode("a")[0]): 100}}
    assert server.post(body).json()["usage"]["completion_tokens"] == 10


def test_many_silent_connections_give_way(running, silent):
    """The oldest that is idle is closed, so a new client gets in; one that is being answered is not."""
    server = running(max_connections=5)
    clients = [silent(server.url) for _ in range(12)]
    assert server.post({"messages": HI, "max_tokens": 1}).status_code == 200
    assert sum(map(is_open, clients)) <= 5


def test_who_does_not_read_is_closed(running, silent, monkeypatch):
    """Answers that nobody takes would hold their connection for ever."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    server, n = running(), 1500
    client = silent(server.url, b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * n)
    opened, deadline = server.server.config.http_protocol_class.all_connections.open, time.monotonic() + 20
    while not opened:
        time.sleep(0.01)
    while opened and time.monotonic() < deadline:
        time.sleep(0.01)
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(2**20):
            received += len(piece)
    assert not opened and received < n * (ROOT / "web" / "app.js").stat().st_size


def test_the_bound_of_all_is_below_the_descriptors(monkeypatch):
    """Whoever has the most connections gives one up."""
    monkeypatch.setattr(connections, "most_connections", lambda: 3)
    made = Connections(max_each=10, seconds=1)

    class Fake:
        is_answered = False

        def __init__(self, address):
            self.address = address
            made.add(self)

        def close(self):
            made.remove(self)

    many, other = [Fake("a") for _ in range(3)], Fake("b")
    assert list(made.open["a"]) == many[1:] and list(made.open["b"]) == [other]
    assert connections.most_connections() and protocol_class(made).all_connections is made


# feedback


def test_feedback_is_for_its_owner_and_has_a_bound(running, tmp_path, monkeypatch):
    server, path = running(max_rps=2.0), tmp_path / "feedback.jsonl"
    path.touch(0o644)
    body = {"conversation": HI, "message": "x", "verdict": "good"}
    assert server.post(body, "/feedback").status_code == 204
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(feedback, "MAX_FILE", path.stat().st_size)
    assert "full" in error_of(server.post(body, "/feedback"), 413)["message"]
    assert 429 in [server.post(body, "/feedback").status_code for _ in range(3)]


def test_feedback_that_cannot_be_written_is_told(running, tmp_path):
    server = running()
    (tmp_path / "feedback.jsonl").mkdir()
    body = {"conversation": HI, "message": "x", "verdict": "good"}
    assert "cannot be kept" in error_of(server.post(body, "/feedback"), 503)["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_the_mode_of_a_device_stays(monkeypatch):
    """--feedback=/dev/null as root would close it to everybody else."""
    monkeypatch.setattr(os, "fchmod", lambda *_: pytest.fail("its mode was changed"))
    feedback.FeedbackFile(os.devnull).append({"verdict": "good"})


# the event loop, and signals


def test_a_long_text_does_not_hold_the_streams(running, monkeypatch):
    """While a megabyte is tokenised the event loop answers others."""
    server = running(max_body=2**22)
    encode, is_slow, may_end = server.engine.tokenizer.encode, threading.Event(), threading.Event()

    def encode_slowly(text):
        if len(text) > 99_999:
            is_slow.set()
            assert may_end.wait(20)
        return encode(text)

    monkeypatch.setattr(server.engine.tokenizer, "encode", encode_slowly)
    slow = threading.Thread(target=server.post, args=({"prompt": "x" * 100_000}, "/tokenize"))
    slow.start()
    assert is_slow.wait(20)
    assert get(f"{server.url}/health", timeout=10).status_code == 200
    may_end.set()
    slow.join()


def test_twenty_thousand_messages_are_refused_at_once(server):
    begun = time.process_time()  # the server's thread is one of this process
    error_of(server.post({"messages": HI * 20_000}), 400)
    assert time.process_time() - begun < 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_once_is_not_lost(tiny, tokens, tmp_path, number):
    """The line that says where it serves is the one that supervisors wait for."""
    model_folder.save(tmp_path / "tiny", tiny, tokens, {})
    command = [sys.executable, "-u", "serve.py", f"--out_dir={tmp_path / 'tiny'}", "--port=0", "--weights=full"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ})
    assert process.stdout.readline().startswith("serving tiny")
    process.send_signal(number)
    try:
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and out.endswith("stopped\n")
