"""
EmpatheticDialogues (Rashkin et al. 2019): somebody tells what happened and how it felt, the bot listens. About 25,000
short dialogues (valid: 2,770, 0.2M GPT-2 tokens). Licence: CC BY-NC 4.0, not for commerce.

    $ python data/empatheticdialogues/prepare.py                          # from the hub
    $ python data/empatheticdialogues/prepare.py --source=FILE_OR_FOLDER  # the original CSV
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import empathetic, rows

HUB_ID = "Estwld/empathetic_dialogues_llm"
ABOUT = {"name": "EmpatheticDialogues", "licence": "CC BY-NC 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = empathetic.dialogues(rows.local_or_hub_rows(settings, HUB_ID, skipped, read=empathetic.utterances))
    return rows.records_of_rows(pairs, empathetic.of_row, empathetic.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
