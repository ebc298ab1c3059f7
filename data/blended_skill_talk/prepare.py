"""
Blended Skill Talk (Smith et al. 2020): personality, knowledge and empathy in one talk. 6,808 dialogues, two views of
each. Licence: none stated on the hub; ParlAI's pages have named both CC BY-NC and CC BY 4.0.

    $ python data/blended_skill_talk/prepare.py                          # from the hub
    $ python data/blended_skill_talk/prepare.py --source=FILE_OR_FOLDER  # its JSON, or parquet from the hub

A row of the hub is

    {"personas": [two sentences on the guided speaker], "previous_utterance": [free, guided], "free_messages": [...],
     "guided_messages": [...]}

and one of the original JSON {"personas": [[free's], [guided's]], "free_turker_utterance", "guided_turker_utterance",
"dialog": [[0, "..."], [1, "..."]]}.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import alternating, two_views
from readers.source import Record, Skipped

HUB_ID = "ParlAI/blended_skill_talk"
ABOUT = {"name": "Blended Skill Talk", "licence": "none stated", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
WANTED = "personas, previous_utterance, free_messages and guided_messages"
FREE, GUIDED = 0, 1  # the two speakers: the free one begins, the guided one is shown what others would answer


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    if isinstance(row, dict) and "dialog" in row:
        turns = [
            (FREE, rows.required(row, "free_turker_utterance", str)),
            (GUIDED, rows.required(row, "guided_turker_utterance", str)),
        ]
        turns += map(turn_of, rows.required(row, "dialog", list))
        sentences = dict(enumerate(rows.required_list(row, "personas", list)))
    else:
        turns = alternating(rows.required_list(row, "previous_utterance", str))
        texts = (rows.required_list(row, f"{speaker}_messages", str) for speaker in ("free", "guided"))
        turns += alternating(itertools.chain.from_iterable(itertools.zip_longest(*texts, fillvalue="")))
        sentences = {GUIDED: rows.required(row, "personas", list)}
    personas = {
        speaker: detokenize.detokenize(" ".join(rows.list_of(lines, str))) for speaker, lines in sentences.items()
    }
    return two_views([(speaker, detokenize.as_typed(text)) for speaker, text in turns], personas, place, skipped)


def turn_of(pair: Any) -> tuple[int, str]:
    """(speaker, text) of a [0, "..."]. Raises Misfit."""
    if not isinstance(pair, list) or list(map(type, pair)) != [int, str]:
        raise rows.Misfit("not a speaker and a text")
    return pair[0], pair[1]


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
