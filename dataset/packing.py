"""Conversations to rows of a fixed length: where they are cut, and which go into a row together."""

import bisect

import numpy as np


def find_segments(split, block_size, tokenizer):
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
        for part in cut_conversation(split.ids[start:end], start, block_size, tokenizer)
        if split.supervised[part[2] : part[3]].any()
    ]
    return np.concatenate([rows, np.array(parts, dtype=np.int64).reshape(-1, 4)])


def cut_conversation(ids, offset, block_size, tokenizer):
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


def pack_best_fit(pieces, lengths, capacity):
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
