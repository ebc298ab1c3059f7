"""What a report card is made of: its rows, each one figure, and the content of report.json."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from evaluation import metrics
from tokenization.chat_format import Message


@dataclass(frozen=True)
class Row:
    """One figure of a report card. Shares are in percent."""

    group: str  # the heading that it stands under: Fit, Stops, ...
    name: str  # for report.json and --fail_under: recall_at_5
    label: str  # for people: recall after 5 turns
    value: float | None  # None: it could not be measured; note says why
    low: float | None = None  # its 95% interval
    high: float | None = None
    n: int = 0  # how many replies, conversations or runs it was measured on
    unit: str = ""
    better: Literal["higher", "lower"] | None = None  # None: the nearer to people's own figure the better
    human: float | None = None  # people's own figure, from the same data
    definition: str = ""
    source: str = ""
    note: str = ""
    with_memory: float | None = None  # the figure where memory/ keeps notes; None: not asked so


class Sample(TypedDict):
    """A transcript at the end of a report."""

    title: str
    messages: list[Message]
    note: str


class Report(TypedDict):
    """The content of report.json."""

    format: int
    model: dict[str, Any]  # name, folder, parameters, rendering (the chat template's name), weights
    data: dict[str, Any]  # folder, tokenizer (its hash), conversations (how many)
    settings: dict[str, Any]  # n, seed, sampled (the sampling parameters)
    machine: str
    rows: list[dict[str, Any]]  # Rows as dicts
    curves: dict[str, dict[str, Any]]  # what report.png draws: recall, overlap, lengths
    samples: list[Sample]


def percent_row(
    group: str,
    name: str,
    label: str,
    shares: Iterable[float | None],
    *,
    seed: int,
    definition: str,
    better: Literal["higher", "lower"] | None = None,
    human: float | None = None,
    source: str = "",
) -> Row:
    """
    The Row of the mean of `shares` (booleans, or numbers from 0 to 1) in percent, with its bootstrap interval, which
    `seed` draws. Shares that are None, of replies too short to be measured, are left out.
    """
    counted = [float(share) for share in shares if share is not None]
    value, low, high, note = None, None, None, "no reply is long enough"
    if counted:
        low, high = (100 * bound for bound in metrics.interval(counted, seed=seed))
        value, note = 100 * statistics.fmean(counted), ""
    return Row(
        group, name, label, value, low, high, n=len(counted), unit="%", better=better, human=human,
        definition=definition, source=source, note=note,
    )  # fmt: skip


def mean_percent(shares: Iterable[float | None]) -> float | None:
    """The mean of `shares` in percent, those that are None left out; None if none is left."""
    counted = [share for share in shares if share is not None]
    return 100 * statistics.fmean(counted) if counted else None
