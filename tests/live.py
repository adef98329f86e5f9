"""A server on a free port of this machine, in a thread of the test."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx
import uvicorn

from sfumato.apps.server import Settings, create_app
from sfumato.apps.server.app import Page
from sfumato.apps.server.connections import bounded_connections
from sfumato.apps.server.run import listen
from sfumato.models.model import Model
from sfumato.serving import Worker
from toy_models import WatchedModel, loader


@dataclass
class Live:
    """A server that runs."""

    url: str
    host: str  # with its port
    worker: Worker
    client: httpx.Client

    def metric(self, name: str) -> float:
        """The value of one metric, its labels as they are written; 0 where there is none."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0


@contextmanager
def live(*models: Model, settings: Settings | None = None, page: Page | None = None) -> Iterator[Live]:
    settings = replace(settings or Settings(), port=0)
    listening = listen(settings)
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    app = create_app({model.name: loader(model) for model in models}, settings, page=page)
    protocol = bounded_connections(head_seconds=settings.head_seconds, most=settings.connections)
    config = uvicorn.Config(app, http=protocol, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    worker: Worker = app.state.service.worker
    try:
        wait_for(lambda: server.started)
        assert worker.wait_ready(60)
        for model in models:
            if isinstance(model, WatchedModel):
                model.forwards.clear()
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        with httpx.Client(base_url=f"http://{host}", headers=headers, timeout=60) as client:
            yield Live(f"http://{host}", host, worker, client)
    finally:
        for model in models:
            if isinstance(model, WatchedModel):
                model.open()
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
