"""
UltraChat 200k (Ding et al. 2023, filtered by Hugging Face): long conversations with ChatGPT, what Zephyr was fine-tuned
on. Take a part of it with --limit. Licence: MIT.

    $ python data/ultrachat/prepare.py                          # from the hub
    $ python data/ultrachat/prepare.py --source=FILE_OR_FOLDER  # JSON lines or parquet of its rows
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import openai, rows
from readers.source import Record, Skipped

HUB_ID = "HuggingFaceH4/ultrachat_200k"
ABOUT = {"name": "UltraChat 200k", "licence": "MIT", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, openai.records_of_row, openai.WANTED, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
