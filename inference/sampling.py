"""
How the next token is drawn.

    sampling = SamplingParams(temperature=0.7, min_p=0.05, seed=1)
    token_id = sample_token(logits, sampling, generator, recent)      # recent: the bot's own last tokens

The steps, in this order whatever is set: logit bias, repetition penalty, frequency and presence penalty, DRY,
no-repeat-ngram (apply_penalties); temperature, top-k, top-p, min-p, typical-p (filter_logits); then one draw from what
is left. Each is transformers' where it has it, number for number.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from inference.settings import LARGEST, SamplingParams

# top-p sorts only the tokens whose logit is within this of the highest. The others are exp(8) = 3,000 times less likely
# than the likeliest, so these few hundred nearly always hold the share top_p of the probability.
NEAR_LOGITS = 8.0


def apply_penalties(logits: torch.Tensor, sampling: SamplingParams, recent: Iterable[int]) -> torch.Tensor:
    """A copy of logits (n_vocab,) after the steps before the temperature. recent: the ids that these look at."""
    logits = logits.clone()
    if sampling.logit_bias:
        ids, biases = sampling.bias_arrays
        logits[ids[ids < len(logits)]] += torch.from_numpy(biases[ids < len(logits)])
    counts = Counter(recent)
    if sampling.repetition_penalty != 1.0 and counts:
        ids = torch.tensor(sorted(counts))
        scores, penalty = logits[ids], sampling.repetition_penalty
        logits[ids] = torch.where(scores < 0, scores * penalty, scores / penalty)
    if (sampling.frequency_penalty or sampling.presence_penalty) and counts:
        penalties = [n * sampling.frequency_penalty + sampling.presence_penalty for n in counts.values()]
        logits[list(counts)] -= torch.tensor(penalties, dtype=logits.dtype)
    if sampling.dry_multiplier:
        for token_id, n in repeated_run_lengths(list(recent)).items():
            if n >= sampling.dry_allowed_length:
                excess = min(n - sampling.dry_allowed_length, 300)  # a float holds the power
                logits[token_id] -= min(sampling.dry_multiplier * sampling.dry_base**excess, LARGEST)
    if sampling.no_repeat_ngram:
        banned = ngram_completions(list(recent), sampling.no_repeat_ngram)
        allowed = logits.clone()
        allowed[banned] = -torch.inf
        logits = allowed if allowed.max() > -torch.inf else logits  # something has to be said
    return logits


def repeated_run_lengths(recent: list[int]) -> dict[int, int]:
    """
    {id: n}: if `id` came next, it and the last n ids would repeat n + 1 recent ids; the longest such repeat.
    Ids that would repeat nothing are not in it.
    """
    # n for each place by the Z algorithm (Gusfield 1997) on the reversed ids, in linear time
    ids, longest = recent[::-1], dict[int, int]()
    n_alike, start, end = [0] * len(ids), 0, 0  # ids[start:end] is the furthest run that repeats the first ids
    for i in range(1, len(ids)):
        n = max(0, min(n_alike[i - start], end - i))
        while i + n < len(ids) and ids[n] == ids[i + n]:
            n += 1
        n_alike[i] = n
        if i + n > end:
            start, end = i, i + n
        if n:
            longest[ids[i - 1]] = max(n, longest.get(ids[i - 1], 0))
    return longest


def ngram_completions(recent: list[int], n: int) -> list[int]:
    """The ids that would end an n-gram which `recent` holds already."""
    before = recent[len(recent) - n + 1 :] if n > 1 else []
    return sorted({recent[i + n - 1] for i in range(len(recent) - n + 1) if recent[i : i + n - 1] == before})


def filter_logits(logits: torch.Tensor, sampling: SamplingParams) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The tokens that temperature, top-k, top-p, min-p and typical-p leave of logits (n_vocab,): their ids and logits,
    (n,) each.

    top-p keeps the fewest tokens, the likeliest first, whose probabilities sum to top_p: of 0.5, 0.3, 0.15, 0.05 a
    top_p of 0.9 keeps the first three. The whole vocabulary is sorted only where the tokens near the highest logit do
    not sum to that.
    """
    logits = logits / sampling.temperature
    ids = None  # all
    if sampling.top_k and sampling.top_k < len(logits):
        # with ties more than k, as others do
        ids = (logits >= torch.topk(logits, sampling.top_k).values[-1]).nonzero().squeeze(1)
        logits = logits[ids]
    if sampling.top_p < 1.0:
        total, highest = logits.logsumexp(0), logits.max()
        near = np.flatnonzero(logits.numpy() >= float(highest) - NEAR_LOGITS)
        if (logits[near].logsumexp(0) - total).exp() < sampling.top_p + 1e-4:
            near = np.flatnonzero(logits.numpy() > -np.inf)
        probs = (logits[near] - total).exp().numpy()
        falling = np.sort(probs)[::-1].astype(np.float64)  # of a whole vocabulary 16 times as fast as torch.sort
        n = max(int((falling.cumsum() - falling < sampling.top_p).sum()), 1)
        near = torch.from_numpy(near[probs >= falling[n - 1]])
        ids, logits = near if ids is None else ids[near], logits[near]
    if sampling.min_p > 0:
        probs = logits.softmax(0)
        ids, logits = select(ids, logits, probs >= sampling.min_p * probs.max())
    if sampling.typical_p < 1.0:
        logs = logits.log_softmax(0)
        probs = logs.exp()
        entropy = -(probs * logs).nansum()
        distance, order = (-logs - entropy).abs().sort()
        n = int((probs[order].cumsum(0) < sampling.typical_p).sum()) + 1
        chosen = torch.zeros_like(probs, dtype=torch.bool)
        chosen[order[:n]] = True
        ids, logits = select(ids, logits, chosen)
    return torch.arange(len(logits)) if ids is None else ids, logits


def select(ids: torch.Tensor | None, logits: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids (None: 0, 1, 2, ...) and logits at which the bool tensor `chosen` is true; all are (n,)."""
    indices = chosen.nonzero().squeeze(1)
    return indices if ids is None else ids[indices], logits[indices]


def sample_token(
    logits: torch.Tensor,
    sampling: SamplingParams,
    generator: torch.Generator | None,
    recent: Iterable[int] = (),
) -> int:
    """
    The next id, drawn from logits (n_vocab,), float32 on the CPU. It takes one number of the generator, and none where
    the temperature is 0.
    """
    if sampling.changes_logits:
        logits = apply_penalties(logits, sampling, recent)
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, logits = filter_logits(logits, sampling)
    cumulative = logits.softmax(0).double().cumsum(0)
    threshold = torch.rand((), generator=generator, dtype=torch.float64) * cumulative[-1]
    return int(ids[min(int(torch.searchsorted(cumulative, threshold, right=True)), len(ids) - 1)])


def logprobs_of(logits: torch.Tensor, token_id: int, n: int) -> tuple[float, Sequence[tuple[int, float]]]:
    """The log-probability of token_id, and (id, log-probability) of the n likeliest: the model's own, unpenalised."""
    logs = logits.log_softmax(0)
    best = torch.topk(logs, min(n, len(logs)))
    return float(logs[token_id]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
