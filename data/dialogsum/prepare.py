"""
DialogSum (Chen et al. 2021): everyday dialogues, each pasted or had with the bot, who then sums it up. 13,460 dialogues
(dev: 500). Licence: CC BY-NC-SA 4.0, not for commerce.

    $ python data/dialogsum/prepare.py                          # from the hub
    $ python data/dialogsum/prepare.py --source=FILE_OR_FOLDER  # JSON lines or CSV
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import rows, summaries

HUB_ID = "knkarthick/dialogsum"
ABOUT = {"name": "DialogSum", "licence": "CC BY-NC-SA 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(pairs, summaries.of_row, summaries.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
