"""From the generations of a request to its HTTP response, whole or as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from serving.errors import APIError
from serving.generation import Delta, Failure, Generation, OpenAIReason, TokenLogprob
from serving.middleware import access_record
from serving.response_models import CompletionUsage, PromptTokensDetails, Returned
from serving.state import ServerState

logger = logging.getLogger(__name__)
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second is nginx's
PING_SECONDS = 15.0  # proxies cut a stream in which nothing comes for a minute


@dataclass
class Choice:
    """One reply as far as it has come."""

    generation: Generation
    text: str = ""
    finish_reason: OpenAIReason | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason

    @property
    def has_logprobs(self) -> bool:
        return self.generation.request.sampling.logprobs is not None


class ResponseFormat(Protocol):
    """How an endpoint spells its response: as one object, or as server-sent events."""

    def whole(self, choices: Sequence[Choice], usage: CompletionUsage) -> Returned: ...
    def opening(self, n: int) -> Iterator[str]: ...
    def more(self, index: int, delta: Delta, usage: Callable[[], CompletionUsage]) -> Iterator[str]: ...
    def failure(self, error: APIError) -> Iterator[str]: ...
    def closing(self, usage: CompletionUsage) -> Iterator[str]: ...


def usage_of(generations: Sequence[Generation], n: int) -> CompletionUsage:
    """The tokens so far. Each prompt is counted once: `generations` has n in a row for each prompt."""
    first_choices, n_dropped = generations[::n], generations[0].request.dropped_turns
    n_prompt = sum(len(generation.request.ids) for generation in first_choices)
    n_generated = sum(generation.n_tokens for generation in generations)
    n_cached = sum(generation.sequence.num_cached_tokens for generation in first_choices if generation.sequence)
    return CompletionUsage(
        prompt_tokens=n_prompt,
        completion_tokens=n_generated,
        total_tokens=n_prompt + n_generated,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=n_cached),
        **({"dropped_turns": n_dropped} if n_dropped else {}),
    )


def api_error(failure: Failure) -> APIError:
    if failure is Failure.TIMEOUT:
        headers = {"Retry-After": "5"}
        return APIError(503, "it waited too long for a slot", type="server_error", headers=headers)
    return APIError(500, "the engine failed; its log has why", type="server_error")


async def respond(
    request: Request,
    server: ServerState,
    generations: Sequence[Generation],
    response_format: ResponseFormat,
    *,
    stream: bool | None,
    n: int = 1,
) -> Response:
    """The response of submitted generations, n of them for each prompt. Raises APIError."""
    n_dropped = generations[0].request.dropped_turns
    headers = {"X-Dropped-Turns": str(n_dropped)} if n_dropped else {}
    if stream:
        events = event_stream(request, server, generations, response_format, n)
        return StreamingResponse(events, media_type="text/event-stream", headers={**headers, **STREAM_HEADERS})
    choices = await collect(request, server, generations)
    log_reply(request, server, choices)
    content = response_format.whole(choices, usage_of(generations, n)).json_text()
    return Response(content, media_type="application/json", headers=headers)


async def collect(request: Request, server: ServerState, generations: Sequence[Generation]) -> list[Choice]:
    """The whole replies. Raises APIError when one fails, or the client leaves; none goes on then."""
    choices, failures = [Choice(generation) for generation in generations], []
    watcher = asyncio.create_task(report_disconnect(request, generations[0].deltas))
    try:
        async for pair in merge_deltas(generations):
            assert pair is not None  # it is told to wait as long as it takes
            index, delta = pair
            choices[index].add(delta)
            failures += [delta.failure] if delta.failure else []
    finally:
        watcher.cancel()
        cancel(server, generations)
    if failures:
        raise api_error(failures[0])
    return choices


async def event_stream(
    request: Request,
    server: ServerState,
    generations: Sequence[Generation],
    response_format: ResponseFormat,
    n: int,
) -> AsyncIterator[str]:
    """Server-sent events, as text. When the client leaves, Starlette cancels this, and it the generations."""
    choices = [Choice(generation) for generation in generations]
    try:
        for event in response_format.opening(len(generations)):
            yield event
        async for pair in merge_deltas(generations, PING_SECONDS):
            if pair is None:
                yield ": waiting\n\n"
                continue
            index, delta = pair
            if delta.failure:
                for event in response_format.failure(api_error(delta.failure)):
                    yield event
                return
            choices[index].add(delta)
            for event in response_format.more(index, delta, lambda: usage_of(generations, n)):
                yield event
        for event in response_format.closing(usage_of(generations, n)):
            yield event
    finally:
        cancel(server, generations)
        log_reply(request, server, choices)


async def merge_deltas(
    generations: Sequence[Generation], seconds: float | None = None
) -> AsyncIterator[tuple[int, Delta] | None]:
    """
    (index, Delta) pairs of a request's generations as they come; None after each `seconds` in which none has come.
    Raises APIError when the client has left.
    """
    n_running, deltas = len(generations), generations[0].deltas
    while n_running:
        try:
            pair = deltas.get_nowait() if not deltas.empty() else await asyncio.wait_for(deltas.get(), seconds)
        except asyncio.TimeoutError:
            yield None
            continue
        if pair is None:
            raise APIError(499, "the client has left")
        n_running -= pair[1].is_last
        yield pair


async def report_disconnect(request: Request, deltas: asyncio.Queue[tuple[int, Delta] | None]) -> None:
    """Put None into the queue when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    deltas.put_nowait(None)


def cancel(server: ServerState, generations: Sequence[Generation]) -> None:
    for generation in generations:
        server.scheduler.cancel(generation)


def log_reply(request: Request, server: ServerState, choices: Sequence[Choice]) -> None:
    """Tell the access log the tokens, and the log the texts where they are to be shown."""
    usage, record = usage_of([choice.generation for choice in choices], 1), access_record(request)
    record.prompt_tokens, record.generated_tokens = usage.prompt_tokens, usage.completion_tokens
    for choice in choices:
        server.metrics.observe(choice.generation)
        server.log_text(choice.text)
        if choice.generation.seconds_to_first_token is not None:
            logger.debug("the first token after %.3f s", choice.generation.seconds_to_first_token)
