"""
Topical-Chat (Gopalakrishnan et al. 2019): people who have read the same articles talk about them, some 22 turns. 10,784
conversations (three of the six files: 1,600, 0.9M GPT-2 tokens), two views of each. Licence: CDLA-Sharing-1.0.
It is not on the hub: get the files in conversations/ of https://github.com/alexa/Topical-Chat

    $ python data/topical_chat/prepare.py --source=FILE_OR_FOLDER

A file is one JSON object, {id: {"content": [{"agent": "agent_1", "message": "..."}, ...]}, ...}.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import two_views
from readers.json_rows import json_items
from readers.source import Record, Skipped, Source

ABOUT = {"name": "Topical-Chat", "licence": "CDLA-Sharing-1.0", "url": "https://github.com/alexa/Topical-Chat"}
WANTED = '{"content": [{"agent": "agent_1", "message": "..."}]}'


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    advice = f"get conversations/*.json of {ABOUT['url']} and name them"
    dialogues = rows.local_rows(settings, skipped, advice, read=file_rows)
    return rows.records_of_rows(dialogues, records_of_row, WANTED, skipped)


def file_rows(source: Source, skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield the conversations of one of the files."""
    if not source.head.lstrip().startswith("{"):
        skipped.note("file that is not JSON", source.name)
        return
    for number, (key, row) in enumerate(json_items(source, skipped), 1):
        yield f"{source.name}, item {number} ({key})", row


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    turns = [
        (rows.required(turn, "agent", str), detokenize.as_typed(rows.required(turn, "message", str)))
        for turn in rows.required(row, "content", list)
    ]
    return two_views(turns, {}, place, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
