"""
OpenAI's newer protocol, /v1/responses, in terms of the older one: a request becomes a ChatRequest, the reply one item.
Nothing is kept, so a conversation is sent whole each time.
"""

import json
import time
import uuid
from typing import Any, Literal

from pydantic import Field

from serving.protocol import APIError, ChatRequest, Message, ResponseFormat, SamplingRequest, Strict


class InputMessage(Message):
    type: Literal["message"] | None = None
    # what comes back with a reply of ours
    id: str | None = None
    status: Literal["completed", "incomplete"] | None = None
    phase: str | None = None


class TextConfig(Strict):
    format: ResponseFormat | None = None
    verbosity: None = None


class Obfuscation(Strict):
    include_obfuscation: bool | None = None  # nothing is added either way


class ResponsesRequest(SamplingRequest):
    input: str | list[InputMessage] = Field(min_length=1)
    instructions: str | None = Field(None, description="the persona: a system message before the input")
    max_output_tokens: int | None = Field(None, ge=1)
    truncation: Literal["auto", "disabled"] | None = Field(None, description="auto: old turns go when all is full")
    # change nothing, or nothing with what they may be
    text: TextConfig | None = None
    tools: list[None] | None = Field(None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    include: list[None] | None = Field(None, max_length=0)
    background: Literal[False] | None = None
    stream_options: Obfuscation | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def chat(self):
        """The ChatRequest that asks the same. Raises Refused."""
        told = [] if self.instructions is None else [Message(role="system", content=self.instructions)]
        if isinstance(self.input, str):
            told.append(Message(role="user", content=self.input))
        else:
            if told and self.input[0].role in ("system", "developer"):
                raise APIError(400, "the persona is either instructions or a system message in input", "instructions")
            told += [Message(role=m.role, content=m.content, name=m.name) for m in self.input]
        asked = {name: getattr(self, name) for name in (*SamplingRequest.model_fields, "truncation")}
        return ChatRequest(messages=told, max_tokens=self.max_output_tokens, **asked)

    def renamed(self, error):
        """The Refused of the ChatRequest, in this one's words."""
        about = error.body["error"]
        param, message = about["param"] or "", about["message"].replace("messages", "input")
        if param == "messages.0.content" and self.instructions is not None:
            param = "instructions"
        param = "input" if param.startswith("messages") else param
        return APIError(error.status, message, param or None, about["code"], about["type"], error.headers)


class ResponsesResponse:
    """The object that answers a ResponsesRequest: whole, or as server-sent events, each with its type and number."""

    def __init__(self, body, model, sampling):
        self.body, self.model, self.sampling = body, model, sampling
        self.id, self.item_id = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"
        self.created, self.number, self.text, self.reason = int(time.time()), 0, "", None

    def content(self):
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}

    def item(self, status, content):
        return {"type": "message", "id": self.item_id, "status": status, "role": "assistant", "content": content}

    @property
    def status(self):
        return "incomplete" if self.reason == "length" else "completed"

    def response(self, status, output=(), usage=None, error=None):
        if usage:
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            usage = {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self.body.instructions,
            "max_output_tokens": self.body.max_output_tokens,
            "model": self.model,
            "output": list(output),
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": self.sampling.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": self.sampling.top_p,
            "truncation": self.body.truncation or "disabled",
            "usage": usage,
            "user": self.body.user,
            "metadata": self.body.metadata or {},
        }

    def whole(self, said, generations, usage):
        self.text, self.reason, _ = said[0]
        return self.response(self.status, [self.item(self.status, [self.content()])], usage)

    def event(self, type, **content):
        content = {"type": f"response.{type}", "sequence_number": self.number, **content}
        self.number += 1
        return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n"

    def part(self, type, **content):
        return self.event(type, item_id=self.item_id, output_index=0, content_index=0, **content)

    def opening(self, n):
        yield self.event("created", response=self.response("in_progress"))
        yield self.event("in_progress", response=self.response("in_progress"))
        yield self.event("output_item.added", output_index=0, item=self.item("in_progress", []))
        yield self.part("content_part.added", part=self.content())

    def more(self, i, said, generation):
        self.text, self.reason = self.text + said.text, said.reason
        if said.text:
            yield self.part("output_text.delta", delta=said.text, logprobs=[])

    def failure(self, error):
        about = {"code": "server_error", "message": error.body["error"]["message"]}
        yield self.event("failed", response=self.response("failed", error=about))

    def closing(self, usage):
        item = self.item(self.status, [self.content()])
        yield self.part("output_text.done", text=self.text, logprobs=[])
        yield self.part("content_part.done", part=self.content())
        yield self.event("output_item.done", output_index=0, item=item)
        yield self.event(self.status, response=self.response(self.status, [item], usage))
