"""
Who may ask, how often, and how much: in front of the app, for every request.

A key, compared in constant time; a rate for each client; a limit of a body's bytes, however it comes; names of this
machine only, so that no page elsewhere reaches a server on loopback by DNS rebinding; headers that keep the page alone.
"""

import hmac
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from serving.protocol import APIError

KEYLESS_PATHS = ("/health",)  # and the page itself: without the key
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
DOCS = "/docs"  # FastAPI's page takes its scripts from elsewhere


@dataclass(frozen=True)
class Limits:
    key: str | None
    max_rps: float | None
    max_body: int
    loopback: bool  # only this machine can reach the server
    cors: tuple[str, ...]


class Gatekeeper:
    """An ASGI app around another. counts: {(path, status): requests}, which it keeps."""

    def __init__(self, app, limits, counts):
        self.app, self.limits, self.counts = app, limits, counts
        self.paths = {route.path for route in app.routes}
        self.buckets = {}  # client -> (requests that it may make now, when that was so)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun, status, headers = (
            time.monotonic(),
            [0],
            {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]},
        )
        origin = headers.get("origin")
        allowed = origin in self.limits.cors or "*" in self.limits.cors
        read = 0

        async def sent(message):
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                more = {**HEADERS} if scope["path"] == DOCS else {**HEADERS, "content-security-policy": POLICY}
                if origin and allowed:
                    more |= {"access-control-allow-origin": origin, "vary": "Origin"}
                    more["cross-origin-resource-policy"] = "cross-origin"
                    more["access-control-expose-headers"] = "Retry-After"
                message = {
                    **message,
                    "headers": [*message["headers"], *((k.encode(), v.encode()) for k, v in more.items())],
                }
            await send(message)

        async def received():
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limits.max_body:
                raise HTTPException(413, f"the body has more than {self.limits.max_body} bytes; --max_body sets it")
            return message

        try:
            if scope["method"] == "OPTIONS" and origin and allowed:
                await respond(sent, 204, b"", {
                    "access-control-allow-methods": "GET, POST",
                    "access-control-allow-headers": "authorization, content-type",
                    "access-control-max-age": "600",
                })  # fmt: skip
            else:
                self.check(scope, headers, origin, allowed)
                await self.app(scope, received, sent)
        except APIError as error:
            await respond(sent, error.status, json.dumps(error.body).encode(), error.headers)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counts[path, status[0]] = self.counts.get((path, status[0]), 0) + 1
            if path not in ("/health", "/metrics"):
                told = f" {scope['told']}" if "told" in scope else ""
                host = (scope.get("client") or ("?",))[0]
                print(f"{scope['method']} {path} {status[0]}{told} {time.monotonic() - begun:.2f} s {host}", flush=True)

    def check(self, scope, headers, origin, allowed):
        """Raise Refused unless this client may ask this."""
        limits, host = self.limits, headers.get("host", "")
        if limits.loopback and urlsplit(f"//{host}").hostname not in ("localhost", "127.0.0.1", "::1"):
            raise APIError(403, "this server is for this machine: ask it as localhost or 127.0.0.1", code="host")
        if origin and not allowed and urlsplit(origin).netloc != host:
            raise APIError(403, f"pages of {origin[:100]} may not ask; --cors={origin[:100]} allows it", code="origin")
        address = (scope.get("client") or ("?",))[0]
        scope["client_key"] = address
        is_page = scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(("/v1", "/metrics", "/openapi"))
        if limits.key and not is_page and scope["path"] not in KEYLESS_PATHS:
            given = headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, limits.key.encode()):
                about = dict(code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
                raise APIError(401, "the API key is missing or wrong: Authorization: Bearer KEY", **about)
        if limits.max_rps and scope["path"].startswith("/v1"):
            self.take(address)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > limits.max_body:
            raise APIError(413, f"a body of {length[:20]} bytes is more than {limits.max_body}; --max_body sets it")
        if (
            scope["method"] == "POST"
            and headers.get("content-type", "").partition(";")[0].strip() != "application/json"
        ):
            raise APIError(415, "the body must be JSON: Content-Type: application/json")

    def take(self, client):
        """Take a request of the client's bucket, which holds a second's worth. Raises Refused when it is empty."""
        rate, now = self.limits.max_rps, time.monotonic()
        most = max(1.0, rate)
        left, then = self.buckets.pop(client, (most, now))
        left = min(most, left + rate * (now - then))
        self.buckets[client] = (left - 1 if left >= 1 else left, now)
        while len(self.buckets) > 10_000:
            del self.buckets[next(iter(self.buckets))]
        if left < 1:
            wait = {"Retry-After": str(max(1, round((1 - left) / rate)))}
            raise APIError(
                429, f"more than {rate:g} requests a second", type="rate_limit_error", code="rps", headers=wait
            )


async def respond(send, status, body, headers=None):
    kept = {"content-type": "application/json", **{name.lower(): value for name, value in (headers or {}).items()}}
    pairs = [(name.encode(), value.encode()) for name, value in kept.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
