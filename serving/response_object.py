"""What /v1/responses sends, whole and in events."""

from typing import Any, Literal

from serving.response_models import Returned


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
