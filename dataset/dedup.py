"""Which conversations are the same or nearly so, and on which side of the split they fall."""

import collections
import hashlib
import itertools
import string

import numpy as np

from tokenization.chat_format import turns

SKETCH_SIZE = 8  # hashes that stand for a conversation when near-duplicates are looked for
MIN_DISTINCTIVE = 24  # letters and digits: an utterance of so many is not said by chance
PUNCTUATION = str.maketrans("", "", string.punctuation + string.whitespace)
MAX_SHARED = 64  # an utterance said in more conversations than this tells nothing about them


def opening_key(messages):
    """
    A hash of a conversation's first two turns, letters and digits only, whoever is the bot and whatever its persona.
    Not of all of it: PersonaChat's two views of a dialogue end differently, each with its own bot's last words.
    """
    talk = [message for message in messages if message["role"] != "system"]
    borders = (i for i in range(1, len(talk)) if len(turns(talk[i - 1 : i + 1])) > 1)
    end = next(itertools.islice(borders, 1, None), len(talk))
    return hash64("\n".join(normalized(text) for _, text in turns(talk[:end])))


def normalized(text):
    """The text in lower case without its white space and ASCII punctuation: by these, two spellings are the same."""
    return text.lower().translate(PUNCTUATION)


def digest(text, size):
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def hash64(text):
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(digest(text, 8), "big")


def is_validation(keys, settings):
    """(n,) bool: which of the conversations with these keys are kept for validation."""
    below = settings.val_share * 2**64
    return np.array([hash64(f"{settings.seed} {key}") < below for key in keys.tolist()], dtype=bool)


def group_keys(rows):
    """
    (n,) uint64: the key by which each conversation is dealt out. Those that open alike have one in common, and
    near-duplicates: those that share half of their distinctive utterances, as far as the smallest hashes of these tell
    (min-wise hashing, Broder 1997).
    """
    n = len(rows.keys)
    parents = list(range(n))

    def root(i):
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    flat = rows.sketches.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[flat[order] > 0]
    runs = np.split(order, np.flatnonzero(np.diff(flat[order])) + 1) if len(order) else []
    shared = collections.Counter()
    for run in runs:
        if 1 < len(run) <= MAX_SHARED:
            shared.update(itertools.combinations(sorted((run // SKETCH_SIZE).tolist()), 2))
    sizes = (rows.sketches > 0).sum(axis=1)
    _, first, same = np.unique(rows.keys, return_index=True, return_inverse=True)
    for i, other in enumerate(first[same].tolist()):
        parents[root(i)] = root(other)
    for (a, b), count in shared.items():
        if count >= 2 and 2 * count >= min(sizes[a], sizes[b]):
            parents[root(a)] = root(b)
    keys = rows.keys.copy()
    roots = np.array([root(i) for i in range(n)], dtype=np.int64)
    least = np.full(n, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, roots, keys)
    return least[roots]
