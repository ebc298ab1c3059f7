"""
OpenAI's protocol as far as a GPT-2 speaks it: what a request may hold, what it becomes, and the errors.

What would change the answer and cannot be done is refused by name; what changes nothing (user, metadata) is accepted.
"""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from inference.settings import SamplingParams

Text = Annotated[str, StringConstraints(min_length=1)]
EXTENSIONS = ("top_k", "min_p", "repetition_penalty")


class APIError(Exception):
    """A request that gets OpenAI's error object: status, message, and which parameter of it is meant."""

    def __init__(self, status, message, param=None, code=None, type="invalid_request_error", headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TextPart(Strict):
    type: Literal["text", "input_text", "output_text"]
    text: str
    # what comes back with a reply of ours
    annotations: list[None] | None = None
    logprobs: list[Any] | None = None


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    # what the official client sends back with a reply of ours; empty, or refused
    refusal: None = None
    annotations: list[None] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    def plain(self):
        """The message as conversation.py has it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        message = {"role": {"developer": "system"}.get(self.role, self.role), "content": text}
        return {**message, "name": self.name} if self.name else message


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None  # nothing is added either way


class ResponseFormat(Strict):
    type: Literal["text"]


class SamplingRequest(Strict):
    """What every endpoint that generates takes."""

    model: str | None = Field(None, description="the served model's name, as /v1/models has it; it is the default")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    user: str | None = None
    top_k: int | None = Field(None, ge=1, description="an extension: keep the k likeliest tokens")
    min_p: float | None = Field(None, ge=0, le=1, description="an extension: as likely beside the likeliest")
    repetition_penalty: float | None = Field(
        None, ge=0.01, le=10, description="an extension: of the bot's recent tokens"
    )


class Common(SamplingRequest):
    """What a chat and a completion take."""

    max_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=16)
    stop: Text | list[Text] | None = Field(None, max_length=1000)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=1024)
    stream_options: StreamOptions | None = None

    @property
    def with_usage(self):
        """Whether a stream ends with the usage. Raises Refused."""
        if self.stream_options and not self.stream:
            raise APIError(400, "stream_options needs stream: true", "stream_options", "invalid_value")
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, usual, n_vocab, max_new_tokens, index=0):
        """The Sampling of choice number `index`; usual: the server's own, which holds where nothing is asked."""
        names = ("temperature", "top_p", "frequency_penalty", "presence_penalty", *EXTENSIONS)
        asked = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.stop is not None:
            asked["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if self.seed is not None:
            asked["seed"] = (self.seed + index) % 2**62
        elif usual.seed is not None:
            asked["seed"] = (usual.seed + index) % 2**62
        for id in self.logit_bias or {}:
            if not (id.isascii() and id.isdigit() and len(id) < 10 and int(id) < n_vocab):
                raise APIError(
                    400, f"logit_bias: {id[:20]!r} is no token; ids go from 0 to {n_vocab - 1}", "logit_bias"
                )
        asked["logit_bias"] = {int(id): bias for id, bias in (self.logit_bias or {}).items()}
        names = {field.name for field in dataclasses.fields(SamplingParams)}
        usual = {name: getattr(usual, name) for name in names}
        return SamplingParams(**{**usual, **asked, "max_new_tokens": max_new_tokens, "logprobs": self.n_logprobs})


class ChatRequest(Common):
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    truncation: Literal["auto", "disabled"] | None = Field(None, description="auto: old turns go when all is full")
    response_format: ResponseFormat | None = None
    # change nothing
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    tools: list[None] | None = Field(None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None

    @property
    def n_logprobs(self):
        if not self.logprobs:
            if self.top_logprobs is not None:
                raise APIError(400, "top_logprobs needs logprobs: true", "top_logprobs")
            return None
        return self.top_logprobs or 0


class CompletionRequest(Common):
    prompt: str | list[str] | list[int] | list[list[int]] = Field(description="text, ids, or several of them")
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: Literal[False] | None = None
    best_of: int | None = None

    @property
    def n_logprobs(self):
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise APIError(400, "best_of is not supported, but for the value of n", "best_of")
        return self.logprobs

    @property
    def prompts(self):
        """The texts or lists of ids."""
        one = isinstance(self.prompt, str) or bool(self.prompt) and isinstance(self.prompt[0], int)
        return [self.prompt] if one else self.prompt


class TokenizeRequest(Strict):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None


class Feedback(Strict):
    conversation: list[Any] = Field(max_length=1000)
    message: str
    verdict: Literal["good", "bad"] | None = Field(description="null takes one back")


def fields(model):
    """The names of all fields of a model and of those made of it."""
    return set(model.model_fields).union(*map(fields, model.__subclasses__()))


def validation_error(errors):
    """Refused for the errors that pydantic found in a body."""
    first = max(errors, key=lambda error: error["type"] == "extra_forbidden")
    *place, last = [part for part in first["loc"] if part != "body"] or [""]
    names = fields(Strict)
    place = [part for part in place if isinstance(part, int) or part in names]  # pydantic names a union's members too
    place += [last] if isinstance(last, int) or last in names or first["type"] == "extra_forbidden" else []
    param = ".".join(map(str, place))[:200] or None
    if first["type"] == "extra_forbidden":
        return APIError(400, f"{param} is not supported", param, "unknown_parameter")
    if first["type"] == "json_invalid":
        return APIError(400, "the body is not JSON", code="invalid_json")
    if first["type"] == "missing":
        return APIError(400, f"{param or 'the body'} is missing", param, "missing_required_parameter")
    return APIError(400, f"{param or 'the body'}: {first['msg'][:200]}", param, "invalid_value")
