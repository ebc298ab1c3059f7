"""
Mixtures of prepared data folders in given shares: how much of each folder is taken, and the records themselves.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dataset.dedup import hash64
from dataset.folder import SPLITS, open_meta, read_records
from dataset.prepare import PERMISSIVE
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers


@dataclass(frozen=True)
class Part:
    """What a mixture takes of one prepared folder. As text it is one line for people."""

    folder: str
    share: float  # of the mixture's tokens
    cap: float | None  # tokens to take at most
    tokens: int  # that the folder holds
    epochs: float  # how often each of its conversations is taken, on average
    own_split: bool  # its train and val stay as they are
    sources: list[dict[str, Any]]  # of meta.json

    @property
    def permissive(self) -> bool:
        """Whether the licences of all its sources are."""
        return all(source["licence"] in PERMISSIVE for source in self.sources)

    def __str__(self) -> str:
        cap = f", cap {self.cap:,.0f}" if self.cap else ""
        taken = f"{self.tokens * self.epochs:,.0f} of {self.tokens:,} tokens"
        return f"{self.folder}: share {self.share:.1%}, {taken} ({self.epochs:.2f} epochs{cap})"


def plan(folders: Iterable[str], max_epochs: float) -> list[Part]:
    """
    The Parts of a mixture, from texts "FOLDER=WEIGHT" or "FOLDER=WEIGHT,CAP". The mixture is as large as it can be
    while no folder is taken more than `max_epochs` times or beyond its cap.
    Raises InputError if a text is of another form, a folder is named twice, or a folder has no data.
    """
    weights: dict[str, float] = {}
    caps: dict[str, float | None] = {}
    for text in folders:
        folder, _, numbers = text.rpartition("=")
        try:
            weight, *cap = (float(number) for number in numbers.split(","))
            if not folder or not 0 < weight < 1e9 or len(cap) > 1 or any(not 0 < number < 1e15 for number in cap):
                raise ValueError
        except ValueError:
            raise InputError(f"--folders={text}: write FOLDER=WEIGHT or FOLDER=WEIGHT,CAP") from None
        if folder in weights:
            raise InputError(f"--folders: {folder} is named twice")
        weights[folder], caps[folder] = weight, cap[0] if cap else None
    metas = {folder: open_meta(folder)[0] for folder in weights}
    tokens = {folder: sum(counts["tokens"] for counts in meta["splits"].values()) for folder, meta in metas.items()}
    total_weight = sum(weights.values())
    max_tokens = {folder: min(max_epochs * tokens[folder], caps[folder] or float("inf")) for folder in weights}
    size = min(max_tokens[folder] * total_weight / weight for folder, weight in weights.items())  # tokens in all
    return [
        Part(
            folder=folder,
            share=weight / total_weight,
            cap=caps[folder],
            tokens=tokens[folder],
            epochs=size * weight / total_weight / tokens[folder],
            own_split=metas[folder].get("own_split", False),
            sources=metas[folder]["sources"],
        )
        for folder, weight in weights.items()
    ]


def mixed_records(parts: Iterable[Part], seed: int, tokenizer: str) -> Iterator[dict[str, Any]]:
    """
    Yield the records of a mixture, as read_records has them, with how many "copies" of them to take, and "split" where
    the folder decides. Each is taken as often as the whole epochs say, and once more if a hash of its words and the
    seed falls within the rest. tokenizer: the mixture's, by name; a folder with rows of tokens must have the same.
    """
    for part in parts:
        whole_epochs, rest = divmod(part.epochs, 1)
        for split in SPLITS:
            for record in read_records(part.folder, split):
                text = json.dumps(record.get("messages", record))
                if "ids" in record and not is_same_tokenizer(part.folder, tokenizer):
                    raise InputError(
                        f"{part.folder} has rows of tokens, not of words: mix it with --tokenizer={part.folder}"
                    )
                copies = int(whole_epochs) + (hash64(f"{seed} {text}") < rest * 2**64)
                if copies:
                    record["copies"] = copies
                    yield {**record, "split": split} if part.own_split else record


@functools.cache
def is_same_tokenizer(folder: str, tokenizer: str) -> bool:
    """Whether a data folder was made with the tokenizer of this name; one that is to be trained is another."""
    return not tokenizer.startswith("train:") and open_meta(folder)[1].hash == tokenizers.load(tokenizer).hash
