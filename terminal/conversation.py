"""
One chat with a model, without a terminal: what was said, and what may be done about it.

    chat = Conversation(engine, SamplingParams(temperature=0.7))
    print(chat.ask("hi").text)
    chat.retry()                        # another reply to the same
    chat.undo()

A reply at fault (evaluation/faults.py: it loops, copies, speaks for the human, says nothing or says it again) is tried
again, and the best is kept.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from evaluation.faults import LOOP_WORDS, TRIES, better, fault
from evaluation.metrics import loops, words
from inference.settings import SamplingParams
from inference.streaming import FinishReason, Piece
from memory.notes import Memory
from memory.view import View
from runtime.errors import InputError
from tokenization.chat_format import Message, without_lone_surrogates

if TYPE_CHECKING:
    from tokenization.chat_template import ChatTemplate

LOOP_CHECK = 16  # tokens between two looks at whether a reply loops; such a one need not go on to its limit


class Speaker(Protocol):
    """What a conversation needs of an Engine."""

    @property
    def template(self) -> "ChatTemplate": ...
    @property
    def block_size(self) -> int: ...
    def max_prompt_tokens(self, sampling: SamplingParams) -> int: ...
    def reply(self, messages: list[Message], sampling: SamplingParams) -> Generator[Piece, None, None]: ...


@dataclass(frozen=True)
class Display:
    """Where a reply appears as it comes."""

    begin: Callable[[], object] = lambda: None  # it is on its way
    show: Callable[[str], object] = lambda text: None  # one more piece of it
    erase: Callable[[], object] = lambda: None  # take back all that was shown of it
    stopped: Callable[[], bool] = lambda: False  # whether the person wants no more of it


class Reply(NamedTuple):
    """What the bot said, and how it went."""

    text: str
    reason: FinishReason | None  # why it ended
    n_tokens: int
    seconds: float
    seconds_to_first: float  # until its first letters
    fault: str | None  # one of evaluation/faults.py


NOWHERE = Display()


class Conversation:
    """
    A chat that may go on for ever. messages: what was said before; a persona is a system message, the first.
    memory: None lets go of what leaves the view.
    keep: is called whenever there is something new to save.
    """

    def __init__(
        self,
        engine: Speaker,
        sampling: SamplingParams,
        messages: list[Message] | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.engine = engine
        self.sampling = sampling
        self.messages = messages if messages is not None else []
        self.keep: Callable[[], object] = lambda: None
        self.memory = memory
        self.view = memory.view if memory else View()
        self.n_replies = 0  # with a seed, each has its own one, and each run of the same chat the same ones
        self.caught: collections.Counter[str] = collections.Counter()  # fault -> replies that had it at first
        self.n_mended = 0  # of them, how many have none in the end
        self.last: Reply | None = None

    # the person's turn

    def ask(self, text: str, display: Display = NOWHERE) -> Reply:
        """The reply to `text`. Raises InputError, and forgets the text, if that is too long."""
        self.messages.append({"role": "user", "content": without_lone_surrogates(text).strip()})
        try:
            in_view = self.in_view()
        except InputError:
            self.messages.pop()
            raise
        self.keep()
        return self.respond(in_view, display)

    def retry(self, display: Display = NOWHERE) -> Reply:
        """Another reply in place of the last, which stays if this one is stopped. Raises InputError: nothing said."""
        asked = self.last_index("user")
        if asked is None:
            raise InputError("nothing to retry yet")
        earlier = self.messages[asked + 1 :]
        del self.messages[asked + 1 :]
        reply = self.respond(self.in_view(), display)
        if not reply.text:
            self.messages += earlier
        return reply

    def go_on(self, display: Display = NOWHERE) -> Reply:
        """More of the last reply, which is joined to it. Raises InputError if the last word is not the bot's."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            raise InputError("nothing to go on with yet")
        text = self.messages[-1]["content"].rstrip("\ufffd")  # half a letter, where the limit cut
        self.messages[-1] = {"role": "assistant", "content": text}
        return self.respond(self.in_view(), display)

    def undo(self) -> str | None:
        """Forget the last question and what follows it; the question, or None if nothing was asked."""
        asked = self.last_index("user")
        if asked is None:
            return None
        text = self.messages[asked]["content"]
        del self.messages[asked:]
        return text

    def begin(self, messages: list[Message]) -> None:
        """Start again from these messages."""
        self.messages = messages
        self.view.reset()
        if self.memory:
            self.memory.clear()
        self.last = None

    def remember(self, memory: Memory | None) -> None:
        """Have this memory from now on; None: no memory."""
        self.memory = memory
        self.view = memory.view if memory else View()

    def last_index(self, role: str) -> int | None:
        """Where in `messages` the last one by that role is."""
        return next((i for i in range(len(self.messages) - 1, -1, -1) if self.messages[i]["role"] == role), None)

    # the bot's turn

    def respond(self, in_view: list[Message], display: Display) -> Reply:
        """The bot's next words to the messages in view; they join `messages`."""
        display.begin()
        reply = self.generate(in_view, display)
        is_final = reply.reason is FinishReason.INTERRUPTED or self.sampling.temperature == 0  # the same again
        if reply.fault and not is_final:
            self.caught[reply.fault] += 1
            reply = self.try_again(reply, in_view, display)
            self.n_mended += reply.fault is None
        if reply.text and in_view[-1]["role"] == "assistant":
            self.messages[-1] = {"role": "assistant", "content": self.messages[-1]["content"] + reply.text}
        elif reply.text:
            self.messages.append({"role": "assistant", "content": reply.text})
        self.last = reply
        self.keep()
        return reply

    def in_view(self) -> list[Message]:
        """The messages that the model sees. Raises InputError if the last turn does not fit."""
        max_tokens = self.engine.max_prompt_tokens(self.sampling)
        in_view = self.memory.in_view if self.memory else self.view.of
        return in_view(self.messages, self.engine.template.prompt, max_tokens)

    def try_again(self, best: Reply, in_view: list[Message], display: Display) -> Reply:
        """The best of a faulty reply and further ones, until one has no fault; the display shows it in the end."""
        shown = best
        for _ in range(1, TRIES):
            display.erase()
            shown = self.generate(in_view, display)
            if shown.reason is FinishReason.INTERRUPTED or better(best.text, shown.text, self.messages):
                best = shown
            if best.reason is FinishReason.INTERRUPTED or not best.fault:
                return best
        if best is not shown:
            display.erase()
            display.show(best.text)
        return best

    def generate(self, messages: list[Message], display: Display) -> Reply:
        """One reply as it comes, ended early where it loops or is stopped."""
        sampling = self.sampling
        if sampling.seed is not None:
            sampling = dataclasses.replace(sampling, seed=sampling.seed + self.n_replies)
        self.n_replies += 1
        text, reason, n_tokens, start, first, looked = "", None, 0, time.perf_counter(), 0.0, 0
        pieces = self.engine.reply(messages, sampling)
        try:
            for piece in pieces:
                display.show(piece.text)
                text, reason, n_tokens = text + piece.text, piece.reason, piece.n_tokens
                first = first or time.perf_counter() - start
                if display.stopped():
                    reason = FinishReason.INTERRUPTED
                    break
                if n_tokens >= looked + LOOP_CHECK and sampling.temperature > 0:
                    looked = n_tokens
                    if loops(words(text)[-LOOP_WORDS:]):
                        break
        except KeyboardInterrupt:  # a second Ctrl-C, while the model computes
            if not display.stopped():
                raise
            reason = FinishReason.INTERRUPTED
        finally:
            pieces.close()
        seconds = time.perf_counter() - start
        stopped = reason is FinishReason.INTERRUPTED
        return Reply(text, reason, n_tokens, seconds, first, None if stopped else fault(text, self.messages))
