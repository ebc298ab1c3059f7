"""What the routes share. A route asks for it by its type: `async def chat(body: ChatRequest, server: Server)`."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from inference.engine import Engine
from inference.settings import SamplingParams
from serving.errors import APIError
from serving.feedback import FeedbackFile
from serving.generation import Generation
from serving.kept import KeptReplies
from serving.leniency import logged_once
from serving.prometheus import Metrics
from serving.protocol import TruncationName
from serving.scheduler import QueueFull, Scheduler

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerState:
    scheduler: Scheduler
    model_name: str
    sampling: SamplingParams  # the server's own, where a request asks for nothing else
    max_seconds: float  # for a reply, its wait included
    feedback: FeedbackFile
    aliases: tuple[str, ...] = ()  # further names of the model
    strict: bool = False  # requests are taken as protocol.py has them, and not as leniency.py makes them
    truncation: TruncationName = "auto"  # where a request does not say
    memory: bool = False  # whether chats have one where a request does not say
    metrics: Metrics = field(default_factory=Metrics)
    ignored: Callable[[str], None] = field(default_factory=lambda: logged_once(logger.info))
    kept: KeptReplies = field(default_factory=KeptReplies)
    shows_text: bool = False  # what is said goes to the log
    started_at: int = field(default_factory=lambda: int(time.time()))  # Unix time
    request_counts: dict[tuple[str, int], int] = field(default_factory=dict)  # (path, status) -> requests

    @property
    def engine(self) -> Engine:
        return self.scheduler.engine

    def check_model(self, name: str | None) -> None:
        """Raise APIError unless `name` is one of the served model's, empty or None."""
        if name and name not in self.model_names:
            message = f"the model {name[:100]!r} is not served here; {self.model_name!r} is; --alias adds a name"
            raise APIError(404, message, "model", "model_not_found")

    @property
    def model_names(self) -> tuple[str, ...]:
        return (self.model_name, *self.aliases)

    def submit(self, generations: Sequence[Generation]) -> None:
        """Queue the generations of one request. Raises APIError where the queue is full."""
        try:
            self.scheduler.submit(generations)
        except QueueFull as error:
            status = 503 if self.scheduler.stopping or self.scheduler.failure else 429
            headers = {"Retry-After": "1"}
            raise APIError(status, f"busy: {error}", code="busy", type="rate_limit_error", headers=headers) from None

    def log_text(self, text: str) -> None:
        """Log what was said, where that is wanted; what would command a terminal as letters."""
        if self.shows_text:
            shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
            logger.info("  " + shown.replace("\n", "\n  "))


async def server_state(request: Request) -> ServerState:
    return request.app.state.server


Server = Annotated[ServerState, Depends(server_state)]
