"""
QMSum (Zhong et al. 2021): meetings, and questions about parts of them with their answers. 232 meetings, about 1,500
questions; a part of a meeting is often longer than GPT-2's context, of which training sees what fits. Licence: MIT.
It is not on the hub: get data/ALL of https://github.com/Yale-LILY/QMSum

    $ python data/qmsum/prepare.py --source=FILE_OR_FOLDER
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import configurator
import preparation
from readers import qmsum, rows

ABOUT = {"name": "QMSum", "licence": "MIT", "url": "https://github.com/Yale-LILY/QMSum"}


def conversations(settings, skipped):
    if not settings.source:
        raise configurator.InputError(f"get data/ALL of {ABOUT['url']} and name it: --source=FILE_OR_FOLDER")
    pairs = rows.found(settings, None, skipped)
    return rows.records(pairs, qmsum.of_row, qmsum.WANTED, skipped)


def prepare(settings):
    preparation.prepare(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, preparation.PrepareConfig)
