"""
/v1/responses, OpenAI's newer protocol, in terms of the older one: a request becomes a ChatRequest, and the reply the
only item of the output. The server keeps no conversation, so a client sends it whole each time.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from inference.settings import SamplingParams
from serving.completions import chat_generations
from serving.delivery import Choice, respond
from serving.json_body import JSONRoute
from serving.middleware import client_address
from serving.protocol import (
    MAX_MESSAGES,
    APIError,
    ChatRequest,
    MemoryOption,
    Message,
    ResponseFormat,
    SamplingRequest,
    Strict,
    Truncation,
    TruncationName,
)
from serving.response_models import (
    ERRORS,
    CompletionUsage,
    IncompleteDetails,
    InputTokensDetails,
    OutputMessage,
    OutputText,
    OutputTokensDetails,
    ResponseError,
    ResponseEvent,
    ResponseObject,
    ResponsesUsage,
    ResponseText,
    TextFormat,
    events,
)
from serving.scheduler import Delta
from serving.state import Server, ServerState

router = APIRouter(tags=["OpenAI"], responses=ERRORS, route_class=JSONRoute)


class InputMessage(Message):
    type: Literal["message"] | None = None
    # clients send these back with a reply that they got
    id: str | None = None
    status: Literal["completed", "incomplete"] | None = None
    phase: str | None = None


class TextConfig(Strict):
    format: ResponseFormat | None = None
    verbosity: None = None


class Obfuscation(Strict):
    include_obfuscation: bool | None = None  # nothing is added either way


class ResponsesRequest(SamplingRequest):
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[InputMessage], Field(min_length=1, max_length=MAX_MESSAGES - 1)]  # one more for instructions
    )
    instructions: str | None = Field(None, description="the persona: a system message before the input")
    max_output_tokens: int | None = Field(None, ge=1, lt=2**31)
    truncation: Truncation = None
    memory: MemoryOption = None
    # accepted, and without effect, with the values that they may have here
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

    def chat(self, strict: bool) -> ChatRequest:
        """The ChatRequest that asks for the same. Raises APIError: two personas, where it is strict."""
        messages = [] if self.instructions is None else [Message(role="system", content=self.instructions)]
        if isinstance(self.input, str):
            messages.append(Message(role="user", content=self.input))
        else:
            if strict and messages and self.input[0].role in ("system", "developer"):
                raise APIError(400, "the persona is either instructions or a system message in input", "instructions")
            messages += [Message(role=m.role, content=m.content, name=m.name) for m in self.input]
        asked = {name: getattr(self, name) for name in (*SamplingRequest.model_fields, "truncation", "memory")}
        return ChatRequest(messages=messages, max_tokens=self.max_output_tokens, **asked)

    def param_name(self, index: int | None = None, field: str = "") -> str:
        """The parameter that message number `index` of chat() came from, or all messages, for errors."""
        return "instructions" if self.instructions is not None and (index, field) == (0, "content") else "input"


@router.post("/v1/responses", response_model=ResponseObject, responses=events(ResponseEvent))
async def create_response(body: ResponsesRequest, request: Request, server: Server) -> Response:
    generations = await chat_generations(
        body.chat(server.strict), client_address(request.scope), server, body.param_name
    )
    server.submit(generations)
    response_format = ResponsesFormat(body, server, generations[0].request.sampling)
    return await respond(request, server, generations, response_format, stream=body.stream)


class ResponsesFormat:
    """The response to a ResponsesRequest: one object, or server-sent events, each with its type and number."""

    def __init__(self, body: ResponsesRequest, server: ServerState, sampling: SamplingParams) -> None:
        self.body, self.model, self.sampling = body, body.model or server.model_name, sampling
        self.truncation: TruncationName = body.truncation or server.truncation
        self.id, self.item_id = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"
        self.created, self.n_events = int(time.time()), 0
        self.text, self.finish_reason = "", None

    def content(self) -> OutputText:
        return OutputText(type="output_text", text=self.text, annotations=[], logprobs=[])

    def item(self, status: Literal["in_progress", "completed", "incomplete"], *content: OutputText) -> OutputMessage:
        return OutputMessage(type="message", id=self.item_id, status=status, role="assistant", content=list(content))

    @property
    def status(self) -> Literal["incomplete", "completed"]:
        """Of a reply that has ended."""
        return "incomplete" if self.finish_reason == "length" else "completed"

    def response(
        self,
        status: Literal["in_progress", "completed", "incomplete", "failed"],
        *output: OutputMessage,
        usage: CompletionUsage | None = None,
        error: ResponseError | None = None,
    ) -> ResponseObject:
        return ResponseObject(
            id=self.id,
            object="response",
            created_at=self.created,
            status=status,
            error=error,
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if status == "incomplete" else None,
            instructions=self.body.instructions,
            max_output_tokens=self.body.max_output_tokens,
            model=self.model,
            output=list(output),
            parallel_tool_calls=False,
            previous_response_id=None,
            store=False,
            temperature=self.sampling.temperature,
            text=ResponseText(format=TextFormat(type="text")),
            tool_choice="auto",
            tools=[],
            top_p=self.sampling.top_p,
            truncation=self.truncation,
            usage=usage and responses_usage(usage),
            user=self.body.user,
            metadata=self.body.metadata or {},
        )

    def whole(self, choices: Sequence[Choice], usage: CompletionUsage) -> ResponseObject:
        self.text, self.finish_reason = choices[0].text, choices[0].finish_reason
        return self.response(self.status, self.item(self.status, self.content()), usage=usage)

    def event(self, kind: str, **content: Any) -> str:
        event = ResponseEvent(type=f"response.{kind}", sequence_number=self.n_events, **content)
        self.n_events += 1
        return f"event: {event.type}\ndata: {event.json_text()}\n\n"

    def part_event(self, kind: str, **content: Any) -> str:
        """An event about the one part of the one item."""
        return self.event(kind, item_id=self.item_id, output_index=0, content_index=0, **content)

    def opening(self, n: int) -> Iterator[str]:
        yield self.event("created", response=self.response("in_progress"))
        yield self.event("in_progress", response=self.response("in_progress"))
        yield self.event("output_item.added", output_index=0, item=self.item("in_progress"))
        yield self.part_event("content_part.added", part=self.content())

    def more(self, index: int, delta: Delta, usage: Callable[[], CompletionUsage]) -> Iterator[str]:
        self.text, self.finish_reason = self.text + delta.text, delta.finish_reason
        if delta.text:
            yield self.part_event("output_text.delta", delta=delta.text, logprobs=[])

    def failure(self, error: APIError) -> Iterator[str]:
        """The events in place of the rest."""
        details = ResponseError(code="server_error", message=error.detail)
        yield self.event("failed", response=self.response("failed", error=details))

    def closing(self, usage: CompletionUsage) -> Iterator[str]:
        item = self.item(self.status, self.content())
        yield self.part_event("output_text.done", text=self.text, logprobs=[])
        yield self.part_event("content_part.done", part=self.content())
        yield self.event("output_item.done", output_index=0, item=item)
        yield self.event(self.status, response=self.response(self.status, item, usage=usage))


def responses_usage(usage: CompletionUsage) -> ResponsesUsage:
    """The usage in the words of /v1/responses."""
    cached = usage.prompt_tokens_details.cached_tokens
    return ResponsesUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=usage.total_tokens,
        **({"dropped_turns": usage.dropped_turns} if usage.dropped_turns else {}),
    )
