"""
Prepared data folders in given shares: how much of each is taken, and the records themselves.
"""

import json
from dataclasses import dataclass

from dataset.dedup import hash64
from dataset.folder import SPLITS, open_meta, read_conversations
from dataset.prepare import PERMISSIVE
from runtime.errors import InputError


@dataclass(frozen=True)
class Part:
    """A source of a mixture."""

    folder: str
    share: float  # of the mixture's tokens
    cap: float | None  # tokens taken at most
    tokens: int  # that it holds
    epochs: float  # how often each of its conversations is taken, on average
    own_split: bool  # its train and val are kept as they are
    sources: list

    @property
    def permissive(self):
        return all(source["licence"] in PERMISSIVE for source in self.sources)

    def __str__(self):
        cap = f", cap {self.cap:,.0f}" if self.cap else ""
        taken = f"{self.tokens * self.epochs:,.0f} of {self.tokens:,} tokens"
        return f"{self.folder}: share {self.share:.1%}, {taken} ({self.epochs:.2f} epochs{cap})"


def plan(folders, max_epochs):
    """
    The Parts of a mixture, from "FOLDER=WEIGHT" or "FOLDER=WEIGHT,CAP". It is as large as it can be without any source
    being taken more than `max_epochs` times, or beyond its cap. Raises InputError.
    """
    wanted = {}
    for text in folders:
        folder, _, numbers = text.rpartition("=")
        try:
            weight, *cap = (float(number) for number in numbers.split(","))
            if not folder or not 0 < weight < 1e9 or len(cap) > 1 or any(not 0 < number < 1e15 for number in cap):
                raise ValueError
        except ValueError:
            raise InputError(f"--folders={text}: write FOLDER=WEIGHT or FOLDER=WEIGHT,CAP") from None
        if folder in wanted:
            raise InputError(f"--folders: {folder} is named twice")
        wanted[folder] = (weight, cap[0] if cap else None)
    metas = {folder: open_meta(folder)[0] for folder in wanted}
    tokens = {folder: sum(counts["tokens"] for counts in meta["splits"].values()) for folder, meta in metas.items()}
    total = sum(weight for weight, _ in wanted.values())
    most = {folder: min(max_epochs * tokens[folder], cap or float("inf")) for folder, (_, cap) in wanted.items()}
    size = min(most[folder] * total / weight for folder, (weight, _) in wanted.items())
    return [
        Part(folder, weight / total, cap, tokens[folder], size * weight / total / tokens[folder],
             metas[folder].get("own_split", False), metas[folder]["sources"])
        for folder, (weight, cap) in wanted.items()
    ]  # fmt: skip


def mixed_records(parts, seed):
    """Yield the records of a mixture. Which conversations a share below one epoch takes is decided by what they say."""
    for part in parts:
        whole, rest = divmod(part.epochs, 1)
        for split in SPLITS:
            for messages in read_conversations(part.folder, split):
                copies = int(whole) + (hash64(f"{seed} {json.dumps(messages)}") < rest * 2**64)
                if copies:
                    record = {"messages": messages, "copies": copies}
                    yield {**record, "split": split} if part.own_split else record
