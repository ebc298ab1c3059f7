"""
Conversations on disk, and packed batches of them.

    data/chitchat/train.bin     ids, uint16; a conversation begins at its <|endoftext|>
    data/chitchat/train.sup     supervised, uint8, one for each id
    data/chitchat/val.bin val.sup tokenizer.json meta.json

preparation.py writes them; `open_meta`, `open_split` and `Loader` are what train.py reads with.
"""

import bisect
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import atomic
import tokenizer as tokenizers
from configurator import InputError
from conversation import parsed

FORMAT = 1
SPLITS = ("train", "val")
NGRAM = 4  # tokens of the bot in a row that are a repetition


def open_meta(folder):
    """(meta, tokenizer) of a data folder. Raises InputError that names the command which makes or rewrites it."""
    folder = Path(folder)
    script = folder / "prepare.py"
    command = f"python {script}" if script.exists() else "python data/chitchat/prepare.py"
    atomic.finish(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} has no data (meta.json); make them: {command}") from None
    except ValueError as error:
        raise InputError(f"{folder / 'meta.json'}: damaged ({error}); make it anew: {command}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        format = meta.get("format") if isinstance(meta, dict) else None
        raise InputError(f"{folder} is of format {format}, this is {FORMAT}; make it anew: {command}")
    try:
        hash, tokens = meta["tokenizer"]["hash"], {name: meta["splits"][name].get("tokens", 0) for name in SPLITS}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'meta.json'}: damaged ({error!r}); make it anew: {command}") from None
    tokenizer = tokenizers.load(folder)
    if tokenizer.hash != hash:
        raise InputError(f"{folder}: tokenizer.json is not the one the data were made with; make them anew: {command}")
    for split, n in tokens.items():
        for end, size in (("bin", 2), ("sup", 1)):
            path, wanted = folder / f"{split}.{end}", n * size
            found = path.stat().st_size if path.exists() else 0
            if found != wanted:
                raise InputError(f"{path} has {found:,} bytes, meta.json says {wanted:,}; make it anew: {command}")
    return meta, tokenizer


@dataclass
class Split:
    """ids and supervised, (n,) each, memory-mapped; starts: (conversations + 1,), the last one is n."""

    ids: np.ndarray
    supervised: np.ndarray
    starts: np.ndarray


def open_split(folder, split, tokenizer):
    """The Split called `split` of a data folder that open_meta has checked."""
    arrays = []
    for end, dtype in (("bin", np.uint16), ("sup", np.uint8)):
        path = Path(folder) / f"{split}.{end}"
        arrays.append(np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype))
    starts = np.append(np.flatnonzero(arrays[0] == tokenizer.endoftext), len(arrays[0]))
    return Split(*arrays, starts)


def conversations(folder, split):
    """The messages of each conversation in a split of a data folder, as conversation.parsed has them."""
    _, tokenizer = open_meta(folder)
    opened = open_split(folder, split, tokenizer)
    for start, end in itertools.pairwise(opened.starts.tolist()):
        yield parsed(opened.ids[start:end].tolist(), tokenizer)


def segments(split, block_size, tokenizer):
    """
    What is learned from: (n, 4) int64, each row a conversation, or a part of one that is longer than the context.
    Its ids are ids[head:body] followed by ids[start:end]; they fill at most block_size inputs and their targets. A part
    opens with the <|endoftext|> and system message of the whole, and with a human turn if there is one to cut at.
    What has no supervised token is left out.
    """
    if len(split.starts) < 2:
        return np.zeros((0, 4), dtype=np.int64)
    starts, ends = split.starts[:-1], split.starts[1:]
    learned = np.add.reduceat(split.supervised, starts, dtype=np.int64) > 0
    whole = ends - starts <= block_size + 1
    rows = np.stack([starts, starts, starts, ends], axis=1)[whole & learned]
    parts = [
        part
        for start, end in zip(starts[~whole & learned], ends[~whole & learned], strict=True)
        for part in cut(split.ids[start:end], start, block_size, tokenizer)
        if split.supervised[part[2] : part[3]].any()
    ]
    return np.concatenate([rows, np.array(parts, dtype=np.int64).reshape(-1, 4)])


def cut(ids, offset, block_size, tokenizer):
    """The parts, as `segments` has them, of one conversation's ids, which begin at `offset` of the split."""
    tags = np.flatnonzero(np.isin(ids, (tokenizer.system, tokenizer.human, tokenizer.bot)))
    body = int(tags[1]) if ids[1] == tokenizer.system and len(tags) > 1 else 1
    if body > block_size // 2:
        body = 1  # a persona that leaves no room for talk is only in the first part
    bots = tags[ids[tags] == tokenizer.bot]
    borders = np.append(tags[1:], len(ids))  # where a turn ends
    humans = borders[np.append(ids[tags[1:]] == tokenizer.human, True)]  # and the human's begins, or nothing
    parts, start = [], 0
    while start < len(ids):
        head = body if start else 0
        room = block_size + 1 - head
        fitting = [ends[(start < ends) & (ends <= start + room)][-1:] for ends in (humans, borders)]
        end = next((int(end) for ends in fitting for end in ends if ((start <= bots) & (bots < end)).any()), None)
        if end is None:  # no turn of the bot fits whole: it loses its end, so that the human's before it stays in view
            end = int(borders[(borders > start + room) | (borders == len(ids))][0])
        parts.append((offset, offset + head, offset + start, offset + min(end, start + room)))
        start = end
    return parts


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
        self.segments = segments(split, block_size, tokenizer)
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
            rows = best_fit(waiting + order[i : i + self.WINDOW], lengths, self.block_size)
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
            found = [unlikely(each, said, self.tokenizer) for each, said in zip(ids, spoken, strict=True)]
            places = np.concatenate([at + start for (at, _), start in zip(found, starts, strict=False)])
            numbers = np.cumsum(targets[0] >= 0) - 1
            batch.unlikely = np.stack([numbers[places], np.concatenate([tokens for _, tokens in found])])
        return batch


def unlikely(ids, spoken, tokenizer):
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


def best_fit(pieces, lengths, capacity):
    """Rows of pieces, the longest first, each into the fullest row that has room for it."""
    rows, room = [], []  # room: sorted (tokens left, row number)
    for piece in sorted(pieces, key=lambda piece: -lengths[piece]):
        i = bisect.bisect_left(room, (lengths[piece], -1))
        if i < len(room):
            left, number = room.pop(i)
        else:
            left, number = capacity, len(rows)
            rows.append([])
        rows[number].append(piece)
        bisect.insort(room, (left - lengths[piece], number))
    return rows
