"""
Topical-Chat (Gopalakrishnan et al. 2019): people who have read the same articles talk about them, some 22 turns. 10,784
conversations (three of the six files: 1,600, 0.9M GPT-2 tokens), two views of each. Licence: CDLA-Sharing-1.0.
It is not on the hub: get the files in conversations/ of https://github.com/alexa/Topical-Chat

    $ python data/topical_chat/prepare.py --source=FILE_OR_FOLDER
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import rows, topical
from runtime.errors import InputError

ABOUT = {"name": "Topical-Chat", "licence": "CDLA-Sharing-1.0", "url": "https://github.com/alexa/Topical-Chat"}


def conversations(settings, skipped):
    if not settings.source:
        raise InputError(f"get conversations/*.json of {ABOUT['url']} and name them: --source=FILE_OR_FOLDER")
    pairs = rows.local_or_hub_rows(settings, None, skipped, read=topical.rows)
    return rows.records_of_rows(pairs, topical.of_row, topical.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
