"""
The Self-dialogue Corpus (Krause et al. 2017): people who wrote both sides of a talk on films, music or sport. 24,165
dialogues of about ten turns, 4.9M GPT-2 tokens, two views of each. Licence: BSD-3-Clause.
It is not on the hub: get the folder corpus/ of https://github.com/jfainberg/self_dialogue_corpus

    $ python data/self_dialogue/prepare.py --source=FILE_OR_FOLDER

A row is {"turns": [...]}, or a line of the original's CSV, with columns Answer.sentence1 to Answer.sentence10 or more
and a note in Reject where the work was turned down.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import alternating, two_views
from readers.source import Record, Skipped

ABOUT = {
    "name": "Self-dialogue Corpus",
    "licence": "BSD-3-Clause",
    "url": "https://github.com/jfainberg/self_dialogue_corpus",
}
WANTED = '{"turns": [...]}, or columns Answer.sentence1, Answer.sentence2, ...'
SENTENCE = "Answer.sentence"
EMPTY = "{}"  # how the original writes an answer of no words


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    advice = f"get the folder corpus/ of {ABOUT['url']} and name it"
    return rows.records_of_rows(rows.local_rows(settings, skipped, advice), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    if not isinstance(row, dict):
        raise rows.Misfit("a row is an object")
    if "turns" in row:
        texts = rows.required_list(row, "turns", str)
    elif row.get("Reject"):
        skipped.note("turned down by those who collected it", place)
        return iter(())
    else:
        rows.required(row, f"{SENTENCE}1", str)
        numbers = [str(name).removeprefix(SENTENCE) for name in row if str(name).startswith(SENTENCE)]
        columns = sorted((number for number in numbers if number.isascii() and number.isdecimal()), key=int)
        texts = [rows.required(row, SENTENCE + number, str) for number in columns]
        texts = [text for text in texts if text != EMPTY]
    return two_views(alternating(map(detokenize.as_typed, texts)), {}, place, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
