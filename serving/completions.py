"""
What a request asks to be continued, as ids, and how much of the context is left for the reply. Raises Refused.
"""

import json
import time
import uuid

from runtime.errors import InputError
from serving.protocol import APIError
from tokenization.chat_format import without_lone_surrogates
from tokenization.context import messages_in_view


def sse_event(content):
    return f"data: {json.dumps(content)}\n\n"


def usage_of(generations, n):
    """OpenAI's usage: each prompt is counted once, however many choices (n) go on from it."""
    firsts = generations[::n]
    prompt, completion = sum(len(g.ids) for g in firsts), sum(g.n_tokens for g in generations)
    cached = sum(g.sequence.num_cached_tokens for g in firsts if g.sequence)
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**tokens, "prompt_tokens_details": {"cached_tokens": cached}}


class CompletionResponse:
    """A chat's and a completion's answer: whole, or as server-sent events."""

    def __init__(self, kind, model, tokenizer, with_usage):
        self.chat, self.model, self.tokenizer, self.with_usage = kind == "chat", model, tokenizer, with_usage
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def head(self, kind):
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, said, generations, usage):
        """said: (text, reason, tokens) of each choice."""
        choices = [self.choice(i, *each, generations[i]) for i, each in enumerate(said)]
        return {**self.head("chat.completion" if self.chat else "text_completion"), "choices": choices, "usage": usage}

    def choice(self, i, text, reason, tokens, generation):
        logs = self.logprobs(tokens, generation) if generation.sampling.logprobs is not None else None
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return {"index": i, **said, "logprobs": logs, "finish_reason": reason}

    def chunk(self, choices, usage=None):
        usage = {"usage": usage} if self.with_usage else {}
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return sse_event({**self.head(kind), "choices": choices, **usage})

    def opening(self, n):
        """The events that open n choices."""
        if self.chat:
            for i in range(n):
                delta = {"role": "assistant", "content": ""}
                yield self.chunk([{"index": i, "delta": delta, "logprobs": None, "finish_reason": None}])

    def more(self, i, said, generation):
        """The events of a Said."""
        logs = self.logprobs(said.tokens, generation) if said.tokens else None
        if self.chat:
            if said.text or logs:
                delta = {"content": said.text}
                yield self.chunk([{"index": i, "delta": delta, "logprobs": logs, "finish_reason": None}])
            if said.reason:
                yield self.chunk([{"index": i, "delta": {}, "logprobs": None, "finish_reason": said.reason}])
        else:
            yield self.chunk([{"index": i, "text": said.text, "logprobs": logs, "finish_reason": said.reason}])

    def failure(self, error):
        """The events in place of the rest, for a Refused."""
        yield sse_event(error.body)

    def closing(self, usage):
        if self.with_usage:
            yield self.chunk([], usage)
        yield "data: [DONE]\n\n"

    def logprobs(self, tokens, generation):
        if self.chat:
            return {
                "content": [
                    {**self.token(id, log), "top_logprobs": [self.token(*each) for each in likeliest]}
                    for id, log, likeliest in tokens
                ],
                "refusal": None,
            }
        texts = [self.tokenizer.decode([id]) for id, _, _ in tokens]
        offsets, at = [], getattr(generation, "offset", 0)
        for text in texts:
            offsets.append(at)
            at += len(text)
        generation.offset = at
        top = [
            {self.tokenizer.decode([id]): finite_logprob(log) for id, log in likeliest} for _, _, likeliest in tokens
        ]
        logs = [finite_logprob(log) for _, log, _ in tokens]
        return {"tokens": texts, "token_logprobs": logs, "top_logprobs": top, "text_offset": offsets}

    def token(self, id, log):
        letters = self.tokenizer.bytes.get(id)
        return {
            "token": self.tokenizer.decode([id]),
            "logprob": finite_logprob(log),
            "bytes": list(letters) if letters else None,
        }


def finite_logprob(log):
    """JSON has no minus infinity; OpenAI's own floor."""
    return max(log, -9999.0)


def reply_budget(n, wanted, block_size, usual, param, hint=""):
    """The tokens of a reply behind n of a prompt: `wanted`, or `usual` where nothing is asked. Raises Refused."""
    if n >= block_size or wanted and n + wanted > block_size:
        message = (
            f"this model's context is {block_size} tokens, and {n} of the {param} with {wanted or 1} of the reply are "
            f"{n + (wanted or 1)}; shorten either{hint}"
        )
        raise APIError(400, message, param, "context_length_exceeded")
    return wanted or min(usual, block_size - n)


def chat_prompt(body, speaker, usual):
    """(ids, tokens that the reply may have, ids that the bot has said, whether its last message goes on)."""
    template, block_size = speaker.template, speaker.block_size
    messages = [message.plain() for message in body.messages]
    for i, message in enumerate(messages):
        if not message["content"].strip():
            raise APIError(400, "content must be text, and not empty", f"messages.{i}.content", "invalid_value")
        if message["role"] == "system" and i:
            raise APIError(400, "the system message must come first", f"messages.{i}.role", "invalid_value")
        message["content"] = without_lone_surrogates(message["content"])
    last = messages[-1]
    continued = last["role"] == "assistant"
    begun = [id for id in template.reply(last["content"]) if id not in template.stop_token_ids] if continued else []

    def prompt(view):
        if continued and view and view[-1] is last:
            return template.prompt(view[:-1]) + begun
        return template.prompt(view)

    wanted = body.max_completion_tokens or body.max_tokens
    if body.truncation == "auto":
        wanted = min(wanted or usual, max(1, block_size - 2))
        try:
            ids = prompt(messages_in_view(messages, prompt, block_size - min(wanted, block_size // 4)))
        except InputError as error:
            raise APIError(400, str(error), "messages", "context_length_exceeded") from None
        wanted = min(wanted, block_size - len(ids))
    else:
        ids = prompt(messages)
        wanted = reply_budget(len(ids), wanted, block_size, usual, "messages", ", or truncation: auto")
    spoken = [m["content"] for m in messages if m["role"] == "assistant"]
    return ids, wanted, [id for text in spoken for id in speaker.tokenizer.encode(" " + text)], continued


def text_prompts(body, speaker, usual):
    """Yield (ids, tokens that may follow) for each prompt of a completion."""
    tokenizer = speaker.tokenizer
    for prompt in body.prompts:
        if isinstance(prompt, str):
            ids = [tokenizer.endoftext, *tokenizer.encode(without_lone_surrogates(prompt))]
        else:
            ids = list(prompt)
            if not ids or not all(0 <= id < tokenizer.n_vocab for id in ids):
                raise APIError(400, f"prompt: ids go from 0 to {tokenizer.n_vocab - 1}", "prompt", "invalid_value")
        yield ids, reply_budget(len(ids), body.max_tokens, speaker.block_size, usual, "prompt")
