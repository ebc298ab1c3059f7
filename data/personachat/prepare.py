"""
PersonaChat (Zhang et al. 2018; ConvAI2): people who play a persona of four or five sentences get to know each other.
About 18,000 views of 10,000 dialogues, 6M GPT-2 tokens. Licence: CC BY 4.0.

    $ python data/personachat/prepare.py                     # from the hub
    $ python data/personachat/prepare.py --source=FILE       # ParlAI's lines, JSON, JSON lines or parquet
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import personachat
from readers.rows import hub_splits

HUB_ID = "AlekseyKorshuk/persona-chat"
ABOUT = {"name": "PersonaChat", "licence": "CC BY 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    if settings.source:
        return (record for path in settings.source for record in personachat.records(path, skipped))
    splits = hub_splits(HUB_ID, "a file from parl.ai/downloads/convai2 would do: --source=train_both_original.txt")
    return (record for rows in splits for record in personachat.of_rows(rows, HUB_ID, skipped))


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
