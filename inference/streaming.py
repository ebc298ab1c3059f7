"""Tokens to text as they come: whole letters, no stop word or half of one, and why it ended."""

from typing import NamedTuple


class Piece(NamedTuple):
    text: str
    reason: str | None  # end_of_turn, stop, length or context, on the last piece; None while it goes on
    n_tokens: int = 0  # of the reply so far


class Reply:
    """A reply under way: tokens in, Pieces out. Takes a slot of the engine."""

    def __init__(self, engine, messages, sampling):
        template, tokenizer = engine.template, engine.tokenizer
        said = [id for m in messages if m["role"] == "assistant" for id in tokenizer.encode(" " + m["content"])]
        recent = said[-sampling.penalty_window :] if sampling.penalty_window else []
        ids = engine.prompt(messages, sampling)
        self.sequence = engine.add_request(ids, sampling, template.suppress_tokens, template.stop_token_ids, recent)
        self.decode, self.held = tokenizer.decoder(), HeldText(sampling.stop)

    def piece(self, token):
        """The Piece that `token` makes visible; its text may be empty."""
        text = ("" if token.id is None else self.decode(token.id)) + (self.decode(None) if token.reason else "")
        text, n = self.held.add(text), self.sequence.num_generated
        if self.held.stopped:
            return Piece(text, "stop", n)
        if token.reason:
            return Piece(text + self.held.rest(), {"end": "end_of_turn"}.get(token.reason, token.reason), n)
        return Piece(text, None, n)


class HeldText:
    """Streamed text without stop words: what may begin one is held back; strip: white space around is taken off."""

    def __init__(self, stop, strip=True):
        self.stop = stop
        self.strip = strip
        self.held = ""
        self.begun = False  # something was shown
        self.stopped = False  # a stop word came; nothing after it is wanted

    def add(self, text):
        """What can be shown now that `text` has come."""
        self.held += text
        hits = [(self.held.find(word) + len(word), -len(word)) for word in self.stop if word in self.held]
        if hits:
            self.stopped = True
            end, length = min(hits)  # the word that is whole first; the longest of those that end there
            self.held = self.held[: end + length]
            return self.rest()
        partial = max((n for word in self.stop for n in range(1, len(word)) if self.held.endswith(word[:n])), default=0)
        shown = self.held[: len(self.held) - partial]
        return self.taken(len(shown.rstrip() if self.strip else shown))

    def rest(self):
        """What is left to show when no more text comes."""
        return self.taken(len(self.held.rstrip() if self.strip else self.held))

    def taken(self, n):
        """The first n characters of what is held, which are held no more."""
        shown, self.held = self.held[:n], self.held[n:]
        if self.strip and not self.begun:
            shown = shown.lstrip()
        self.begun = self.begun or bool(shown)
        return shown
