"""Work that would keep the event loop, and with it everybody's streams, from going on."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LONG = 10_000  # characters that are read or tokenised in about a millisecond
P = ParamSpec("P")
T = TypeVar("T")


async def off_the_loop(n_characters: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result. Where the text is long it runs in a thread, so that meanwhile all streams go on."""
    if n_characters <= LONG:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
