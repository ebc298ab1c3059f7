"""
The Self-dialogue Corpus (Krause et al. 2017): people who wrote both sides of a talk on films, music or sport. 24,165
dialogues of about ten turns, 4.9M GPT-2 tokens, two views of each. Licence: BSD-3-Clause.
It is not on the hub: get the folder corpus/ of https://github.com/jfainberg/self_dialogue_corpus

    $ python data/self_dialogue/prepare.py --source=FILE_OR_FOLDER
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import rows, selfdialogue
from runtime.errors import InputError

ABOUT = {
    "name": "Self-dialogue Corpus",
    "licence": "BSD-3-Clause",
    "url": "https://github.com/jfainberg/self_dialogue_corpus",
}


def conversations(settings, skipped):
    if not settings.source:
        raise InputError(f"get the folder corpus/ of {ABOUT['url']} and name it: --source=FILE_OR_FOLDER")
    pairs = rows.local_or_hub_rows(settings, None, skipped)
    return rows.records_of_rows(pairs, selfdialogue.of_row, selfdialogue.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
