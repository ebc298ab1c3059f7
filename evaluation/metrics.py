"""
The scores of the report card: pure functions of words, replies and counts. No model in here.

Every figure on repetition counts words and marks as `words` splits them, not tokens: so that models with different
tokenizers, and servers that show none, stand in one table.
"""

import collections
import math
import re
import string

import numpy as np

# A control string of another chat format, or a speaker's label that opens a line or follows a sentence.
CONTROL = re.compile(
    r"\[(?:Human|Bot|System)\]:|<\|[a-z_]{2,20}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|###\s*(?:Human|User|"
    r"Assistant|Instruction|Response)\b"
)
LABEL = re.compile(r"(?:^|\n|[.!?…\"')]\s+)\s*(?:Human|User|Bot|Assistant|AI|Person \d|Speaker \d|System)\s*:", re.I)


def words(text):
    """The words and marks of a text, lower-case; an apostrophe inside a word stays in it: don't is one word."""
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def ngrams(tokens, n):
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def normalized(text):
    """Lower-case, without punctuation, articles and extra white space: ConvAI2's normalisation (ParlAI, metrics.py)."""
    text = "".join(" " if letter in string.punctuation else letter for letter in text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(guess, gold):
    """F1, 0 to 1, of the words (as a multiset) that a reply has in common with the real one; ConvAI2. 0 if none."""
    guess, gold = normalized(guess).split(), normalized(gold).split()
    common = sum((collections.Counter(guess) & collections.Counter(gold)).values())
    if not common:
        return 0.0
    precision, recall = common / len(guess), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def seq_rep(tokens, n):
    """Share of n-grams that stood before in the same text (Welleck et al. 2019); None if it has no n-gram."""
    grams = ngrams(tokens, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def loops(tokens):
    """
    Whether words stand three times running: "i like dogs i like dogs i like dogs". A single word must come four times
    ("no no no" is speech), and what holds no word (a row of marks) is no loop.
    """
    for n in range(1, len(tokens) // 3 + 1):
        run, wanted = 0, (3 if n == 1 else 2) * n  # how many words in a row equal the one n before them
        for i in range(n, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - n] else 0
            if run >= wanted and any(word[0].isalnum() for word in tokens[i - n + 1 : i + 1]):
                return True
    return False


def distinct(texts, n, at):
    """
    Different n-grams over all n-grams (Li et al. 2016) in the first `at` words of a list of texts (lists of words) laid
    end to end; none crosses from one text to the next. None if the texts have fewer words.
    """
    seen, total, left = set(), 0, at
    for text in texts:
        grams = ngrams(text[:left], n)
        seen.update(grams)
        total += len(grams)
        left -= min(left, len(text))
        if not left:
            return len(seen) / total if total else None
    return None


def overlaps(turns, n=3):
    """For each of somebody's turns (lists of words): the share of its n-grams that an earlier one had; None without."""
    before, found = set(), []
    for tokens in turns:
        grams = ngrams(tokens, n)
        found.append(sum(gram in before for gram in grams) / len(grams) if grams else None)
        before.update(grams)
    return found


def copies(reply, last):
    """
    Whether a reply gives the last message back: the same three words or more, or at least 80% of its words one run of
    four or more out of that message. "hi" answered by "hi" is a greeting.
    """
    said, heard = normalized(reply).split(), normalized(last).split()
    if len(said) >= 3 and said == heard:
        return True
    longest, ends = 0, [0] * (len(heard) + 1)
    for word in said:
        ends = [0] + [ends[i] + 1 if word == heard[i] else 0 for i in range(len(heard))]
        longest = max(longest, *ends)
    return longest >= 4 and longest >= 0.8 * len(said)


def impersonates(text):
    """Whether a reply holds a tag, a control string of any common chat format, or a line by another speaker."""
    return bool(CONTROL.search(text) or LABEL.search(text))


def quartiles(values):
    """(lower quartile, median, upper quartile)."""
    return tuple(float(each) for each in np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75)))


def perplexity(nats, n):
    """exp of the mean; infinity where a float cannot hold it."""
    return math.exp(nats / n) if nats / n < 709 else math.inf


def interval(numerators, denominators=None, statistic=None, seed=0, draws=1000):
    """
    (low, high): the 95% percentile bootstrap (Efron 1979) over units, such as conversations, of the ratio of two sums;
    without denominators of the mean; with `statistic` of that function of the drawn units. Raises ValueError if empty.
    """
    numerators = np.asarray(numerators, dtype=float)
    n = len(numerators)
    if not n:
        raise ValueError("an interval needs at least one unit")
    rng = np.random.default_rng(seed)
    values = []
    for start in range(0, draws, 100):
        drawn = rng.integers(0, n, (min(100, draws - start), n))
        if statistic:
            values += [statistic(numerators[row]) for row in drawn]
        elif denominators is None:
            values += (numerators[drawn].mean(axis=1)).tolist()
        else:
            below = np.asarray(denominators, dtype=float)[drawn].sum(axis=1)
            values += (numerators[drawn].sum(axis=1)[below > 0] / below[below > 0]).tolist()
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
