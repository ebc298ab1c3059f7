"""What comes back, whole and in events: the objects that the routes send, as /openapi.json describes them."""

from typing import Literal

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


class SamplingDefaults(Returned):
    """The server's own settings, where a request says nothing."""

    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    repetition_penalty: float
    max_tokens: int
    seed: int | None


class TalkDefaults(Returned):
    """What the page asks for beside, as chat.py does: that a chat does not say again what it said long ago."""

    dry_multiplier: float
    dry_base: float
    penalty_window: int


class ModelInfo(Returned):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    sampling: SamplingDefaults
    talk: TalkDefaults
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
