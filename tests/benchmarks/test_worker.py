"""A worker answers from a process of its own, and what goes wrong in there is one line here."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.worker import Worker
from runtime.errors import InputError


def squares(requests: Iterator[int], offset: int) -> Iterator[tuple[int, int]]:
    for number in requests:
        if number < 0:
            raise ValueError("below zero\nand more")
        if number > 100:
            raise InputError("too large")
        if number == 100:
            os._exit(1)
        yield number**2 + offset, os.getpid()


def test_a_worker_answers_each_request_from_another_process():
    with Worker("squares", squares, offset=1) as worker:
        answers = [worker.ask(number) for number in (3, 7)]
    assert [square for square, _ in answers] == [10, 50]
    assert {pid for _, pid in answers} == {worker.process.pid} != {os.getpid()}
    assert worker.process.exitcode == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (-1, "squares: ValueError: below zero$"),
        (101, "squares: too large$"),
        (100, "squares: the process ended without an answer"),
    ],
)
def test_a_failure_in_the_worker_is_one_line(number, said):
    with Worker("squares", squares, offset=0) as worker, pytest.raises(InputError, match=said):
        worker.ask(number)
