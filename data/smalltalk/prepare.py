"""
Small talk written for this project: scripts on everyday topics, one topic a file beside this one, with several ways to
say each turn; dataset/smalltalk/script.py explains the format. Talks are drawn from them by chance: 60,000 by default.
Licence: MIT, as the project.

    $ python data/smalltalk/prepare.py --tokenizer=train:4096
    $ python data/smalltalk/prepare.py --count=20 --show=5

One topic in ten, and one script in ten of the others, is kept for val. It needs no download.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.rendering import Record
from dataset.smalltalk.talk import read_scripts, talk
from readers.source import Skipped

ABOUT = {"name": "small talk", "licence": "MIT", "url": "data/smalltalk"}


@dataclass(frozen=True)
class SmallTalkConfig(PrepareConfig):
    """Draw talks from the scripts."""

    count: int = 60_000  # talks to draw
    topics: tuple[str, ...] = ("*",)  # the names of their files; * stands for any letters: --topics="quick_*"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError(f"count ({self.count}) must be at least 1")


def conversations(settings: SmallTalkConfig, skipped: Skipped) -> Iterator[Record]:
    folders = [Path(source) for source in settings.source] or [Path(__file__).parent]
    scripts = [read_scripts(folder, settings.topics) for folder in folders]
    for index in range(settings.count):
        split = "val" if int((index + 1) * settings.val_share) > int(index * settings.val_share) else "train"
        drawn = talk(scripts[index % len(scripts)][split], random.Random(f"{settings.seed}/{index}"))
        yield {"messages": drawn, "split": split}


def prepare(settings: SmallTalkConfig) -> None:
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, SmallTalkConfig)
