"""
serve.py under load, through HTTP, as clients meet it: many streams at once, an hour of mixed requests and clients that
leave; http_fuzz.py has the bad requests.

    with Server(folder, slots=32) as server:
        streams, seconds = rush(server, clients=32, new_tokens=64, prompt_tokens=64)
"""

import asyncio
import contextlib
import json
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from benchmarks import http_fuzz, peers
from benchmarks.decode import PAUSE, random_prompts
from benchmarks.models import model_to_measure
from benchmarks.peers import EngineProcess, Workload
from benchmarks.servers import LlamaServer, Server
from benchmarks.settings import BenchConfig
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers

WORDS = "rain dogs cheetahs outside today really maybe well then what how you like about seattle music work".split()
MARKS = 10  # times that a soak looks at the server's memory
SOAK_CLIENTS = 12


def serve_figures(config: BenchConfig) -> dict[str, Any]:
    """
    serve.py under load; with --peers=llamacpp beside it llama.cpp's servers, which meet the same clients, and its
    library without a server, with as many sequences in one batch as we have slots.
    """
    with_llama = "llamacpp" in config.peer_names and not peers.is_missing("llamacpp")
    if "llamacpp" in config.peer_names and not with_llama:
        print("llamacpp is not installed and left out: pip install -r runs/requirements-bench.txt", file=sys.stderr)
    with model_to_measure(config) as (folder, work), contextlib.ExitStack() as stack:
        others = []
        if with_llama:
            gguf = peers.gguf_of(folder, config.weights, config.n_threads, work)
            tokens = peers.context_tokens(config.prompt_tokens, config.new_tokens)
            for slots in (None, config.slots) if shutil.which("llama-server") else (None,):
                others.append(stack.enter_context(LlamaServer(gguf, config.n_threads, tokens, slots)))
        figures = load_figures(config, folder, others)
        if with_llama:
            label, rate = llama_library_rate(config, folder, work)
            print(f"{label}: {rate:,.1f} tok/s; we {figures['many_tokens_per_s'] / rate:.2f} x")
            figures["peers"][label] = rate
    return figures


def llama_library_rate(config: BenchConfig, folder: str, work: str) -> tuple[str, float]:
    """(label, tokens a second) of llama.cpp's library with config.slots sequences in one batch: the median run."""
    n = config.slots
    workload = Workload.of(config, folder, work, batch=n)
    rng, n_vocab, rates = random.Random(0), tokenizers.load(folder).n_vocab, []
    with EngineProcess("llamacpp", workload) as engine:
        for run in range(config.runs + 1):
            timing = engine.run(random_prompts(rng, n, config.prompt_tokens, n_vocab))
            rates += [n * config.new_tokens / timing.whole] if run else []  # the first run warms up
    return f"{engine.label}, its library without a server, {n} sequences in a batch", statistics.median(rates)


class Stream(NamedTuple):
    """A streamed reply, as a client saw it."""

    first: float  # seconds to the first token
    whole: float  # seconds to the last one
    tokens: int
    text: str


def question(rng: random.Random, tokens: int) -> str:
    """A message of about so many tokens, the chat's tags included: a word is about a token."""
    return " ".join(rng.choice(WORDS) for _ in range(max(1, tokens - 4)))


def new_client() -> httpx.AsyncClient:
    """A client that makes as many connections as it is asked for."""
    return httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None))


async def stream_reply(
    client: httpx.AsyncClient, server: Server, content: str, new_tokens: int, leave_after: int | None = None
) -> Stream | None:
    """
    The Stream of a reply to one message, greedy as the peers' are. leave_after: after so many pieces of text the client
    hangs up, and there is no Stream: None. Raises InputError for a status other than 200.
    """
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": new_tokens, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    body |= {"temperature": 0, "repetition_penalty": 1.0}
    start, first, tokens, text, pieces = time.perf_counter(), None, 0, "", 0
    async with client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            await response.aread()
            raise InputError(f"{server.label} answered {response.status_code}: {response.text[:200]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise InputError(f"{server.label} broke off: {chunk['error']['message']}")
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            elif chunk["choices"] and chunk["choices"][0].get("finish_reason") == "length":
                tokens = new_tokens  # llama_cpp.server tells no usage
            elif chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = first or time.perf_counter() - start
                text += chunk["choices"][0]["delta"]["content"]
                pieces += 1
                if leave_after and pieces >= leave_after:
                    return None
    whole = time.perf_counter() - start
    return Stream(first or whole, whole, tokens, text)


async def stream_whole(client: httpx.AsyncClient, server: Server, content: str, new_tokens: int) -> Stream:
    """stream_reply of a client that stays to the end."""
    stream = await stream_reply(client, server, content, new_tokens)
    assert stream
    return stream


def rush(
    server: Server, clients: int, new_tokens: int, prompt_tokens: int, seed: int = 0
) -> tuple[list[Stream], float]:
    """(the Streams of so many clients that ask at one moment, seconds until the last one has all)."""

    async def run() -> tuple[list[Stream], float]:
        rng = random.Random(seed)
        questions = [question(rng, prompt_tokens) for _ in range(clients)]
        async with new_client() as client:
            start = time.perf_counter()
            streams = await asyncio.gather(*(stream_whole(client, server, text, new_tokens) for text in questions))
            return streams, time.perf_counter() - start

    return asyncio.run(run())


def soak(server: Server, minutes: float, seed: int = 0, *, with_bad: bool = False) -> dict[str, Any]:
    """
    {"requests", "left": those whose client hung up, "bad": {status: bad requests}, "mb": memory at the ends of ten
    parts, "slots_leaked"} of mixed load: short and long questions, and a third of the clients hang up in between.
    with_bad: further clients send nothing but bad requests. Raises InputError where one of them is a 5xx.
    """
    rng, counts = random.Random(seed), {"requests": 0, "left": 0}
    deadline, marks = time.time() + 60 * minutes, []

    async def ask_until_deadline(client: httpx.AsyncClient) -> None:
        while time.time() < deadline:
            leave_after = rng.randint(1, 20) if rng.random() < 1 / 3 else None
            text = question(rng, rng.choice((8, 30, 120, 400)))
            try:
                stream = await stream_reply(client, server, text, 40, leave_after)
            except InputError:
                await asyncio.sleep(0.2)  # busy: that is an answer
                continue
            counts["requests"] += 1
            counts["left"] += stream is None

    async def watch_memory() -> None:
        while time.time() < deadline:
            await asyncio.sleep(60 * minutes / MARKS)
            marks.append(server.megabytes)
            print(f"{counts['requests']} requests, {counts['left']} left early, {marks[-1]:,.0f} MB")

    async def is_before_deadline() -> bool:
        return with_bad and time.time() < deadline

    async def run() -> tuple[Counter[int], int]:
        """({status: bad requests}, the slots that are still in use when every client has left)."""
        async with new_client() as client:
            bad = asyncio.create_task(http_fuzz.statuses_of(server.url, None, seed, is_before_deadline))
            await asyncio.gather(bad, watch_memory(), *(ask_until_deadline(client) for _ in range(SOAK_CLIENTS)))
            await asyncio.sleep(1)
            return bad.result(), await http_fuzz.slots_in_use(client, server.url)

    statuses, leaked = asyncio.run(run())
    http_fuzz.refuse_server_errors(statuses)
    return {**counts, "bad": dict(statuses), "mb": marks, "slots_leaked": leaked}


def load_figures(config: BenchConfig, folder: str, others: Sequence[Server] = ()) -> dict[str, Any]:
    """
    One client and many, each streaming new_tokens; the bad requests and the soak where flags ask for them. others: meet
    the same crowds, in turn.
    """
    weights = config.weights if config.device == "cpu" else "full"
    n_queue = max(config.clients, http_fuzz.CLIENTS + 1)  # the chat beside bad requests finds a place, too
    with Server(folder, config.slots, weights, config.threads, n_queue, config.device) as server:
        figures = crowd_figures(config, server, others)
        if config.bad:
            figures["bad"] = http_fuzz.fuzz_figures(server, config.bad)
        if config.soak_minutes:
            figures["soak"] = soak(server, config.soak_minutes, with_bad=config.bad > 0)
            mb = figures["soak"]["mb"]  # the first mark is still of a server that grows to its working size
            figures["soak"]["growth"] = mb[-1] / mb[1] - 1 if len(mb) > 1 else 0.0
            print(f"{config.soak_minutes:g} minutes: {figures['soak']['requests']} requests, "
                  f"{figures['soak']['left']} left early, {sum(figures['soak']['bad'].values())} bad ones beside them, "
                  f"memory {figures['soak']['growth']:+.1%} since the second of "
                  f"ten marks, {figures['soak']['slots_leaked']} slots leaked")  # fmt: skip
    return figures


def crowd_figures(config: BenchConfig, server: Server, others: Sequence[Server]) -> dict[str, Any]:
    """Tokens a second of one client and of many at once, and how long the many wait for their first token."""
    alone_rates: list[float] = []
    first_seconds: list[list[float]] = []  # of each run, sorted
    crowd_rates: dict[str, list[float]] = {each.label: [] for each in (server, *others)}
    for run in range(config.runs + 1):  # the first warms up
        (stream,), seconds = rush(server, 1, config.new_tokens, config.prompt_tokens, seed=2 * run)
        if run:
            alone_rates.append(stream.tokens / seconds)
        for each in (server, *others):
            time.sleep(PAUSE)
            streams, seconds = rush(each, config.clients, config.new_tokens, config.prompt_tokens, seed=2 * run + 1)
            if run:
                crowd_rates[each.label].append(sum(stream.tokens for stream in streams) / seconds)
            if run and each is server:
                first_seconds.append(sorted(stream.first for stream in streams))
    figures: dict[str, Any] = {
        "one_tokens_per_s": statistics.median(alone_rates),
        "many_tokens_per_s": statistics.median(crowd_rates[server.label]),
        "ttft_median_ms": 1000 * statistics.median(seconds for run in first_seconds for seconds in run),
        "ttft_p95_ms": 1000 * statistics.median(run[int(0.95 * (len(run) - 1))] for run in first_seconds),
        "rss_mb": server.megabytes,
    }
    figures["ratio_many"] = figures["many_tokens_per_s"] / figures["one_tokens_per_s"]
    figures["ratio_p95"] = figures["ttft_p95_ms"] / figures["ttft_median_ms"]
    print(f"one client: {figures['one_tokens_per_s']:,.1f} tok/s")
    print(
        f"{config.clients} clients at once on {config.slots} slots, {config.new_tokens} tokens each: "
        f"{figures['many_tokens_per_s']:,.1f} tok/s, {figures['ratio_many']:.2f} x one; none failed"
    )
    print(
        f"first token: median {figures['ttft_median_ms']:,.0f} ms, p95 {figures['ttft_p95_ms']:,.0f} ms, "
        f"{figures['ratio_p95']:.2f} x the median; {figures['rss_mb']:,.0f} MB"
    )
    figures["peers"] = {other.label: statistics.median(crowd_rates[other.label]) for other in others}
    for label, rate in figures["peers"].items():
        print(f"{label}, the same clients: {rate:,.1f} tok/s; we {figures['many_tokens_per_s'] / rate:.2f} x")
    return figures
