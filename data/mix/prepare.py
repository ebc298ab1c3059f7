"""
A mixture of prepared data folders, by weights from a config file, each talk once, whichever source has it. meta.json
tells the licence of each source, and whether all are permissive.

    $ python data/mix/prepare.py config/mix_permissive.py
    $ python data/mix/prepare.py --folders=data/personachat=3 --folders=data/chitchat=1 --tokenizer=gpt2
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset import mixture
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.rendering import Record
from readers.source import Skipped
from runtime.errors import InputError


@dataclass(frozen=True)
class MixConfig(PrepareConfig):
    """Mix prepared data folders into one."""

    folders: tuple[str, ...] = ()  # FOLDER=WEIGHT or FOLDER=WEIGHT,CAP: its share of the tokens; tokens taken at most
    max_epochs: float = 1.0  # how often a conversation may be repeated so that the weights hold
    permissive: bool = False  # refuse sources whose licence is not

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folders:
            raise ValueError("say what to mix: --folders=data/personachat=3, once for each, or config/mix_chat.py")
        if self.source:
            raise ValueError("a mixture takes prepared folders (--folders=...), not --source")
        if not self.max_epochs > 0:
            raise ValueError(f"max_epochs ({self.max_epochs}) must be above 0")


def conversations(settings: MixConfig, skipped: Skipped) -> Iterator[Record]:
    parts = mixture.plan(settings.folders, settings.max_epochs)
    return mixture.mixed_records(parts, settings.seed, settings.tokenizer)


def prepare(settings: MixConfig) -> None:
    parts = mixture.plan(settings.folders, settings.max_epochs)
    sources = [source for part in parts for source in part.sources]
    for part in parts:
        if settings.permissive and not part.permissive:
            licences = ", ".join(source["licence"] for source in part.sources)
            raise InputError(f"{part.folder}: licence {licences}; --permissive=false would take it")
        print(part)
    licences = ", ".join(sorted({source["licence"] for source in sources}))
    about = {"name": "mixture", "licence": licences, "url": "data/mix/prepare.py", "sources": sources}
    prepare_folder(settings, __file__, conversations, about)


if __name__ == "__main__":
    configurator.main(prepare, MixConfig)
