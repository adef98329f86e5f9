"""The routes of the server."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import PlainTextResponse

from sfumato.apps.server import intake
from sfumato.apps.server.answers import Service, as_json
from sfumato.apps.server.errors import ApiError, ErrorBody
from sfumato.apps.server.requests import StrictRoute, read_form
from sfumato.apps.server.schemas import (
    Edit,
    Generate,
    ImageRequest,
    Images,
    JobInfo,
    ModelCard,
    ModelList,
    RunRecipe,
    Variation,
)
from sfumato.models.cascade import Stages

REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
api = APIRouter(prefix="/v1", route_class=StrictRoute, responses=REFUSALS)
health = APIRouter()
FILE = {"type": "string", "format": "binary"}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _form(schema: type[BaseModel], **files: Any) -> dict[str, Any]:
    """How OpenAPI describes a multipart body: the fields of a schema, and files, `image` among them."""
    described = schema.model_json_schema()
    body = {
        "type": "object",
        "properties": {**described["properties"], **files},
        "required": [*described.get("required", ()), "image"],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


async def _images(request: Request, body: ImageRequest, files: intake.Files, *, kind: str) -> Response:
    service = _service(request)
    order = await run_sync(intake.images, service.worker, body, files, service.settings)
    return await service.images(request, order, kind=kind)


@api.post("/images/generations", response_model=Images)
async def generations(request: Request, body: Generate) -> Response:
    """Pictures of a prompt."""
    return await _images(request, body, {}, kind="image_generation")


@api.post(
    "/images/edits",
    response_model=Images,
    openapi_extra=_form(Edit, image={"type": "array", "items": FILE}, mask=FILE),
)
async def edits(request: Request) -> Response:
    """Changed pictures: inside a mask, or as a whole."""
    body, files = await read_form(request, Edit, _service(request).settings)
    return await _images(request, body, files, kind="image_edit")


@api.post("/images/variations", response_model=Images, openapi_extra=_form(Variation, image=FILE))
async def variations(request: Request) -> Response:
    """Pictures near a picture."""
    body, files = await read_form(request, Variation, _service(request).settings)
    return await _images(request, body, files, kind="image_variation")


@api.post("/recipes", response_model=JobInfo, responses={202: {"model": JobInfo}})
async def recipes(request: Request, body: RunRecipe) -> Response:
    """Pictures of any recipe: anagrams, hybrids, whatever an expression can say."""
    service = _service(request)
    order = await run_sync(intake.recipe, service.worker, body, service.settings)
    return await service.recipe(request, order, background=body.background)


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
    return _card(name, intake.find_model(_service(request).worker, name))


def _card(name: str, model: Stages) -> ModelCard:
    _, height, width = model.shape
    return ModelCard(id=name, created=0, size=f"{width}x{height}", class_names=list(model.class_names))


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
