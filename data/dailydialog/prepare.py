"""
DailyDialog (Li et al. 2017): everyday talk that learners of English read, at home, at work, in shops. 13,118 dialogues
(train and validation: 12,118, 1.5M GPT-2 tokens), two views of each. Licence: CC BY-NC-SA 4.0, not for commerce.

    $ python data/dailydialog/prepare.py                          # from the hub
    $ python data/dailydialog/prepare.py --source=FILE_OR_FOLDER  # the original zips
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import dailydialog, rows

HUB_ID = "OpenRL/daily_dialog"
ABOUT = {"name": "DailyDialog", "licence": "CC BY-NC-SA 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.local_or_hub_rows(settings, HUB_ID, skipped, read=dailydialog.dialogues)
    return rows.records_of_rows(pairs, dailydialog.of_row, dailydialog.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
