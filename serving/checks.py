"""
Who may ask, how often, and how much: the middlewares that answer a request themselves, or let it through.

Names of this machine and pages of this server only, so that no page elsewhere reaches a server on loopback by DNS
rebinding; the key, compared in constant time; a rate for each client; a limit of a body's bytes, whether its length is
announced or not.

Starlette's TrustedHostMiddleware does not serve here: it answers in plain text where a client of OpenAI's protocol
expects its error object, does not refuse other origins, and does not know the host [::1].
"""

import asyncio
import hmac
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import APIError
from serving.hosts import host_of, is_address, is_allowed, is_own, origin_authority

KEYLESS_PATHS = ("/health",)  # besides the page itself
LIMITED_PATHS = ("/v1", "/tokenize", "/detokenize", "/feedback")  # those of --max_rps
TOO_MANY = 429  # tells a client itself to come later
MAX_BUCKETS = 10_000  # addresses whose rate is remembered, so that many addresses cannot fill the memory


@dataclass(frozen=True)
class Limits:
    key: str | None  # what clients must send; None: nothing
    max_rps: float | None  # requests a second for each address; None: any number
    max_refusals: float  # answers of 4xx a second to each address while replies are made
    max_body: int  # bytes of a request
    loopback: bool  # only this machine can reach the server
    cors: tuple[str, ...]  # origins of other pages that may ask; "*" for all
    allowed_hosts: tuple[str, ...] = ()  # names that the server has beside this machine's, such as a proxy's


def client_address(scope: Scope) -> str:
    """The client's address; "?" where a proxy sends something else, which may be as long and odd as a client likes."""
    address = (scope.get("client") or ("?",))[0]
    return address if is_address(address) else "?"


def allowed_origin(headers: Headers, cors: Collection[str]) -> str | None:
    """The Origin of the request where --cors lets it in."""
    origin = headers.get("origin")
    return origin if origin and (origin in cors or "*" in cors) else None


async def respond(send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send a response of JSON."""
    lower = {"content-type": "application/json", **{name.lower(): value for name, value in (headers or {}).items()}}
    pairs = [(name.encode(), value.encode()) for name, value in lower.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class Check:
    """A middleware that answers with the APIError that its check() raises, and lets the other requests through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def check(self, scope: Scope, headers: Headers) -> None:
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self.check(scope, Headers(scope=scope))
            except APIError as error:
                return await respond(send, error.status, json.dumps(error.body).encode(), error.headers)
        await self.app(scope, receive, send)


class OriginCheck(Check):
    """
    Keeps out names that are not this machine's where loopback is set, and pages of other origins, but for those of
    allowed_hosts and `cors`.
    """

    def __init__(
        self, app: ASGIApp, loopback: bool, cors: Collection[str], allowed_hosts: Collection[str] = ()
    ) -> None:
        super().__init__(app)
        self.loopback, self.cors, self.allowed_hosts = loopback, cors, allowed_hosts

    def check(self, scope: Scope, headers: Headers) -> None:
        host, origin = headers.get("host"), headers.get("origin")
        is_probe = host is None and scope["path"] in KEYLESS_PATHS  # a load balancer's; every browser tells a host
        if self.loopback and not is_probe and not self.is_ours(host or ""):
            name = f"{host or ''}"[:100]
            message = f"this server is for this machine, and {name!r} is no name of it; --allowed_hosts={name} adds it"
            raise APIError(403, message, code="host")
        if origin and not allowed_origin(headers, self.cors):
            authority = origin_authority(origin)
            if authority is None or authority != host and not is_allowed(host_of(authority) or "", self.allowed_hosts):
                message = f"pages of {origin[:100]} may not ask; --cors={origin[:100]} allows it"
                raise APIError(403, message, code="origin")

    def is_ours(self, authority: str) -> bool:
        host = host_of(authority)
        return bool(host) and (is_own(host) or is_allowed(host, self.allowed_hosts))


class KeyCheck(Check):
    """Asks for the key everywhere but at the page and at KEYLESS_PATHS."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        super().__init__(app)
        self.key = key

    def check(self, scope: Scope, headers: Headers) -> None:
        is_page = scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(("/v1", "/metrics", "/openapi"))
        if is_page or scope["path"] in KEYLESS_PATHS:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # headers are decoded as Latin-1; a client sends a key beyond ASCII in that, or in UTF-8
        keys = [self.key.encode(), self.key.encode("latin-1", "replace")]
        if not any(hmac.compare_digest(given.encode("latin-1"), key) for key in keys):
            message = "the API key is missing or wrong: Authorization: Bearer KEY"
            raise APIError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


class Buckets:
    """A token bucket (Turner 1986) for each address: it holds `capacity`, and fills at `per_second`."""

    def __init__(self, per_second: float, capacity: float) -> None:
        self.per_second, self.capacity = per_second, capacity
        self.levels: dict[str, tuple[float, float]] = {}  # address -> (what it may take, time.monotonic() then)

    def take(self, address: str, in_advance: bool = False) -> float:
        """
        Take one from the address's bucket; 0.0, or where there is none the seconds until there is. in_advance: it is
        taken even so, and the next one must wait the longer.
        """
        now = time.monotonic()
        level, filled_at = self.levels.pop(address, (self.capacity, now))
        level = min(self.capacity, level + self.per_second * (now - filled_at))
        self.levels[address] = (level - 1 if level >= 1 or in_advance else level, now)
        while len(self.levels) > MAX_BUCKETS:
            del self.levels[next(iter(self.levels))]
        return max(0.0, (1 - level) / self.per_second)


class RateLimit(Check):
    """max_rps requests a second for each address, those of one second at once. Not for the page's files."""

    def __init__(self, app: ASGIApp, max_rps: float) -> None:
        super().__init__(app)
        self.max_rps, self.buckets = max_rps, Buckets(max_rps, max(1.0, max_rps))

    def check(self, scope: Scope, headers: Headers) -> None:
        if not scope["path"].startswith(LIMITED_PATHS):
            return
        seconds = self.buckets.take(client_address(scope))
        if seconds:
            wait = {"Retry-After": str(max(1, round(seconds)))}
            message = f"more than {self.max_rps:g} requests a second"
            raise APIError(429, message, code="rps", type="rate_limit_error", headers=wait)


class RefusalPace:
    """
    While replies are made, an address gets max_refusals answers of 4xx a second; further ones wait for their turn. A
    client that sends nonsense as fast as it can would else take the core and the interpreter that write for the others.
    """

    def __init__(self, app: ASGIApp, max_refusals: float, is_writing: Callable[[], bool]) -> None:
        self.app, self.is_writing = app, is_writing
        self.buckets = Buckets(max_refusals, max(1.0, max_refusals / 4))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_turn(message: Message) -> None:
            status = message.get("status", 200)
            if 400 <= status < 500 and status != TOO_MANY and self.is_writing():
                await asyncio.sleep(self.buckets.take(client_address(scope), in_advance=True))
            await send(message)

        await self.app(scope, receive, send_in_turn if scope["type"] == "http" else send)


class BodyLimit(Check):
    """Lets bodies of JSON through that have at most max_body bytes, counted as they come."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        super().__init__(app)
        self.max_body = max_body

    def check(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self.max_body:
            raise APIError(413, f"a body of {length[:20]} bytes is more than {self.max_body}; --max_body sets it")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise APIError(415, f"a body in Content-Encoding: {encoding[:20]} is not read here; send it as it is")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and content_type != "application/json":
            raise APIError(415, "the body must be JSON: Content-Type: application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        n_read = 0

        async def receive_limited() -> Message:
            nonlocal n_read
            message = await receive()
            n_read += len(message.get("body", b""))
            if n_read > self.max_body:  # FastAPI lets an HTTPException through, and no other
                raise HTTPException(413, f"the body has more than {self.max_body} bytes; --max_body sets it")
            return message

        await super().__call__(scope, receive_limited, send)
