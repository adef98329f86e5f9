"""Refusals in the form of the images API: {"error": {"message", "type", "param", "code"}}.

A message is written for the client; it never repeats an internal error. A refusal that would come again when
the request is repeated carries `x-should-retry: false`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sfumato.errors import SfumatoError, UsageError
from sfumato.serving import LoadingError, QueueFullError, StoppingError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_LONGEST_NAME = 64
RETRY = frozenset({429, 503})  # may succeed later


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorInfo


class ApiError(HTTPException):
    """A refusal."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        retry = {} if status in RETRY else {"x-should-retry": "false"}
        super().__init__(status, message, headers={**retry, **(headers or {})})
        self.param, self.code = param, code

    @property
    def body(self) -> dict[str, Any]:
        """The refusal as JSON."""
        default = "server_error" if self.status_code >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status_code, default)
        return {
            "error": {"message": printable(self.detail), "type": kind, "param": self.param, "code": self.code}
        }

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, headers=dict(self.headers or {}))


def invalid(param: str, message: str) -> ApiError:
    """The refusal of a field's value."""
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_value")


def refusal(error: Exception, param: str | None = None) -> ApiError:
    """An error as the client sees it."""
    match error:
        case ApiError():
            return error
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return first_complaint(error.errors())
        case QueueFullError(seconds=seconds):
            after = {"retry-after": f"{min(seconds, 3600.0):.0f}"}
            return ApiError(429, str(error), code="queue_full", headers=after)
        case LoadingError() | StoppingError():
            return ApiError(503, str(error), code="not_ready", headers={"retry-after": "5"})
        case UsageError():
            return ApiError(400, str(error), param=param, code="invalid_value")
        case SfumatoError():
            return ApiError(422, str(error), code="generation_failed")
        case MemoryError():
            return ApiError(503, "out of memory: ask for fewer or smaller pictures", code="out_of_memory")
    return ApiError(500, "the server failed at this request; its log says where", code="internal_error")


def install(app: FastAPI) -> None:
    """Answer every error in this form."""

    async def answer(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
        return refusal(error).response()

    for kind in (HTTPException, RequestValidationError, SfumatoError, Exception):
        app.add_exception_handler(kind, answer)


def first_complaint(errors: Sequence[Any]) -> ApiError:
    """The first complaint of pydantic: it names the field, and does not repeat the value."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    name = printable(".".join(where))[:_LONGEST_NAME]
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"{name}: unknown or unsupported here", param=name, code="unknown_parameter")
    if first["type"] == "missing":
        return ApiError(400, f"{name or 'the body'} is missing", param=name or None, code="missing_parameter")
    message = str(first["msg"]).removeprefix("Value error, ")
    return invalid(name, message) if name else ApiError(400, message, code="invalid_value")


def printable(text: str) -> str:
    """The text on one line, fit to be sent."""
    return " ".join(text.encode("utf-8", "replace").decode().replace("\0", " ").split())
