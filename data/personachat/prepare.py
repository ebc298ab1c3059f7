"""
PersonaChat (Zhang et al. 2018; ConvAI2): people who play a persona of four or five sentences get to know each other.
About 18,000 views of 10,000 dialogues, 6M GPT-2 tokens. Licence: CC BY 4.0.

    $ python data/personachat/prepare.py                     # from the hub
    $ python data/personachat/prepare.py --source=FILE       # ParlAI's lines, JSON, JSON lines or parquet

    ParlAI's lines    see readers/parlai.py; with both personas known, a dialogue gives both views
    nested rows       {"personality": [...], "utterances": [{"history": [...], "candidates": [..., gold]}]}
    flat rows         {"conv_id": 0, "utterance_idx": 0, "personality": [...], "history": [...], ...}
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import parlai, rows
from readers.archives import open_sources
from readers.source import Record, Skipped, Source

HUB_ID = "AlekseyKorshuk/persona-chat"
ABOUT = {"name": "PersonaChat", "licence": "CC BY 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
WANTED = "personality, utterances or conv_id, history"
ADVICE = "a file from parl.ai/downloads/convai2 would do: --source=train_both_original.txt"


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    for source in open_sources(settings):
        if parlai.recognises(source.head):
            yield from parlai.records(source, skipped)
        else:
            for split in splits_of(file_rows(source, skipped)):
                yield from rows.records_of_rows(dialogues(split), records_of_row, WANTED, skipped)
    if not settings.source:
        for split in rows.local_or_hub_parts(settings, HUB_ID, skipped, advice=ADVICE):
            yield from rows.records_of_rows(dialogues(split), records_of_row, WANTED, skipped)


def file_rows(source: Source, skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield the rows of JSON, JSON lines or parquet."""
    if source.head.lstrip()[:1] not in ("{", "[") and not source.head.startswith("PAR1"):
        skipped.broken(source.name, "not PersonaChat: wanted ParlAI's lines ('1 your persona: ...'), JSON or parquet")
        return
    yield from rows.file_rows(source, skipped)


def splits_of(placed_rows: Iterable[rows.PlacedRow]) -> Iterator[Iterator[rows.PlacedRow]]:
    """Yield the rows of each split: of a file as a whole, or of {"train": [...], "validation": [...]} one by one."""
    placed_rows = iter(placed_rows)
    for place, row in placed_rows:
        lists = {name: value for name, value in row.items() if isinstance(value, list)} if isinstance(row, dict) else {}
        if lists and "personality" not in row:
            for name, split in lists.items():
                yield ((f"{place}, {name} {number}", row) for number, row in enumerate(split, 1))
        else:
            yield itertools.chain([(place, row)], placed_rows)


def dialogues(split: Iterable[rows.PlacedRow]) -> Iterator[rows.PlacedRow]:
    """Yield the last row of each dialogue, which holds the most of it; nested rows are a dialogue each."""

    def dialogue_id(placed_row: rows.PlacedRow) -> object:
        place, row = placed_row
        return row["conv_id"] if isinstance(row, dict) and "conv_id" in row else place

    for _, placed_rows in itertools.groupby(split, dialogue_id):
        *_, last = placed_rows
        yield last


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    """The last candidate is the bot's reply; without candidates only the history is known, which the partner began."""
    persona = rows.required_list(row, "personality", str)
    if not ("conv_id" in row and "history" in row):
        steps = rows.required_list(row, "utterances", dict)
        if not steps:
            raise rows.Misfit("utterances is empty")
        row = steps[-1]
    reply = rows.optional_list(row, "candidates", str)[-1:]
    texts = [*rows.required_list(row, "history", str), *reply]
    return parlai.view(persona, texts, "assistant" if reply and len(texts) % 2 else "user", skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
