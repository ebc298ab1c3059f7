"""
SmolTalk (Hugging Face 2024): a million conversations with an assistant, what SmolLM2 was fine-tuned on. Take a part of
it with --limit. Licence: Apache-2.0.

    $ python data/smoltalk/prepare.py                          # from the hub
    $ python data/smoltalk/prepare.py --source=FILE_OR_FOLDER  # JSON lines or parquet of its rows
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import openai, rows
from readers.source import Record, Skipped

HUB_ID = "HuggingFaceTB/smoltalk"
ABOUT = {"name": "SmolTalk", "licence": "Apache-2.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped, config="all")
    return rows.records_of_rows(hub_or_files, openai.records_of_row, openai.WANTED, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
