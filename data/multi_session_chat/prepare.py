"""
Multi-Session Chat (Xu et al. 2021): two people who meet again after hours or days and remember. Their sessions, up to
five, are one conversation here, two views of each. About 5,000 pairs (valid: 500 with four sessions, 0.6M GPT-2
tokens); session 1 is a dialogue of PersonaChat. Licence: none stated.

    $ python data/multi_session_chat/prepare.py                          # from the hub
    $ python data/multi_session_chat/prepare.py --source=FILE_OR_FOLDER  # its session_N folders
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import msc, rows

HUB_ID = "nayohan/multi_session_chat"
ABOUT = {"name": "Multi-Session Chat", "licence": "none stated", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = msc.conversations(rows.local_or_hub_rows(settings, HUB_ID, skipped), skipped)
    return rows.records_of_rows(pairs, msc.of_row, msc.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
