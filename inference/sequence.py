"""One sequence of ids on its way through the engine, and how its next token is drawn."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from inference.sampling import logprobs_of, sample_token
from inference.settings import SamplingParams
from inference.streaming import FinishReason


class Token(NamedTuple):
    id: int | None  # None when generation ended without a token to show
    reason: FinishReason | None  # why it ended, None while it goes on
    logprob: float | None = None  # with SamplingParams.logprobs: before any penalty, temperature or filter
    likeliest: Iterable[tuple[int, float]] = ()  # likewise, (id, logprob) of the likeliest tokens


class Sequence:
    """A prompt and the ids generated after it, with all that decides the next one. Made by Engine.add_request."""

    def __init__(
        self,
        slot: int,
        arrival: int,
        ids: Iterable[int],
        sampling: SamplingParams,
        *,
        suppress_tokens: Iterable[int] = (),
        stop_token_ids: Iterable[int] = (),
        recent: Iterable[int] = (),
        score_prompt: bool = False,
    ) -> None:
        self.slot = slot  # row of the engine's KV cache
        self.arrival = arrival  # a count of all requests: those that came first are computed first
        self.ids = list(ids)
        self.sampling = sampling
        self.suppress_tokens = list(suppress_tokens)
        self.suppressed = np.array(self.suppress_tokens, np.int64)
        self.stop_token_ids = {*stop_token_ids, *sampling.stop_ids}
        self.recent = self.last_ids(np.fromiter(recent, np.int64))  # the bot's own, of which penalty_window are kept
        self.generator = torch.Generator()
        self.generator.manual_seed(sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(7), "big"))
        self.num_prompt, self.num_generated = len(self.ids), 0
        # of the prompt's tokens so far, where they are to be scored: nothing comes before the first
        self.prompt_logprobs = [Token(self.ids[0], None)] if score_prompt else None
        self.num_cached_tokens = 0  # of the prompt, how many ids the KV cache held already

    def last_ids(self, ids: np.ndarray) -> np.ndarray:
        """The last penalty_window of ids (n,)."""
        return ids[max(len(ids) - self.sampling.penalty_window, 0) :]

    @property
    def is_greedy(self) -> bool:
        """Whether its next token is the likeliest and nothing else is asked of the logits."""
        sampling = self.sampling
        may_end = self.num_generated >= sampling.min_new_tokens
        return sampling.temperature == 0 and not sampling.changes_logits and sampling.logprobs is None and may_end

    @property
    def is_scoring(self) -> bool:
        """Whether the log-probabilities of some of the prompt's tokens are wanted and not known yet."""
        return self.prompt_logprobs is not None and len(self.prompt_logprobs) < self.num_prompt

    def score(self, logits: torch.Tensor) -> None:
        """Note the log-probabilities of the next tokens of the prompt, from logits (n, n_vocab) before each of them."""
        assert self.prompt_logprobs is not None
        start = len(self.prompt_logprobs)
        targets = self.ids[start : min(start + len(logits), self.num_prompt)]
        logs = logits[: len(targets)].log_softmax(1)
        best = torch.topk(logs, min(self.sampling.logprobs or 0, logs.size(1)))
        scores = logs[torch.arange(len(targets)), targets].tolist()
        for target, score, *likeliest in zip(targets, scores, best.indices.tolist(), best.values.tolist(), strict=True):
            self.prompt_logprobs.append(Token(target, None, score, list(zip(*likeliest, strict=True))))

    def next_token(self, logits: torch.Tensor | int, block_size: int) -> Token:
        """
        Draw the next Token from logits (n_vocab,), unless its id is given in their place, and append it; the last one
        has a reason.
        """
        if isinstance(logits, int):
            token_id = logits
        else:
            row = logits.numpy()
            row[self.suppressed] = -np.inf
            if self.num_generated < self.sampling.min_new_tokens:
                row[[id for id in self.stop_token_ids if id < len(row)]] = -np.inf
            token_id = sample_token(row, self.sampling, self.generator, self.recent)
        if token_id in self.stop_token_ids:
            return Token(None, FinishReason.STOP_TOKEN)
        logprob, likeliest = None, ()
        if self.sampling.logprobs is not None and not isinstance(logits, int):
            logprob, likeliest = logprobs_of(logits.numpy(), token_id, self.sampling.logprobs)
        self.ids.append(token_id)
        self.recent = self.last_ids(np.append(self.recent, token_id))
        self.num_generated += 1
        reason = None
        if self.num_generated == self.sampling.max_new_tokens:
            reason = FinishReason.LENGTH
        elif len(self.ids) > block_size:  # by one: the last token needs no position, since nothing is drawn after it
            reason = FinishReason.CONTEXT
        return Token(token_id, reason, logprob, likeliest)
