"""Time to the first token, and tokens a second after it: the group "Speed"."""

import dataclasses
import statistics
from collections.abc import Sequence

from evaluation.backends import Backend
from evaluation.prompting import GREEDY, Context
from evaluation.rows import Row

REPLIES = 5  # timed, one at a time
NEW_TOKENS = 64  # of each


def speed_rows(backend: Backend, contexts: Sequence[Context]) -> list[Row]:
    """Rows on speed: one reply at a time, to the last message alone of the first contexts; the median of them."""
    sampling = dataclasses.replace(GREEDY, max_new_tokens=NEW_TOKENS)
    timings = [backend.time_reply(messages[-1:], sampling) for messages, _ in contexts[:REPLIES]]
    milliseconds = sorted(1000 * timing.first_token_seconds for timing in timings)
    rates = sorted(timing.tokens_per_second for timing in timings if timing.tokens_per_second is not None)
    definition = "One reply at a time, 64 new tokens to one short message, greedy; median, slowest and fastest."
    return [
        Row(
            "Speed",
            "ttft",
            "time to the first token",
            statistics.median(milliseconds),
            milliseconds[0],
            milliseconds[-1],
            n=len(milliseconds),
            unit="ms",
            better="lower",
            definition=definition,
        ),
        Row(
            "Speed",
            "tokens_per_s",
            "tokens a second",
            statistics.median(rates) if rates else None,
            rates[0] if rates else None,
            rates[-1] if rates else None,
            n=len(rates),
            unit="tokens/s",
            better="higher",
            definition=definition,
        ),
    ]
