"""
What every child knows, as questions and short answers: the tables in the text files beside this one; dataset/basics.py
explains their format. Licence: MIT, as the project.

    $ python data/basics/prepare.py --tokenizer=data/smalltalk
    $ python data/basics/prepare.py --count=20 --show=5

One question about one row in twelve is kept for val. It needs no download.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.basics import conversation, read_folder
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.rendering import Record
from readers.source import Skipped

ABOUT = {"name": "basics", "licence": "MIT", "url": "data/basics"}


@dataclass(frozen=True)
class BasicsConfig(PrepareConfig):
    """Draw questions and answers from the tables."""

    count: int = 20_000  # conversations to draw

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError(f"count ({self.count}) must be at least 1")


def conversations(settings: BasicsConfig, skipped: Skipped) -> Iterator[Record]:
    folders = [Path(source) for source in settings.source] or [Path(__file__).parent]
    tables = [table for folder in folders for table in read_folder(folder)]
    for index in range(settings.count):
        split = "val" if int((index + 1) * settings.val_share) > int(index * settings.val_share) else "train"
        drawn = conversation(tables, split, random.Random(f"{settings.seed}/{index}"))
        yield {"messages": drawn, "split": split}


def prepare(settings: BasicsConfig) -> None:
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, BasicsConfig)
