"""Conversations to rows of a fixed length: where they are cut, and which go into a row together."""

import bisect
from collections.abc import Sequence

import numpy as np

from dataset.folder import Split
from tokenization.tokenizer import Tokenizer


def find_segments(split: Split, block_size: int, tokenizer: Tokenizer) -> np.ndarray:
    """
    What is learned from, (n, 4) int64: a row is a conversation, or a part of one that is longer than the context.

    The ids of a segment (prefix_start, prefix_end, start, end) are ids[prefix_start:prefix_end], then ids[start:end]:
    at most block_size inputs and their targets. The prefix of a part is the <|endoftext|> and system message of the
    whole; a part begins with a human turn if there is one to cut at. What has no supervised token is left out.
    """
    if len(split.starts) < 2:
        return np.zeros((0, 4), dtype=np.int64)
    starts, ends = split.starts[:-1], split.starts[1:]
    supervised = np.add.reduceat(split.supervised, starts, dtype=np.int64) > 0
    fits = ends - starts <= block_size + 1
    whole = np.stack([starts, starts, starts, ends], axis=1)[fits & supervised]
    parts = [
        part
        for start, end in zip(starts[~fits & supervised], ends[~fits & supervised], strict=True)
        for part in cut_conversation(split.ids[start:end], start, block_size, tokenizer)
        if split.supervised[part[2] : part[3]].any()
    ]
    return np.concatenate([whole, np.array(parts, dtype=np.int64).reshape(-1, 4)])


def cut_conversation(
    ids: np.ndarray, offset: int, block_size: int, tokenizer: Tokenizer
) -> list[tuple[int, int, int, int]]:
    """The segments, as find_segments has them, of one conversation's ids, which begin at `offset` of the split."""
    tags = np.flatnonzero(np.isin(ids, (tokenizer.system, tokenizer.human, tokenizer.bot)))
    if not len(tags):  # a document: every part is full, and begins as the whole does
        first = [(offset, offset, offset, offset + block_size + 1)]
        starts = range(offset + block_size + 1, offset + len(ids), block_size)
        return first + [(offset, offset + 1, i, min(i + block_size, offset + len(ids))) for i in starts]
    prefix_end = int(tags[1]) if ids[1] == tokenizer.system and len(tags) > 1 else 1
    if prefix_end > block_size // 2:
        prefix_end = 1  # a persona that leaves little space for the talk is only in the first part
    bot_tags = tags[ids[tags] == tokenizer.bot]
    turn_ends = np.append(tags[1:], len(ids))
    human_next = turn_ends[np.append(ids[tags[1:]] == tokenizer.human, True)]  # a human turn follows, or nothing
    parts, start = [], 0
    while start < len(ids):
        prefix = prefix_end if start else 0
        tokens_left = block_size + 1 - prefix
        # the last end that fits, best before a human turn, of those that leave a bot's tag in the part
        last_fits = [ends[(start < ends) & (ends <= start + tokens_left)][-1:] for ends in (human_next, turn_ends)]
        end = next(
            (int(end) for ends in last_fits for end in ends if ((start <= bot_tags) & (bot_tags < end)).any()), None
        )
        if end is None:  # no turn of the bot fits whole: it loses its end, so that the human's before it stays in view
            end = int(turn_ends[(turn_ends > start + tokens_left) | (turn_ends == len(ids))][0])
        parts.append((offset, offset + prefix, offset + start, offset + min(end, start + tokens_left)))
        start = end
    return parts


def pack_best_fit(pieces: Sequence[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of pieces, by number: the longest first, each into the fullest row that still has space for it."""
    rows: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # sorted: (tokens left, row number)
    for piece in sorted(pieces, key=lengths.__getitem__, reverse=True):
        i = bisect.bisect_left(spaces, (lengths[piece], -1))
        if i < len(spaces):
            tokens_left, row = spaces.pop(i)
        else:
            tokens_left, row = capacity, len(rows)
            rows.append([])
        rows[row].append(piece)
        bisect.insort(spaces, (tokens_left - lengths[piece], row))
    return rows
