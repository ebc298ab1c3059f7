"""
Synthetic-Persona-Chat (Jandaghi et al. 2023): long talk that a model wrote between two of PersonaChat's personas.
About 11,000 dialogues (1,000 of them valid, 0.4M GPT-2 tokens), two views of each. Licence: CC BY 4.0.

    $ python data/synthetic_persona_chat/prepare.py                          # from the hub
    $ python data/synthetic_persona_chat/prepare.py --source=FILE_OR_FOLDER  # its CSV

A row has two personas, a sentence a line, and the talk as lines "User 1: ...".
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.conversations import two_views
from readers.source import Record, Skipped

HUB_ID = "google/Synthetic-Persona-Chat"
ABOUT = {"name": "Synthetic-Persona-Chat", "licence": "CC BY 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
TALK = "Best Generated Conversation"
WANTED = f"columns 'user 1 personas', 'user 2 personas' and '{TALK}'"
LINE = re.compile(r"[\s*]*(user [12])[\s*]*:\**", re.IGNORECASE)  # some are *User 1:*


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    turns: list[tuple[str, str]] = []
    for line in rows.required(row, TALK, str).splitlines():
        start = LINE.match(line)
        if start:
            turns.append((start[1].lower(), line[start.end() :]))
        elif line.strip() and turns:
            speaker, before = turns[-1]
            turns[-1] = speaker, f"{before} {line}"
        elif line.strip():
            skipped.note("line before the first speaker", place)
    personas = {user: detokenize.as_typed(rows.required(row, f"{user} personas", str)) for user in ("user 1", "user 2")}
    return two_views([(user, detokenize.as_typed(text)) for user, text in turns], personas, place, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
