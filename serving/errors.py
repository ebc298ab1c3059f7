"""OpenAI's error object, for all that is refused."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException


class APIError(HTTPException):
    """A request that is answered with OpenAI's error object. param: the parameter that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status, self.param = status, param
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


def validation_error(errors: Sequence[Any], names: Collection[str]) -> APIError:
    """
    The APIError for the errors that pydantic has found in a body: of one, an unknown parameter if there is any. names:
    those of all parameters.
    """
    # of a union's members the one that is meant: where pydantic came furthest
    first = max(errors, key=lambda error: (error["type"] == "extra_forbidden", len(error["loc"])))
    *path, last = [part for part in first["loc"] if part != "body"] or [""]
    path = [part for part in path if isinstance(part, int) or part in names]  # pydantic names a union's members too
    path += [last] if isinstance(last, int) or last in names or first["type"] == "extra_forbidden" else []
    param = ".".join(map(str, path))[:200] or None
    if first["type"] == "extra_forbidden":
        return APIError(400, f"{param} is not supported", param, "unknown_parameter")
    if first["type"] == "missing":
        return APIError(400, f"{param or 'the body'} is missing", param, "missing_required_parameter")
    return APIError(400, f"{param or 'the body'}: {first['msg'][:200]}", param, "invalid_value")
