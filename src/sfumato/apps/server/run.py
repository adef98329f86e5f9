"""Running the server until a signal stops it."""

import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from sfumato.apps.server.settings import Settings
from sfumato.errors import SfumatoError
from sfumato.serving import Worker

KEEP_ALIVE_SECONDS = 15
CONNECTIONS = 512


def serve(app: FastAPI, settings: Settings, say: Callable[[str], None]) -> None:
    """Listen until SIGINT or SIGTERM, then let accepted requests end within the settings' time.

    Raises:
        SfumatoError: the address cannot be listened on.
    """
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(f"listening on http://{shown}:{port}")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    server = uvicorn.Server(config)
    worker: Worker = app.state.service.worker
    threading.Thread(target=_end_without_models, args=(worker, server), daemon=True).start()
    with listening:
        server.run(sockets=[listening])
    if worker.error is not None:
        raise worker.error


def _end_without_models(worker: Worker, server: uvicorn.Server) -> None:
    """End the server if its models cannot be loaded."""
    try:
        worker.wait_ready()
    except Exception:
        server.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(CONNECTIONS)  # from now on connections wait until the server accepts them
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SfumatoError(
            f"cannot listen on {settings.host}, port {settings.port} ({reason}): choose another --port"
        ) from error
    return listening
