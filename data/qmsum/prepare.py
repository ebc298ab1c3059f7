"""
QMSum (Zhong et al. 2021): meetings, and questions about parts of them with their answers. 232 meetings, about 1,500
questions; a part of a meeting is often longer than GPT-2's context, of which training sees what fits. Licence: MIT.
It is not on the hub: get data/ALL of https://github.com/Yale-LILY/QMSum

    $ python data/qmsum/prepare.py --source=FILE_OR_FOLDER
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import qmsum, rows
from runtime.errors import InputError

ABOUT = {"name": "QMSum", "licence": "MIT", "url": "https://github.com/Yale-LILY/QMSum"}


def conversations(settings, skipped):
    if not settings.source:
        raise InputError(f"get data/ALL of {ABOUT['url']} and name it: --source=FILE_OR_FOLDER")
    pairs = rows.local_or_hub_rows(settings, None, skipped)
    return rows.records_of_rows(pairs, qmsum.of_row, qmsum.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
