"""
How the next token is drawn.

    sampling = SamplingParams(temperature=0.7, min_p=0.05, seed=1)
    token_id = sample_token(logits, sampling, generator, recent)      # recent: the bot's own last tokens

The steps, in this order whatever is set: logit bias, repetition penalty, frequency and presence penalty, DRY,
no-repeat-ngram (apply_penalties); temperature, top-k, top-p, min-p, typical-p (filter_logits); then one draw from what
is left. Each is transformers' where it has it, number for number. Logits are (n_vocab,) float32, in numpy, whose
operators begin at once: torch takes longer to begin than a small vocabulary takes to compute.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from inference.settings import LARGEST, LONGEST_RUN, SamplingParams

# top-p sorts only the tokens whose logit is within this of the highest. The others are exp(8) = 3,000 times less likely
# than the likeliest, so these few hundred nearly always hold the share top_p of the probability.
NEAR_LOGITS = 8.0


@np.errstate(over="ignore", invalid="ignore")  # settings may be as large as floats are
def apply_penalties(logits: np.ndarray, sampling: SamplingParams, recent: ArrayLike) -> np.ndarray:
    """A copy of logits (n_vocab,) after the steps before the temperature. recent: the ids that these look at."""
    logits = logits.copy()
    if sampling.logit_bias:
        ids, biases = sampling.bias_arrays
        logits[ids[ids < len(logits)]] += biases[ids < len(logits)]
    said = np.asarray(recent, np.int64)
    if not len(said):
        return logits
    if sampling.repetition_penalty != 1.0:
        # an id that comes twice is read before it is written: it is penalised once
        scores, penalty = logits[said], np.float32(sampling.repetition_penalty)
        logits[said] = np.where(scores < 0, scores * penalty, scores / penalty)
    if sampling.frequency_penalty or sampling.presence_penalty:
        ids, counts = np.unique(said, return_counts=True)
        logits[ids] -= (counts * sampling.frequency_penalty + sampling.presence_penalty).astype(np.float32)
    if sampling.dry_multiplier:
        for token_id, n in repeated_run_lengths(said, sampling.dry_allowed_length).items():
            excess = n - sampling.dry_allowed_length
            logits[token_id] -= min(sampling.dry_multiplier * sampling.dry_base**excess, LARGEST)
    if sampling.no_repeat_ngram:
        banned = ngram_completions(said.tolist(), sampling.no_repeat_ngram)
        allowed = logits.copy()
        allowed[banned] = -np.inf
        logits = allowed if allowed.max() > -np.inf else logits  # something has to be said
    return logits


def repeated_run_lengths(recent: np.ndarray, shortest: int = 1) -> dict[int, int]:
    """
    {id: n}: if `id` came next, it and the last n ids would repeat n + 1 recent ids; the longest such repeat, of which
    LONGEST_RUN are looked at. Ids for which n is less than `shortest` are not in it. recent: (n,) ids.
    """
    ends = np.flatnonzero(recent[:-1] == recent[-1:])  # where the last n ids were said before, their last one's index
    n_alike = np.zeros(len(recent), np.int64)
    for n in range(1, LONGEST_RUN + 1):
        if not len(ends):
            break
        n_alike[ends] = n
        ends = ends[ends >= n]
        ends = ends[recent[ends - n] == recent[-1 - n]]
    longest = dict[int, int]()
    for end in np.flatnonzero(n_alike >= shortest).tolist():
        token_id = int(recent[end + 1])
        longest[token_id] = max(int(n_alike[end]), longest.get(token_id, 0))
    return longest


def ngram_completions(recent: list[int], n: int) -> list[int]:
    """The ids that would end an n-gram which `recent` holds already."""
    before = recent[len(recent) - n + 1 :] if n > 1 else []
    return sorted({recent[i + n - 1] for i in range(len(recent) - n + 1) if recent[i : i + n - 1] == before})


@np.errstate(over="ignore", invalid="ignore")  # settings may be as large as floats are
def filter_logits(logits: np.ndarray, sampling: SamplingParams) -> tuple[np.ndarray, np.ndarray]:
    """
    The tokens that temperature, top-k, top-p, min-p and typical-p leave of logits (n_vocab,): their ids and logits,
    (n,) each.

    top-p keeps the fewest tokens, the likeliest first, whose probabilities sum to top_p: of 0.5, 0.3, 0.15, 0.05 a
    top_p of 0.9 keeps the first three. The whole vocabulary is sorted only where the tokens near the highest logit do
    not sum to that.
    """
    logits = logits / np.float32(sampling.temperature)
    ids = None  # all
    if sampling.top_k and sampling.top_k < len(logits):
        # with ties more than k, as others do
        ids = np.flatnonzero(logits >= np.partition(logits, -sampling.top_k)[-sampling.top_k])
        logits = logits[ids]
    if sampling.top_p < 1.0:
        highest = logits.max()
        likelihoods = np.exp(logits - highest)  # of the likeliest 1
        total = likelihoods.sum()
        near = np.flatnonzero(logits >= highest - np.float32(NEAR_LOGITS))
        if likelihoods[near].sum() < (sampling.top_p + 1e-4) * total:
            near = np.flatnonzero(logits > -np.inf)
        probs = likelihoods[near] / total
        falling = np.sort(probs)[::-1].astype(np.float64)
        n = max(int(np.searchsorted(falling.cumsum() - falling, sampling.top_p)), 1)
        near = near[probs >= falling[n - 1]]
        ids, logits = near if ids is None else ids[near], logits[near]
    if sampling.min_p > 0:
        probs = softmax(logits)
        ids, logits = select(ids, logits, probs >= np.float32(sampling.min_p) * probs.max())
    if sampling.typical_p < 1.0:
        logs = log_softmax(logits)
        probs = np.exp(logs)
        entropy = -np.sum(probs * logs, where=probs > 0)
        distance = np.abs(-logs - entropy)
        order = np.argsort(distance, kind="stable")
        n = int((probs[order].cumsum() < sampling.typical_p).sum()) + 1
        chosen = np.zeros(len(probs), bool)
        chosen[order[:n]] = True
        ids, logits = select(ids, logits, chosen)
    return np.arange(len(logits)) if ids is None else ids, logits


def select(ids: np.ndarray | None, logits: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids (None: 0, 1, 2, ...) and logits at which the bool array `chosen` is true; all are (n,)."""
    indices = np.flatnonzero(chosen)
    return indices if ids is None else ids[indices], logits[indices]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n,) of logits (n,)."""
    likelihoods = np.exp(logits - logits.max())
    return likelihoods / likelihoods.sum()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of softmax(logits)."""
    lower = logits - logits.max()
    return lower - np.log(np.exp(lower).sum())


def sample_token(
    logits: np.ndarray,
    sampling: SamplingParams,
    generator: torch.Generator | None,
    recent: ArrayLike = (),
) -> int:
    """
    The next id, drawn from logits (n_vocab,) float32. It takes one number of the generator, and none where the
    temperature is 0.
    """
    if sampling.changes_logits:
        logits = apply_penalties(logits, sampling, recent)
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, logits = filter_logits(logits, sampling)
    cumulative = softmax(logits).cumsum(dtype=np.float64)
    threshold = torch.rand((), generator=generator, dtype=torch.float64).item() * cumulative[-1]
    return int(ids[min(int(cumulative.searchsorted(threshold, side="right")), len(ids) - 1)])


def logprobs_of(logits: np.ndarray, token_id: int, n: int) -> tuple[float, Sequence[tuple[int, float]]]:
    """The log-probability of token_id, and (id, log-probability) of the n likeliest: the model's own, unpenalised."""
    logs, n = log_softmax(logits), min(n, len(logits))
    best = np.argpartition(logs, len(logs) - n)[len(logs) - n :] if n else np.zeros(0, np.int64)
    best = best[np.argsort(-logs[best], kind="stable")]
    return float(logs[token_id]), list(zip(best.tolist(), logs[best].tolist(), strict=True))
