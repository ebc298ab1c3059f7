"""Which conversations are the same or nearly so, and on which side of the split they fall."""

import collections
import hashlib
import itertools
import string

import numpy as np

from tokenization.chat_format import Message, turns

SKETCH_SIZE = 8  # hashes that stand for a conversation when near-duplicates are looked for
MIN_DISTINCTIVE = 24  # characters: an utterance this long is hardly said twice by chance
MAX_SHARED = 64  # conversations: an utterance that is in more of them is a common phrase, and no sign of duplicates
PUNCTUATION = str.maketrans("", "", string.punctuation + string.whitespace)


def opening_key(messages: list[Message]) -> int:
    """
    64-bit hash of a conversation's first two turns: their letters and digits, whoever is the bot and whatever its
    persona. Later turns do not count, since PersonaChat's two views of a dialogue each end with their own bot's words.
    """
    talk = [message for message in messages if message["role"] != "system"]
    turn_starts = (i for i in range(1, len(talk)) if len(turns(talk[i - 1 : i + 1])) > 1)
    end = next(itertools.islice(turn_starts, 1, None), len(talk))  # where the third turn starts
    return hash64("\n".join(normalized(text) for _, text in turns(talk[:end])))


def normalized(text: str) -> str:
    """The text in lower case without white space and ASCII punctuation, by which two spellings are the same."""
    return text.lower().translate(PUNCTUATION)


def digest(text: str, size: int) -> bytes:
    """A hash of `size` bytes, the same on every machine."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def hash64(text: str) -> int:
    """A hash of 64 bits, the same on every machine."""
    return int.from_bytes(digest(text, 8), "big")


def is_validation(keys: np.ndarray, val_share: float, seed: int) -> np.ndarray:
    """(n,) bool: which of the conversations with these keys, (n,) uint64, are kept for validation."""
    threshold = val_share * 2**64
    return np.array([hash64(f"{seed} {key}") < threshold for key in keys.tolist()], dtype=bool)


def group_keys(keys: np.ndarray, sketches: np.ndarray) -> np.ndarray:
    """
    (n,) uint64: a key for each conversation, the same for all conversations of a group, by which train and val are
    dealt out. Grouped are conversations of the same opening key (keys: (n,) uint64) and near-duplicates, which have at
    least half of their distinctive utterances in common, as far as the smallest hashes of these tell (sketches:
    (n, SKETCH_SIZE) uint64, 0 where there are fewer; min-wise hashing, Broder 1997).
    """
    n = len(keys)
    parents = list(range(n))  # a forest: conversations with the same root are a group

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    hashes = sketches.ravel()
    order = np.argsort(hashes, kind="stable")
    order = order[hashes[order] > 0]
    equal_hashes = np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1) if len(order) else []
    n_shared = collections.Counter()  # a pair of conversations -> the hashes that both have
    for places in equal_hashes:
        if 1 < len(places) <= MAX_SHARED:
            n_shared.update(itertools.combinations(sorted((places // SKETCH_SIZE).tolist()), 2))
    sizes = (sketches > 0).sum(axis=1)
    _, first, same = np.unique(keys, return_index=True, return_inverse=True)
    for i, other in enumerate(first[same].tolist()):
        parents[root(i)] = root(other)
    for (a, b), n_common in n_shared.items():
        if n_common >= 2 and 2 * n_common >= min(sizes[a], sizes[b]):
            parents[root(a)] = root(b)
    roots = np.array([root(i) for i in range(n)], dtype=np.int64)
    smallest = np.full(n, np.iinfo(np.uint64).max, dtype=np.uint64)  # key of each root's group
    np.minimum.at(smallest, roots, keys)
    return smallest[roots]
