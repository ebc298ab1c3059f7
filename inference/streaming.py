"""
From tokens to text as they come: whole characters, never a stop word or half of one, and why the text ended.

Nothing heavy is imported here, so that scripts may name a FinishReason before torch is loaded.
"""

import bisect
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple


class FinishReason(str, Enum):
    """Why a generation ended."""

    STOP_TOKEN = "end_of_turn"  # the model ended it: end-of-turn, <|endoftext|>, or one of SamplingParams.stop_ids
    STOP_WORD = "stop"  # one of SamplingParams.stop came
    LENGTH = "length"  # SamplingParams.max_new_tokens are generated
    CONTEXT = "context"  # the model has no further position
    TIME = "time"  # the server's max_seconds are over
    INTERRUPTED = "stopped"  # Ctrl-C

    __str__ = str.__str__  # the value, also in f-strings, as in Python 3.11's StrEnum


class Piece(NamedTuple):
    """The text that one more token makes visible; it may be empty."""

    text: str
    reason: FinishReason | None  # on the last piece; None while generation goes on
    n_tokens: int = 0  # generated so far, those included whose text is held back or cut off


class Detokenizer:
    """
    The text of one generation, token by token.

        text = Detokenizer(tokenizer.decoder(), stop=("bye",))
        print(text.add(token.id, token.reason).text, end="")

    decode: Tokenizer.decoder(), which holds back the bytes of a character that is not whole yet.
    stop: words that end the text and are not part of it. strip: drop white space at both ends.
    continues: the text goes on from another one, so white space at its beginning belongs to it.
    """

    def __init__(
        self,
        decode: Callable[[int | None], str],
        stop: Sequence[str] = (),
        *,
        strip: bool = True,
        continues: bool = False,
    ) -> None:
        self.decode = decode
        self.stop_filter = StopWordFilter(stop, strip=strip, continues=continues)
        self.n_tokens = 0

    def add(self, token_id: int | None, reason: FinishReason | None) -> Piece:
        """
        The Piece for the next token; token_id is None where there is none to show. With a reason it is the last one,
        and everything held back is shown. A stop word ends the text as well: then the Piece has that reason.
        """
        text = ""
        if token_id is not None:
            text = self.decode(token_id)
            self.n_tokens += 1
        if reason:
            text += self.decode(None)
        text = self.stop_filter.add(text)
        if self.stop_filter.stopped:
            reason = FinishReason.STOP_WORD
        elif reason:
            text += self.stop_filter.flush()
        return Piece(text, reason, self.n_tokens)


class StopWordFilter:
    """
    Passes a text on without the first stop word and what follows it; the end that may begin a stop word is held back.
    strip: white space at both ends is dropped; continues: but not at the beginning.
    The work is linear in the text, whatever the stop words are: a place at which none can begin is not looked at again.
    """

    def __init__(self, stop: Sequence[str], *, strip: bool = True, continues: bool = False) -> None:
        self.stop = sorted(stop)
        self.longest = max(map(len, stop), default=0)
        self.strip = strip
        self.started = continues  # once text was shown, white space before the next is part of the text
        self.pending = ""
        self.passed = 0  # so many characters of it begin no stop word: white space that is held back for strip
        self.stopped = False  # a stop word came; nothing after it is shown

    def add(self, text: str) -> str:
        """What can be shown now that `text` has come."""
        self.pending += text
        # where each stop word that is there ends, and its length, negative so that min() prefers the longest
        starts = ((self.pending.find(word, self.passed), len(word)) for word in self.stop)
        hits = [(start + n, -n) for start, n in starts if start >= 0]
        if hits:
            self.stopped = True
            end, negative_length = min(hits)  # the first that is whole; of those that end there, the longest
            self.pending = self.pending[: end + negative_length]
            return self.flush()
        self.passed = max(self.passed, len(self.pending) - self.longest)
        while self.passed < len(self.pending) and not self.may_begin(self.pending[self.passed :]):
            self.passed += 1
        return self.take(self.pending[: self.passed])

    def may_begin(self, text: str) -> bool:
        """Whether a stop word begins with this text."""
        place = bisect.bisect_left(self.stop, text)
        return place < len(self.stop) and self.stop[place].startswith(text)

    def flush(self) -> str:
        """What is left to show when no more text comes."""
        return self.take(self.pending)

    def take(self, text: str) -> str:
        """Remove `text`, the beginning of what is pending, and return it; its trailing white space stays pending."""
        if self.strip:
            text = text.rstrip()
        self.pending = self.pending[len(text) :]
        self.passed = max(0, self.passed - len(text))
        if self.strip and not self.started:
            text = text.lstrip()
        self.started = self.started or bool(text)
        return text
