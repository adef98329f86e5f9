"""Running the server until a signal stops it."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from sfumato.apps.server.answers import Service
from sfumato.apps.server.connections import bounded_connections
from sfumato.apps.server.drain import GRACE_SECONDS
from sfumato.apps.server.logs import configure
from sfumato.apps.server.settings import Settings
from sfumato.errors import SfumatoError
from sfumato.serving import Worker

KEEP_ALIVE_SECONDS = 15


def serve(app: FastAPI, settings: Settings, say: Callable[[str], None]) -> None:
    """Listen until SIGINT or SIGTERM, then let accepted requests end within the settings' time.

    Raises:
        SfumatoError: the address cannot be listened on.
    """
    configure(settings.log_format)
    listening = listen(settings)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(f"listening on http://{shown}:{port}")
    config = uvicorn.Config(
        app,
        http=bounded_connections(head_seconds=settings.head_seconds, most=settings.connections),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.drain_seconds + 2 * GRACE_SECONDS),
    )
    service: Service = app.state.service
    server = _Server(config, service)
    threading.Thread(target=_end_without_models, args=(service.worker, server), daemon=True).start()
    with listening, _stopped_by_signals(server) as signals:
        server.run(sockets=[listening])
    service.worker.stop()
    if service.worker.error is not None:
        raise service.worker.error
    for number in signals[:1]:
        say(f"stopped by {signal.Signals(number).name}")


class _Server(uvicorn.Server):
    """A server whose accepted requests know how long they have when it stops."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.begin_drain()
        await super().shutdown(sockets)


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[list[int]]:
    """SIGINT and SIGTERM stop the server and no more, while this lasts; gives the numbers that came.

    uvicorn has handlers of its own while it runs; in the end it raises again what they took.
    """
    came: list[int] = []

    def stop(number: int, frame: object) -> None:  # noqa: ARG001
        came.append(number)
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_without_models(worker: Worker, server: uvicorn.Server) -> None:
    """End the server if its models cannot be loaded."""
    try:
        worker.wait_ready()
    except Exception:
        server.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """A socket that listens on the address; asyncio sends without delay on the connections it accepts.

    Raises:
        SfumatoError: the address cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY where it knows it is TCP
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(settings.connections)  # from now on connections wait until the server accepts them
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SfumatoError(
            f"cannot listen on {settings.host}, port {settings.port} ({reason}): choose another --port"
        ) from error
    return listening
