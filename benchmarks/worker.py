"""
A function in a process of its own, so that nobody's threads or memory count for another's.

    def squares(requests: Iterator[int]) -> Iterator[int]:
        for number in requests:
            yield number**2

    with Worker("squares", squares) as worker:
        worker.ask(7)           # 49
"""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class Failure(str):
    """What went wrong in a worker, as one line."""


class Worker:
    """
    Runs function(requests, **arguments) in a new process: what the function yields are its answers, and `requests`
    yields what is asked here. The function is one of a module's top level, and everything can be pickled. Its
    InputError, RuntimeError, ValueError and ImportError are raised here as an InputError that begins with `name`.
    """

    def __init__(self, name: str, function: Callable[..., Iterator[Any]], /, **arguments: Any) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork would share this process's memory and threads
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=run_function, args=(child_pipe, function, arguments), daemon=True)
        self.process.start()
        child_pipe.close()

    def answer(self) -> Any:
        """The next answer, waited for. Raises InputError if the function or the process has failed."""
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise InputError(f"{self.name}: the process ended without an answer; was the memory enough?") from None
        if isinstance(answer, Failure):
            raise InputError(f"{self.name}: {answer}")
        return answer

    def ask(self, request: Any) -> Any:
        """The answer to a request."""
        self.pipe.send(request)
        return self.answer()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: object) -> None:
        self.pipe.close()
        self.process.join(10)
        self.process.kill()


def run_function(pipe: Connection, function: Callable[..., Iterator[Any]], arguments: dict[str, Any]) -> None:
    """The life of the other process: answers until the function ends, or the pipe is closed."""
    try:
        for answer in function(received(pipe), **arguments):
            pipe.send(answer)
    except (InputError, RuntimeError, ValueError, ImportError) as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        pipe.send(Failure(f"{kind}{error}".splitlines()[0]))


def received(pipe: Connection) -> Iterator[Any]:
    """Yield what comes through the pipe until it is closed."""
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return
