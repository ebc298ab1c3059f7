"""
Everyday conversations (Hugging Face 2024): 2,380 short, simple talks with an assistant, written by Llama 3.1 70B for
SmolLM. Licence: Apache-2.0.

    $ python data/everyday_conversations/prepare.py                          # from the hub
    $ python data/everyday_conversations/prepare.py --source=FILE_OR_FOLDER  # JSON lines or parquet of its rows
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import openai, rows
from readers.source import Record, Skipped

HUB_ID = "HuggingFaceTB/everyday-conversations-llama3.1-2k"
ABOUT = {"name": "Everyday conversations", "licence": "Apache-2.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, openai.records_of_row, openai.WANTED, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
