"""
Drills that teach copying, made of nothing but chance; see dataset/copying.py. Licence: MIT, as the project.

    $ python data/copy/prepare.py --length=510 --shortest=64 --tokenizer=data/chitchat    # rows of random tokens
    $ python data/copy/prepare.py --talk=true --tokenizer=data/chitchat     # conversations: say these words again
    $ python data/copy/prepare.py --talk=true --tokenizer=data/chitchat --filler=data/chitchat   # also after other talk
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset import copying
from dataset.folder import open_meta
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.recall.filler import Filler
from dataset.rendering import Record
from readers.source import Skipped
from tokenization import tokenizer as tokenizers

ABOUT = {"name": "copy drills", "licence": "MIT", "url": "dataset/copying.py"}


@dataclass(frozen=True)
class CopyConfig(PrepareConfig):
    """Make drills that teach copying."""

    count: int = 60_000  # rows or conversations
    talk: bool = False  # conversations in place of rows of random tokens
    length: int = 64  # tokens of a row
    filler: tuple[str, ...] = ()  # prepared data folders, whose talk stands between words and their repetition
    tokenizer: str = "gpt2"  # whose tokens the rows are made of, or the words of talk; a folder's, or gpt2
    gapped: float = 0.5  # share of the rows whose repetitions do not follow one another at once
    shortest: int | None = None  # rows of all lengths from this one on; default: all of them as long

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 2 or self.length < 16:
            raise ValueError(f"count ({self.count}) must be at least 2 and length ({self.length}) at least 16")
        if self.shortest is not None and not 16 <= self.shortest <= self.length:
            raise ValueError(f"shortest ({self.shortest}) must be from 16 to length ({self.length})")
        if not 0 <= self.gapped <= 1:
            raise ValueError(f"gapped ({self.gapped}) must be from 0 to 1")
        if self.tokenizer.startswith("train:"):
            raise ValueError("the drills have no text to learn tokens from; name a folder: --tokenizer=data/chitchat")


def conversations(settings: CopyConfig, skipped: Skipped) -> Iterator[Record]:
    rng = np.random.default_rng(settings.seed)
    tokenizer = tokenizers.load(settings.tokenizer)
    if settings.talk:
        words = [text[1:] for text in (tokenizer.decode([i]) for i in range(tokenizer.n_vocab)) if is_word(text)]
        filler = Filler(settings.filler, "train") if settings.filler else None
        yield from ({"messages": copying.copy_talk(words, rng, filler)} for _ in range(settings.count))
        return
    symbols = np.setdiff1d(np.arange(tokenizer.n_vocab), list(tokenizer.special.values()))
    for index in range(settings.count):
        length = int(rng.integers(settings.shortest or settings.length, settings.length + 1))
        ids, supervised = copying.repeating_row(symbols, length, settings.gapped, rng)
        yield {"ids": ids, "supervised": supervised, "split": "val" if index % 50 == 0 else "train"}


def is_word(text: str) -> bool:
    """Whether a token is a word with a space before it: it stays one token between others of its kind."""
    return len(text) > 2 and text[0] == " " and text[1:].isalpha() and text[1:].isascii()


def prepare(settings: CopyConfig) -> None:
    metas = [open_meta(folder)[0] for folder in settings.filler]
    sources = [{**source, "name": f"copy drills over {source['name']}"} for meta in metas for source in meta["sources"]]
    about = {**ABOUT, "sources": sources} if sources else ABOUT
    if sources:
        about["licence"] = ", ".join(dict.fromkeys(source["licence"] for source in sources))
    prepare_folder(settings, __file__, conversations, about)


if __name__ == "__main__":
    configurator.main(prepare, CopyConfig)
