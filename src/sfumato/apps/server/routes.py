"""The routes of the server."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from starlette.responses import PlainTextResponse

from sfumato.apps.server import intake
from sfumato.apps.server.answers import Service, as_json
from sfumato.apps.server.errors import ApiError, ErrorBody, invalid
from sfumato.apps.server.requests import StrictRoute, read_form
from sfumato.apps.server.schemas import (
    Edit,
    Generate,
    Images,
    JobInfo,
    ModelCard,
    ModelList,
    RunRecipe,
    Variation,
)
from sfumato.models.model import Model

REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
api = APIRouter(prefix="/v1", route_class=StrictRoute, responses=REFUSALS)
health = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _form(schema: type[Any], *, several: bool, mask: bool) -> dict[str, Any]:
    """How OpenAPI describes a multipart body: the fields of a schema, and files."""
    described = schema.model_json_schema()
    file = {"type": "string", "format": "binary"}
    properties = dict(described["properties"])
    properties["image"] = {"type": "array", "items": file} if several else file
    if mask:
        properties["mask"] = file
    body = {
        "type": "object",
        "properties": properties,
        "required": [*described.get("required", ()), "image"],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


@api.post("/images/generations", response_model=Images)
async def generations(request: Request, body: Generate) -> Response:
    """Pictures of a prompt."""
    service = _service(request)
    order = await run_sync(intake.generation, service.worker, body)
    _one_streamed(body, order)
    return await service.images(request, order, body, kind="image_generation")


@api.post("/images/edits", response_model=Images, openapi_extra=_form(Edit, several=True, mask=True))
async def edits(request: Request) -> Response:
    """Changed pictures: inside a mask, or as a whole."""
    service = _service(request)
    body, files = await read_form(request, Edit, service.settings)
    order = await run_sync(intake.edit, service.worker, body, files, service.settings)
    _one_streamed(body, order)
    return await service.images(request, order, body, kind="image_edit")


@api.post(
    "/images/variations", response_model=Images, openapi_extra=_form(Variation, several=False, mask=False)
)
async def variations(request: Request) -> Response:
    """Pictures near a picture."""
    service = _service(request)
    body, files = await read_form(request, Variation, service.settings)
    order = await run_sync(intake.variation, service.worker, body, files, service.settings)
    _one_streamed(body, order)
    return await service.images(request, order, body, kind="image_variation")


@api.post("/recipes", response_model=JobInfo, responses={202: {"model": JobInfo}})
async def recipes(request: Request, body: RunRecipe) -> Response:
    """Pictures of any recipe: anagrams, hybrids, whatever an expression can say."""
    service = _service(request)
    order = await run_sync(intake.recipe, service.worker, body, service.settings)
    _one_streamed(body, order)
    return await service.recipe(request, order, body, background=body.background)


@api.get("/jobs/{job_id}", response_model=JobInfo)
async def job(request: Request, job_id: str) -> Response:
    """The state of a job; its id is the x-request-id of its request."""
    return as_json(await _service(request).describe(request, job_id))


@api.delete("/jobs/{job_id}", response_model=JobInfo)
async def cancel(request: Request, job_id: str) -> Response:
    """Cancel a job: it ends before its next step."""
    service = _service(request)
    service.cancel(job_id)
    return as_json(await service.describe(request, job_id))


@api.get("/files/{name}", response_class=Response)
async def file(request: Request, name: str) -> Response:
    """A picture by the address that an answer gave."""
    found = _service(request).store.file(name)
    if found is None:
        raise ApiError(404, "no file of this name is here, or it is forgotten", code="file_not_found")
    return Response(found.data, media_type=found.media_type, headers={"cache-control": "private, immutable"})


@api.get("/models", response_model=ModelList)
async def models(request: Request) -> ModelList:
    """The models, the default one first."""
    service = _service(request)
    return ModelList(data=[_card(name, model) for name, model in service.worker.models.items()])


@api.get("/models/{name}", response_model=ModelCard)
async def model(request: Request, name: str) -> ModelCard:
    """One model."""
    found = intake.find_model(_service(request).worker, name)
    return _card(found.name, found)


def _card(name: str, model: Model) -> ModelCard:
    _, height, width = model.shape
    return ModelCard(id=name, created=0, size=f"{width}x{height}", class_names=list(model.class_names))


def _one_streamed(body: Any, order: intake.Order) -> None:
    count = sum(part.recipe.count for part in order.parts)
    if body.partial_images and count > 1:
        raise invalid("partial_images", "a preview does not say which picture it shows: set n to 1")


@health.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """Whether the server answers."""
    return "ok"


@health.get("/readyz", response_class=PlainTextResponse, responses={503: {"model": str}})
async def readyz(request: Request) -> Response:
    """Whether pictures can be made: the models are loaded, and the worker is alive."""
    service = _service(request)
    if not service.worker.ready:
        return PlainTextResponse("not ready: the models are not loaded, or the server stops", 503)
    if not service.worker.alive(service.settings.beat_seconds):
        return PlainTextResponse("not ready: the worker is stuck", 503)
    return PlainTextResponse("ready")


@health.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The metrics, for a monitoring system."""
    text = _service(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
