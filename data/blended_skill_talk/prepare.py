"""
Blended Skill Talk (Smith et al. 2020): personality, knowledge and empathy in one talk. 6,808 dialogues, two views of
each. Licence: none stated on the hub; ParlAI's pages have named both CC BY-NC and CC BY 4.0.

    $ python data/blended_skill_talk/prepare.py                          # from the hub
    $ python data/blended_skill_talk/prepare.py --source=FILE_OR_FOLDER  # its JSON, or parquet from the hub
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import blended, rows

HUB_ID = "ParlAI/blended_skill_talk"
ABOUT = {"name": "Blended Skill Talk", "licence": "none stated", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(pairs, blended.of_row, blended.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
