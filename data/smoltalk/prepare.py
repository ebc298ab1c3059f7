"""
SmolTalk (Hugging Face 2024): a million conversations with an assistant, what SmolLM2 was fine-tuned on. Take a part of
it with --limit. Licence: Apache-2.0.

    $ python data/smoltalk/prepare.py                          # from the hub
    $ python data/smoltalk/prepare.py --source=FILE_OR_FOLDER  # JSON lines or parquet of its rows
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import openai, rows

HUB_ID = "HuggingFaceTB/smoltalk"
ABOUT = {"name": "SmolTalk", "licence": "Apache-2.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.local_or_hub_rows(settings, HUB_ID, skipped, config="all")
    return rows.records_of_rows(pairs, openai.of_row, openai.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
