"""/v1/chat/completions and /v1/completions."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving.delivery import Choice, Usage, respond
from serving.middleware import client_address
from serving.prompts import ParamName, chat_param, chat_prompt, text_prompts
from serving.protocol import APIError, ChatRequest, CompletionRequest
from serving.response_models import ERRORS, EVENTS, ChatCompletion, TextCompletion
from serving.scheduler import Delta, Generation, GenerationRequest, TokenLogprob
from serving.state import Server, ServerState
from tokenization.tokenizer import Tokenizer

MIN_LOGPROB = -9999.0  # OpenAI's floor: JSON has no minus infinity
MAX_CHOICES = 128  # of one request for completions: prompts times n
router = APIRouter(tags=["OpenAI"], responses=ERRORS)


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=EVENTS)
async def chat(body: ChatRequest, request: Request, server: Server) -> Response:
    response_format = CompletionFormat("chat", server.model_name, server.engine.tokenizer, body.with_usage)
    generations = chat_generations(body, client_address(request.scope), server)
    server.submit(generations)
    return await respond(request, server, generations, response_format, stream=body.stream, n=body.n or 1)


@router.post("/v1/completions", response_model=TextCompletion, responses=EVENTS)
async def complete(body: CompletionRequest, request: Request, server: Server) -> Response:
    server.check_model(body.model)
    response_format = CompletionFormat("text", server.model_name, server.engine.tokenizer, body.with_usage)
    generations = text_generations(body, client_address(request.scope), server)
    server.submit(generations)
    return await respond(request, server, generations, response_format, stream=body.stream, n=body.n or 1)


def chat_generations(
    body: ChatRequest, address: str, server: ServerState, param_name: ParamName = chat_param
) -> list[Generation]:
    """A Generation for each of the n choices. param_name: how an error names the messages. Raises APIError."""
    server.check_model(body.model)
    engine, defaults = server.engine, server.sampling
    prompt = chat_prompt(body, engine, defaults.max_new_tokens, param_name)
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
        )
        generations.append(Generation(generation_request, index, deltas, engine.tokenizer.decoder()))
    server.log_text(body.messages[-1].plain()["content"])
    return generations


def text_generations(body: CompletionRequest, address: str, server: ServerState) -> list[Generation]:
    """n Generations in a row for each prompt. Raises APIError."""
    engine, defaults, n = server.engine, server.sampling, body.n or 1
    n_choices = len(body.prompts) * n
    if not 1 <= n_choices <= MAX_CHOICES:
        message = f"prompt: from 1 to {MAX_CHOICES} choices, not {n_choices}"
        raise APIError(400, message, "prompt", "invalid_value")
    generations, deltas = [], asyncio.Queue()
    for ids, max_new_tokens in text_prompts(body, engine, defaults.max_new_tokens):
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
            )
            generations.append(Generation(generation_request, index, deltas, engine.tokenizer.decoder()))
    return generations


class CompletionFormat:
    """The response of a chat or of a completion of text: one object, or server-sent events."""

    def __init__(self, kind: Literal["chat", "text"], model: str, tokenizer: Tokenizer, with_usage: bool) -> None:
        self.is_chat, self.model, self.tokenizer, self.with_usage = kind == "chat", model, tokenizer, with_usage
        self.id = f"{'chatcmpl' if self.is_chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.text_offsets: Counter[int] = Counter()  # index of a choice -> characters of its tokens so far

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        kind = "chat.completion" if self.is_chat else "text_completion"
        return {**self.head(kind), "choices": [self.choice(i, c) for i, c in enumerate(choices)], "usage": usage}

    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        with_logprobs = choice.generation.request.sampling.logprobs is not None
        logprobs = self.logprobs(index, choice.logprobs) if with_logprobs else None
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        content = {"message": message} if self.is_chat else {"text": choice.text}
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def chunk(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> str:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        more = {"usage": usage} if self.with_usage else {}
        return sse_event({**self.head(kind), "choices": choices, **more})

    def opening(self, n: int) -> Iterator[str]:
        """The events that open n choices."""
        if self.is_chat:
            for index in range(n):
                delta = {"role": "assistant", "content": ""}
                yield self.chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def more(self, index: int, delta: Delta) -> Iterator[str]:
        """The events of a Delta of choice number `index`."""
        logprobs = self.logprobs(index, delta.logprobs) if delta.logprobs else None
        reason = delta.finish_reason
        if not self.is_chat:
            yield self.chunk([{"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": reason}])
            return
        if delta.text or logprobs:
            content = {"content": delta.text}
            yield self.chunk([{"index": index, "delta": content, "logprobs": logprobs, "finish_reason": None}])
        if reason:
            yield self.chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}])

    def failure(self, error: APIError) -> Iterator[str]:
        """The events in place of the rest."""
        yield sse_event(error.body)

    def closing(self, usage: Usage) -> Iterator[str]:
        if self.with_usage:
            yield self.chunk([], usage)
        yield "data: [DONE]\n\n"

    def logprobs(self, index: int, tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
        """The log-probabilities of the next tokens of choice number `index`."""
        return self.chat_logprobs(tokens) if self.is_chat else self.text_logprobs(index, tokens)

    def chat_logprobs(self, tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
        content = [
            {**self.token(id, logprob), "top_logprobs": [self.token(*pair) for pair in likeliest]}
            for id, logprob, likeliest in tokens
        ]
        return {"content": content, "refusal": None}

    def token(self, id: int, logprob: float) -> dict[str, Any]:
        utf8 = self.tokenizer.bytes.get(id)
        text = self.tokenizer.decode([id])
        return {"token": text, "logprob": max(logprob, MIN_LOGPROB), "bytes": list(utf8) if utf8 else None}

    def text_logprobs(self, index: int, tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
        decode, offsets = self.tokenizer.decode, []
        texts = [decode([id]) for id, _, _ in tokens]
        for text in texts:
            offsets.append(self.text_offsets[index])
            self.text_offsets[index] += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [max(logprob, MIN_LOGPROB) for _, logprob, _ in tokens],
            "top_logprobs": [{decode([id]): max(log, MIN_LOGPROB) for id, log in top} for _, _, top in tokens],
            "text_offset": offsets,
        }


def sse_event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
