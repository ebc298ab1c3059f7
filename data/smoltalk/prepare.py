"""
SmolTalk (Hugging Face 2024): a million conversations with an assistant, what SmolLM2 was fine-tuned on. Take a part of
it with --limit. Licence: Apache-2.0.

    $ python data/smoltalk/prepare.py                          # from the hub
    $ python data/smoltalk/prepare.py --source=FILE_OR_FOLDER  # JSON lines or parquet of its rows
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import configurator
import preparation
from readers import openai, rows

HUB_ID = "HuggingFaceTB/smoltalk"
ABOUT = {"name": "SmolTalk", "licence": "Apache-2.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.found(settings, HUB_ID, skipped, config="all")
    return rows.records(pairs, openai.of_row, openai.WANTED, skipped)


def prepare(settings):
    preparation.prepare(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, preparation.PrepareConfig)
