"""
The metrics of the report card: pure functions of words, replies and counts. No model in here.

Repetition is counted in words and marks as `words` splits them, not in tokens, so that models with different
tokenizers, and servers that show no tokens, can be compared.
"""

import collections
import re
import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the terminal, which counts words alone, starts without numpy
    import numpy as np
    import numpy.typing as npt

# The control strings of common chat formats, and a speaker's label that opens a line or follows a sentence.
CONTROL = re.compile(
    r"\[(?:Human|Bot|System)\]:|<\|[a-z_]{2,20}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|###\s*(?:Human|User|"
    r"Assistant|Instruction|Response)\b"
)
LABEL = re.compile(r"(?:^|\n|[.!?…\"')]\s+)\s*(?:Human|User|Bot|Assistant|AI|Person \d|Speaker \d|System)\s*:", re.I)


def words(text: str) -> list[str]:
    """The words and marks of a text, lower-case; an apostrophe inside a word stays in it: don't is one word."""
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Each run of n tokens, in order; none if there are fewer than n."""
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def normalized(text: str) -> str:
    """Lower-case, without punctuation, articles and extra white space: ConvAI2's normalisation (ParlAI, metrics.py)."""
    text = "".join(" " if letter in string.punctuation else letter for letter in text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(guess: str, gold: str) -> float:
    """
    The harmonic mean of precision and recall, 0 to 1, of the words (as a multiset) that a reply has in common with the
    real one, as ConvAI2 counts it; 0 if they have none in common.
    """
    guess_words, gold_words = normalized(guess).split(), normalized(gold).split()
    common = sum((collections.Counter(guess_words) & collections.Counter(gold_words)).values())
    if not common:
        return 0.0
    precision, recall = common / len(guess_words), common / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def seq_rep(tokens: Sequence[str], n: int) -> float | None:
    """The share of n-grams that came earlier in the same text (Welleck et al. 2019); None if it has no n-gram."""
    grams = ngrams(tokens, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def loops(tokens: Sequence[str]) -> bool:
    """
    Whether some words are said three times running: "i like dogs i like dogs i like dogs". A single word must come four
    times ("no no no" is ordinary speech), and marks alone ("?!?!?!") are no loop.
    """
    for n in range(1, len(tokens) // 3 + 1):
        run, loop_run = (
            0,
            (3 if n == 1 else 2) * n,
        )  # words in a row that equal the one n before them: so far, in a loop
        for i in range(n, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - n] else 0
            if run >= loop_run and any(word[0].isalnum() for word in tokens[i - n + 1 : i + 1]):
                return True
    return False


def distinct(texts: Sequence[Sequence[str]], n: int, n_words: int) -> float | None:
    """
    Different n-grams over all n-grams (Li et al. 2016) in the first n_words words of the texts (lists of words), laid
    end to end; no n-gram crosses from one text to the next. None if the texts have fewer words: longer texts repeat
    themselves more, so only equal lengths can be compared.
    """
    seen, total, words_left = set(), 0, n_words
    for text in texts:
        grams = ngrams(text[:words_left], n)
        seen.update(grams)
        total += len(grams)
        words_left -= min(words_left, len(text))
        if not words_left:
            return len(seen) / total if total else None
    return None


def overlaps(turns: Sequence[Sequence[str]], n: int = 3) -> list[float | None]:
    """For each turn of a speaker (a list of words): the share of its n-grams that came in an earlier turn, or None."""
    earlier: set[tuple[str, ...]] = set()
    shares = []
    for tokens in turns:
        grams = ngrams(tokens, n)
        shares.append(sum(gram in earlier for gram in grams) / len(grams) if grams else None)
        earlier.update(grams)
    return shares


def copies(reply: str, last: str) -> bool:
    """
    Whether a reply gives the last message back: the same three words or more, or at least 80% of its words one run of
    four or more out of that message. "hi" answered by "hi" is a greeting.
    """
    reply_words, last_words = normalized(reply).split(), normalized(last).split()
    if len(reply_words) >= 3 and reply_words == last_words:
        return True
    longest, ends = 0, [0] * (len(last_words) + 1)  # ends[i]: the common run that ends before word i of the message
    for word in reply_words:
        ends = [0] + [ends[i] + 1 if word == last_words[i] else 0 for i in range(len(last_words))]
        longest = max(longest, *ends)
    return longest >= 4 and longest >= 0.8 * len(reply_words)


def impersonates(text: str) -> bool:
    """Whether a reply holds a tag, a control string of any common chat format, or a line by another speaker."""
    return bool(CONTROL.search(text) or LABEL.search(text))


def quartiles(values: "npt.ArrayLike") -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile."""
    import numpy as np

    lower, median, upper = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
    return float(lower), float(median), float(upper)


def interval(
    numerators: "npt.ArrayLike",
    denominators: "npt.ArrayLike | None" = None,
    *,
    statistic: "Callable[[np.ndarray], float] | None" = None,
    seed: int = 0,
    draws: int = 1000,
) -> tuple[float, float]:
    """
    (low, high): a 95% percentile bootstrap interval (Efron 1979). The units, such as conversations, are drawn `draws`
    times with replacement, and a figure is taken of each draw: the mean of `numerators`; with `denominators`, which
    has one number a unit too, the ratio of the two sums; with `statistic`, that function of the drawn numerators.
    Raises ValueError if there is no unit.
    """
    import numpy as np

    above = np.asarray(numerators, dtype=float)
    below = None if denominators is None else np.asarray(denominators, dtype=float)
    n = len(above)
    if not n:
        raise ValueError("an interval needs at least one unit")
    rng = np.random.default_rng(seed)
    values: list[float] = []
    for start in range(0, draws, 100):  # a hundred at once: fast, and little memory
        drawn = rng.integers(0, n, (min(100, draws - start), n))
        if statistic:
            values += [statistic(above[row]) for row in drawn]
        elif below is None:
            values += above[drawn].mean(axis=1).tolist()
        else:
            sums = below[drawn].sum(axis=1)
            values += (above[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]).tolist()
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
