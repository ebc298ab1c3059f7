"""
DialogSum (Chen et al. 2021): everyday dialogues, each pasted or had with the bot, who then sums it up. 13,460 dialogues
(dev: 500). Licence: CC BY-NC-SA 4.0, not for commerce.

    $ python data/dialogsum/prepare.py                          # from the hub
    $ python data/dialogsum/prepare.py --source=FILE_OR_FOLDER  # JSON lines or CSV
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import rows, summaries
from readers.source import Record, Skipped

HUB_ID = "knkarthick/dialogsum"
ABOUT = {"name": "DialogSum", "licence": "CC BY-NC-SA 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    hub_or_files = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(hub_or_files, summaries.records_of_row, summaries.WANTED, skipped)


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
