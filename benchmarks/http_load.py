"""
serve.py under load, through HTTP, as clients meet it: many streams at once, an hour of mixed requests and clients that
leave, and thousands of bad requests beside a good chat.

    with Server(folder, slots=32) as server:
        rushed(server, clients=32, new_tokens=64, prompt_tokens=64)      # [Stream]
"""

import asyncio
import contextlib
import json
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from benchmarks import peers
from benchmarks.peers import model_to_measure
from runtime.errors import InputError
from tokenization import tokenizer


def serve_figures(config):
    """serve.py under load; beside it llama.cpp's servers, and its library with as many sequences in one batch."""
    rivals = "llamacpp" in config.others and not peers.missing("llamacpp")
    if "llamacpp" in config.others and not rivals:
        print("llamacpp is not installed and left out: pip install -r runs/requirements-bench.txt", file=sys.stderr)
    n, threads = config.slots, config.threads
    with model_to_measure(config) as (folder, work), contextlib.ExitStack() as stack:
        others = []
        if rivals:
            gguf = peers.gguf_of(folder, config.weights, threads, work)
            kinds = (None, n) if shutil.which("llama-server") else (None,)
            room = peers.cells(config.prompt_tokens, config.new_tokens)
            others = [stack.enter_context(LlamaServer(gguf, threads, room, slots)) for slots in kinds]
        figures = load_figures(config, folder, print, others)
        if rivals:
            rng, rates, n_vocab = random.Random(0), [], tokenizer.load(folder).n_vocab
            settings = dict(folder=folder, weights=config.weights, threads=threads, batch=n, work=work)
            settings |= dict(prompt_tokens=config.prompt_tokens, new_tokens=config.new_tokens)
            with peers.Contender("llamacpp", **settings) as one:
                for run in range(config.runs + 1):
                    prompts = [[rng.randrange(n_vocab) for _ in range(config.prompt_tokens)] for _ in range(n)]
                    rates += [n * config.new_tokens / one.run(prompts).whole] if run else []
            theirs = statistics.median(rates)
            ratio = figures["many_tokens_per_s"] / theirs
            label = f"{one.label}, its library without a server, {n} sequences in a batch"
            print(f"{label}: {theirs:,.1f} tok/s; we {ratio:.2f} x")
            figures["peers"][label] = theirs
    return figures


WORDS = "rain dogs cheetahs outside today really maybe well then what how you like about seattle music work".split()


class Stream(NamedTuple):
    first: float  # seconds to the first token
    whole: float  # seconds to the last one
    tokens: int
    text: str


class Server:
    """serve.py in a process of its own, on a free port."""

    label = "serve.py"

    def __init__(self, folder, slots, weights="int8", threads=None, queue=64):
        script = Path(__file__).parents[1] / "serve.py"
        command = [
            sys.executable,
            script,
            f"--out_dir={folder}",
            "--port=0",
            f"--slots={slots}",
            f"--weights={weights}",
        ]
        command += [f"--queue={queue}", *([f"--threads={threads}"] if threads else [])]
        both = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(command, **both)
        line = self.process.stdout.readline()
        found = re.search(r"on (http://\S+);", line)
        if not found:
            raise InputError(f"serve.py: {line.strip().removeprefix('error: ')}")
        self.url = found[1]
        threading.Thread(target=self.drain, daemon=True).start()  # else a full pipe would stop it

    def drain(self):
        with self.process.stdout as said:
            said.read()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()

    @property
    def mb(self):
        """Of memory that is resident."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6


class LlamaServer(Server):
    """
    llama.cpp's server of the same weights, on a free port. slots: of `llama-server`, where that is installed;
    None: llama-cpp-python's, which makes one reply at a time.
    """

    def __init__(self, gguf, threads, tokens, slots=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if slots:
            command = ["llama-server", "-m", gguf, "-np", slots, "-c", slots * tokens, "-t", threads, "--port", port]
            self.label = f"llama-server, {slots} slots"
        else:
            command = [sys.executable, "-m", "llama_cpp.server", "--model", gguf, "--n_ctx", tokens, "--port", port]
            command += ["--n_threads", threads, "--n_threads_batch", threads, "--interrupt_requests", "false"]
            self.label = "llama_cpp.server, one reply at a time"
        nowhere = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process, self.url = subprocess.Popen(list(map(str, command)), **nowhere), f"http://127.0.0.1:{port}"
        while not answers(f"{self.url}/v1/models"):
            if self.process.poll() is not None:
                raise InputError(f"{self.label} ended: {' '.join(map(str, command))}")
            time.sleep(0.2)


def answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def question(rng, tokens):
    return " ".join(rng.choice(WORDS) for _ in range(max(1, tokens - 4)))  # about a token a word, and the tags


async def stream_reply(client, server, content, new_tokens, leave_after=None):
    """One Stream, greedy as the peers' are; leave_after: tokens after which the client hangs up."""
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": new_tokens, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    body |= {"temperature": 0, "repetition_penalty": 1.0}
    begun, first, tokens, text, pieces = time.perf_counter(), None, 0, "", 0
    async with client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            await response.aread()
            raise InputError(f"{server.label} answered {response.status_code}: {response.text[:200]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            elif chunk["choices"] and chunk["choices"][0].get("finish_reason") == "length":
                tokens = new_tokens  # llama_cpp.server tells no usage
            elif chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = first or time.perf_counter() - begun
                text += chunk["choices"][0]["delta"]["content"]
                pieces += 1
                if leave_after and pieces >= leave_after:
                    return None
    whole = time.perf_counter() - begun
    return Stream(first or whole, whole, tokens, text)


def rush(server, clients, new_tokens, prompt_tokens, seed=0):
    """([Stream] of so many clients that ask at one moment, seconds until the last one has all)."""

    async def all_of_them():
        rng = random.Random(seed)
        questions = [question(rng, prompt_tokens) for _ in range(clients)]
        async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
            begun = time.perf_counter()
            found = await asyncio.gather(*(stream_reply(client, server, each, new_tokens) for each in questions))
            return found, time.perf_counter() - begun

    return asyncio.run(all_of_them())


def soak(server, minutes, say, seed=0):
    """
    {"requests", "left", "mb": memory at the ends of ten parts} of mixed load: short and long questions, streams and
    whole replies, and a third of the clients hang up in between.
    """
    rng, counts = random.Random(seed), {"requests": 0, "left": 0}
    until, marks = time.time() + 60 * minutes, []

    async def one(client):
        while time.time() < until:
            leave = rng.randint(1, 20) if rng.random() < 1 / 3 else None
            try:
                found = await stream_reply(client, server, question(rng, rng.choice((8, 30, 120, 400))), 40, leave)
            except InputError:
                await asyncio.sleep(0.2)  # busy: that is an answer
                continue
            counts["requests"] += 1
            counts["left"] += found is None

    async def watch():
        while time.time() < until:
            await asyncio.sleep(6 * minutes)
            marks.append(server.mb)
            say(f"{counts['requests']} requests, {counts['left']} left early, {marks[-1]:,.0f} MB")

    async def all_of_them():
        async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
            await asyncio.gather(watch(), *(one(client) for _ in range(12)))
            await asyncio.sleep(1)
            text = (await client.get(f"{server.url}/metrics")).text
            return int(re.search(r"slots_in_use (\d+)", text)[1])

    leaked = asyncio.run(all_of_them())
    return {**counts, "mb": marks, "slots_leaked": leaked}


def bad_request(rng):
    """A body that is no request, as bytes."""
    value = rng.choice([None, -1, 1e308, "x", [], {}, "\ud800", 2**70, [[[]]], True])
    field = rng.choice(["temperature", "max_tokens", "messages", "top_p", "n", "stop", "logit_bias", "seed", "tools"])
    good = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randint(0, 200))
    if kind == 1:
        return b"[" * rng.randint(1, 50_000)
    if kind == 2:
        return json.dumps(good).encode()[: -rng.randint(1, 20)]
    if kind == 3:
        return json.dumps({**good, f"no_such_{rng.randrange(99)}": value}).encode("utf-8", "surrogatepass")
    if kind == 4:
        messages = [{"role": rng.choice(["wizard", 7, None]), "content": value}]
        return json.dumps({**good, "messages": messages}).encode("utf-8", "surrogatepass")
    return json.dumps({**good, field: {"wrong": value}}).encode("utf-8", "surrogatepass")


def send_bad_requests(server, n, seed=0):
    """({status: how many} of n bad requests, the Stream of a chat beside them, the Stream of the same chat alone)."""

    async def all_of_them():
        rng, statuses, left = random.Random(seed), {}, iter(range(n))
        headers = {"Content-Type": "application/json"}
        async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
            alone = await stream_reply(client, server, "how are you today", 64)

            async def bad():
                for _ in left:
                    url = f"{server.url}/v1/chat/completions"
                    status = (await client.post(url, content=bad_request(rng), headers=headers)).status_code
                    statuses[status] = statuses.get(status, 0) + 1

            beside, *_ = await asyncio.gather(
                stream_reply(client, server, "how are you today", 64), *(bad() for _ in range(8))
            )
            return statuses, beside, alone

    return asyncio.run(all_of_them())


def load_figures(config, folder, say, others=()):
    """
    One client and many, each streaming new_tokens; the soak and the bad requests where flags ask for them. others:
    LlamaServers that meet the same crowds, in turn.
    """
    with Server(folder, config.slots, config.weights, config.threads, queue=config.clients) as server:
        one, firsts, rates = [], [], {each.label: [] for each in (server, *others)}
        for run in range(config.runs + 1):
            alone, seconds = rush(server, 1, config.new_tokens, config.prompt_tokens, seed=2 * run)
            if run:  # the first warms up
                one.append(alone[0].tokens / seconds)
            for each in (server, *others):
                time.sleep(0.3)  # threads of the one before spin a little on
                how = config.clients, config.new_tokens, config.prompt_tokens
                crowd, seconds = rush(each, *how, seed=2 * run + 1)
                if run:
                    rates[each.label].append(sum(stream.tokens for stream in crowd) / seconds)
                if run and each is server:
                    firsts.append(sorted(stream.first for stream in crowd))
        found = {
            "one_tokens_per_s": statistics.median(one),
            "many_tokens_per_s": statistics.median(rates[server.label]),
            "ttft_median_ms": 1000 * statistics.median(each for run in firsts for each in run),
            "ttft_p95_ms": 1000 * statistics.median(run[int(0.95 * (len(run) - 1))] for run in firsts),
            "rss_mb": server.mb,
        }
        found["ratio_many"] = found["many_tokens_per_s"] / found["one_tokens_per_s"]
        found["ratio_p95"] = found["ttft_p95_ms"] / found["ttft_median_ms"]
        say(f"one client: {found['one_tokens_per_s']:,.1f} tok/s")
        say(
            f"{config.clients} clients at once on {config.slots} slots, {config.new_tokens} tokens each: "
            f"{found['many_tokens_per_s']:,.1f} tok/s, {found['ratio_many']:.2f} x one; none failed"
        )
        say(
            f"first token: median {found['ttft_median_ms']:,.0f} ms, p95 {found['ttft_p95_ms']:,.0f} ms, "
            f"{found['ratio_p95']:.2f} x the median; {found['rss_mb']:,.0f} MB"
        )
        found["peers"] = {other.label: statistics.median(rates[other.label]) for other in others}
        for label, rate in found["peers"].items():
            say(f"{label}, the same clients: {rate:,.1f} tok/s; we {found['many_tokens_per_s'] / rate:.2f} x")
        if config.bad:
            statuses, beside, alone = send_bad_requests(server, config.bad)
            found["bad"] = {"statuses": statuses, "beside_s": beside.whole, "alone_s": alone.whole}
            same = "the same text" if beside.text == alone.text else "ANOTHER TEXT"
            worst = "none a 5xx" if max(statuses) < 500 else "SOME A 5xx"
            say(f"{config.bad:,} bad requests: {statuses}, {worst}; a chat beside them took {beside.whole:.2f} s, "
                f"alone {alone.whole:.2f} s, {beside.tokens} tokens, {same}")  # fmt: skip
        if config.soak_minutes:
            found["soak"] = soak(server, config.soak_minutes, say)
            mb = found["soak"]["mb"]
            found["soak"]["growth"] = mb[-1] / mb[1] - 1 if len(mb) > 1 else 0.0
            say(f"{config.soak_minutes:g} minutes: {found['soak']['requests']} requests, {found['soak']['left']} left "
                f"early, memory {found['soak']['growth']:+.1%} since the second of ten marks, "
                f"{found['soak']['slots_leaked']} slots leaked")  # fmt: skip
    return found
