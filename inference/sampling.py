"""
How the next token is drawn.

    sampling = Sampling(temperature=0.7, min_p=0.05, seed=1)
    id = sample(logits, sampling, generator, recent)      # recent: the bot's own last tokens

The order, whatever is set: logit bias, repetition penalty, frequency and presence penalty, DRY, no-repeat-ngram,
temperature, top-k, top-p, min-p, typical-p; then one draw from what is left. Each operator is transformers' where it
has it, number for number. A few hundred tokens are ever sorted, not the vocabulary: see `kept`.
"""

from collections import Counter

import numpy as np
import torch

NEAR_LOGITS = 8.0  # logits this close to the highest are looked at first: the others are 3,000 times less likely


def apply_penalties(logits, sampling, recent):
    """A copy of logits (n_vocab,) after the operators before the temperature. recent: the ids that they look at."""
    logits = logits.clone()
    if sampling.biases:
        ids = [id for id in sampling.biases if id < len(logits)]
        logits[ids] += torch.tensor([sampling.biases[id] for id in ids], dtype=logits.dtype)
    counts = Counter(recent)
    if sampling.repetition_penalty != 1.0 and counts:
        ids = torch.tensor(sorted(counts))
        scores, penalty = logits[ids], sampling.repetition_penalty
        logits[ids] = torch.where(scores < 0, scores * penalty, scores / penalty)
    if (sampling.frequency_penalty or sampling.presence_penalty) and counts:
        off = [n * sampling.frequency_penalty + sampling.presence_penalty for n in counts.values()]
        logits[list(counts)] -= torch.tensor(off, dtype=logits.dtype)
    if sampling.dry_multiplier:
        for id, n in repeated_run_lengths(list(recent)).items():
            if n >= sampling.dry_allowed_length:
                excess = min(n - sampling.dry_allowed_length, 300)  # a float holds it
                logits[id] -= sampling.dry_multiplier * sampling.dry_base**excess
    if sampling.no_repeat_ngram:
        banned = ngram_completions(list(recent), sampling.no_repeat_ngram)
        if banned:
            logits[banned] = -torch.inf
    return logits


def repeated_run_lengths(recent):
    """{id: how many of the last ids stood before an earlier `id`}: how long a run would go on if it came next."""
    longest = {}
    for i in range(1, len(recent)):
        n = 0
        while n < i and recent[i - 1 - n] == recent[-1 - n]:
            n += 1
        if n:
            longest[recent[i]] = max(n, longest.get(recent[i], 0))
    return longest


def ngram_completions(recent, n):
    """The ids that would end an n-gram which `recent` holds already."""
    before = recent[len(recent) - n + 1 :] if n > 1 else []
    return sorted({recent[i + n - 1] for i in range(len(recent) - n + 1) if recent[i : i + n - 1] == before})


def filter_logits(logits, sampling):
    """
    (ids, logits): the tokens that temperature, top-k, top-p, min-p and typical-p leave of logits (n_vocab,).
    The likeliest share top_p lies within the tokens near the highest, if those make it up: their sum against that of
    all shows it, and the vocabulary is sorted only where they do not.
    """
    logits = logits / sampling.temperature
    ids = None  # all
    if sampling.top_k is not None and sampling.top_k < len(logits):
        ids = (logits >= torch.topk(logits, sampling.top_k).values[-1]).nonzero().squeeze(1)  # with ties, as others do
        logits = logits[ids]
    if sampling.top_p < 1.0:
        total, highest = logits.logsumexp(0), logits.max()
        near = np.flatnonzero(logits.numpy() >= float(highest) - NEAR_LOGITS)
        if (logits[near].logsumexp(0) - total).exp() < sampling.top_p + 1e-4:
            near = np.flatnonzero(logits.numpy() > -np.inf)
        probs = (logits[near] - total).exp().numpy()
        falling = np.sort(probs)[::-1].astype(np.float64)  # of a whole vocabulary 16 times as fast as torch.sort
        n = max(int((falling.cumsum() - falling < sampling.top_p).sum()), 1)
        near = near[probs >= falling[n - 1]]
        near = torch.from_numpy(near)
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


def select(ids, logits, chosen):
    places = chosen.nonzero().squeeze(1)
    return places if ids is None else ids[places], logits[places]


def adjusted(logits, sampling, recent):
    """Logits (n_vocab,) as `sampling` changes them, -inf where a token is ruled out. recent: ids that are penalised."""
    logits = apply_penalties(logits, sampling, recent)
    if sampling.temperature == 0:
        return logits
    ids, left = filter_logits(logits, sampling)
    return torch.full_like(logits, -torch.inf).index_put((ids,), left)


def sample_token(logits, sampling, generator, recent=()):
    """The next id, drawn from logits (n_vocab,) on the CPU, float32, with one number of the generator."""
    if sampling.penalises:
        logits = apply_penalties(logits, sampling, recent)
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, left = filter_logits(logits, sampling)
    shares = left.softmax(0).double().cumsum(0)
    place = torch.rand((), generator=generator, dtype=torch.float64) * shares[-1]
    return int(ids[min(int(torch.searchsorted(shares, place, right=True)), len(ids) - 1)])


def logprobs_of(logits, id, n):
    """The model's own (log-probability of id, [(id, log-probability)] of the n likeliest): no operator applied."""
    logs = logits.log_softmax(0)
    best = torch.topk(logs, min(n, len(logs)))
    return float(logs[id]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
