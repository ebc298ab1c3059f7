"""
OpenAssistant Conversations (Köpf et al. 2023): volunteers ask, volunteers answer, in trees; each way from the root to a
last answer is a conversation. Its English part, about 65,000 messages in oasst2. Licence: Apache-2.0.

    $ python data/oasst/prepare.py                          # from the hub
    $ python data/oasst/prepare.py --source=FILE_OR_FOLDER  # rows or trees
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import oasst, rows

HUB_ID = "OpenAssistant/oasst2"
ABOUT = {
    "name": "OpenAssistant Conversations 2",
    "licence": "Apache-2.0",
    "url": f"https://huggingface.co/datasets/{HUB_ID}",
}


def conversations(settings, skipped):
    pairs = oasst.trees(rows.local_or_hub_rows(settings, HUB_ID, skipped), skipped)
    return rows.records_of_rows(pairs, oasst.of_row, oasst.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
