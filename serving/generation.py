"""
One reply on its way: what asks for it, and what the engine's thread tells the event loop of it.

    request, deltas = GenerationRequest(ids, sampling, client, deadline), asyncio.Queue()
    generation = Generation(request, index=0, deltas=deltas, decode=decode)
    index, delta = await deltas.get()          # text as it comes, and in the last Delta why it ended
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from inference.sequence import Sequence as EngineSequence
from inference.sequence import Token
from inference.settings import SamplingParams
from inference.streaming import Detokenizer, FinishReason

OpenAIReason = Literal["stop", "length"]
OPENAI_REASONS: dict[FinishReason, OpenAIReason] = {
    FinishReason.STOP_TOKEN: "stop",
    FinishReason.STOP_WORD: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
    FinishReason.TIME: "length",
}
# a token's id and log-probability, and the (id, log-probability) of the likeliest tokens in its place
# (None for the first token of a prompt)
TokenLogprob = tuple[int, float | None, Iterable[tuple[int, float]]]


class Failure(Enum):
    """Why there is no reply."""

    ENGINE = "the engine has failed"
    TIMEOUT = "it waited for a slot until its deadline"


class Delta(NamedTuple):
    """What a token adds to a reply."""

    text: str
    finish_reason: OpenAIReason | None  # in the last Delta of a reply; None while it goes on
    logprobs: tuple[TokenLogprob, ...] = ()  # of the new token, where they are asked for
    failure: Failure | None = None  # in the last Delta, in place of a finish_reason

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None or self.failure is not None


@dataclass(frozen=True)
class GenerationRequest:
    """What one generation continues, how, and for whom."""

    ids: list[int]  # the prompt
    sampling: SamplingParams
    client: tuple[str, str | None]  # its address and the user it names; the queue is fair between these
    deadline: float  # of time.monotonic(): a reply ends there, and one that still waits for a slot fails
    suppress_tokens: Sequence[int] = ()  # this and the two below: as Engine.add_request has them
    stop_token_ids: Sequence[int] = ()
    recent: Sequence[int] = ()
    strip: bool = True  # white space at both ends of the reply is left out
    continues: bool = False  # the prompt ends amid the reply: the white space between the two stays
    dropped_turns: int = 0  # of the chat, that are not in the prompt
    echo: str | None = None  # the prompt's text, where the reply is to begin with it
    n_unspoken: int = 0  # of the prompt's first ids, that the echo does not show
    prompt_only: bool = False  # no token is wanted


class Generation:
    """
    One reply on its way from the engine's thread to the event loop that asked for it. `deltas`, which the generations
    of one request share, gets (index, Delta) pairs.
    """

    def __init__(
        self,
        request: GenerationRequest,
        index: int,
        deltas: asyncio.Queue[tuple[int, Delta] | None],
        decode: Callable[[int | None], str],
    ) -> None:
        self.request, self.index, self.deltas = request, index, deltas
        self.loop = asyncio.get_running_loop()
        self.text = Detokenizer(decode, request.sampling.stop, strip=request.strip, continues=request.continues)
        self.sequence: EngineSequence | None = None  # from when it has a slot
        self.cancelled = False
        self.n_tokens = 0
        self.submitted_at = time.monotonic()
        self.seconds_to_first_token: float | None = None
        self.seconds_to_last_token = 0.0
        self.has_ended = False  # with a reply

    def token(self, token: Token, late: bool) -> Delta | None:
        """What the engine's token adds, or None where nothing can be shown yet. late: the deadline has passed."""
        self.seconds_to_last_token = time.monotonic() - self.submitted_at
        if self.seconds_to_first_token is None:
            self.seconds_to_first_token = self.seconds_to_last_token
            echo, scores = self.request.echo or "", self.prompt_scores()
            if self.request.prompt_only:
                return Delta(echo, OPENAI_REASONS[FinishReason.LENGTH], scores)
            delta = self.next_delta(token, late) or Delta("", None)
            return delta._replace(text=echo + delta.text, logprobs=(*scores, *delta.logprobs))
        return self.next_delta(token, late)

    def prompt_scores(self) -> tuple[TokenLogprob, ...]:
        scored = (self.sequence.prompt_logprobs if self.sequence else None) or []
        return tuple(
            (one.id, one.logprob, one.likeliest) for one in scored[self.request.n_unspoken :] if one.id is not None
        )

    def next_delta(self, token: Token, late: bool) -> Delta | None:
        piece = self.text.add(token.id, token.reason or (FinishReason.TIME if late else None))
        self.n_tokens = piece.n_tokens
        finish_reason = OPENAI_REASONS[piece.reason] if piece.reason else None
        logprobs: tuple[TokenLogprob, ...] = ()
        if token.id is not None and token.logprob is not None:
            logprobs = ((token.id, token.logprob, token.likeliest),)
        return Delta(piece.text, finish_reason, logprobs) if piece.text or finish_reason or logprobs else None


def publish(deltas: Iterable[tuple[Generation, Delta]]) -> None:
    """Put each Delta in its Generation's queue, from the engine's thread. An event loop is woken once for all."""
    for loop, group in itertools.groupby(deltas, lambda pair: pair[0].loop):
        if not loop.is_closed():
            loop.call_soon_threadsafe(put_deltas, list(group))


def put_deltas(deltas: list[tuple[Generation, Delta]]) -> None:
    for generation, delta in deltas:
        generation.deltas.put_nowait((generation.index, delta))
