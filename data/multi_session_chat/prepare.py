"""
Multi-Session Chat (Xu et al. 2021): two people who meet again after hours or days and remember. Their sessions, up to
five, are one conversation here, two views of each. About 5,000 pairs (valid: 500 with four sessions, 0.6M GPT-2
tokens); session 1 is a dialogue of PersonaChat. Licence: none stated.

    $ python data/multi_session_chat/prepare.py                          # from the hub
    $ python data/multi_session_chat/prepare.py --source=FILE_OR_FOLDER  # its session_N folders

A row is one session:

    the hub           {"dialoug_id" [sic], "session_id", "persona1", "persona2", "dialogue", "speaker"}
    the original      session_N/train.txt, lines {"dialog": [{"id", "text"}], "initial_data_id", "init_personachat"}
    ParlAI's archive  the same with "personas", "previous_dialogs" and "metadata"
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import alternating, two_views
from readers.source import Record, Skipped

HUB_ID = "nayohan/multi_session_chat"
ABOUT = {"name": "Multi-Session Chat", "licence": "none stated", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
WANTED = "dialog, initial_data_id and personas, or dialoug_id, dialogue, speaker and personas"


class Session(NamedTuple):
    """What a row holds."""

    pair: object  # who the two people are
    personas: list[Any]  # a list of sentences for each
    earlier: list[tuple[int, str]]  # (0 or 1, text) of earlier days, if the row has them
    turns: list[tuple[int, str]]  # of that day


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    parts = rows.local_or_hub_parts(settings, HUB_ID, skipped, streaming=False)
    return rows.records_of_rows(dialogues(parts, skipped), records_of_row, WANTED, skipped)


def dialogues(parts: Iterable[Iterable[rows.PlacedRow]], skipped: Skipped) -> Iterator[rows.PlacedRow]:
    """Yield {"turns", "personas"} of each two people; all are held, as their sessions stand in several files."""
    dialogue_of: dict[object, rows.PlacedRow] = {}
    for number, part in enumerate(parts):
        for place, row in part:
            try:
                session = session_of(row, number)
            except rows.Misfit:
                skipped.broken(place, f"wanted {WANTED}")
                continue
            _, dialogue = dialogue_of.setdefault(session.pair, (place, {"turns": [], "personas": session.personas}))
            # ParlAI's files of later sessions hold the earlier ones too: what is new is the last
            before = max(dialogue["turns"], session.earlier, key=len) if session.earlier else dialogue["turns"]
            dialogue["turns"] = before + session.turns
    yield from dialogue_of.values()


def session_of(row: Any, part: int) -> Session:
    """The session of a row of a file or split, which is the `part`th. Raises Misfit."""
    if isinstance(row, dict) and "dialoug_id" in row:
        speakers, texts = rows.required_list(row, "speaker", str), rows.required_list(row, "dialogue", str)
        if len(speakers) != len(texts):
            raise rows.Misfit("a speaker for each text")
        pair = (part, str(row["dialoug_id"]))  # ids begin anew in each split
        personas = [rows.required(row, "persona1", list), rows.required(row, "persona2", list)]
        return Session(pair, personas, [], in_order(zip(speakers, texts, strict=True)))
    pair = str(rows.required(rows.optional(row, "metadata", dict) or row, "initial_data_id", object))
    init = rows.optional(row, "init_personachat", dict)
    personas = rows.required(init, "init_personas", list) if init else rows.required(row, "personas", list)
    earlier = [
        turn
        for day in rows.optional_list(row, "previous_dialogs", dict)
        for turn in alternating([rows.required(turn, "text", str) for turn in rows.required(day, "dialog", list)])
    ]
    turns = rows.required(row, "dialog", list)
    turns = [(rows.required(turn, "id", str), rows.required(turn, "text", str)) for turn in turns]
    return Session(pair, personas, earlier, in_order(turns))


def in_order(turns: Iterable[tuple[str, str]]) -> list[tuple[int, str]]:
    """The speakers as 0 and 1, by name: `bot_0` and `bot_1`, `Speaker 1` and `Speaker 2`."""
    turns = list(turns)
    names = sorted({speaker for speaker, _ in turns})
    return [(names.index(speaker) % 2, text) for speaker, text in turns]


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    turns = [(speaker, detokenize.as_typed(text)) for speaker, text in row["turns"]]
    sentences = [" ".join(rows.list_of(lines, str)) for lines in row["personas"][:2]]
    return two_views(turns, dict(enumerate(map(detokenize.as_typed, sentences))), place, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
