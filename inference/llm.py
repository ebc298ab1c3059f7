"""
A model for other Python programs; example.py shows all of it.

    llm = LLM("out-chat")
    print(llm.chat([{"role": "user", "content": "hi"}], SamplingParams(temperature=0)).text)
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, overload

from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from inference.streaming import FinishReason, Piece


class Completion(NamedTuple):
    """A whole reply or continuation."""

    text: str
    reason: FinishReason | None  # why it ended
    n_tokens: int  # generated


class LLM:
    """
    A model and its tokenizer, opened once. Not for several threads at a time.

    model: a folder that train.py wrote, any Hugging Face GPT-2 folder, a LoRA adapter of one, or a name of the hub.
    device, dtype, weights, threads: as in EngineConfig. slots: how many prompts `generate` computes at once; each takes
    memory for a whole context. Raises InputError if there is no such model or device.
    """

    def __init__(
        self,
        model: str | Path = "out-chat",
        *,
        device: str = "auto",
        dtype: str = "auto",
        weights: Literal["auto", "full", "bfloat16", "int8", "int4"] = "auto",
        threads: int | None = None,
        slots: int = 8,
    ) -> None:
        settings = EngineConfig(init_from=str(model), device=device, dtype=dtype, weights=weights, threads=threads)
        self.engine, _ = open_engine(settings, slots)

    def chat(self, messages: list[dict[str, str]], sampling_params: SamplingParams | None = None) -> Completion:
        """
        The bot's reply to `messages`: dicts of role (system, user, assistant) and content, the last by the user. A chat
        longer than the context loses its oldest turns. Raises InputError if the last message alone is too long.
        """
        return joined(self.stream(messages, sampling_params))

    def stream(self, messages: list[dict[str, str]], sampling_params: SamplingParams | None = None) -> Iterator[Piece]:
        """Yield the reply of `chat` as it comes: Pieces of text, of which the last has the reason why it ended."""
        return self.engine.reply(messages, sampling_params or SamplingParams())

    @overload
    def generate(self, prompts: str, sampling_params: SamplingParams | None = None) -> Completion: ...
    @overload
    def generate(self, prompts: Sequence[str], sampling_params: SamplingParams | None = None) -> list[Completion]: ...
    def generate(
        self, prompts: str | Sequence[str], sampling_params: SamplingParams | None = None
    ) -> Completion | list[Completion]:
        """
        The text that follows a prompt, or each of several prompts, as the beginning of a document; no chat. It ends at
        the latest where the context is full. Raises InputError if a prompt is longer than the context.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        pieces: list[list[Piece]] = [[] for _ in texts]
        with contextlib.closing(self.engine.continuations(texts, sampling_params or SamplingParams())) as stream:
            for i, piece in stream:
                pieces[i].append(piece)
        completions = [joined(each) for each in pieces]
        return completions[0] if isinstance(prompts, str) else completions


def joined(pieces: Iterator[Piece] | list[Piece]) -> Completion:
    """All Pieces of a text in one."""
    text, last = "", Piece("", None)
    for last in pieces:
        text += last.text
    return Completion(text, last.reason, last.n_tokens)
