"""/v1/chat/completions and /v1/completions."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving.checks import client_address
from serving.delivery import Choice, respond
from serving.errors import APIError
from serving.generation import Delta, Generation, GenerationRequest, TokenLogprob
from serving.json_body import JSONRoute
from serving.off_the_loop import off_the_loop
from serving.openapi import ERRORS, events
from serving.prompts import ParamName, chat_param, chat_prompt, text_prompts
from serving.protocol import ChatRequest, Common, CompletionRequest
from serving.response_models import (
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprobs,
    ChatMessage,
    ChatTokenLogprob,
    CompletionUsage,
    ErrorResponse,
    Returned,
    TextChoice,
    TextChunkChoice,
    TextCompletion,
    TextCompletionChunk,
    TextLogprobs,
    TopLogprob,
)
from serving.state import Server, ServerState

MIN_LOGPROB = -9999.0  # OpenAI's floor: JSON has no minus infinity
MAX_CHOICES = 128  # of one request for completions: prompts times n
router = APIRouter(tags=["OpenAI"], responses=ERRORS, route_class=JSONRoute)


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=events(ChatCompletionChunk))
async def chat(body: ChatRequest, request: Request, server: Server) -> Response:
    response_format = CompletionFormat("chat", body, server)
    generations = await chat_generations(body, client_address(request.scope), server)
    if generations[0].request.continues:
        response_format.begun.update(range(len(generations)))
    server.submit(generations)
    return await respond(request, server, generations, response_format, stream=body.stream, n=body.n or 1)


@router.post("/v1/completions", response_model=TextCompletion, responses=events(TextCompletionChunk))
async def complete(body: CompletionRequest, request: Request, server: Server) -> Response:
    server.check_model(body.model)
    response_format = CompletionFormat("text", body, server)
    generations = await text_generations(body, client_address(request.scope), server)
    server.submit(generations)
    return await respond(request, server, generations, response_format, stream=body.stream, n=body.n or 1)


async def chat_generations(
    body: ChatRequest, address: str, server: ServerState, param_name: ParamName = chat_param
) -> list[Generation]:
    """A Generation for each of the n choices. param_name: how an error names the messages. Raises APIError."""
    server.check_model(body.model)
    engine, defaults = server.engine, server.sampling
    n_characters = sum(message.n_characters for message in body.messages)
    prompt = await off_the_loop(n_characters, chat_prompt, body, server, param_name)
    generations, deltas = [], asyncio.Queue()
    for index in range(body.n or 1):
        sampling = body.sampling(defaults, engine.tokenizer.n_vocab, prompt.max_new_tokens, index)
        generation_request = GenerationRequest(
            ids=prompt.ids,
            sampling=sampling,
            client=(address, body.user),
            deadline=time.monotonic() + server.max_seconds,
            suppress_tokens=engine.template.suppress_tokens,
            stop_token_ids=engine.template.stop_token_ids,
            recent=prompt.reply_ids[-sampling.penalty_window :] if sampling.penalty_window else [],
            continues=prompt.continues,
            dropped_turns=prompt.n_dropped,
        )
        generations.append(Generation(generation_request, index, deltas, engine.tokenizer.decoder()))
    server.log_text(body.messages[-1].plain()["content"])
    return generations


async def text_generations(body: CompletionRequest, address: str, server: ServerState) -> list[Generation]:
    """n Generations in a row for each prompt. Raises APIError."""
    engine, defaults, n = server.engine, server.sampling, body.n or 1
    n_choices = len(body.prompts) * n
    if not 1 <= n_choices <= MAX_CHOICES:
        message = f"prompt: from 1 to {MAX_CHOICES} choices, not {n_choices}"
        raise APIError(400, message, "prompt", "invalid_value")
    generations, deltas = [], asyncio.Queue()
    n_characters = sum(map(len, body.prompts))
    prompts = await off_the_loop(n_characters, text_prompts, body, server)
    for prompt, (ids, max_new_tokens) in zip(body.prompts, prompts, strict=True):
        text = prompt if isinstance(prompt, str) else engine.tokenizer.decode(ids)
        spoken = engine.tokenizer.encode(prompt) if body.echo and isinstance(prompt, str) else ids
        for _ in range(n):
            index = len(generations)
            generation_request = GenerationRequest(
                ids=ids,
                sampling=body.sampling(defaults, engine.tokenizer.n_vocab, max_new_tokens, index),
                client=(address, body.user),
                deadline=time.monotonic() + server.max_seconds,
                stop_token_ids=engine.template.document_stop_ids,
                recent=ids,
                strip=False,
                echo=text if body.echo else None,
                n_unspoken=len(ids) - len(spoken),  # what opens a document
                prompt_only=body.max_tokens == 0,
            )
            generations.append(Generation(generation_request, index, deltas, engine.tokenizer.decoder()))
    return generations


class CompletionFormat:
    """The response of a chat or of a completion of text: one object, or server-sent events."""

    def __init__(self, kind: Literal["chat", "text"], body: Common, server: ServerState) -> None:
        self.is_chat, self.tokenizer = kind == "chat", server.engine.tokenizer
        self.with_usage, self.usage_in_each_chunk = body.with_usage, body.usage_in_each_chunk
        self.id, self.created = f"{'chatcmpl' if self.is_chat else 'cmpl'}-{uuid.uuid4().hex}", int(time.time())
        self.model = body.model or server.model_name  # an alias, where that was asked
        self.text_offsets: Counter[int] = Counter()  # index of a choice -> characters of its tokens so far
        self.begun: set[int] = set()  # choices of a chat that show text: white space before it is left out

    @property
    def head(self) -> dict[str, Any]:
        return {"id": self.id, "created": self.created, "model": self.model}

    def whole(self, choices: Sequence[Choice], usage: CompletionUsage) -> ChatCompletion | TextCompletion:
        if self.is_chat:
            chat_choices = [self.chat_choice(index, choice) for index, choice in enumerate(choices)]
            return ChatCompletion(**self.head, object="chat.completion", choices=chat_choices, usage=usage)
        text_choices = [self.text_choice(index, choice) for index, choice in enumerate(choices)]
        return TextCompletion(**self.head, object="text_completion", choices=text_choices, usage=usage)

    def chat_choice(self, index: int, choice: Choice) -> ChatChoice:
        assert choice.finish_reason
        logprobs = self.chat_logprobs(index, choice.logprobs) if choice.has_logprobs else None
        message = ChatMessage(role="assistant", content=choice.text, refusal=None)
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=choice.finish_reason)

    def text_choice(self, index: int, choice: Choice) -> TextChoice:
        assert choice.finish_reason
        logprobs = self.text_logprobs(index, choice.logprobs) if choice.has_logprobs else None
        return TextChoice(index=index, text=choice.text, logprobs=logprobs, finish_reason=choice.finish_reason)

    def chunk(self, choices: Sequence[ChatChunkChoice | TextChunkChoice], usage: CompletionUsage | None = None) -> str:
        """An event. usage: sent, be it None, where the request asks for it."""
        more: dict[str, Any] = {**self.head, "choices": choices, **({"usage": usage} if self.with_usage else {})}
        if self.is_chat:
            return sse_event(ChatCompletionChunk(object="chat.completion.chunk", **more))
        return sse_event(TextCompletionChunk(object="text_completion", **more))

    def opening(self, n: int) -> Iterator[str]:
        """The events that open n choices."""
        if self.is_chat:
            for index in range(n):
                delta = ChatDelta(role="assistant", content="")
                yield self.chunk([ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)])

    def more(self, index: int, delta: Delta, usage: Callable[[], CompletionUsage]) -> Iterator[str]:
        """The events of a Delta of choice number `index`. usage: tells the tokens so far."""
        so_far = usage() if self.usage_in_each_chunk else None
        reason = delta.finish_reason
        if not self.is_chat:
            scores = self.text_logprobs(index, delta.logprobs) if delta.logprobs else None
            choice = TextChunkChoice(index=index, text=delta.text, logprobs=scores, finish_reason=reason)
            yield self.chunk([choice], so_far)
            return
        if delta.text or delta.logprobs:
            scores = self.chat_logprobs(index, delta.logprobs) if delta.logprobs else None
            content = ChatDelta(content=delta.text)
            choice = ChatChunkChoice(index=index, delta=content, logprobs=scores, finish_reason=None)
            yield self.chunk([choice], so_far)
        if reason:
            choice = ChatChunkChoice(index=index, delta=ChatDelta(), logprobs=None, finish_reason=reason)
            yield self.chunk([choice], so_far)

    def failure(self, error: APIError) -> Iterator[str]:
        """The events in place of the rest."""
        yield sse_event(ErrorResponse.model_validate(error.body))

    def closing(self, usage: CompletionUsage) -> Iterator[str]:
        if self.with_usage:
            yield self.chunk([], usage)
        yield "data: [DONE]\n\n"

    def chat_logprobs(self, index: int, tokens: Iterable[TokenLogprob]) -> ChatLogprobs:
        """Of the next tokens of choice number `index`, whose texts join to its content."""
        content = []
        for id, logprob, likeliest in tokens:
            opens = index not in self.begun
            token = ChatTokenLogprob(
                **self.token(id, logprob, opens),
                top_logprobs=[TopLogprob(**self.token(*pair, opens)) for pair in likeliest],
            )
            if token.token:
                self.begun.add(index)
            content.append(token)
        return ChatLogprobs(content=content, refusal=None)

    def token(self, id: int, logprob: float | None, opens: bool) -> dict[str, Any]:
        """opens: nothing was shown before, so white space at its beginning is not."""
        utf8, text = self.tokenizer.bytes.get(id), self.tokenizer.decode([id])
        shown = text.lstrip() if opens else text
        utf8 = utf8 and utf8.removeprefix(text[: len(text) - len(shown)].encode())
        return {"token": shown, "logprob": floored(logprob), "bytes": None if utf8 is None else list(utf8)}

    def text_logprobs(self, index: int, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        """Of the next tokens of choice number `index`."""
        decode, offsets = self.tokenizer.decode, []
        texts = [decode([id]) for id, _, _ in tokens]
        for text in texts:
            offsets.append(self.text_offsets[index])
            self.text_offsets[index] += len(text)
        return TextLogprobs(
            tokens=texts,
            token_logprobs=[floored(logprob) for _, logprob, _ in tokens],
            # of tokens with the same text, such as halves of characters, the likeliest
            top_logprobs=[
                None if logprob is None else {decode([id]): max(log, MIN_LOGPROB) for id, log in reversed(list(top))}
                for _, logprob, top in tokens
            ],
            text_offset=offsets,
        )


def floored(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, MIN_LOGPROB)


def sse_event(content: Returned) -> str:
    return f"data: {content.json_text()}\n\n"
