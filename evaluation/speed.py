"""Time to the first token, and tokens a second."""

import dataclasses
import statistics

from evaluation.prompting import GREEDY
from evaluation.report import Row


def throughput_rows(speaker, found):
    """Rows on speed: one reply at a time, 64 new tokens, the median of five."""
    prompts = [messages[-1:] for messages, _ in found[:5]]
    sampling = dataclasses.replace(GREEDY, max_new_tokens=64)
    measured = [speaker.pace(messages, sampling) for messages in prompts]
    first = sorted(1000 * seconds for seconds, _ in measured)
    rates = sorted(rate for _, rate in measured if rate is not None)
    more = {
        "definition": "One reply at a time, 64 new tokens to one short message, greedy; median, slowest and fastest."
    }
    return [
        Row(
            "Speed",
            "ttft",
            "time to the first token",
            statistics.median(first),
            first[0],
            first[-1],
            len(first),
            "ms",
            better="lower",
            **more,
        ),
        Row(
            "Speed",
            "tokens_per_s",
            "tokens a second",
            statistics.median(rates) if rates else None,
            rates[0] if rates else None,
            rates[-1] if rates else None,
            len(rates),
            "tokens/s",
            better="higher",
            **more,
        ),
    ]
