"""
What a chat remembers beyond the context of its model. As long as everything is in view, nothing is added. Of what has
left, the model sees, as turns of the chat, which a model can read that has never heard of memory,

    behind the system message    what the human told of themselves, and the bot of itself, and what the talk was about
    before the last message      up to two earlier exchanges that bear on it

    memory = Memory()
    memory.in_view(messages, engine.template.prompt, max_tokens=768)

The notes change only when turns leave, so that the KV cache of the rest survives the other turns.
"""

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from memory.facts import facts, key_of
from memory.recall import TurnIndex, topics
from memory.view import View
from runtime.errors import InputError
from tokenization.chat_format import Message
from tokenization.context import split_system

NOTED = "i'll remember that."  # what the bot says to the facts, which the human tells once more
ASKED = "what did we talk about?"  # where there are no facts
ABOUT = "we talked about "
NOTES_SHARE = 5  # the notes take at most the 6th part of what fits
RECALLED_SHARE = 8  # and for exchanges that are brought back, the 8th part is kept free
RECALLED = 2  # exchanges that are brought back at most
RECALLED_WORDS = 25  # of each of their messages
TOPICS = 6
Prompt = Callable[[list[Message]], list[int]]


@dataclass
class Note:
    """A fact that is remembered. position: of the message that states it; -1: it was there before the chat."""

    text: str
    key: str
    position: int = -1

    @property
    def may_change(self) -> bool:
        """Whether a newer fact could take its place."""
        return self.key != self.text.lower()


class Memory:
    """
    The memory of one chat. earlier: facts that are known beside it, from other chats say, the oldest first.
    forgotten: what is not to be noted where the chat so far says it.
    """

    def __init__(self, earlier: Iterable[str] = (), forgotten: Iterable[str] = ()) -> None:
        self.view = View()
        self.earlier = [Note(text, key_of(text)) for text in earlier]
        self.forgotten = set(forgotten)
        self.talk: list[Message] = []  # what was read so far
        self.told: list[Note] = []  # in the order of the chat
        self.own: list[Note] = []  # what the bot said of itself, as far as it is of a kind that people ask for
        self.index: tuple[int, TurnIndex] | None = None  # of the exchanges before that message
        self.noted: tuple[tuple[object, ...], list[Message]] | None = None  # the last system message, and its basis

    @property
    def notes(self) -> list[Note]:
        """What is remembered: of those with one key the newest, which stands where it was said."""
        return newest(note for note in (*self.earlier, *self.told) if note.text not in self.forgotten)

    def add(self, text: str) -> None:
        """Remember a line that is not taken from the chat, in place of what is known with its key."""
        note = Note(text, key_of(text))
        self.forget(note)
        self.forgotten.discard(text)
        self.earlier.append(note)

    def forget(self, note: Note) -> None:
        """Forget a note, and all with its key."""
        self.forgotten |= {each.text for each in (*self.earlier, *self.told) if each.key == note.key}
        self.earlier = [each for each in self.earlier if each.key != note.key]

    def clear(self) -> None:
        """Begin a new chat; what is remembered stays."""
        self.earlier, self.told, self.talk, self.index = self.notes, [], [], None
        self.own = []
        self.forgotten.clear()
        for note in self.earlier:
            note.position = -1
        self.view.reset()

    def read(self, talk: list[Message]) -> None:
        """Take the facts from what is new in the chat; what was taken back is forgotten."""
        n = len(self.talk) if self.talk == talk[: len(self.talk)] else common_length(self.talk, talk)
        if n < len(self.talk):
            self.told = [note for note in self.told if note.position < n]
            self.own = [note for note in self.own if note.position < n]
            self.index = None
        for position in range(n, len(talk)):
            told = [Note(fact.text, fact.key, position) for fact in facts(talk[position]["content"])]
            if talk[position]["role"] == "assistant":
                self.own += [note for note in told if note.may_change]
            if talk[position]["role"] == "user":
                self.told += told
                if self.talk:  # it is said again
                    self.forgotten -= {note.text for note in told}
        self.talk = list(talk)

    def in_view(self, messages: list[Message], prompt: Prompt, max_tokens: int) -> list[Message]:
        """
        The messages that the model sees, notes included: at most `max_tokens` tokens. prompt: from messages to ids.
        Raises InputError if not even the last turn fits without notes.

        What leaves depends on the chat alone, not on the notes, so that the view of a server, which keeps no Memory
        between two turns, seldom moves as well.
        """
        system, talk = split_system(messages)
        self.read(talk)
        n_notes, n_recalled = max_tokens // NOTES_SHARE, max_tokens // RECALLED_SHARE
        if not 0 < self.view.start < len(talk):
            noted = self.with_notes(system, 0, prompt, n_notes)
            if len(prompt(noted + talk)) <= max_tokens:
                self.view.reset()
                return noted + talk
        try:
            self.view.of(messages, prompt, max_tokens - n_notes - n_recalled)
        except InputError:  # a message so long leaves no room for notes
            return self.view.of(messages, prompt, max_tokens)
        start = self.view.start
        before = self.with_notes(system, start, prompt, n_notes) + talk[start:-1]
        recalled = self.recalled(talk, start)
        views = (before + sum(recalled[i:], []) + talk[-1:] for i in range(len(recalled) + 1))
        return next(view for view in views if len(prompt(view)) <= max_tokens)

    def with_notes(self, system: list[Message], start: int, prompt: Prompt, max_tokens: int) -> list[Message]:
        """The system message, and behind it what has left the view: the newest notes that fit. start: of the view."""
        told = [note for note in self.notes if note.position < start]
        own = newest(note for note in self.own if note.position < start)
        basis = (start, max_tokens, [note.text for note in (*told, *own)], system)
        if self.noted and self.noted[0] == basis:
            return self.noted[1]
        about = topics(exchanges(self.talk[:start]), TOPICS) if start else []
        n_system = len(prompt(system))
        # the first to go is what no newer fact could correct, then what the bot said of itself: of both, the oldest
        ranked = [(2 * note.may_change, note.position, note) for note in told] + [
            (1, note.position, note) for note in own
        ]
        by_weight = [note for *_, note in sorted(ranked, key=lambda each: each[:2], reverse=True)]

        def noted(n: int) -> list[Message]:
            """The system message, and an exchange with the n weightiest notes."""
            weightiest = {id(note) for note in by_weight[:n]}
            kept, of_itself = ([note.text for note in notes if id(note) in weightiest] for notes in (told, own))
            replies = [NOTED] * bool(kept) + [f"{text}." for text in of_itself]
            replies += [ABOUT + ", ".join(about) + "."] * bool(about)
            facts = ". ".join(kept) + "." if kept else ASKED
            return [*system, *exchange(facts, " ".join(replies))] if replies else system

        while about and len(prompt(noted(0))) - n_system > max_tokens // 2:
            about.pop()  # facts come first
        n = bisect.bisect_right(
            range(len(by_weight) + 1), max_tokens, key=lambda n: len(prompt(noted(n))) - n_system
        )  # how many numbers of notes fit, from none on
        self.noted = basis, noted(n - 1) if n else system
        return self.noted[1]

    def recalled(self, talk: list[Message], start: int) -> list[list[Message]]:
        """The exchanges before the view that bear on the human's last message, cut short."""
        if not start or talk[-1]["role"] != "user":
            return []
        left = exchanges(talk[:start])
        if self.index is None or self.index[0] != start:
            self.index = start, TurnIndex([f"{message} {reply}" for message, reply in left])
        asked_at = [position for position, message in enumerate(talk[:start]) if message["role"] == "user"]
        holding = {(note.key, note.text) for note in self.notes}
        outdated = {note.position for note in self.told if (note.key, note.text) not in holding}
        nearest = self.index[1].find(talk[-1]["content"], RECALLED)
        recalled = [left[i] for i in nearest if asked_at[i] not in outdated]
        return [exchange(*(" ".join(text.split()[:RECALLED_WORDS]) for text in pair)) for pair in recalled]


def newest(notes: Iterable[Note]) -> list[Note]:
    """Of the notes with one key the newest, which stands where it was said."""
    by_key: dict[str, Note] = {}
    for note in notes:
        by_key.pop(note.key, None)
        by_key[note.key] = note
    return list(by_key.values())


def exchange(message: str, reply: str) -> list[Message]:
    """The human's message and the bot's reply, if there is one."""
    return [{"role": "user", "content": message}, *[{"role": "assistant", "content": reply}][: len(reply)]]


def exchanges(talk: list[Message]) -> list[tuple[str, str]]:
    """(message, reply) of each exchange; what was said without a reply has an empty one."""
    pairs: list[tuple[str, str]] = []
    for message in talk:
        if message["role"] == "user":
            pairs.append((message["content"], ""))
        elif pairs:
            said, reply = pairs[-1]
            pairs[-1] = said, f"{reply} {message['content']}".strip()
    return pairs


def common_length(a: list[Message], b: list[Message]) -> int:
    """How many messages two chats begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
