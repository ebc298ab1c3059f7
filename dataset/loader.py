"""
Conversations on disk, and packed batches of them.

    data/chitchat/train.bin     ids, uint16; a conversation begins at its <|endoftext|>
    data/chitchat/train.sup     supervised, uint8, one for each id
    data/chitchat/val.bin val.sup tokenizer.json meta.json

preparation.py writes them; `open_meta`, `open_split` and `Loader` are what train.py reads with.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from dataset.packing import find_segments, pack_best_fit
from runtime.errors import InputError

NGRAM = 4  # tokens of the bot in a row that are a repetition


@dataclass
class Batch:
    """
    Conversations one behind another, as GPT.forward takes them: idx, targets and positions, int64 (1, N); starts,
    int32 (conversations + 1,). N is a multiple of 64, which GPUs like: the last up to 63 tokens are padding.
    """

    idx: np.ndarray
    targets: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    filled: int  # tokens that are no padding
    unlikely: np.ndarray | None = None  # int64 (2, m): learned tokens, by their number, and ids that they should not be

    @property
    def arrays(self):
        known = (self.idx, self.targets, self.positions, self.starts)
        return known if self.unlikely is None else (*known, self.unlikely)

    @property
    def n_supervised(self):
        return int((self.targets >= 0).sum())


class Loader:
    """
    Endless packed rows of `block_size` tokens, each epoch in a new order that (seed, epoch) decides.
    `rows_drawn` is its whole state: a Loader that starts there goes on with the same rows. Of each draw, rank r of
    world_size takes the r-th batch. learn: "bot", the supervised tokens; "all", everybody's. unlikely: Batches have it.
    """

    WINDOW = 4096  # segments packed together

    def __init__(
        self, split, block_size, tokenizer, seed=1337, rank=0, world_size=1, rows_drawn=0, learn="bot", unlikely=False
    ):
        self.unlikely = unlikely
        self.split, self.block_size, self.tokenizer = split, block_size, tokenizer
        self.seed, self.rank, self.world_size, self.learn = seed, rank, world_size, learn
        self.segments = find_segments(split, block_size, tokenizer)
        if not len(self.segments):
            raise InputError("no conversation with words of the bot to learn from")
        self.rows = itertools.chain.from_iterable(map(self.epoch_rows, itertools.count()))
        self.rows_drawn = 0
        for _ in range(rows_drawn):
            next(self.rows)
            self.rows_drawn += 1

    def epoch_rows(self, epoch):
        """The rows of one epoch, lists of segment numbers: best fit within a window, rows with much room left wait."""
        rng = np.random.default_rng([self.seed % 2**63, epoch])  # numpy takes no negative seed
        heads, bodies, starts, ends = self.segments.T
        lengths = bodies - heads + ends - starts - 1  # inputs: the last token is only a target
        order = rng.permutation(len(lengths)).tolist()
        waiting = []
        for i in range(0, len(order), self.WINDOW):
            last = i + self.WINDOW >= len(order)
            rows = pack_best_fit(waiting + order[i : i + self.WINDOW], lengths, self.block_size)
            full = [row for row in rows if last or sum(lengths[row]) >= 0.97 * self.block_size]
            waiting = (
                []
                if last
                else [segment for row in rows if sum(lengths[row]) < 0.97 * self.block_size for segment in row]
            )
            yield from (full[j] for j in rng.permutation(len(full)))

    def get_batch(self, batch_size):
        """The next Batch of `batch_size` rows for this rank."""
        rows = list(itertools.islice(self.rows, batch_size * self.world_size))
        self.rows_drawn += len(rows)
        return self.batch(rows[self.rank * batch_size : (self.rank + 1) * batch_size])

    def epoch(self, batch_size, epoch=0):
        """Batches of one epoch, once through; the last may be smaller. Ranks take turns; all have all of a few rows."""
        rows = list(self.epoch_rows(epoch))
        if len(rows) >= self.world_size:
            rows = rows[self.rank :: self.world_size]
        return (self.batch(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size))

    def batch(self, rows):
        parts = [self.segments[number] for row in rows for number in row]
        ids, learned = (
            [np.concatenate([array[head:body], array[start:end]]) for head, body, start, end in parts]
            for array in (self.split.ids, self.split.supervised)
        )
        lengths = [len(each) - 1 for each in ids]  # the last token is only a target
        filled = sum(lengths)
        N = -(-filled // 64) * 64
        starts = np.cumsum([0, *lengths, N - filled] if filled < N else [0, *lengths], dtype=np.int32)
        idx = np.full((1, N), self.tokenizer.endoftext, dtype=np.int64)
        targets = np.full((1, N), -1, dtype=np.int64)
        positions = np.zeros((1, N), dtype=np.int64)
        idx[0, :filled] = np.concatenate([each[:-1] for each in ids])
        after = np.concatenate([each[1:] for each in ids]).astype(np.int64)
        wanted = np.concatenate([each[1:] for each in learned]) if self.learn == "bot" else True
        targets[0, :filled] = np.where(wanted, after, -1)
        positions[0, :filled] = np.concatenate([np.arange(n) for n in lengths])
        batch = Batch(idx, targets, positions, starts, filled)
        if self.unlikely:
            spoken = [each[1:] for each in learned]
            found = [
                unlikelihood_candidates(each, said, self.tokenizer) for each, said in zip(ids, spoken, strict=True)
            ]
            places = np.concatenate([at + start for (at, _), start in zip(found, starts, strict=False)])
            numbers = np.cumsum(targets[0] >= 0) - 1
            batch.unlikely = np.stack([numbers[places], np.concatenate([tokens for _, tokens in found])])
        return batch


def unlikelihood_candidates(ids, spoken, tokenizer):
    """
    What the bot should not say, (places, ids) as int64: at each of its tokens in a conversation (spoken[i]: ids[i + 1]
    is the bot's) the tags of the others, and what would complete a run of NGRAM tokens that it has said already.
    """
    places, tokens = [], []
    after, said = {}, []  # what followed NGRAM - 1 tokens of the bot; its tokens in this turn
    ids = ids.tolist()
    for i in np.flatnonzero(spoken).tolist():
        if not (i and spoken[i - 1]):
            said = []
        wanted, before = ids[i + 1], tuple(said[1 - NGRAM :])
        wrong = {tokenizer.human, tokenizer.system}
        if len(before) == NGRAM - 1:
            wrong |= after.get(before, set())
            after.setdefault(before, set()).add(wanted)
        wrong.discard(wanted)
        places += [i] * len(wrong)
        tokens += sorted(wrong)
        said.append(wanted)
    return np.array(places, dtype=np.int64), np.array(tokens, dtype=np.int64)
