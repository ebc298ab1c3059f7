"""
Connections that send nothing, or half of a request, or do not read what they asked for, harm nobody: deadlines for each
request's arrival and for what waits to be read, and a bound on the connections of each address and of all. uvicorn has
none of them.

    config = uvicorn.Config(app, http=protocol_class(Connections(max_each=512, seconds=20)))
"""

import asyncio
import itertools
import logging
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

logger = logging.getLogger(__name__)
UNREAD_SECONDS = 60.0  # in which a client must take the most of 64 kB that wait for it: 1 kB a second
SPARE_DESCRIPTORS = 64  # of the process's, for all that is no connection


class Connections:
    """
    The open connections, by address. max_each: of an address at once. seconds: for a request to arrive, head and body.
    Where there are too many, the oldest that is not being answered is closed, so that a new client always gets in
    unless all are busy.
    """

    def __init__(self, max_each: int, seconds: float) -> None:
        self.max_each, self.max_all, self.seconds = max_each, most_connections(), seconds
        self.open: dict[str, dict[TimedProtocol, None]] = {}  # a dict keeps the order of arrival

    def add(self, connection: "TimedProtocol") -> None:
        same_address = self.open.setdefault(connection.address, {})
        same_address[connection] = None
        if len(same_address) > self.max_each:
            close_oldest(same_address, connection)
        elif sum(map(len, self.open.values())) > self.max_all:
            most = max(self.open.values(), key=len)  # whoever has the most connections gives one up
            close_oldest(itertools.chain(most, *self.open.values()), connection)

    def remove(self, connection: "TimedProtocol") -> None:
        same_address = self.open.get(connection.address, {})
        same_address.pop(connection, None)
        if not same_address:
            self.open.pop(connection.address, None)


def close_oldest(connections: Iterable["TimedProtocol"], newest: "TimedProtocol") -> None:
    """Close the first that is not being answered; the newest where all others are."""
    next((one for one in connections if not one.is_answered), newest).close()


def most_connections() -> int:
    """As many as the process's descriptors allow."""
    try:
        import resource  # not on Windows, which has no such limit
    except ImportError:
        return 10_000
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if most == resource.RLIM_INFINITY else max(16, most - SPARE_DESCRIPTORS)


class TimedProtocol(AutoHTTPProtocol):
    """uvicorn's protocol with a deadline for each request. all_connections: set by protocol_class."""

    all_connections: Connections
    # of uvicorn's class, httptools' or h11's
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    client: tuple[str, int] | None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else "?"
        self.deadline: asyncio.TimerHandle | None = None
        self.reading_deadline: asyncio.TimerHandle | None = None
        self.expect_request()
        self.all_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.all_connections.remove(self)
        self.request_is_whole()
        self.is_read()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_read()
        self.reading_deadline = self.loop.call_later(UNREAD_SECONDS, self.too_slow)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_read()

    def data_received(self, data: bytes) -> None:
        if not self.is_answered:
            self.expect_request()
        super().data_received(data)
        if self.is_answered:
            self.request_is_whole()

    @property
    def is_answered(self) -> bool:
        """Whether a request has arrived whole and its response is on its way."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def expect_request(self) -> None:
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.all_connections.seconds, self.too_slow)

    def request_is_whole(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def is_read(self) -> None:
        if self.reading_deadline is not None:
            self.reading_deadline.cancel()
            self.reading_deadline = None

    def too_slow(self) -> None:
        logger.debug("closed: %s was too slow to send its request, or to read the answer", self.address)
        self.close()

    def close(self) -> None:
        self.request_is_whole()
        self.is_read()
        self.transport.abort()  # close() would wait until the client has read everything


def protocol_class(connections: Connections) -> type[TimedProtocol]:
    """The class that uvicorn is to make one of for each connection."""
    return type("CountedProtocol", (TimedProtocol,), {"all_connections": connections})
