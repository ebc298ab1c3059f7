"""
Drills that teach a small transformer to copy from its context, which chats alone do not (induction heads, Olsson et al.
2022), and the measure of it.

    ids, supervised = repeating_row(symbols, length=64, gapped=0.5, rng=rng)  # a segment, repeated
    messages = copy_talk(words, rng, filler)                       # the same as a conversation: words to be said again
    ids = copy_probes(tokens, filler, distance=64, n=64, rng=rng)  # do the last SPAN tokens of each row come back?
"""

import random

import numpy as np

from dataset.recall.filler import Filler

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
# words that are told, noted, asked for later, and said again
TOLD = (
    "remember these words: {}",
    "please keep these words for me: {}",
    "I will ask you for these words later: {}",
    "my secret words are {}",
    "here is my list: {}",
    "note this down: {}",
)
NOTED = ("Noted.", "Okay, I will.", "Got it.", "All right, I have them.", "{}. Got it.", "Sure: {}.")
ASKED = (
    "what were the words?",
    "now tell me the words again",
    "can you say my words once more?",
    "what was on my list?",
    "and the words I gave you?",
    "do you still have my words?",
)
ANSWERED = ("{}", "The words were {}.", "You said: {}.", "Here they are: {}.", "{}.")


def repeating_row(
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


def copy_talk(words: list[str], rng: np.random.Generator, filler: Filler | None = None) -> list[dict[str, str]]:
    """
    A conversation in which random words are to be said again: at once, or after other words; 1 to 3 times. With a
    filler, in two of three they are asked for later, behind 1 to 16 exchanges of real talk.
    """
    if filler and rng.random() < 2 / 3:
        return remembered_talk(words, rng, filler)
    messages = []
    for _ in range(int(rng.integers(1, 4))):
        text = random_words(words, rng, 25)
        messages.append({"role": "user", "content": pick(REQUESTS, rng).format(text)})
        messages.append({"role": "assistant", "content": text})
    return messages


def remembered_talk(words: list[str], rng: np.random.Generator, filler: Filler) -> list[dict[str, str]]:
    """A conversation in which random words are told, then talked about other things, and then said again."""
    text = random_words(words, rng, 17)
    turns = [(pick(TOLD, rng).format(text), pick(NOTED, rng).format(text))]
    talk = filler.draw(random.Random(int(rng.integers(2**31))), int(rng.integers(1, 17)), 380, frozenset())
    turns += [(exchange.human, exchange.bot) for exchange in (talk.exchanges if talk else [])]
    turns.append((pick(ASKED, rng), pick(ANSWERED, rng).format(text)))
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def random_words(words: list[str], rng: np.random.Generator, end: int) -> str:
    """3 to `end` - 1 random words."""
    return " ".join(words[i] for i in rng.integers(0, len(words), int(rng.integers(3, end))))


def pick(lines: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the lines."""
    return lines[rng.integers(len(lines))]


def copy_probes(tokens: np.ndarray, filler: np.ndarray, distance: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """
    (n, 2 * SPAN + distance) int64: each row has SPAN random tokens, `distance` ids of the filler from a random place,
    and the same tokens once more. tokens: ids to draw from. filler: ids of real text, more than `distance`.
    """
    spans = rng.choice(tokens, (n, SPAN))
    begins = rng.integers(0, len(filler) - distance, n)
    fillers = np.stack([filler[begin : begin + distance] for begin in begins])
    return np.concatenate([spans, fillers, spans], axis=1).astype(np.int64)
