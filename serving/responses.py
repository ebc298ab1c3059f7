"""
/v1/responses, OpenAI's newer protocol, in terms of the older one: a request becomes a ChatRequest, and the reply the
only item of the output. A client sends the conversation whole each time, or names replies that kept.py still has.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Discriminator, Field, Tag

from inference.settings import SamplingParams
from serving.checks import client_address
from serving.completions import chat_generations
from serving.delivery import Choice, respond
from serving.errors import APIError
from serving.generation import Delta
from serving.json_body import JSONRoute
from serving.kept import KeptReplies, new_ids
from serving.openapi import ERRORS, events
from serving.protocol import (
    MAX_MESSAGES,
    ChatRequest,
    Items,
    MemoryOption,
    Message,
    ResponseFormat,
    SamplingRequest,
    Strict,
    Truncation,
    TruncationName,
)
from serving.response_models import CompletionUsage
from serving.response_object import (
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
)
from serving.state import Server, ServerState

router = APIRouter(tags=["OpenAI"], responses=ERRORS, route_class=JSONRoute)


class InputMessage(Message):
    type: Literal["message"] | None = None
    # clients send these back with a reply that they got
    id: str | None = None
    status: Literal["completed", "incomplete"] | None = None
    phase: str | None = None


class ItemReference(Strict):
    """In place of a reply that was got."""

    type: Literal["item_reference"]
    id: str


def input_kind(item: Any) -> str:
    return "reference" if isinstance(item, dict) and item.get("type") == "item_reference" else "input message"


InputItem = Annotated[
    Annotated[InputMessage, Tag("input message")] | Annotated[ItemReference, Tag("reference")],
    Discriminator(input_kind),
]


class TextConfig(Strict):
    format: ResponseFormat | None = None
    verbosity: None = None


class Obfuscation(Strict):
    include_obfuscation: bool | None = None  # nothing is added either way


class ResponsesRequest(SamplingRequest):
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[Items[InputItem], Field(min_length=1, max_length=MAX_MESSAGES - 1)]  # one more for instructions
    )
    instructions: str | None = Field(None, description="the persona: a system message before the input")
    previous_response_id: str | None = Field(None, description="what was said up to that reply comes before the input")
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
    store: bool | None = Field(None, description="false: the reply cannot be named later")
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def conversation(self, kept: KeptReplies) -> list[Message]:
        """The input as messages, behind those of the previous response. Raises APIError: a reply that is not kept."""
        before = kept.conversation(self.previous_response_id) if self.previous_response_id else []
        if isinstance(self.input, str):
            return [*before, Message(role="user", content=self.input)]
        return before + [
            kept.reply(item.id, f"input.{i}.id")
            if isinstance(item, ItemReference)
            else Message(role=item.role, content=item.content, name=item.name)
            for i, item in enumerate(self.input)
        ]

    def chat(self, conversation: list[Message], strict: bool) -> ChatRequest:
        """The ChatRequest that asks for the same. Raises APIError: two personas, where it is strict."""
        messages = [] if self.instructions is None else [Message(role="system", content=self.instructions)]
        if strict and messages and conversation[0].role in ("system", "developer"):
            raise APIError(400, "the persona is either instructions or a system message in input", "instructions")
        messages += conversation[1 - MAX_MESSAGES :]
        asked = {name: getattr(self, name) for name in (*SamplingRequest.model_fields, "truncation", "memory")}
        return ChatRequest(messages=messages, max_tokens=self.max_output_tokens, **asked)

    def param_name(self, index: int | None = None, field: str = "") -> str:
        """The parameter that message number `index` of chat() came from, or all messages, for errors."""
        return "instructions" if self.instructions is not None and (index, field) == (0, "content") else "input"


@router.post("/v1/responses", response_model=ResponseObject, responses=events(ResponseEvent))
async def create_response(body: ResponsesRequest, request: Request, server: Server) -> Response:
    conversation = body.conversation(server.kept)
    asked = body.chat(conversation, server.strict)
    generations = await chat_generations(asked, client_address(request.scope), server, body.param_name)
    server.submit(generations)
    response_format = ResponsesFormat(body, server, generations[0].request.sampling, conversation)
    return await respond(request, server, generations, response_format, stream=body.stream)


class ResponsesFormat:
    """The response to a ResponsesRequest: one object, or server-sent events, each with its type and number."""

    def __init__(
        self, body: ResponsesRequest, server: ServerState, sampling: SamplingParams, conversation: list[Message]
    ) -> None:
        self.body, self.model, self.sampling = body, body.model or server.model_name, sampling
        self.truncation: TruncationName = body.truncation or server.truncation
        self.kept, self.conversation, self.is_stored = server.kept, conversation, body.store is not False
        self.id, self.item_id = new_ids()
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
            previous_response_id=self.body.previous_response_id,
            store=self.is_stored,
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
        self.keep()
        return self.response(self.status, self.item(self.status, self.content()), usage=usage)

    def keep(self) -> None:
        if self.is_stored:
            self.kept.keep(self.id, [*self.conversation, Message(role="assistant", content=self.text)])

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
        self.keep()
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
