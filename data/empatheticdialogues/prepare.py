"""
EmpatheticDialogues (Rashkin et al. 2019): somebody tells what happened and how it felt, the bot listens. About 25,000
short dialogues (valid: 2,770, 0.2M GPT-2 tokens). Licence: CC BY-NC 4.0, not for commerce.

    $ python data/empatheticdialogues/prepare.py                          # from the hub
    $ python data/empatheticdialogues/prepare.py --source=FILE_OR_FOLDER  # the original CSV

A row of the hub is a dialogue, {"conversations": [{"role": "user", "content": "..."}, ...]}; a row of the original CSV
is an utterance (conv_id, utterance_idx, utterance), with _comma_ for a comma. The bot is the one who listens.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, openai, rows
from readers.conversations import talk_record
from readers.source import Record, Skipped, Source

HUB_ID = "Estwld/empathetic_dialogues_llm"
ABOUT = {"name": "EmpatheticDialogues", "licence": "CC BY-NC 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
WANTED = "conversations, or conv_id, utterance_idx and utterance"


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = dialogues(rows.local_or_hub_rows(settings, HUB_ID, skipped, read=utterances))
    return rows.records_of_rows(hub_or_files, records_of_row, WANTED, skipped)


def utterances(source: Source, skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield the rows of a file. In the CSV as first published a quote is a letter: only commas split a line."""
    if not source.head.startswith("conv_id,utterance_idx,context,"):
        yield from rows.file_rows(source, skipped)
        return
    columns = []
    for number, line in source.lines(skipped):
        fields = line.split(",")
        if not columns:
            columns = fields
        elif line and len(fields) < len(columns) - 1:  # the last, tags, may be missing
            skipped.broken(f"{source.name}:{number}", f"wanted {len(columns)} fields, found {len(fields)}")
        elif line:
            yield f"{source.name}:{number}", dict(zip(columns, fields, strict=False))


def dialogues(placed_rows: Iterable[rows.PlacedRow]) -> Iterator[rows.PlacedRow]:
    """Yield a row that is a dialogue as it is, and rows of one utterance each as a list of those of a dialogue."""
    dialogue, first_place = [], ""
    for place, row in placed_rows:
        is_dialogue = not isinstance(row, dict) or "utterance" not in row
        if dialogue and (is_dialogue or row.get("conv_id") != dialogue[0].get("conv_id")):
            yield first_place, dialogue
            dialogue = []
        if is_dialogue:
            yield place, row
        else:
            first_place = first_place if dialogue else place
            dialogue.append(row)
    if dialogue:
        yield first_place, dialogue


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    if isinstance(row, dict):
        for record in openai.records_of_row(row, place, skipped):
            yield {"messages": [{**message, "content": plain(message["content"])} for message in record["messages"]]}
    else:
        utterances = rows.list_of(row, dict)
        turns = [(role_of(utterance), plain(rows.required(utterance, "utterance", str))) for utterance in utterances]
        yield from talk_record(turns, place, skipped)


def role_of(utterance: dict[str, Any]) -> str:
    """The role of who says it: the first utterance, the third, ... are of the one who tells. Raises Misfit."""
    index = str(rows.required(utterance, "utterance_idx", object))
    if not (index.isascii() and index.isdecimal() and len(index) < 10):
        raise rows.Misfit(f"utterance_idx {index[:20]!r}")
    return "user" if int(index) % 2 else "assistant"


def plain(text: str) -> str:
    return detokenize.as_typed(text.replace("_comma_", ", "))


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
