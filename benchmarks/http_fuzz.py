"""
Requests that are none, against serve.py: bytes at random, broken JSON, bodies and heads in which a few bytes are
changed. None may be a 5xx, and the chats beside them must say what they say alone.

    figures = fuzz_figures(server, 100_000)

They come from a process of their own, so that the chats' times are the server's and not this program's. It pauses while
a chat is measured alone, again and again: what else the machine does meets both alike.
"""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from benchmarks.servers import Server
from runtime.errors import InputError

CLIENTS = 8
CHATS_IN_A_ROW = 4  # beside bad requests, for one alone
PAUSE = 0.05  # seconds between looks at whether something has changed
CHAT = {
    "messages": [{"role": "user", "content": "how are you today"}],
    "max_tokens": 64,
    "temperature": 0,
    "repetition_penalty": 1.0,
    "ignore_eos": True,
    "stream": True,
}
ASKED = [{"role": "system", "content": "i like cats."}, {"role": "user", "content": "hi"}]
GOOD: dict[str, dict[str, Any]] = {  # of each path a body with what may go wrong
    "/v1/chat/completions": {
        "messages": ASKED, "max_tokens": 2, "stop": ["x"], "n": 1, "temperature": 0.7, "logit_bias": {"5": -1},
        "logprobs": True, "top_logprobs": 2, "stream": False, "seed": 1, "user": "a", "min_p": 0.1, "top_k": 5,
    },
    "/v1/completions": {"prompt": ["hi", [5, 6]], "max_tokens": 2, "echo": True, "logprobs": 1, "n": 1, "stop": "x"},
    "/v1/responses": {"input": ASKED, "max_output_tokens": 2, "metadata": {"a": "b"}, "instructions": "be kind"},
    "/tokenize": {"messages": ASKED},
    "/detokenize": {"tokens": [5, 6, 7]},
}  # fmt: skip
VALUES = [None, -1, 1e308, "x", "\ud800", [], {}, 2**70, [[[]]], True, 0, "", [None], {"type": "x"}]
HEADS = (
    b"POST /v1/completions HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nAuthorization: Bearer x\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTE: x\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)
HEAD_SHARE = 0.03  # of the requests; each needs a connection of its own
LINE_EACH = 10_000  # requests
NO_ANSWER = 0  # in place of a status: the head is not whole, or what came is no HTTP


class Reply(NamedTuple):
    """A streamed reply."""

    text: str
    gaps: list[float]  # seconds from each piece of text to the next


def changed(rng: random.Random, good: bytes) -> bytes:
    """The bytes with a few of them replaced, left out, doubled or put in."""
    content = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.randint(0, 8))
        content[start:end] = rng.choice([b"", rng.randbytes(rng.randint(1, 4)), content[start:end] * 2, b'"', b"}"])
    return bytes(content)


def bad_request(rng: random.Random) -> tuple[str, bytes]:
    """(path, body) that is no request, or hardly one: no JSON, cut, too deep, wrong fields, roles, types or bytes."""
    path = rng.choice(list(GOOD))
    good, value = GOOD[path], rng.choice(VALUES)
    kind = rng.randrange(8)
    if kind == 0:
        return path, rng.randbytes(rng.randint(0, 200))
    if kind == 1:
        return path, b"[" * rng.randint(1, 50_000)
    content = json.dumps(good).encode()
    if kind == 2:
        return path, content[: -rng.randint(1, 20)]
    if kind < 5:
        return path, changed(rng, content)
    if kind == 5:
        wrong: dict[str, Any] = {f"no_such_{rng.randrange(99)}": value}
    elif kind == 6:
        wrong = {"messages": [{"role": rng.choice(["wizard", 7, None, "user"]), "content": value}]}
    else:
        wrong = {rng.choice(list(good)): rng.choice([value, {"wrong": value}, [value]])}
    return path, json.dumps({**good, **wrong}).encode("utf-8", "surrogatepass")


async def chat(client: httpx.AsyncClient, url: str) -> Reply:
    """The Reply to CHAT. Raises InputError where it fails."""
    text, times = "", []
    async with client.stream("POST", f"{url}/v1/chat/completions", json=CHAT) as response:
        async for line in response.aiter_lines():
            if response.status_code != 200 or line.startswith('data: {"error'):
                raise InputError(f"a chat beside bad requests: {response.status_code} {line[:200]}")
            if line.startswith("data: {"):
                times.append(time.perf_counter())
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    return Reply(text, [after - before for before, after in zip(times, times[1:], strict=False)])


async def slots_in_use(client: httpx.AsyncClient, url: str) -> int:
    in_use = re.search(r"slots_in_use (\d+)", (await client.get(f"{url}/metrics")).text)
    assert in_use, "/metrics has no slots_in_use"
    return int(in_use[1])


async def status_of_head(url: str, head: bytes) -> int:
    """The status with which bytes on a connection of their own are answered, or NO_ANSWER."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    line = b""
    with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError):
        writer.write(head)
        line = await asyncio.wait_for(reader.readline(), 0.3)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    _, _, rest = line.partition(b" ")
    return int(rest[:3]) if line.startswith(b"HTTP/") and rest[:3].isdigit() else NO_ANSWER


async def statuses_of(url: str, n: int | None, seed: int, may_go_on: Callable[[], Awaitable[bool]]) -> Counter[int]:
    """
    {status: how many} of n bad requests, None: without end. may_go_on: returns when the next one may be sent, False
    where none is to follow.
    """
    rng, numbers = random.Random(seed), itertools.count() if n is None else iter(range(n))  # the clients share both
    statuses: Counter[int] = Counter()
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:

        async def send() -> None:
            for _ in numbers:
                if not await may_go_on():
                    return
                if rng.random() < HEAD_SHARE:
                    status = await status_of_head(url, changed(rng, rng.choice(HEADS)))
                else:
                    path, body = bad_request(rng)
                    status = (await client.post(url + path, content=body, headers=headers)).status_code
                statuses[status] += 1
                if sum(statuses.values()) % LINE_EACH == 0:
                    print(told(statuses), flush=True)

        await asyncio.gather(*(send() for _ in range(CLIENTS)))
    return statuses


def send_bad_requests(url: str, n: int, seed: int, may_send: Event, result: Connection) -> None:
    """The process that sends them, while may_send is set; its result is their statuses."""

    async def may_go_on() -> bool:
        while not may_send.is_set():
            await asyncio.sleep(PAUSE)
        return True

    result.send(asyncio.run(statuses_of(url, n, seed, may_go_on)))


async def chats_beside(
    server: Server, may_send: Event, has_ended: Callable[[], bool]
) -> tuple[list[Reply], list[Reply]]:
    """(chats beside the bad requests, chats alone), in turn, until these have ended."""
    beside, alone = [], []
    async with httpx.AsyncClient(timeout=600) as client:
        await chat(client, server.url)  # warms up
        while not has_ended():
            may_send.clear()
            await asyncio.sleep(PAUSE)
            while await slots_in_use(client, server.url):
                await asyncio.sleep(PAUSE)
            alone.append(await chat(client, server.url))
            may_send.set()
            await asyncio.sleep(PAUSE)
            for _ in range(CHATS_IN_A_ROW):
                reply = await chat(client, server.url)
                if not has_ended() or not beside:
                    beside.append(reply)
    return beside, alone


def bad_requests_and_chats(server: Server, n: int, seed: int = 0) -> tuple[Counter[int], list[Reply], list[Reply]]:
    """({status: how many} of n bad requests, the chats beside them, chats alone)."""
    context = multiprocessing.get_context("spawn")
    may_send, (receiver, sender) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=send_bad_requests, args=(server.url, n, seed, may_send, sender), daemon=True)
    process.start()
    sender.close()
    try:
        beside, alone = asyncio.run(chats_beside(server, may_send, lambda: receiver.poll()))
        return receiver.recv(), beside, alone
    except EOFError:
        raise InputError("the bad requests could not be sent; the lines above have why") from None
    finally:
        process.terminate()
        process.join()


def told(statuses: Counter[int]) -> str:
    """The counts in words."""
    counts = ", ".join(f"{status or 'closed'}: {count:,}" for status, count in sorted(statuses.items()))
    return f"{sum(statuses.values()):,} bad requests: {counts}"


def refuse_server_errors(statuses: Mapping[int, int]) -> None:
    """Raises InputError where a request was answered with a 5xx."""
    if max(statuses, default=0) >= 500:
        raise InputError(f"a bad request was answered with {max(statuses)}; none may be a 5xx")


def p95_ms(replies: list[Reply]) -> float:
    """Milliseconds from a piece of text to the next, which 95% do not exceed."""
    gaps = sorted(gap for reply in replies for gap in reply.gaps)
    return 1000 * gaps[int(0.95 * (len(gaps) - 1))]


def mean_ms(replies: list[Reply]) -> float:
    return 1000 * statistics.fmean(gap for reply in replies for gap in reply.gaps)


def fuzz_figures(server: Server, n: int) -> dict[str, Any]:
    """
    {"statuses": {status: requests}, "chats": how many beside them, "beside_p95_ms", "alone_p95_ms" and the means: of
    a token}.
    Raises InputError where a request is a 5xx, or a chat beside them says something else than alone.
    """
    start = time.perf_counter()
    statuses, beside, alone = bad_requests_and_chats(server, n)
    figures = {"statuses": dict(statuses), "chats": len(beside)}
    figures |= {"beside_p95_ms": p95_ms(beside), "alone_p95_ms": p95_ms(alone)}
    figures |= {"beside_mean_ms": mean_ms(beside), "alone_mean_ms": mean_ms(alone)}
    print(f"{told(statuses)}, in {time.perf_counter() - start:,.0f} s; {len(beside)} chats beside them, "
          f"p95 {figures['beside_p95_ms']:.1f} ms a token (mean {figures['beside_mean_ms']:.1f}), "
          f"alone {figures['alone_p95_ms']:.1f} ms ({figures['alone_mean_ms']:.1f})")  # fmt: skip
    refuse_server_errors(statuses)
    if len({reply.text for reply in (*beside, *alone)}) > 1:
        raise InputError("a chat beside the bad requests said something else than alone")
    return figures
