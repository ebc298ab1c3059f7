"""
A split of a data folder to endless packed batches, which train.py learns from.

    loader = Loader(split, block_size=1024, tokenizer=tokenizer, seed=1337)
    batch = loader.get_batch(batch_size=12)
    loss = model.loss(**device.tensors(batch.arrays))
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from dataset.folder import Split
from dataset.learned import everybody, last_turns
from dataset.packing import find_segments, pack_best_fit
from runtime.errors import InputError
from tokenization.tokenizer import Tokenizer

NGRAM = 4  # tokens of the bot in a row that count as a repetition
WINDOW = 4096  # segments that are packed into rows together: enough for full rows, few enough for a shuffled order
FULL = 0.97  # of block_size: a row that is less full waits for the segments of the next window


@dataclass
class Batch:
    """
    Conversations one behind another, without padding between them. N tokens, a multiple of 64, which GPUs like: up to
    63 tokens of padding stand at the end.
    """

    idx: np.ndarray  # (1, N) int64
    targets: np.ndarray  # (1, N) int64: the next id where it is to be learned, -1 elsewhere
    positions: np.ndarray  # (1, N) int64: each token's place in its conversation
    cu_seqlens: np.ndarray  # (conversations + 1,) int32: where each conversation begins, and N
    n_filled: int  # tokens that are no padding
    unlikelihood_candidates: np.ndarray | None = (
        None  # (2, m) int64: numbers of learned tokens, ids that are wrong there
    )
    reference: np.ndarray | None = None  # (pairs, 2) float32, where the conversations are pairs: Loader.reference
    tensors: dict[str, Tensor] | None = None  # the arrays on the device, if they are there already

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arguments of GPT.loss, as numpy arrays."""
        names = ("idx", "targets", "positions", "cu_seqlens", "learned", "unlikelihood_candidates", "reference")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @functools.cached_property
    def learned(self) -> np.ndarray:
        """(n,) int64: the places of the tokens that are learned."""
        return np.flatnonzero(self.targets >= 0)

    @property
    def n_supervised(self) -> int:
        """Tokens that are learned."""
        return len(self.learned)

    @property
    def n_averaged(self) -> int:
        """What its loss is the mean over: the pairs, or else the tokens that are learned."""
        return self.n_supervised if self.reference is None else len(self.reference)


class Loader:
    """
    Endless rows of at most `block_size` tokens, in a new order each epoch that (seed, epoch) decides. `rows_drawn` is
    the whole state: a Loader that is made with it goes on with the same rows.

    Of each draw, rank r of world_size takes the r-th batch. train_on: "bot", the supervised tokens, "last", those of
    each conversation's last turn, or "all", everybody's. unlikelihood: whether batches have candidates. group: so many
    conversations, one behind another in the split, stay in one batch: 2 for pairs; rows are so many times as long, and
    a batch has as many fewer. Raises InputError where there is nothing to learn from.
    """

    def __init__(
        self,
        split: Split,
        block_size: int,
        tokenizer: Tokenizer,
        seed: int = 1337,
        rank: int = 0,
        world_size: int = 1,
        rows_drawn: int = 0,
        train_on: Literal["bot", "last", "all"] = "bot",
        unlikelihood: bool = False,
        group: int = 1,
    ) -> None:
        split = last_turns(split, tokenizer) if train_on == "last" else split
        self.split, self.block_size, self.tokenizer = split, block_size, tokenizer
        self.learned = everybody(split, tokenizer) if train_on == "all" else split.supervised
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.unlikelihood, self.group = unlikelihood, group
        self.reference: np.ndarray | None = None  # (pairs, 2) float32: what training/preference.py judges them by
        self.segments = find_segments(split, block_size, tokenizer)
        if not len(self.segments):
            raise InputError("no conversation with words of the bot to learn from")
        self.rows = itertools.chain.from_iterable(map(self.epoch_rows, itertools.count()))
        self.rows_drawn = 0
        for _ in range(rows_drawn):
            next(self.rows)
            self.rows_drawn += 1

    def epoch_rows(self, epoch: int) -> Iterator[list[int]]:
        """The rows of one epoch, lists of numbers of groups, packed by best fit within windows of a random order."""
        rng = np.random.default_rng([self.seed % 2**63, epoch])  # numpy takes no negative seed
        prefix_starts, prefix_ends, starts, ends = self.segments.T
        lengths = prefix_ends - prefix_starts + ends - starts - 1  # inputs: the last token is only a target
        lengths, capacity = lengths.reshape(-1, self.group).sum(axis=1), self.group * self.block_size
        order, lengths = rng.permutation(len(lengths)).tolist(), lengths.tolist()  # Python's own numbers are faster
        waiting: list[int] = []
        for i in range(0, len(order), WINDOW):
            is_last = i + WINDOW >= len(order)
            rows = pack_best_fit(waiting + order[i : i + WINDOW], lengths, capacity)
            is_full = [is_last or sum(lengths[i] for i in row) >= FULL * capacity for row in rows]
            full = list(itertools.compress(rows, is_full))
            waiting = [segment for row, ready in zip(rows, is_full, strict=True) if not ready for segment in row]
            yield from (full[j] for j in rng.permutation(len(full)))

    def get_batch(self, batch_size: int) -> Batch:
        """The next batch of `batch_size` rows for this rank."""
        batch_size = self.rows_of(batch_size)
        rows = list(itertools.islice(self.rows, batch_size * self.world_size))
        self.rows_drawn += len(rows)
        return self.batch(rows[self.rank * batch_size : (self.rank + 1) * batch_size])

    def rows_of(self, batch_size: int) -> int:
        """How many rows of groups have about as many tokens as `batch_size` rows of block_size."""
        return max(1, batch_size // self.group)

    def epoch(self, batch_size: int, epoch: int = 0) -> Iterator[Batch]:
        """
        The batches of one epoch, once through; the last may be smaller. Each rank has rows of its own, unless there are
        fewer rows than ranks: then each has them all.
        """
        rows, batch_size = list(self.epoch_rows(epoch)), self.rows_of(batch_size)
        if len(rows) >= self.world_size:
            rows = rows[self.rank :: self.world_size]
        return (self.batch(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size))

    def batch(self, rows: list[list[int]]) -> Batch:
        """The Batch of these rows, each a list of numbers of groups: their segments in order."""
        groups = list(itertools.chain.from_iterable(rows))
        segments = self.segments.reshape(-1, self.group, 4)[groups].reshape(-1, 4)
        starts = segments[:, [0, 2]].flatten()  # of the prefix and the rest of each segment
        sizes = segments[:, [1, 3]].flatten() - starts
        n_ids = sizes.reshape(-1, 2).sum(axis=1)
        ends = n_ids.cumsum()
        places = np.repeat(starts - sizes.cumsum() + sizes, sizes) + np.arange(ends[-1])
        ids, supervised = self.split.ids[places], self.split.supervised[places]
        lengths = n_ids - 1  # the last token is only a target
        n_filled = int(lengths.sum())
        N = -(-n_filled // 64) * 64
        cu_seqlens = np.concatenate([[0], lengths.cumsum(), [N] * (n_filled < N)]).astype(np.int32)
        idx = np.full((1, N), self.tokenizer.endoftext, dtype=np.int64)
        targets = np.full((1, N), -1, dtype=np.int64)
        positions = np.zeros((1, N), dtype=np.int64)
        idx[0, :n_filled] = np.delete(ids, ends - 1)
        next_ids, learned = np.delete(ids, ends - n_ids).astype(np.int64), np.delete(self.learned[places], ends - n_ids)
        targets[0, :n_filled] = np.where(learned, next_ids, -1)
        positions[0, :n_filled] = np.arange(n_filled) - np.repeat(lengths.cumsum() - lengths, lengths)
        batch = Batch(idx, targets, positions, cu_seqlens, n_filled)
        if self.reference is not None:
            batch.reference = self.reference[groups]
        if self.unlikelihood:
            parts, are_bots = (np.split(array, ends[:-1]) for array in (ids, supervised))
            batch.unlikelihood_candidates = self.candidates(parts, are_bots, cu_seqlens, targets)
        return batch

    def candidates(
        self, ids: list[np.ndarray], supervised: list[np.ndarray], cu_seqlens: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """unlikelihood_candidates of a Batch of these segments: their places as numbers among the learned tokens."""
        pairs = [
            unlikelihood_candidates(segment, is_bot[1:], self.tokenizer)
            for segment, is_bot in zip(ids, supervised, strict=True)
        ]
        places = np.concatenate([at + start for (at, _), start in zip(pairs, cu_seqlens, strict=False)])
        numbers = np.cumsum(targets[0] >= 0) - 1
        return np.stack([numbers[places], np.concatenate([wrong for _, wrong in pairs])])


def unlikelihood_candidates(ids: np.ndarray, is_bot: np.ndarray, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """
    What the bot should not say, as int64 (places, ids): at each of its tokens in a conversation (is_bot[i]: ids[i + 1]
    is the bot's) the tags of the others, and what would complete a run of NGRAM tokens that it has said already.
    """
    places: list[int] = []
    wrong_ids: list[int] = []
    followers: dict[tuple[int, ...], set[int]] = {}  # NGRAM - 1 tokens of the bot -> what has followed them
    turn: list[int] = []  # the bot's tokens in this turn
    tokens = ids.tolist()
    for i in np.flatnonzero(is_bot).tolist():
        if not (i and is_bot[i - 1]):
            turn = []
        target, before = tokens[i + 1], tuple(turn[1 - NGRAM :])
        wrong = {tokenizer.human, tokenizer.system}
        if len(before) == NGRAM - 1:
            wrong |= followers.get(before, set())
            followers.setdefault(before, set()).add(target)
        wrong.discard(target)
        places += [i] * len(wrong)
        wrong_ids += sorted(wrong)
        turn.append(target)
    return np.array(places, dtype=np.int64), np.array(wrong_ids, dtype=np.int64)
