"""Strict reading of requests: valid JSON, forms within bounds, no field twice."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from sfumato.apps.server.errors import ApiError, first_complaint
from sfumato.apps.server.settings import Settings

FIELD_BYTES = 256 * 2**10
Form = TypeVar("Form", bound=BaseModel)


class StrictRequest(Request):
    """A request whose JSON has finite numbers and whole characters."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = json.loads(body.decode("utf-8"))
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:
            wrong = "the JSON holds half a character (a lone surrogate)"
            raise ApiError(400, wrong, code="invalid_json") from None
        except (ValueError, RecursionError):  # also of NaN, 1e999, numbers too long, bytes that are not UTF-8
            raise ApiError(400, "the body is not JSON", code="invalid_json") from None
        return value


class StrictRoute(APIRoute):
    """A route that reads JSON strictly, and only with the content type of JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        wants_json = self.body_field is not None

        async def strict(request: Request) -> Response:
            if wants_json:
                _check_content_type(request, "JSON", "application/json")
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _check_content_type(request: Request, what: str, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise ApiError(415, f"send {what}, as Content-Type: {wanted}", code="content_type")


class _WatchedParser(MultiPartParser):
    """A parser that knows whether the last boundary came."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


@asynccontextmanager
async def _whole_form(request: Request, settings: Settings) -> AsyncIterator[FormData]:
    """The form of a multipart request, within bounds; ApiError where it is damaged or cut short."""
    parser = _WatchedParser(
        request.headers,
        request.stream(),
        max_files=settings.files,
        max_fields=settings.fields,
        max_part_size=FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, error.message, code="invalid_form") from None
    try:
        if not parser.ended:
            raise ApiError(400, "the form ends before its last boundary: send it whole", code="invalid_form")
        yield form
    finally:
        await form.close()


async def read_form(
    request: Request, kind: type[Form], settings: Settings
) -> tuple[Form, dict[str, list[bytes]]]:
    """The fields of a multipart request and its files by field name; `image[]` is `image`.

    The names that files had on the client are not read.
    """
    _check_content_type(request, "a form", "multipart/form-data")
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    async with _whole_form(request, settings) as form:
        for raw, value in form.multi_items():
            name = raw.removesuffix("[]")
            if isinstance(value, UploadFile):
                files.setdefault(name, []).append(await value.read())
            elif name in fields:
                raise ApiError(400, "a field is given twice", code="invalid_value")
            else:
                fields[name] = value
    try:
        return kind.model_validate(fields), files
    except ValidationError as error:
        raise first_complaint(error.errors(include_url=False, include_context=False)) from None
