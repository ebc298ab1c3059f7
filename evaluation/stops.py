"""Whether replies end by themselves, and whether they are as long as people's."""

import itertools
from collections.abc import Mapping, Sequence

from evaluation import metrics
from evaluation.backends import Answer
from evaluation.metrics import words
from evaluation.prompting import LIMITS, MODES
from evaluation.rows import Row, percent_row
from evaluation.settings import MAX_NEW_TOKENS


def stop_rows(
    answers: Mapping[str, Sequence[Answer]], gold: Sequence[str], seed: int
) -> tuple[list[Row], dict[str, list[int]]]:
    """
    Rows on the ends and lengths of replies, and the lengths themselves, in words, for the plot: {"bot", "human"}.
    answers: mode -> the model's replies; gold: the people's replies to the same messages.
    """
    rows = []
    for mode, limit in [*itertools.product(MODES, LIMITS[-1:]), *(("sampled", limit) for limit in LIMITS[:-1])]:
        rows.append(
            percent_row(
                "Stops",
                f"ended_{mode}" if limit == MAX_NEW_TOKENS else f"ended_{mode}_at_{limit}",
                f"ends within {limit} tokens, {mode}",
                [answer.cut(limit)[1] for answer in answers[mode]],
                seed=seed,
                better="higher",
                definition=f"Replies that end by themselves (end-of-turn) within {limit} new tokens, {mode}.",
            )
        )
    lengths = [len(words(answer.text)) for answer in answers["sampled"]]
    human = [len(words(text)) for text in gold]
    for i, (name, label) in enumerate((("q1", "lower quartile"), ("median", "median"), ("q3", "upper quartile"))):
        low, high = metrics.interval(lengths, statistic=lambda drawn, i=i: metrics.quartiles(drawn)[i], seed=seed)
        rows.append(
            Row(
                "Stops",
                f"length_{name}",
                f"length, {label}",
                metrics.quartiles(lengths)[i],
                low,
                high,
                n=len(lengths),
                unit="words",
                human=metrics.quartiles(human)[i],
                definition="Words and marks of a sampled reply; beside it the people's replies to the same messages.",
            )
        )
    return rows, {"bot": lengths, "human": human}
