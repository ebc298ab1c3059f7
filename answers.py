"""
What the server answers: OpenAI's objects for a chat and a completion, whole and in pieces, and Prometheus' text.
"""

import json
import time
import uuid


def event(content):
    return f"data: {json.dumps(content)}\n\n"


def used(generations, n):
    """OpenAI's usage: each prompt is counted once, however many choices (n) go on from it."""
    firsts = generations[::n]
    prompt, completion = sum(len(g.ids) for g in firsts), sum(g.n_tokens for g in generations)
    cached = sum(g.sequence.reused for g in firsts if g.sequence)
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**tokens, "prompt_tokens_details": {"cached_tokens": cached}}


class Shape:
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
        return event({**self.head(kind), "choices": choices, **usage})

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
        yield event(error.body)

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
        top = [{self.tokenizer.decode([id]): floor(log) for id, log in likeliest} for _, _, likeliest in tokens]
        logs = [floor(log) for _, log, _ in tokens]
        return {"tokens": texts, "token_logprobs": logs, "top_logprobs": top, "text_offset": offsets}

    def token(self, id, log):
        letters = self.tokenizer.bytes.get(id)
        return {
            "token": self.tokenizer.decode([id]),
            "logprob": floor(log),
            "bytes": list(letters) if letters else None,
        }


def floor(log):
    """JSON has no minus infinity; OpenAI's own floor."""
    return max(log, -9999.0)


def exposition(service, counts):
    """Prometheus' text of the counters."""
    lines = []

    def tell(name, kind, about, values):
        lines.append(f"# HELP nanochatgpt_{name} {about}\n# TYPE nanochatgpt_{name} {kind}")
        lines.extend(f"nanochatgpt_{name}{label} {value}" for label, value in values)

    served, running = service.served, len(service.talking)
    by = sorted(counts.items())
    tell("requests_total", "counter", "requests", [(f'{{path="{p}",status="{s}"}}', n) for (p, s), n in by])
    tell("prompt_tokens_total", "counter", "tokens of prompts", [("", served["prompt"])])
    tell("computed_tokens_total", "counter", "tokens that went through the model", [("", served["computed"])])
    tell("generated_tokens_total", "counter", "tokens of replies", [("", served["generated"])])
    tell("replies_total", "counter", "replies", [(f'{{end="{e}"}}', served[e]) for e in ("finished", "cancelled")])
    tell("slots", "gauge", "replies at once at most", [("", len(service.engine.running))])
    tell("slots_in_use", "gauge", "replies now", [("", running)])
    tell("waiting", "gauge", "requests that wait for a slot", [("", service.n_waiting)])
    return "\n".join(lines) + "\n"
