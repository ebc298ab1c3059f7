"""
Those who can be asked for replies: a model in this process, or a server that speaks OpenAI's protocol.

    backend = LocalBackend(engine)                           # or EndpointBackend("http://127.0.0.1:8080/v1")
    answers = backend.answers([(messages, sampling), ...])   # Answers, in that order
    answers[0].cut(30)                                       # (text, ended) as if no more than 30 tokens were allowed
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from inference.engine import Engine
from inference.settings import SamplingParams
from runtime.errors import InputError
from tokenization.chat_format import Message

TRIES = 4  # of a request that a busy server turns away
TIMEOUT = 600  # seconds without a byte from a server: a large model on a CPU thinks for minutes
Request = tuple[list[Message], SamplingParams]


@dataclass
class Answer:
    """A reply to a list of messages."""

    text: str = ""
    reason: str | None = None  # why it ended: end_of_turn, stop, length or context
    n_tokens: int = 0
    pieces: list[tuple[int, str]] = field(default_factory=list)  # (tokens so far, text so far) as it grew

    @property
    def ended(self) -> bool:
        """Whether it came to an end by itself, and was not cut off."""
        return self.reason in ("end_of_turn", "stop")

    def cut(self, n_tokens: int) -> tuple[str, bool]:
        """(text, ended) of the same reply with at most n_tokens new tokens."""
        if self.n_tokens < n_tokens or self.n_tokens == n_tokens and not self.ended:
            return self.text, self.ended
        return next((text for n, text in reversed(self.pieces) if n <= n_tokens), "").rstrip(), False


class ReplyTiming(NamedTuple):
    first_token_seconds: float
    tokens_per_second: float | None  # after the first token; None if the reply is too short to tell


class LocalBackend:
    """A model in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def answers(
        self,
        requests: Sequence[Request],
        limits: Sequence[int] = (),
        progress: Callable[[int], object] = lambda n: None,
    ) -> list[Answer]:
        """
        An Answer for each request, many of them generated at once. A request whose last message alone is longer than
        the context gets an empty one, with the reason "context". limits: not needed here, since every piece is seen.
        progress: called with 1 for each answer that is complete.
        """
        answers = [Answer() for _ in requests]
        fitting = [i for i, (messages, sampling) in enumerate(requests) if self.fits(messages, sampling)]
        for i in set(range(len(requests))) - set(fitting):
            answers[i].reason = "context"
            progress(1)
        for i, piece in self.engine.replies(requests[i] for i in fitting):
            answer = answers[fitting[i]]
            answer.text += piece.text
            answer.reason, answer.n_tokens = piece.reason, piece.n_tokens
            answer.pieces.append((piece.n_tokens, answer.text))
            if piece.reason:
                progress(1)
        return answers

    def fits(self, messages: list[Message], sampling: SamplingParams) -> bool:
        """Whether the last message fits in the context."""
        try:
            return bool(self.engine.prompt(messages, sampling))
        except InputError:
            return False

    def time_reply(self, messages: list[Message], sampling: SamplingParams) -> ReplyTiming:
        """
        The speed of one reply of max_new_tokens tokens: whatever would end it is suppressed. Of a prompt that leaves
        no room for so many, the end alone is read.
        """
        engine, template = self.engine, self.engine.template
        ids = template.prompt(messages)[-max(1, engine.block_size - sampling.max_new_tokens) :]
        suppress_tokens = (*template.suppress_tokens, *template.stop_token_ids)
        engine.forget()  # the whole of this prompt is computed
        times = [time.perf_counter()]
        for _ in engine.generate(ids, sampling, suppress_tokens):
            times.append(time.perf_counter())
        return ReplyTiming(times[1] - times[0], (len(times) - 2) / (times[-1] - times[1]))


class EndpointBackend:
    """
    A server with /chat/completions and /models under `url`. model: which of its models, by default the first.
    api_key: by default the environment's OPENAI_API_KEY. concurrency: requests at once.
    Raises InputError, also later, if the server does not answer as OpenAI's would.
    """

    def __init__(self, url: str, model: str | None = None, api_key: str | None = None, concurrency: int = 4) -> None:
        self.url = url.rstrip("/")
        if urllib.parse.urlparse(self.url).scheme not in ("http", "https"):
            raise InputError(f"--endpoint={url}: not an address; write http://127.0.0.1:8080/v1")
        api_key = api_key or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.client = httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)
        self.concurrency = concurrency
        self.model = model or self.first_model()

    def __enter__(self) -> "EndpointBackend":
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def first_model(self) -> str:
        """The name of the first model that the server lists."""
        with self.respond("/models") as response:
            models = parse_json(response).get("data")
        if not isinstance(models, list) or not models or not isinstance(models[0], dict) or "id" not in models[0]:
            raise InputError(f"{self.url}/models lists no model; name one: --endpoint_model=NAME")
        return models[0]["id"]

    @contextlib.contextmanager
    def respond(self, path: str, body: dict[str, Any] | None = None) -> Iterator[httpx.Response]:
        """
        The server's response to a GET, or with a body to a POST, while it is still coming. A busy server (status 429 or
        503) is asked again after the time that it names. Raises InputError with what the server said.
        """
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        headers = {"Content-Type": "application/json"}
        for attempt in range(TRIES):
            try:
                with self.client.stream(method, self.url + path, content=content, headers=headers) as response:
                    if response.is_success:
                        yield response
                        return
                    text = response.read()[:300].decode("utf-8", errors="replace")
            except (httpx.TransportError, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                reason = str(error) or type(error).__name__
                raise InputError(f"{self.url}{path}: no answer ({reason}); is the server running there?") from None
            if response.status_code not in (429, 503) or attempt + 1 == TRIES:
                raise InputError(f"{self.url}{path}: status {response.status_code}, {text}")
            time.sleep(retry_after(response, default=2.0**attempt))

    def completion(self, messages: list[Message], sampling: SamplingParams) -> dict[str, Any]:
        """The JSON of a whole chat completion."""
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            **({} if sampling.seed is None else {"seed": sampling.seed}),
        }
        with self.respond("/chat/completions", body) as response:
            return parse_json(response)

    def answer(self, messages: list[Message], sampling: SamplingParams, limits: Sequence[int]) -> Answer:
        """
        The Answer to one request. A server does not show its tokens, so how a reply looks at each of `limits` new
        tokens is found by asking again with that limit, shortest first, until the reply ends by itself.
        """
        answer = Answer()
        for limit in sorted({*(n for n in limits if n < sampling.max_new_tokens), sampling.max_new_tokens}):
            content = self.completion(messages, dataclasses.replace(sampling, max_new_tokens=limit))
            try:
                choice = content["choices"][0]
                text, reason = choice["message"].get("content") or "", choice["finish_reason"]
            except (KeyError, IndexError, TypeError):
                raise InputError(f"{self.url}: not a chat completion: {json.dumps(content)[:120]}") from None
            ended = reason == "stop"
            most = limit - 1 if ended else limit  # some servers count the token that ends a reply
            n_tokens = min((content.get("usage") or {}).get("completion_tokens", most), most)
            answer = Answer(text.strip(), "end_of_turn" if ended else "length", n_tokens, answer.pieces)
            answer.pieces.append((limit, answer.text))
            if ended:
                break
        return answer

    def answers(
        self,
        requests: Sequence[Request],
        limits: Sequence[int] = (),
        progress: Callable[[int], object] = lambda n: None,
    ) -> list[Answer]:
        """
        An Answer for each request. limits: the numbers of new tokens that Answer.cut will be asked for. progress:
        called with 1 for each answer that is complete.
        """
        with concurrent.futures.ThreadPoolExecutor(self.concurrency) as pool:
            waiting = [pool.submit(self.answer, messages, sampling, limits) for messages, sampling in requests]
            for _ in concurrent.futures.as_completed(waiting):
                progress(1)
            return [future.result() for future in waiting]

    def prompt_tokens(self, messages: list[Message], sampling: SamplingParams) -> int | None:
        """How many tokens the server counts in a prompt; None if it does not say."""
        usage = self.completion(messages, dataclasses.replace(sampling, max_new_tokens=1)).get("usage") or {}
        return usage.get("prompt_tokens")

    def time_reply(self, messages: list[Message], sampling: SamplingParams) -> ReplyTiming:
        """The speed of one streamed reply, a token for each piece of text. Raises InputError if nothing is streamed."""
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "stream": True,
        }
        times = [time.perf_counter()]
        with self.respond("/chat/completions", body) as response:
            for line in response.iter_lines():
                if line.startswith("data:") and '"content"' in line:
                    times.append(time.perf_counter())
        if len(times) < 2:
            raise InputError(f"{self.url}/chat/completions streams nothing")
        rate = (len(times) - 2) / (times[-1] - times[1]) if len(times) > 8 else None
        return ReplyTiming(times[1] - times[0], rate)


Backend = LocalBackend | EndpointBackend


def parse_json(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in a response. Raises InputError if there is another thing in it."""
    try:
        content = json.loads(response.read())
    except ValueError as error:
        raise InputError(f"{response.url}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{response.url}: not a JSON object")
    return content


def retry_after(response: httpx.Response, default: float) -> float:
    """The seconds to wait that a response names, at most 30; `default` if it names none."""
    try:
        return min(30.0, max(0.0, float(response.headers["Retry-After"])))
    except (KeyError, ValueError):
        return default
