"""
A model that is opened while a person types: a reply needs torch and numba, which take seconds to import, and a prompt
does not. Nothing heavy is imported before `start`.

    opening = Opening(config)
    opening.start(failed=print)                        # comes back at once
    for piece in opening.reply(messages, sampling):    # waits for the model first
        print(piece.text, end="", flush=True)
"""

import os
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from inference.settings import EngineConfig, SamplingParams
from inference.streaming import Piece

if TYPE_CHECKING:
    from inference.engine import Engine
    from tokenization.chat_template import ChatTemplate


class NotOpened(Exception):
    """The model could not be opened; __cause__ says why."""


class Opening:
    """
    An Engine that a thread opens, and that a chat may use as one: what needs the model waits for it, and raises
    NotOpened where there is none.
    """

    def __init__(self, settings: EngineConfig) -> None:
        self.settings = settings
        self.opened: Future[Engine] = Future()

    def start(self, failed: Callable[[NotOpened], object]) -> None:
        """Begin to open the model. failed: is called, in another thread, if that cannot be done."""
        pool = ThreadPoolExecutor(1)
        self.opened = pool.submit(self.open)
        pool.shutdown(wait=False)  # the thread ends with its work, and those end with it in which torch computed
        self.opened.add_done_callback(lambda _: failed(self.failure) if self.failure else None)

    def open(self) -> "Engine":
        """The work of the thread. Raises InputError."""
        from inference.loading import open_engine

        return open_engine(self.settings)[0]

    def ready(self, seconds: float | None = None) -> bool:
        """Wait so long for the model (None: to the end); whether it is opened, or never will be."""
        wait([self.opened], seconds)
        return self.opened.done()

    @property
    def failure(self) -> NotOpened | None:
        """Why there will be no model, for those who waited."""
        error = NotOpened()
        error.__cause__ = self.opened.exception()
        return error if error.__cause__ else None

    @property
    def engine(self) -> "Engine":
        """The Engine, for the one thread that asks for it."""
        if self.failure:
            raise self.failure
        engine = self.opened.result()
        engine.runner.adopt()
        return engine

    @property
    def template(self) -> "ChatTemplate":
        return self.engine.template

    @property
    def block_size(self) -> int:
        return self.engine.block_size

    def max_prompt_tokens(self, sampling: SamplingParams) -> int:
        """As Engine has it."""
        return self.engine.max_prompt_tokens(sampling)

    def reply(self, messages: list[dict[str, str]], sampling: SamplingParams) -> Generator[Piece, None, None]:
        """As Engine has it."""
        return self.engine.reply(messages, sampling)

    def leave(self) -> None:
        """End the process if the model is still being opened: any other exit waits for it, or ends with an abort."""
        if not self.opened.done():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
