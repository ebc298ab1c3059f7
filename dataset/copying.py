"""
Drills that teach a small transformer to copy from its context, which chats alone do not (induction heads, Olsson et al.
2022), and the measure of it.

    ids, supervised = school_row(symbols, length=64, gapped=0.5, rng=rng)  # a segment, repeated
    messages = copy_talk(words, rng)                               # the same as a conversation: words to be said again
    ids = copy_probes(tokens, filler, distance=64, n=64, rng=rng)  # do the last SPAN tokens of each row come back?
"""

import numpy as np

SPAN = 16  # tokens that a probe repeats
REQUESTS = (
    "repeat after me: {}",
    "please say this again: {}",
    "copy this: {}",
    "say: {}",
    "write down these words: {}",
    "can you repeat the words {}",
    "here is a list: {}. what is on it?",
    "remember these words: {}",
)


def school_row(
    symbols: np.ndarray, length: int, gapped: float, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """
    (ids, supervised), `length` long: a random segment of 4 to 32 symbols that is repeated to the end, in a share
    `gapped` of the rows with a gap of random symbols before each repetition. Supervised is what can be known: the
    repetitions, the first symbol after a gap left out.
    """
    n = int(rng.integers(4, max(5, min(33, length // 2 + 1))))
    segment = rng.choice(symbols, n)
    longest_gap = int(rng.integers(0, length - n)) if rng.random() < gapped and length > 2 * n + 2 else 0
    ids, supervised = segment.tolist(), [0] * n
    while len(ids) < length:
        gap = int(rng.integers(1, longest_gap + 1)) if longest_gap else 0
        ids += [*rng.choice(symbols, gap).tolist(), *segment.tolist()]
        supervised += [0] * (gap + bool(gap)) + [1] * (n - bool(gap))
    return ids[:length], supervised[:length]


def copy_talk(words: list[str], rng: np.random.Generator) -> list[dict[str, str]]:
    """A conversation in which random words are to be said again, at once or after other words; 1 to 3 times."""
    messages = []
    for _ in range(int(rng.integers(1, 4))):
        text = " ".join(words[i] for i in rng.integers(0, len(words), int(rng.integers(3, 25))))
        messages.append({"role": "user", "content": REQUESTS[rng.integers(len(REQUESTS))].format(text)})
        messages.append({"role": "assistant", "content": text})
    return messages


def copy_probes(tokens: np.ndarray, filler: np.ndarray, distance: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """
    (n, 2 * SPAN + distance) int64: each row has SPAN random tokens, `distance` ids of the filler from a random place,
    and the same tokens once more. tokens: ids to draw from. filler: ids of real text, more than `distance`.
    """
    spans = rng.choice(tokens, (n, SPAN))
    begins = rng.integers(0, len(filler) - distance, n)
    fillers = np.stack([filler[begin : begin + distance] for begin in begins])
    return np.concatenate([spans, fillers, spans], axis=1).astype(np.int64)
