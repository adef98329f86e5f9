"""The application: a worker and its routes, started and stopped together."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfumato.apps.server import errors
from sfumato.apps.server.answers import Service
from sfumato.apps.server.guard import Guard
from sfumato.apps.server.logs import log_job
from sfumato.apps.server.metrics import Metrics
from sfumato.apps.server.routes import api, health
from sfumato.apps.server.settings import Settings
from sfumato.models.cascade import Stages
from sfumato.serving import Ended, Job, Worker
from sfumato.version import __version__

Page = Callable[[FastAPI, Worker, Settings], None]


def create_app(
    load: Mapping[str, Callable[[], Stages]], settings: Settings | None = None, *, page: Page | None = None
) -> FastAPI:
    """The server of these models (see Worker); they are loaded when it starts.

    page: mounts a page for the browser.
    """
    settings = settings or Settings()
    metrics = Metrics()

    def count_and_log(job: Job, ended: Ended) -> None:
        metrics.count_end(job, ended)
        log_job(job, ended)

    worker = Worker(load, limits=settings.limits, on_turn=metrics.count_turn, on_end=count_and_log)
    metrics.watch(worker)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        worker.start()
        yield
        await run_sync(lambda: worker.stop(drain=settings.drain_seconds))

    app = FastAPI(title="sfumato", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service = Service(worker, settings, metrics)
    errors.install(app)
    app.include_router(api)
    app.include_router(health)
    app.add_middleware(_Counted, metrics=metrics)
    if page is not None:
        page(app, worker, settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Guard, settings=settings, drain=service.drain, has_page=page is not None)
    return app


class _Counted:
    """Counts the requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, counted)
