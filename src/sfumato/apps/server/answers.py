"""From jobs to answers: waiting without blocking, streams, pictures in the form that the request names.

When a client goes away, its job is cancelled: while it waits, while it streams, while a picture is drawn.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi import Request, Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import JSONResponse
from torch import Tensor

from sfumato.apps.server.drain import GRACE_SECONDS, Drain
from sfumato.apps.server.errors import ApiError, refusal
from sfumato.apps.server.intake import Order
from sfumato.apps.server.metrics import Metrics
from sfumato.apps.server.schemas import Delivery, Image, Images, JobInfo, Usage
from sfumato.apps.server.settings import Settings
from sfumato.apps.server.store import File, KeptJob, Store
from sfumato.results import Pictures
from sfumato.serving import Ended, Event, Made, State, Stepped, Worker

CLIENT_CLOSED = 499  # as nginx has it; the client has gone and reads nothing
EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
PING_SECONDS = 15


class Service:
    """What the routes need: the worker, the settings, the metrics, the store, the end of their time."""

    def __init__(self, worker: Worker, settings: Settings, metrics: Metrics) -> None:
        self.worker, self.settings, self.metrics = worker, settings, metrics
        self.store = Store(max_bytes=settings.kept_bytes, seconds=settings.kept_seconds)
        self.drain = Drain()

    def begin_drain(self) -> None:
        """Take no more requests; those that are here have the settings' time. Called on the event loop."""
        seconds = self.settings.drain_seconds
        self.worker.drain(seconds)
        self.drain.begin(seconds + GRACE_SECONDS)

    async def images(self, request: Request, order: Order, *, kind: str) -> Response:
        """The answer to a request for images. kind: the first word of the names of a stream's events."""
        async with _WaitingRequest(self, request, order) as waiting:
            if order.delivery.stream:
                return await waiting.stream(kind)
            await waiting.until(Ended)
            images = Images(
                created=int(waiting.kept.job.created),
                data=await self._pictures(request, waiting.kept, order.delivery),
                warnings=list(order.warnings),
                output_format=order.delivery.output_format or "png",
                size=waiting.size,
            )
            return as_json(images)

    async def recipe(self, request: Request, order: Order, *, background: bool) -> Response:
        """The answer to a recipe: its job."""
        async with _WaitingRequest(self, request, order, keep=True) as waiting:
            if background:
                waiting.left = True
                return as_json(await self.describe(request, waiting.kept.job.id), 202)
            if order.delivery.stream:
                return await waiting.stream("recipe")
            await waiting.until(Ended)
            return as_json(await self.describe(request, waiting.kept.job.id, order.delivery))

    def cancel(self, name: str) -> None:
        """Cancel the job of this id."""
        self.worker.cancel(self._kept(name).job)

    async def describe(self, request: Request, name: str, delivery: Delivery | None = None) -> JobInfo:
        """The state of a job, with its pictures when it is done."""
        kept = self._kept(name)
        job, done = kept.job, kept.job.state is State.DONE
        return JobInfo(
            id=job.id,
            created=int(job.created),
            status=job.state,
            progress=round(job.progress, 4),
            seconds_left=0.0 if job.state.ended else round(self.worker.seconds_left(job), 2),
            recipes=[recipe.plain() for recipe, _ in job.recipes],
            warnings=list(kept.warnings),
            data=await self._pictures(request, kept, delivery or Delivery()) if done else None,
            error=refusal(job.error).body["error"] if job.error is not None else None,
        )

    async def _pictures(self, request: Request, kept: KeptJob, delivery: Delivery) -> list[Image]:
        """The pictures of a job that is done, in the form that the request names."""
        images = []
        for i in range(len(kept.job)):
            data = await encoded(kept, i, delivery)
            if delivery.response_format == "url":
                kind = delivery.output_format or "png"
                name = self.store.put(File(data, f"image/{kind}"), EXTENSIONS[kind])
                images.append(Image(url=str(request.url_for("file", name=name))))
            else:
                images.append(Image(b64_json=base64.b64encode(data).decode()))
        return images

    def _kept(self, name: str) -> KeptJob:
        kept = self.store.job(name)
        if kept is None:
            raise ApiError(404, "no job of this id is here, or it is forgotten", code="job_not_found")
        return kept


class _WaitingRequest:
    """A job and the request that waits for it; either ends with the other, unless the request has left."""

    kept: KeptJob

    def __init__(self, service: Service, request: Request, order: Order, *, keep: bool = False) -> None:
        """keep: the job can be found by its id when the request is over."""
        self.service, self.request, self.order, self.keep = service, request, order, keep
        self.left = False  # the job goes on without this request
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def __aenter__(self) -> _WaitingRequest:
        loop = asyncio.get_running_loop()

        def listen(event: Event) -> None:  # on the worker's thread
            loop.call_soon_threadsafe(self.events.put_nowait, event)

        request, delivery = self.request, self.order.delivery
        client = request.client.host if request.client is not None else ""
        job = self.service.worker.submit(
            self.order.parts,
            client=f"{client}/{delivery.user_name}",
            previews=delivery.partial_images or 0,
            listener=listen,
            name=request.state.request_id,
        )
        self.kept = KeptJob(job, self.order.enlarge, tuple(self.order.warnings))
        self.service.store.keep(self.kept)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.left:
            self.close()

    def close(self) -> None:
        """Cancel the job, if it has not ended, and forget it."""
        self.service.worker.cancel(self.kept.job)
        if not self.keep:
            self.service.store.forget(self.kept.job)

    @property
    def size(self) -> str:
        """The size of the returned pictures, WIDTHxHEIGHT."""
        height, width = self.kept.job.recipes[0][0].made_size
        return f"{width * self.order.enlarge}x{height * self.order.enlarge}"

    async def until(self, *kinds: type[Event]) -> Event:
        """Wait for an event of a kind; ApiError if the job fails or the client goes away."""
        gone = asyncio.create_task(disconnected(self.request))
        try:
            while True:
                next_event = asyncio.create_task(self.events.get())
                await asyncio.wait({gone, next_event}, return_when=asyncio.FIRST_COMPLETED)
                if not next_event.done():
                    next_event.cancel()
                    raise ApiError(CLIENT_CLOSED, "the client went away")
                event = next_event.result()
                _check(event)
                if isinstance(event, kinds):
                    return event
        finally:
            gone.cancel()

    async def stream(self, kind: str) -> Response:
        """The events as a stream, which begins with the first: an error before it is an answer of its own."""
        first = await self.until(Stepped, Made, Ended)
        self.left = True
        return EventSourceResponse(
            self._stream(kind, first),
            ping=PING_SECONDS,
            shutdown_event=anyio.Event(),
            shutdown_grace_period=self.service.settings.drain_seconds + GRACE_SECONDS,
        )

    async def _stream(self, kind: str, event: Event) -> AsyncIterator[ServerSentEvent]:
        previews = 0
        try:
            while not isinstance(event, Ended):
                match event:
                    case Stepped(x0=Tensor() as x0, picture=i):
                        data = await encoded(self.kept, i, self.order.delivery, x0)
                        yield self._event(f"{kind}.partial_image", data, partial_image_index=previews)
                        previews += 1
                    case Made(picture=i):
                        data = await encoded(self.kept, i, self.order.delivery)
                        more = {"usage": Usage().model_dump(), "warnings": list(self.order.warnings)}
                        yield self._event(f"{kind}.completed", data, **more)
                event = await self.events.get()
            _check(event)
        except ApiError as error:
            yield ServerSentEvent(event="error", data=json.dumps(error.body))
        finally:
            self.close()

    def _event(self, kind: str, data: bytes, **more: object) -> ServerSentEvent:
        body = {
            "type": kind,
            "b64_json": base64.b64encode(data).decode(),
            "created_at": int(time.time()),
            "output_format": self.order.delivery.output_format or "png",
            "quality": "auto",
            "background": "opaque",
            "size": self.size,
            **more,
        }
        return ServerSentEvent(event=kind, data=json.dumps(body))


def _check(event: Event) -> None:
    """Raises ApiError at the end of a job that is not done."""
    if isinstance(event, Ended) and event.error is not None:
        if event.state is State.CANCELLED:
            raise ApiError(409, "the request was cancelled", code="cancelled")
        raise refusal(event.error)


def as_json(model: BaseModel, status: int = 200) -> JSONResponse:
    """A model as an answer, without its empty fields."""
    return JSONResponse(model.model_dump(mode="json", exclude_none=True), status)


async def disconnected(request: Request) -> None:
    """Return when the client has gone."""
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass


async def encoded(kept: KeptJob, i: int, delivery: Delivery, x: Tensor | None = None) -> bytes:
    """The file of picture i of a job, or of a preview x of it, with its recipe inside.

    It is encoded in a thread, so that the event loop goes on.
    """
    x = kept.job.pictures[i] if x is None else x
    assert x is not None
    pictures = Pictures(x[None], kept.job.recipes[i][0])
    extension = EXTENSIONS[delivery.output_format or "png"]
    quality = None if delivery.output_compression is None else max(1, delivery.output_compression)
    return await run_sync(lambda: pictures.encode(0, extension, enlarge=kept.enlarge, quality=quality))
