"""
Many generations on one engine: the queue is fair and has an end, a slot is free again when a client leaves, and the
engine lives in one thread.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time

import httpx
import pytest
from served import HI, error_of

from checkpoint import model_folder
from inference.engine import Engine
from runtime.errors import InputError
from serving.scheduler import Scheduler


def test_the_engine_is_opened_where_it_is_stepped(tiny, tokens):
    """In one thread, which halves the time of a token on two cores; what opening raises reaches whoever starts."""
    threads = []

    def open_engine():
        threads.append(threading.current_thread())
        return Engine(tiny, tokens)

    scheduler = Scheduler(open_engine, 1)
    assert threads == [scheduler.thread]
    scheduler.stop()
    scheduler.thread.join()
    with pytest.raises(InputError, match="no model"):
        Scheduler(lambda: model_folder.load("nowhere") and None, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a Unix")
def test_an_interrupt_waits_until_the_engine_is_open(tiny, tokens):
    """Ctrl-C while the model loads: the thread that loads ends first, since torch aborts a process that leaves it."""

    def opened():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return Engine(tiny, tokens)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            Scheduler(opened, 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "engine" not in [thread.name for thread in threading.enumerate()]


def test_a_client_that_leaves_frees_its_slot(running, monkeypatch):
    """Streaming or not: a token later the slot is free, and the next in the queue has it."""
    server = running(slots=1)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.1), step())[1])
    forever = {"messages": HI, "max_tokens": 50, "logit_bias": {str(server.engine.tokenizer.encode("a")[0]): 100}}
    for stream in (True, False):
        with contextlib.suppress(httpx.ReadTimeout):
            headers = {"Content-Type": "application/json"}
            url = f"{server.url}/v1/chat/completions"
            body = json.dumps({**forever, "stream": stream})
            with httpx.stream("POST", url, content=body, headers=headers, timeout=0.4) as response:
                next(response.iter_lines())
        deadline = time.time() + 2
        while server.metric("slots_in_use") and time.time() < deadline:
            time.sleep(0.02)
        assert server.metric("slots_in_use") == 0
    assert server.metric('replies_total{end="cancelled"}') == 2
    assert server.post({"messages": HI, "max_tokens": 2}).status_code == 200


def test_a_full_queue_is_429_and_the_client_tries_again(running, monkeypatch):
    """Retry-After is sent; the official client comes back by itself and succeeds."""
    server = running(slots=1, queue=0)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.05), step())[1])
    threads = [threading.Thread(target=server.post, args=({"messages": HI, "max_tokens": 20},))]
    threads[0].start()
    while not server.engine.running[0]:
        time.sleep(0.01)
    response = server.post({"messages": HI})
    assert error_of(response, 429)["code"] == "busy" and int(response.headers["Retry-After"]) >= 1
    found = server.client(max_retries=5).chat.completions.create(model="tiny", messages=HI, max_tokens=2)
    assert found.choices[0].finish_reason
    threads[0].join()


def test_who_waits_too_long_is_told(running, monkeypatch):
    """A request whose time is over before a slot is free gets a 503; one that is speaking ends where it is."""
    server = running(slots=1, max_seconds=0.5)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.1), step())[1])
    found = []
    body = {"messages": HI, "max_tokens": 40, "logit_bias": {str(server.engine.tokenizer.encode("a")[0]): 100}}
    threads = [threading.Thread(target=lambda: found.append(server.post(body))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    late = [response for response in found if response.status_code == 503]
    good = [response.json() for response in found if response.status_code == 200]
    assert late and good and len(late) + len(good) == 4
    assert all(response.headers["Retry-After"] for response in late)
    for answer in good:
        assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] < 10


def test_the_queue_is_fair(running, monkeypatch):
    """Who asks once is not behind all that another client asked before."""
    server = running(slots=1)
    step = server.engine.step
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.02), step())[1])
    ended = []

    def ask(user):
        server.post({"messages": HI, "max_tokens": 4, "user": user})
        ended.append(user)

    threads = [threading.Thread(target=ask, args=("many",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    threads.append(threading.Thread(target=ask, args=("one",)))
    threads[-1].start()
    for thread in threads:
        thread.join()
    assert ended.index("one") <= 4


@pytest.fixture
def asked_from(running, monkeypatch):
    """
    A function that has (address, user) pairs ask a server of one slot and a queue of four, one after another while the
    first is being answered: ({pair: status}, the pairs in the order in which they had the slot).
    """
    server = running(slots=1, queue=4, trusted_proxies=("127.0.0.1",))
    scheduler, step, all_have_asked = server.scheduler, server.scheduler.step, threading.Event()
    statuses, order = {}, {}

    def recorded_step():
        order.update(dict.fromkeys(generation.request.client for generation in scheduler.running.values()))
        all_have_asked.wait()
        step()

    def ask(address, user):
        body = {"messages": HI, "max_tokens": 2, "user": user}
        statuses[address, user] = server.post(body, headers={"X-Forwarded-For": address}).status_code

    def asked(clients):
        monkeypatch.setattr(scheduler, "step", recorded_step)
        threads = [threading.Thread(target=ask, args=client) for client in clients]
        for i, thread in enumerate(threads, 1):
            thread.start()
            while len(statuses) + scheduler.n_waiting + len(scheduler.running) < i:
                time.sleep(0.001)
        all_have_asked.set()
        for thread in threads:
            thread.join()
        return statuses, list(order)

    return asked


def test_many_users_of_one_address_have_one_turn(asked_from):
    """Who makes up users is served no sooner than who has none."""
    one, many = ("10.0.0.2", None), [("10.0.0.1", str(i)) for i in range(4)]
    statuses, order = asked_from([*many, one])
    assert set(statuses.values()) == {200} and order == [*many[:2], one, *many[2:]]


def test_nobody_keeps_the_queue_full(asked_from):
    """An address that fills the queue gets a 429, and others a place all the same, one each."""
    many = [("10.0.0.1", str(i)) for i in range(7)]
    others = [("10.0.0.2", None), ("10.0.0.2", "b"), ("10.0.0.3", None)]
    statuses, _ = asked_from([*many, *others])
    assert [client for client, status in statuses.items() if status == 429] == [*many[5:], others[1]]


def test_a_shared_beginning_is_computed_once(running):
    """Two conversations with one system prompt: the second computes what differs."""
    server = running(slots=2)
    system = {"role": "system", "content": "you like cheetahs and rain and dogs and a day outside."}
    for text in ("hi", "who?"):
        server.post({"messages": [system, {"role": "user", "content": text}], "max_tokens": 1})
    assert server.metric("computed_tokens_total") < 0.75 * server.metric("prompt_tokens_total")
