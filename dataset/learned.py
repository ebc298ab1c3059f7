"""
Which tokens of a split are learned: the bot's words, the last of its turns alone, or everybody's.

    split = last_turns(split, tokenizer)       # --learn=last
    learned = everybody(split, tokenizer)      # --learn=all
"""

import dataclasses

import numpy as np

from dataset.folder import Split
from tokenization.tokenizer import Tokenizer


def last_turns(split: Split, tokenizer: Tokenizer) -> Split:
    """The Split with only the last supervised turn of each conversation supervised; a document stays as it is."""
    starts, ends = split.starts[:-1], split.starts[1:]
    supervised = np.flatnonzero(split.supervised)
    n_before = np.searchsorted(supervised, ends)  # supervised tokens up to each conversation's end
    has_any = n_before > np.searchsorted(supervised, starts)
    starts, lasts = starts[has_any], supervised[n_before[has_any] - 1]
    tags = np.flatnonzero(split.ids == tokenizer.bot)
    before = np.searchsorted(tags, lasts)
    begins = np.maximum(np.where(before > 0, np.append(tags, 0)[before - 1], 0), starts)
    edges = np.zeros(len(split.ids) + 1, dtype=np.int8)
    edges[begins] += 1
    edges[lasts + 1] -= 1
    return dataclasses.replace(split, supervised=split.supervised * edges[:-1].cumsum(dtype=np.int8).astype(np.uint8))


def everybody(split: Split, tokenizer: Tokenizer) -> np.ndarray:
    """
    (n,) bool: all tokens but those of the bot's messages of weight 0, which nobody is to learn, and what a document
    leaves out: rows of random tokens can only be foretold where they come back.
    """
    marks = (tokenizer.endoftext, tokenizer.system, tokenizer.human, tokenizer.bot)
    borders = np.flatnonzero(np.isin(split.ids, marks))
    lengths = np.diff(np.append(borders, len(split.ids)))
    # of a conversation nothing stands between <|endoftext|> and the first tag
    says_itself = np.repeat(np.isin(split.ids[borders], (tokenizer.bot, tokenizer.endoftext)), lengths)
    says_itself[borders] = False  # the tag itself is no word of the bot
    return ~says_itself | (split.supervised > 0)
