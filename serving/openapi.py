"""What /openapi.json says beside the types of the routes: the errors, and the events of streams."""

from typing import Any

from serving.response_models import ChatCompletionChunk, ErrorResponse, Returned, TextCompletionChunk
from serving.response_object import ResponseEvent

ERRORS: dict[int | str, dict[str, Any]] = {  # every route's, for `responses=`
    "4XX": {"model": ErrorResponse, "description": "The request is wrong, not allowed, or comes too soon."},
    "5XX": {"model": ErrorResponse, "description": "The engine has failed, or there was no time for a reply."},
}


def events(model: type[Returned]) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route that streams: each event's data is a `model`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        200: {
            "description": "The whole reply, or with stream: true its pieces as server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string", "contentSchema": schema}}},
        }
    }


def event_schemas() -> dict[str, Any]:
    """The schemas that events() names, and those that they name, for the components of /openapi.json."""
    schemas: dict[str, Any] = {}
    for model in (ChatCompletionChunk, TextCompletionChunk, ResponseEvent):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
    return schemas
