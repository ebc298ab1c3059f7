"""
The part of a growing chat that a model sees.

    view = View()
    view.of(messages, engine.template.prompt, max_tokens=768)     # the system message, and the last turns

A turn of a long chat costs as much as one of a short chat: what has left the view is not rendered again.
"""

from collections.abc import Callable

from tokenization.chat_format import Message
from tokenization.context import messages_in_view, split_system


class View:
    """
    Where the view of one chat begins: `start` of the messages after the system's have left. It moves on by about half a
    context at a time; see tokenization/context.py.
    """

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def of(
        self, messages: list[Message], prompt: Callable[[list[Message]], list[int]], max_tokens: int
    ) -> list[Message]:
        """
        The messages in view, whose prompt has at most `max_tokens` tokens. prompt: from messages to their ids.
        Raises InputError if not even the last turn fits.
        """
        system, talk = split_system(messages)
        if self.start >= len(talk):  # the chat is another one, or was taken back
            self.start = 0
        in_view = messages_in_view(system + talk[self.start :], prompt, max_tokens)
        self.start = len(talk) - (len(in_view) - len(system))
        return in_view

    def reset(self) -> None:
        """See all again, as far as it fits."""
        self.start = 0
