"""
SAMSum (Gliwa et al. 2019): chats between friends, each pasted or had with the bot, who then sums it up. 16,369 chats
(val: 818). Licence: CC BY-NC-ND 4.0, not for commerce.

    $ python data/samsum/prepare.py                          # from the hub
    $ python data/samsum/prepare.py --source=FILE_OR_FOLDER  # JSON or CSV
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import rows, summaries
from readers.source import Record, Skipped

HUB_ID = "knkarthick/samsum"
ABOUT = {"name": "SAMSum", "licence": "CC BY-NC-ND 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, summaries.records_of_row, summaries.WANTED, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
