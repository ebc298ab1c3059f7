"""Turns of a chat that bear on a new message, found by their words (BM25, Robertson and Zaragoza 2009, by bm25s)."""

import collections
import functools
import math
import re
from collections.abc import Iterable, Sequence

MIN_SHARED = 1 / 3  # of the weight of a message's words, a turn must share so much to bear on it
WORD = re.compile(r"\w{1,40}(?:'\w{1,10})?")
ENDINGS = re.compile(r"(?:ing|ed|es|s|e)$")  # cut from words, so that "dogs" finds "dog"
# words of all talk, which say as little of what it is about as bm25s's stop words do
TALK_WORDS = frozenset(
    "ask asked get go going got idea kind know let like lot mind oh okay really remember recall said say see sure tell"
    " thing told want well would yeah yes".split()
)


def key_words(text: str) -> list[str]:
    """The words of a text that say what it is about, lower-case and without their endings."""
    words = WORD.findall(text.lower().replace("’", "'"))
    return [stem for stem in map(stem_of, words) if stem]


@functools.lru_cache(2**16)
def stem_of(word: str) -> str:
    """A word without its ending; empty if it says little."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS as STOPWORDS  # takes a while to import, and few chats need it

    word, _, contraction = word.partition("'")
    if contraction not in ("", "s") or word in STOPWORDS or word in TALK_WORDS:
        return ""
    return ENDINGS.sub("", word) if len(word) > 3 else word


class TurnIndex:
    """Finds texts by the words of another. texts: in the order of the chat."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self.words = [key_words(text) for text in texts]
        self.index = bm25s.BM25()
        counts = collections.Counter(word for words in self.words for word in set(words))
        # the rarer a word, the more it says (Sparck Jones 1972)
        self.weights = {word: math.log(1 + len(self.words) / n) for word, n in counts.items()}
        if counts:
            self.index.index(self.words, show_progress=False)

    def find(self, text: str, n: int) -> list[int]:
        """The numbers of up to n texts that bear on `text`, in their order."""
        wanted = [word for word in dict.fromkeys(key_words(text)) if word in self.weights]
        if not wanted:
            return []
        numbers, _ = self.index.retrieve([wanted], k=min(n, len(self.words)), show_progress=False)
        least = MIN_SHARED * self.weight(wanted)
        shared = ((int(number), set(wanted) & set(self.words[number])) for number in numbers[0])
        return sorted(number for number, words in shared if words and self.weight(words) >= least)

    def weight(self, words: Iterable[str]) -> float:
        """How much the words say together."""
        return sum(self.weights[word] for word in words)


def topics(exchanges: Sequence[tuple[str, str]], n: int) -> list[str]:
    """Up to n words that most exchanges (message, reply) were about, since both sides said them; in order."""
    shared: collections.Counter[str] = collections.Counter()
    spelled: dict[str, str] = {}  # a word without its ending -> as it was first said
    for message, reply in exchanges:
        both = set(key_words(message)) & set(key_words(reply))
        for word in WORD.findall(message.lower()) if both else ():
            if (stem := stem_of(word)) in both:
                spelled.setdefault(stem, word.partition("'")[0])
        shared.update(both)
    best = {word for word, _ in shared.most_common(n)}
    return [text for word, text in spelled.items() if word in best]
