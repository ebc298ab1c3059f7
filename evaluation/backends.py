"""
Those who can be asked for replies: a model in this process, or a server that speaks OpenAI's protocol.

    speaker = Local(engine)                                  # or Endpoint("http://127.0.0.1:8080/v1")
    answers = speaker.answers([(messages, sampling), ...])   # Answers, in that order
    answers[0].cut(30)                                       # (text, ended) as if no more than 30 tokens were allowed
"""

import concurrent.futures
import dataclasses
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from runtime.errors import InputError

TRIES = 4  # of a request that a busy server turns away


@dataclass
class Answer:
    """A reply. pieces: (tokens so far, text so far) as it grew, at least where it was asked for."""

    text: str = ""
    reason: str | None = None  # end_of_turn, stop, length or context
    n_tokens: int = 0
    pieces: list = field(default_factory=list)

    @property
    def ended(self):
        return self.reason in ("end_of_turn", "stop")

    def cut(self, n_tokens):
        """(text, ended) with at most n_tokens new tokens."""
        if self.n_tokens < n_tokens or self.n_tokens == n_tokens and not self.ended:
            return self.text, self.ended
        return next((text for n, text in reversed(self.pieces) if n <= n_tokens), "").rstrip(), False


class LocalBackend:
    """A model in this process."""

    def __init__(self, engine):
        self.engine = engine

    def answers(self, requests, limits=(), progress=lambda n: None):
        """An Answer for each (messages, sampling); many at once. limits: not needed here, every cut is known."""
        found = [Answer() for _ in requests]
        fitting = [i for i, (messages, sampling) in enumerate(requests) if self.fits(messages, sampling)]
        for i in set(range(len(requests))) - set(fitting):
            found[i].reason = "context"  # the last message alone is longer: no reply
            progress(1)
        for i, piece in self.engine.replies(requests[i] for i in fitting):
            answer = found[fitting[i]]
            answer.text += piece.text
            answer.reason, answer.n_tokens = piece.reason, piece.n_tokens
            answer.pieces.append((piece.n_tokens, answer.text))
            if piece.reason:
                progress(1)
        return found

    def fits(self, messages, sampling):
        try:
            return bool(self.engine.prompt(messages, sampling))
        except InputError:
            return False

    def pace(self, messages, sampling):
        """(seconds to the first token, tokens a second after it) of one reply that nothing ends."""
        engine, template = self.engine, self.engine.template
        ids = template.prompt(messages)
        banned = (*template.suppress_tokens, *template.stop_token_ids)
        engine.cached = [[] for _ in engine.cached]  # nothing of the prompt is known yet
        times = [time.perf_counter()]
        for _ in engine.generate(ids, sampling, banned):
            times.append(time.perf_counter())
        return times[1] - times[0], (len(times) - 2) / (times[-1] - times[1])


class EndpointBackend:
    """A server with /chat/completions and /models under `url`."""

    def __init__(self, url, model=None, api_key=None, at_once=4):
        self.url = url.rstrip("/")
        if urllib.parse.urlparse(self.url).scheme not in ("http", "https"):
            raise InputError(f"--endpoint={url}: not an address; write http://127.0.0.1:8080/v1")
        self.api_key = api_key or os.environ.get("OPENAI_API_KEY")
        self.at_once = at_once
        self.model = model or self.first_model()

    def first_model(self):
        with self.opened("/models") as response:
            listed = read_json(response, f"{self.url}/models").get("data")
        if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict) or "id" not in listed[0]:
            raise InputError(f"{self.url}/models lists no model; name one: --endpoint_model=NAME")
        return listed[0]["id"]

    def opened(self, path, body=None):
        """The response to a request. Raises InputError with what the server said."""
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(TRIES):
            try:
                return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=600)
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(300).decode("utf-8", errors="replace")
                if error.code in (429, 503) and attempt + 1 < TRIES:
                    time.sleep(seconds(error.headers.get("Retry-After"), 2.0**attempt))
                    continue
                raise InputError(f"{self.url}{path}: status {error.code}, {said}") from None
            except (urllib.error.URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                raise InputError(f"{self.url}{path}: no answer ({reason}); is the server running there?") from None

    def completion(self, messages, sampling, **more):
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            **({} if sampling.seed is None else {"seed": sampling.seed}),
            **more,
        }
        with self.opened("/chat/completions", body) as response:
            return read_json(response, f"{self.url}/chat/completions")

    def answer(self, messages, sampling, limits):
        """Asked anew for each limit, until the reply ends by itself."""
        found = Answer()
        for limit in sorted({*(n for n in limits if n < sampling.max_new_tokens), sampling.max_new_tokens}):
            content = self.completion(messages, dataclasses.replace(sampling, max_new_tokens=limit))
            try:
                choice = content["choices"][0]
                text, reason = choice["message"].get("content") or "", choice["finish_reason"]
            except (KeyError, IndexError, TypeError):
                raise InputError(f"{self.url}: not a chat completion: {json.dumps(content)[:120]}") from None
            ended = reason == "stop"
            most = limit - 1 if ended else limit  # some count the token that ends a reply
            n_tokens = min((content.get("usage") or {}).get("completion_tokens", most), most)
            found = Answer(text.strip(), "end_of_turn" if ended else "length", n_tokens, found.pieces)
            found.pieces.append((limit, found.text))
            if ended:
                break
        return found

    def answers(self, requests, limits=(), progress=lambda n: None):
        """An Answer for each (messages, sampling). limits: the numbers of tokens that cut() will be asked for."""
        with concurrent.futures.ThreadPoolExecutor(self.at_once) as pool:
            waiting = [pool.submit(self.answer, messages, sampling, limits) for messages, sampling in requests]
            for _ in concurrent.futures.as_completed(waiting):
                progress(1)
            return [each.result() for each in waiting]

    def prompt_tokens(self, messages, sampling):
        """How many tokens the server counts in a prompt; None if it does not say."""
        usage = self.completion(messages, dataclasses.replace(sampling, max_new_tokens=1)).get("usage") or {}
        return usage.get("prompt_tokens")

    def pace(self, messages, sampling):
        """(seconds to the first token, tokens a second after it) of a streamed reply; the rate None if it is short."""
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "stream": True,
        }
        times = [time.perf_counter()]
        with self.opened("/chat/completions", body) as response:
            for line in response:
                if line.startswith(b"data:") and b'"content"' in line:
                    times.append(time.perf_counter())
        if len(times) < 2:
            raise InputError(f"{self.url}/chat/completions streams nothing")
        return times[1] - times[0], (len(times) - 2) / (times[-1] - times[1]) if len(times) > 8 else None


def read_json(response, where):
    try:
        content = json.loads(response.read())
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: not a JSON object")
    return content


def seconds(text, otherwise):
    """A Retry-After header in seconds, at most 30."""
    try:
        return min(30.0, float(text))
    except (TypeError, ValueError):
        return otherwise
