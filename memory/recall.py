"""Turns of a chat that bear on a new message, found by their words (BM25, Robertson and Zaragoza 2009, by bm25s)."""

import collections
import re
from collections.abc import Sequence

MIN_SHARED = 1 / 3  # of the words that matter in the message, a turn must have so many to bear on it
ENDINGS = re.compile(r"(?:'s|ing|ed|es|s|e)$")  # cut from words, so that "dogs" finds "dog"


def key_words(text: str) -> list[str]:
    """The words of a text that say what it is about, lower-case and without their endings."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS as STOPWORDS  # takes a while to import, and few chats need it

    words = re.findall(r"\w+(?:'\w+)?", text.lower().replace("’", "'"))
    matter = (word for word in words if word.partition("'")[0] not in STOPWORDS and word not in STOPWORDS)
    return [ENDINGS.sub("", word) if len(word) > 3 else word for word in matter]


class TurnIndex:
    """Finds texts by the words of another. texts: in the order of the chat."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self.words = [key_words(text) for text in texts]
        self.index = bm25s.BM25()
        self.is_empty = not any(self.words)
        if not self.is_empty:
            self.index.index(self.words, show_progress=False)

    def find(self, text: str, n: int) -> list[int]:
        """The numbers of up to n texts that bear on `text`, in their order."""
        wanted = [word for word in dict.fromkeys(key_words(text)) if any(word in words for words in self.words)]
        n_asked = len(set(key_words(text)))
        if self.is_empty or not wanted:
            return []
        n = min(n, len(self.words))
        numbers, scores = self.index.retrieve([wanted], k=n, show_progress=False)
        near = [
            int(number)
            for number, score in zip(numbers[0], scores[0], strict=True)
            if score > 0 and len(set(wanted) & set(self.words[number])) >= MIN_SHARED * n_asked
        ]
        return sorted(near)


def topics(exchanges: Sequence[tuple[str, str]], n: int) -> list[str]:
    """Up to n words that most exchanges (message, reply) were about, since both sides said them; in order."""
    shared: collections.Counter[str] = collections.Counter()
    spelled: dict[str, str] = {}  # a word without its ending -> as it was first said
    for message, reply in exchanges:
        both = set(key_words(message)) & set(key_words(reply))
        for word in re.findall(r"\w+", message.lower()):
            for stem in both & set(key_words(word)):
                spelled.setdefault(stem, word)
        shared.update(both)
    best = {word for word, _ in shared.most_common(n)}
    return [text for word, text in spelled.items() if word in best]
