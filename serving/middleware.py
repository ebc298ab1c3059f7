"""
The middlewares in front of the app, for every request.

    app = guarded(app, limits, counts, paths, is_writing)

From the outside in: the access log; the pace of refusals; the headers that protect the page, with the CORS headers of
--cors; the checks of checks.py. Starlette's CORSMiddleware does not serve here: it answers in plain text where a client
of OpenAI's protocol expects its error object, and lets the requests of other origins through.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.checks import (
    BodyLimit,
    KeyCheck,
    Limits,
    OriginCheck,
    RateLimit,
    RefusalPace,
    allowed_origin,
    client_address,
    respond,
)

logger = logging.getLogger(__name__)
UNLOGGED_PATHS = ("/health", "/metrics")  # asked every few seconds by programs
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
EXPOSED_HEADERS = "Retry-After, X-Request-Id, X-Dropped-Turns"  # those that a page of another origin may read
REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)  # one that a client may choose itself


@dataclass
class AccessRecord:
    """What the access log says of a request beside its status; whoever answers it fills this in."""

    prompt_tokens: int | None = None
    generated_tokens: int = 0


def access_record(request: Request) -> AccessRecord:
    """The request's record; one that nobody reads where there is no AccessLog in front."""
    return getattr(request.state, "access", None) or AccessRecord()


def guarded(
    app: ASGIApp,
    limits: Limits,
    counts: dict[tuple[str, int], int],
    paths: Collection[str],
    is_writing: Callable[[], bool],
) -> ASGIApp:
    """
    The app behind all that this file has. counts: {(path, status): requests}, which AccessLog keeps. is_writing:
    whether replies are being made.
    """
    app = BodyLimit(app, limits.max_body)
    if limits.max_rps:
        app = RateLimit(app, limits.max_rps)
    if limits.key:
        app = KeyCheck(app, limits.key)
    app = OriginCheck(app, limits.loopback, limits.cors, limits.allowed_hosts)
    app = RefusalPace(ResponseHeaders(app, limits.cors), limits.max_refusals, is_writing)
    return AccessLog(app, counts, paths)


class AccessLog:
    """
    Counts requests by path and status, logs a line for each, and gives each a name, X-Request-Id: the client's or a new
    one. paths: those that have a name of their own. HEAD is answered as GET, of which uvicorn sends the head alone.
    """

    def __init__(self, app: ASGIApp, counts: dict[tuple[str, int], int], paths: Collection[str]) -> None:
        self.app, self.counts, self.paths = app, counts, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started_at, status, record, method = time.monotonic(), 0, AccessRecord(), scope["method"]
        scope.setdefault("state", {})["access"] = record
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counts[path, status] = self.counts.get((path, status), 0) + 1
            if path not in UNLOGGED_PATHS:
                n_prompt, n_generated = record.prompt_tokens, record.generated_tokens
                tokens = "" if n_prompt is None else f" {n_prompt}+{n_generated} tokens"
                took = f"{time.monotonic() - started_at:.2f} s"
                logger.info(f"{method} {path} {status}{tokens} {took} {client_address(scope)} {request_id}")


class ResponseHeaders:
    """Adds the headers that protect the page, and the CORS headers for the origins that may ask; answers preflights."""

    def __init__(self, app: ASGIApp, cors: Collection[str]) -> None:
        self.app, self.cors = app, cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_headers = Headers(scope=scope)
        origin = allowed_origin(request_headers, self.cors)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode("latin-1")) for name, value in self.headers(origin).items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if scope["method"] == "OPTIONS" and origin:
            await respond(send_with_headers, 204, b"", {
                "access-control-allow-methods": "GET, POST",
                # OpenAI's npm client sends a dozen of its own, and what else a friend sends is nothing to fear
                "access-control-allow-headers": ", ".join(asked_headers(request_headers)),
                "access-control-allow-private-network": "true",  # a page of the web may ask this machine's loopback
                "access-control-max-age": "600",
            })  # fmt: skip
        else:
            await self.app(scope, receive, send_with_headers)

    def headers(self, origin: str | None) -> dict[str, str]:
        headers = {**HEADERS, "content-security-policy": POLICY}
        if origin:
            headers |= {"access-control-allow-origin": origin, "vary": "Origin"}
            headers["cross-origin-resource-policy"] = "cross-origin"
            headers["access-control-expose-headers"] = EXPOSED_HEADERS
        return headers


def asked_headers(headers: Headers) -> list[str]:
    """The names that a preflight asks for, beside the two that every client sends."""
    asked = re.findall(r"[\w-]+", headers.get("access-control-request-headers", "").lower(), re.ASCII)
    return list(dict.fromkeys(["authorization", "content-type", *asked]))
