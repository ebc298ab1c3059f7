"""The ASGI app: the routes of completions.py, responses.py and routes.py, the page, and middleware.py in front."""

import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from runtime.version import version
from serving import completions, responses, routes
from serving.checks import Limits
from serving.errors import APIError, validation_error
from serving.middleware import guarded
from serving.openapi import event_schemas
from serving.protocol import Strict, field_names
from serving.state import ServerState

DESCRIPTION = "Serve a model to programs and people: OpenAI's protocol under /v1, a page to chat on at /."
WEB = Path(__file__).parents[1] / "web"


class App(FastAPI):
    """An app whose /openapi.json describes the events of streams, too."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        schema["components"]["schemas"] |= event_schemas()
        return schema


def create_app(server: ServerState, limits: Limits) -> ASGIApp:
    """The app that serves `server`'s model and the page."""
    app = App(title="nanoChatGPT", version=version(), description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.server = server
    app.add_exception_handler(APIError, error_response)
    app.add_exception_handler(RequestValidationError, error_response)
    app.add_exception_handler(HTTPException, error_response)
    app.add_exception_handler(Exception, error_response)
    routers = [module.router for module in (completions, responses, routes)]
    for router in routers:
        app.include_router(router)
    add_page(app, server.model_name)
    paths = {path for router in (app, *routers) for path in paths_of(router.routes)}  # FastAPI may nest the routers
    return guarded(app, limits, server.request_counts, paths, lambda: bool(server.scheduler.running))


def paths_of(routes: Sequence[BaseRoute]) -> list[str]:
    return [route.path for route in routes if isinstance(route, Route | APIRoute)]


async def error_response(request: Request, error: Exception) -> JSONResponse:
    """OpenAI's error object for whatever a route, FastAPI or Starlette raises."""
    if isinstance(error, RequestValidationError):
        error = validation_error(error.errors(), field_names(Strict))
    elif isinstance(error, HTTPException) and not isinstance(error, APIError):
        error = APIError(error.status_code, str(error.detail), headers=error.headers)
    if not isinstance(error, APIError):  # a bug of ours: Starlette raises it again for the log
        error = APIError(500, "the server failed; its log has why", type="server_error")
    return JSONResponse(error.body, error.status, error.headers)


def add_page(app: FastAPI, model_name: str) -> None:
    """Serve the files of web/ at /, or where they are not, a message that says where the model is."""
    files = page_files()
    for path, (content, media_type) in files.items():
        app.add_api_route(path, file_route(content, media_type), methods=["GET"], include_in_schema=False)
    if "/" not in files:
        app.add_api_route("/", lambda: {"message": f"{model_name} is served under /v1"}, include_in_schema=False)


def page_files() -> dict[str, tuple[bytes, str | None]]:
    """{path: (content, media type)} of the files in web/, read once: no request reads a file."""
    files = {}
    for file in sorted(path for path in WEB.rglob("*") if path.is_file()):
        media_type = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
        name = file.relative_to(WEB).as_posix()
        files["/" if name == "index.html" else f"/{name}"] = (file.read_bytes(), media_type)
    return files


def file_route(content: bytes, media_type: str | None) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return Response(content, media_type=media_type)

    return file
