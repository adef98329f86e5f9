"""From jobs to answers: waiting without blocking, streams, pictures in the form that the request names.

When a client goes away, its job is cancelled: while it waits, while it streams, while a picture is drawn.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
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

from sfumato.apps.server.errors import ApiError, refusal
from sfumato.apps.server.intake import Order
from sfumato.apps.server.metrics import Metrics
from sfumato.apps.server.schemas import Delivery, Image, Images, JobInfo, Usage
from sfumato.apps.server.settings import Settings
from sfumato.apps.server.store import File, Store
from sfumato.errors import SfumatoError
from sfumato.results import Pictures
from sfumato.serving import Ended, Event, Job, Made, State, Stepped, Worker

log = logging.getLogger("sfumato.server")
CLIENT_CLOSED = 499  # as nginx has it; the client has gone and reads nothing
EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
PING_SECONDS = 15


class Channel:
    """The events of one job, from the worker's thread to the event loop."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, event: Event) -> None:
        """Add an event, from any thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def get(self) -> Event:
        """The next event."""
        return await self._queue.get()


class Service:
    """What the routes need: the worker, the settings, the metrics, the store."""

    def __init__(self, worker: Worker, settings: Settings, metrics: Metrics) -> None:
        self.worker, self.settings, self.metrics = worker, settings, metrics
        self.store = Store(max_bytes=settings.kept_bytes, seconds=settings.kept_seconds)

    async def images(self, request: Request, order: Order, delivery: Delivery, *, kind: str) -> Response:
        """The answer to a request for images. kind: the first word of the names of a stream's events."""
        async with _WaitingRequest(self, request, order, delivery) as waiting:
            if not delivery.stream:
                await waiting.until(Ended)
                data = await waiting.pictures()
                images = Images(
                    created=int(waiting.job.created),
                    data=data,
                    output_format=delivery.output_format or "png",
                    size=waiting.size,
                )
                return as_json(images)
            await waiting.until((Stepped, Made, Ended))
            return waiting.stream(kind)

    async def recipe(
        self, request: Request, order: Order, delivery: Delivery, *, background: bool
    ) -> Response:
        """The answer to a recipe: its job."""
        async with _WaitingRequest(self, request, order, delivery, keep=True) as waiting:
            if background:
                waiting.leave()
                return as_json(await self.describe(request, waiting.job.id), 202)
            if delivery.stream:
                await waiting.until((Stepped, Made, Ended))
                return waiting.stream("recipe")
            await waiting.until(Ended)
            return as_json(await self.describe(request, waiting.job.id, delivery))

    def cancel(self, name: str) -> Job:
        """Cancel the job of this id."""
        job, _ = self._kept(name)
        self.worker.cancel(job)
        return job

    async def describe(self, request: Request, name: str, delivery: Delivery | None = None) -> JobInfo:
        """The state of a job, with its pictures when it is done."""
        job, enlarge = self._kept(name)
        done = job.state is State.DONE
        return JobInfo(
            id=job.id,
            created=int(job.created),
            status=job.state.value,
            progress=round(job.progress, 4),
            seconds_left=0.0 if job.state.ended else round(self.worker.seconds_left(job), 2),
            recipes=[recipe.plain() for recipe, _ in job.recipes],
            data=await self.delivered(request, job, enlarge, delivery or Delivery()) if done else None,
            error=refusal(job.error).body["error"] if job.error is not None else None,
        )

    async def delivered(self, request: Request, job: Job, enlarge: int, delivery: Delivery) -> list[Image]:
        """The pictures of a job that is done, in the form that the request names."""
        return [await self.image(request, job, i, enlarge, delivery) for i in range(len(job))]

    async def image(self, request: Request, job: Job, i: int, enlarge: int, delivery: Delivery) -> Image:
        """One picture of a job, with its recipe inside."""
        x = job.pictures[i]
        assert x is not None
        recipe, _ = job.recipes[i]
        data = await encoded(Pictures(x[None], recipe), enlarge, delivery)
        if delivery.response_format != "url":
            return Image(b64_json=base64.b64encode(data).decode())
        format_ = delivery.output_format or "png"
        name = self.store.put(File(data, f"image/{format_}"), EXTENSIONS[format_])
        return Image(url=str(request.url_for("file", name=name)))

    def _kept(self, name: str) -> tuple[Job, int]:
        kept = self.store.job(name)
        if kept is None:
            raise ApiError(404, "no job of this id is here, or it is forgotten", code="job_not_found")
        return kept


class _WaitingRequest:
    """A job and the request that waits for it; either ends with the other."""

    def __init__(
        self, service: Service, request: Request, order: Order, delivery: Delivery, *, keep: bool = False
    ) -> None:
        self.service, self.request, self.order, self.delivery, self.keep = (
            service,
            request,
            order,
            delivery,
            keep,
        )
        self.left = False
        self.channel = Channel()
        self.pending: list[Event] = []
        self.job: Job

    async def __aenter__(self) -> _WaitingRequest:
        def listen(event: Event) -> None:
            self.service.metrics.count_event(event)
            if isinstance(event, Ended) and event.error is not None and unforeseen(event.error):
                log.error("a job failed", exc_info=event.error)
            self.channel.put(event)

        request, service = self.request, self.service
        client = request.client.host if request.client is not None else ""
        self.job = service.worker.submit(
            self.order.parts,
            client=f"{client}/{self.delivery.who}",
            previews=self.delivery.partial_images or 0,
            listener=listen,
            name=request.state.request_id,
        )
        service.store.keep(self.job, self.order.enlarge)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.left:
            self.close()

    def leave(self) -> None:
        """Stop waiting; the job goes on."""
        self.left = True

    def close(self) -> None:
        """Cancel the job, if it has not ended, and forget it."""
        if not self.job.state.ended:
            self.service.worker.cancel(self.job)
        if not self.keep:
            self.service.store.forget(self.job)

    @property
    def size(self) -> str:
        """The size of the returned pictures, WIDTHxHEIGHT."""
        height, width = self.job.recipes[0][0].made_size
        return f"{width * self.order.enlarge}x{height * self.order.enlarge}"

    async def until(self, kind: Any) -> None:
        """Wait for an event of a kind; ApiError if the job fails or the client goes away."""
        gone = asyncio.create_task(disconnected(self.request))
        try:
            while True:
                event = asyncio.create_task(self.channel.get())
                await asyncio.wait({gone, event}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()
                    raise ApiError(CLIENT_CLOSED, "the client went away")
                self._check(event.result())
                if isinstance(event.result(), kind):
                    self.pending.append(event.result())
                    return
        finally:
            gone.cancel()

    @staticmethod
    def _check(event: Event) -> None:
        if isinstance(event, Ended) and event.error is not None:
            if event.state is State.CANCELLED:
                raise ApiError(409, "the request was cancelled", code="cancelled")
            raise refusal(event.error)

    async def pictures(self) -> list[Image]:
        """The pictures, in the form that the request names."""
        return await self.service.delivered(self.request, self.job, self.order.enlarge, self.delivery)

    def stream(self, kind: str) -> Response:
        """The events from now on, as a stream."""
        self.leave()
        return EventSourceResponse(
            self._events(kind),
            ping=PING_SECONDS,
            shutdown_event=anyio.Event(),
            shutdown_grace_period=self.service.settings.drain_seconds,
        )

    async def _events(self, kind: str) -> AsyncIterator[ServerSentEvent]:
        shown = 0
        try:
            while True:
                event = self.pending.pop(0) if self.pending else await self.channel.get()
                match event:
                    case Stepped(x0=Tensor() as x0, picture=i):
                        data = await encoded(
                            Pictures(x0[None], self.job.recipes[i][0]), self.order.enlarge, self.delivery
                        )
                        yield self._event(f"{kind}.partial_image", data, partial_image_index=shown)
                        shown += 1
                    case Made(picture=i):
                        image = await self.service.image(
                            self.request, self.job, i, self.order.enlarge, self.delivery
                        )
                        data = base64.b64decode(image.b64_json or "")
                        yield self._event(f"{kind}.completed", data, usage=Usage().model_dump())
                    case Ended():
                        self._check(event)
                        return
        except ApiError as error:
            yield ServerSentEvent(event="error", data=json.dumps(error.body))
        finally:
            self.close()

    def _event(self, kind: str, data: bytes, **more: object) -> ServerSentEvent:
        body = {
            "type": kind,
            "b64_json": base64.b64encode(data).decode(),
            "created_at": int(time.time()),
            "output_format": self.delivery.output_format or "png",
            "quality": "auto",
            "background": "opaque",
            "size": self.size,
            **more,
        }
        return ServerSentEvent(event=kind, data=json.dumps(body))


def as_json(model: BaseModel, status: int = 200) -> JSONResponse:
    """A model as an answer, without its empty fields."""
    return JSONResponse(model.model_dump(exclude_none=True), status)


async def disconnected(request: Request) -> None:
    """Return when the client has gone."""
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass


async def encoded(pictures: Pictures, enlarge: int, delivery: Delivery) -> bytes:
    """The file of one picture, encoded in a thread so that the event loop goes on."""
    extension = EXTENSIONS[delivery.output_format or "png"]
    quality = None if delivery.output_compression is None else max(1, delivery.output_compression)
    return await run_sync(lambda: pictures.encode(0, extension, enlarge=enlarge, quality=quality))


def unforeseen(error: Exception) -> bool:
    """Whether an error is a defect of the program."""
    return not isinstance(error, SfumatoError | MemoryError)
