"""
A request's body, read as JSON is defined, so that nothing in it can fail later: no NaN, no number beyond a float's, no
lone surrogates, which UTF-8 cannot hold, and no nesting that would exhaust the stack.
"""

import json
import math
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from serving.errors import APIError
from serving.leniency import lenient, refuse_unsupported
from serving.off_the_loop import off_the_loop
from tokenization.chat_format import without_lone_surrogates

MAX_NAMES = 10_000  # of an object: pydantic makes an error of each that it does not know, in 2 us
MAX_DEPTH = 64  # lists and objects within each other; requests of real clients have less than 10


def read_json(body: bytes) -> Any:
    """The content of a body, its lone surrogates replaced by U+FFFD. Raises APIError."""
    try:
        return cleaned(json.loads(body.decode("utf-8-sig"), parse_constant=no_number))
    except (ValueError, RecursionError):  # among the first: bytes that are no UTF-8, integers of 5,000 digits
        raise APIError(400, "the body is not JSON", code="invalid_json") from None


def no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def cleaned(value: Any, depth: int = 0) -> Any:
    """
    The value without lone surrogates. Raises ValueError where a number is far too large, or the nesting too deep, and
    APIError where an object has too many names.
    """
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, float) and not math.isfinite(value) or isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError("a number is too large")
    if isinstance(value, dict | list) and depth == MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        if len(value) > MAX_NAMES:
            raise APIError(400, f"an object of the body has more than {MAX_NAMES:,} names", code="invalid_json")
        return {without_lone_surrogates(name): cleaned(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, depth + 1) for item in value]
    return value


class JSONRequest(Request):
    """known: the parameters of an endpoint of OpenAI's protocol, to which the body is fitted; none: it stays."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        super().__init__(request.scope, request.receive)
        self.known = known

    async def json(self) -> Any:
        body = await self.body()
        return await off_the_loop(len(body), self.content, body)

    def content(self, raw: bytes) -> Any:
        body, server = read_json(raw), self.app.state.server
        if self.known:
            refuse_unsupported(body)
            if not server.strict:
                return lenient(body, self.known, server.ignored)
        return body


class JSONRoute(APIRoute):
    """A route whose body is read by read_json: APIRouter(route_class=JSONRoute)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        model = self.body_field and self.body_field.field_info.annotation
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        known = fields if "model" in fields else ()

        async def handle(request: Request) -> Response:
            return await handler(JSONRequest(request, known))

        return handle
