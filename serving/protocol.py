"""
OpenAI's protocol as far as a GPT-2 speaks it: what a request may hold, and what it becomes.

These models are strict: a parameter that they do not have is refused by name. leniency.py fits the requests of popular
programs to them before, unless --strict is given. What comes back is in response_models.py and
response_object.py.
"""

import dataclasses
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from inference.settings import LONGEST_RUN, SamplingParams, SettingError
from serving.errors import APIError

# bounds of the work that a request can make for the thread that everybody's tokens come from
MAX_STOP_WORDS, MAX_STOP_LETTERS = 128, 256  # of each word
MAX_MESSAGES = 10_000
MAX_WINDOW = 1024  # tokens that the penalties look at
StopWord = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_LETTERS)]
TruncationName = Literal["auto", "disabled"]
Truncation = Annotated[
    TruncationName | None,
    Field(description="auto: a chat that is longer than the context loses its oldest turns; disabled: it is refused"),
]
T = TypeVar("T")
# a list that is refused for its first wrong item: errors of 150,000 took a second, in which nobody's stream moved
Items = Annotated[list[T], Field(fail_fast=True)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True, pattern=r"^[^\n\r]*$")]
EXTENSIONS = ("top_k", "min_p", "typical_p", "repetition_penalty", "penalty_window", "no_repeat_ngram")
EXTENSIONS += ("dry_multiplier", "dry_base", "dry_allowed_length")


class Strict(BaseModel):
    """A request's object: unknown fields are refused, and numbers that JSON does not have."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TextPart(Strict):
    type: Literal["text", "input_text", "output_text"]
    text: str
    # clients send these back with a reply that they got
    annotations: Items[None] | None = None
    logprobs: list[Any] | None = None


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Items[TextPart]
    name: str | None = None
    # the official client sends these back with a reply that it got: empty, or refused
    refusal: None = None
    annotations: list[None] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    @property
    def n_characters(self) -> int:
        """Of its text, and some for the work that any message makes."""
        return len(self.text) + 20

    def plain(self) -> dict[str, str]:
        """The message as chat_format.py has it."""
        message = {"role": {"developer": "system"}.get(self.role, self.role), "content": self.text}
        return {**message, "name": self.name} if self.name else message


class Notes(Strict):
    """What a chat's memory knows beyond its messages, as /memory gives it."""

    notes: list[Line] = Field(default=[], max_length=200, description="known beside the chat, the oldest first")
    forgotten: list[Line] = Field(default=[], max_length=1000, description="not to be noted, though the chat says so")


MemoryOption = Annotated[
    bool | Notes | None,
    Field(
        description="extension: what people tell of themselves stays in view, and earlier turns that bear on the last "
        "message come back; an object brings notes along"
    ),
]


class StreamOptions(Strict):
    include_usage: bool = False
    continuous_usage_stats: bool = False  # vLLM's: each chunk has the usage so far
    include_obfuscation: bool | None = None  # nothing is added either way


class ResponseFormat(Strict):
    type: Literal["text"]


class SamplingRequest(Strict):
    """What every endpoint that generates takes."""

    model: str | None = Field(None, description="the name of the served model, as in /v1/models; may be left out")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    user: str | None = None
    top_k: int | None = Field(None, ge=1, description="extension: draw from the k likeliest tokens only")
    min_p: float | None = Field(
        None, ge=0, le=1, description="extension: draw only from tokens at least this times as likely as the likeliest"
    )
    repetition_penalty: float | None = Field(
        None,
        ge=0.01,
        le=10,
        description="extension: above 1, tokens that the reply's last ones hold become less likely; 1 changes nothing",
    )
    typical_p: float | None = Field(None, gt=0, le=1, description="extension: Meister 2022; 1 changes nothing")
    penalty_window: int | None = Field(
        None, ge=0, le=MAX_WINDOW, description="extension: last tokens that penalties see"
    )
    no_repeat_ngram: int | None = Field(None, ge=0, le=MAX_WINDOW, description="extension: no such run comes again")
    dry_multiplier: float | None = Field(None, ge=0, le=100, description="extension: DRY; 0 changes nothing")
    dry_base: float | None = Field(None, ge=1, le=10)
    dry_allowed_length: int | None = Field(None, ge=1, lt=LONGEST_RUN)
    stop_token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, max_length=MAX_STOP_WORDS, description="extension: these tokens end a reply"
    )
    min_tokens: int | None = Field(
        None, ge=0, lt=2**31, description="extension: the model does not end its turn before"
    )
    ignore_eos: bool | None = Field(None, description="extension: the model ends no turn at all")


class Common(SamplingRequest):
    """What a chat and a completion take."""

    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    n: int | None = Field(None, ge=1, le=16)
    stop: StopWord | Annotated[list[StopWord], Field(max_length=MAX_STOP_WORDS)] | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=1024)
    stream_options: StreamOptions | None = None

    @property
    def usage_in_each_chunk(self) -> bool:
        return bool(self.with_usage and self.stream_options and self.stream_options.continuous_usage_stats)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the usage. Raises APIError."""
        if self.stream_options and not self.stream:
            raise APIError(400, "stream_options needs stream: true", "stream_options", "invalid_value")
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def n_logprobs(self) -> int | None:
        """How many of the likeliest tokens come with each log-probability; None: no log-probabilities."""
        raise NotImplementedError

    def sampling(
        self, defaults: SamplingParams, n_vocab: int, max_new_tokens: int, choice_index: int = 0
    ) -> SamplingParams:
        """
        How choice number `choice_index` is sampled: its seed is the request's plus its index. defaults: the server's
        own, which hold where the request asks for nothing. Raises APIError.
        """
        names = ("temperature", "top_p", "frequency_penalty", "presence_penalty", *EXTENSIONS)
        asked: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.stop is not None:
            asked["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        seed = self.seed if self.seed is not None else defaults.seed
        if seed is not None:
            asked["seed"] = (seed + choice_index) % 2**62
        for id in self.logit_bias or {}:
            if not (id.isascii() and id.isdigit() and len(id) < 10 and int(id) < n_vocab):
                message = f"logit_bias: {id[:20]!r} is no token; ids go from 0 to {n_vocab - 1}"
                raise APIError(400, message, "logit_bias")
        asked["logit_bias"] = {int(id): bias for id, bias in (self.logit_bias or {}).items()}
        asked |= {"max_new_tokens": max_new_tokens, "logprobs": self.n_logprobs}
        asked["min_new_tokens"] = max_new_tokens if self.ignore_eos else min(self.min_tokens or 0, max_new_tokens)
        if self.stop_token_ids is not None:
            asked["stop_ids"] = tuple(self.stop_token_ids)
        usual = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(SamplingParams)}
        try:
            return SamplingParams(**{**usual, **asked})
        except SettingError as error:
            raise APIError(400, str(error), error.name, "invalid_value") from None


class ChatRequest(Common):
    messages: Items[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    truncation: Truncation = None
    memory: MemoryOption = None
    response_format: ResponseFormat | None = None
    # accepted, and without effect
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    modalities: Items[Literal["text"]] | None = None
    tools: list[None] | None = Field(None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None

    @property
    def n_logprobs(self) -> int | None:
        if not self.logprobs:
            if self.top_logprobs is not None:
                raise APIError(400, "top_logprobs needs logprobs: true", "top_logprobs")
            return None
        return self.top_logprobs or 0


class CompletionRequest(Common):
    prompt: str | Items[int] | Items[str | Items[int]] = Field(
        description="a text, a list of token ids, or a list of either"
    )
    logprobs: int | None = Field(None, ge=0, le=20)
    max_tokens: int | None = Field(None, ge=0, lt=2**31, description="0: the prompt alone, with echo its scores")
    echo: bool | None = Field(None, description="the reply begins with the prompt; with logprobs its tokens are scored")
    best_of: int | None = None

    @property
    def n_logprobs(self) -> int | None:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise APIError(400, "best_of is not supported, but for the value of n", "best_of")
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        """The texts, or the lists of ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]  # pyright: ignore[reportReturnType]: pydantic has checked the others
        return self.prompt  # pyright: ignore[reportReturnType]


class TokenizeRequest(Strict):
    model: str | None = None
    prompt: str | None = None
    messages: Items[Message] | None = Field(None, max_length=MAX_MESSAGES)


class DetokenizeRequest(Strict):
    model: str | None = None
    tokens: Items[int] = Field(max_length=100_000)


class MemoryRequest(Strict):
    messages: Items[Message] = Field(default=[], max_length=MAX_MESSAGES)
    memory: Notes = Notes()
    forget: Line | None = Field(None, description="one of the notes")
    add: Line | None = Field(None, description="a note; what is known of the same thing is forgotten")


class Feedback(Strict):
    conversation: list[Any] = Field(max_length=1000)
    message: str
    verdict: Literal["good", "bad"] | None = Field(None, description="null takes an earlier verdict back")
    edit: str | None = Field(None, min_length=1, description="how the reply should have been, in place of a verdict")

    @model_validator(mode="after")
    def one_of_both(self) -> "Feedback":
        if ("verdict" in self.model_fields_set) == (self.edit is not None):
            raise ValueError("a verdict or an edit, one of both")
        return self


def field_names(model: type[BaseModel]) -> set[str]:
    """The names of all fields of a model and of its subclasses."""
    return set(model.model_fields).union(*map(field_names, model.__subclasses__()))
