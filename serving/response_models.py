"""
What comes back, as /openapi.json describes it. The routes send dicts; tests/serving/test_routes.py holds them to these.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length"]


class Returned(BaseModel):
    model_config = ConfigDict(extra="forbid")


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


class OutputText(Returned):
    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[None]


class OutputMessage(Returned):
    type: Literal["message"]
    id: str
    status: Literal["completed", "incomplete"]
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


class ResponseObject(Returned):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    error: None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: None
    store: bool
    temperature: float
    text: dict[str, dict[str, str]]
    tool_choice: Literal["auto"]
    tools: list[None]
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponsesUsage
    user: str | None
    metadata: dict[str, Any]


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


class ModelList(Returned):
    object: Literal["list"]
    data: list[ModelInfo]


class TokenizeResponse(Returned):
    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizeResponse(Returned):
    prompt: str


class HealthResponse(Returned):
    status: Literal["ok"]
    version: str


ERRORS: dict[int | str, dict[str, Any]] = {  # every route's, for `responses=`
    "4XX": {"model": ErrorResponse, "description": "The request is wrong, not allowed, or comes too soon."},
    "5XX": {"model": ErrorResponse, "description": "The engine has failed, or there was no time for a reply."},
}
EVENTS: dict[int | str, dict[str, Any]] = {  # of a route that streams
    200: {
        "description": "The whole reply, or with stream: true its pieces as server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
