"""
DailyDialog (Li et al. 2017): everyday talk that learners of English read, at home, at work, in shops. 13,118 dialogues
(train and validation: 12,118, 1.5M GPT-2 tokens), two views of each. Licence: CC BY-NC-SA 4.0, not for commerce.

    $ python data/dailydialog/prepare.py                          # from the hub
    $ python data/dailydialog/prepare.py --source=FILE_OR_FOLDER  # the original zips

A row of the hub is {"dialog": ["Hi , Tom .", ...]}, a line of the original `Hi , Tom . __eou__ Hi ! __eou__`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import alternating, two_views
from readers.source import Record, Skipped, Source

HUB_ID = "OpenRL/daily_dialog"
ABOUT = {"name": "DailyDialog", "licence": "CC BY-NC-SA 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
WANTED = '{"dialog": ["...", "..."]}'
END = "__eou__"  # of an utterance


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped, read=dialogues)
    return rows.records_of_rows(hub_or_files, records_of_row, WANTED, skipped)


def dialogues(source: Source, skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield the rows of a file, or of the original's lines; its files of acts and emotions are left out."""
    if END not in source.head:
        if source.head.lstrip()[:1] in ("{", "[", "P"):  # P: parquet's PAR1
            yield from rows.file_rows(source, skipped)
        else:
            skipped.note("file without dialogues", source.name)
        return
    for number, line in source.lines(skipped):
        if line.strip():
            yield f"{source.name}:{number}", {"dialog": line.strip().removesuffix(END).split(END)}


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    texts = rows.optional_list(row, "dialog", str) or rows.required_list(row, "utterances", str)
    return two_views(alternating(map(detokenize.detokenize, texts)), {}, place, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
