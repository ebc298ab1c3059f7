"""What comes back, whole and in events: the objects that the routes send, as /openapi.json describes them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length"]


class Returned(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def json_text(self) -> str:
        """With all that was set, be it None, and nothing else."""
        return self.model_dump_json(exclude_unset=True)


class ErrorDetail(Returned):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Returned):
    error: ErrorDetail


class PromptTokensDetails(Returned):
    cached_tokens: int


class CompletionUsage(Returned):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    dropped_turns: int | None = None  # extension: where the chat was longer than the context


class TopLogprob(Returned):
    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Returned):
    content: list[ChatTokenLogprob]
    refusal: None


class ChatMessage(Returned):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Returned):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Returned):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class ChatDelta(Returned):
    """What an event adds to a message; the last adds nothing."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(Returned):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(Returned):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: CompletionUsage | None = None


class TextLogprobs(Returned):
    tokens: list[str]
    token_logprobs: list[float | None]  # None: the first token of an echoed prompt
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Returned):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason


class TextCompletion(Returned):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage


class TextChunkChoice(Returned):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextCompletionChunk(Returned):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChunkChoice]
    usage: CompletionUsage | None = None


class OutputText(Returned):
    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[None]


class OutputMessage(Returned):
    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class InputTokensDetails(Returned):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Returned):
    reasoning_tokens: int


class ResponsesUsage(Returned):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    dropped_turns: int | None = None  # extension: where the chat was longer than the context


class IncompleteDetails(Returned):
    reason: Literal["max_output_tokens"]


class ResponseError(Returned):
    code: Literal["server_error"]
    message: str


class TextFormat(Returned):
    type: Literal["text"]


class ResponseText(Returned):
    format: TextFormat


class ResponseObject(Returned):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float
    text: ResponseText
    tool_choice: Literal["auto"]
    tools: list[None]
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponsesUsage | None
    user: str | None
    metadata: dict[str, Any]


class ResponseEvent(Returned):
    """An event of /v1/responses; which fields it has is in OpenAI's description of its type."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    item: OutputMessage | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: list[None] | None = None


class SamplingDefaults(Returned):
    """The server's own settings, where a request says nothing."""

    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    repetition_penalty: float
    max_tokens: int
    seed: int | None


class ModelInfo(Returned):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    sampling: SamplingDefaults
    memory: bool  # whether chats have one where a request does not say


class ModelList(Returned):
    object: Literal["list"]
    data: list[ModelInfo]


class TokenizeResponse(Returned):
    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeResponse(Returned):
    prompt: str


class PersonaInfo(Returned):
    name: str
    text: str  # the system message
    first: str  # what the bot says first; empty: it waits


class PersonaList(Returned):
    data: list[PersonaInfo]


class KnownNotes(Returned):
    notes: list[str]
    forgotten: list[str]


class MemoryResponse(Returned):
    """What a chat's memory holds: all of its notes, and what a next request has to bring along as `memory`."""

    notes: list[str]
    memory: KnownNotes


class HealthResponse(Returned):
    status: Literal["ok"]
    version: str


ERRORS: dict[int | str, dict[str, Any]] = {  # every route's, for `responses=`
    "4XX": {"model": ErrorResponse, "description": "The request is wrong, not allowed, or comes too soon."},
    "5XX": {"model": ErrorResponse, "description": "The engine has failed, or there was no time for a reply."},
}


def events(model: type[Returned]) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route that streams: each event's data is a `model`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        200: {
            "description": "The whole reply, or with stream: true its pieces as server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string", "contentSchema": schema}}},
        }
    }


def event_schemas() -> dict[str, Any]:
    """The schemas that events() names, and those that they name, for the components of /openapi.json."""
    schemas: dict[str, Any] = {}
    for model in (ChatCompletionChunk, TextCompletionChunk, ResponseEvent):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
    return schemas
