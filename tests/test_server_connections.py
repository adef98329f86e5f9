"""Connections that hold the server up: heads that do not come, more of them than there may be, no delay."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from live import Live, live, wait_for
from sfumato.apps.server import Settings
from sfumato.apps.server.run import listen
from sfumato.errors import SfumatoError
from toy_models import TrivialModel, WatchedModel

PATIENCE = 60.0


@contextmanager
def opened(server: Live, count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections on which `said` was said, and no more."""
    host, port = server.host.split(":")
    with ExitStack() as stack:
        callers = []
        for _ in range(count):
            callers.append(caller := stack.enter_context(socket.create_connection((host, int(port)))))
            caller.settimeout(PATIENCE)
            caller.sendall(said)
        yield callers


def closed(caller: socket.socket) -> bool:
    """Whether the server closes the connection without an answer."""
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-"])
def test_a_head_that_does_not_come_is_not_waited_for(said: bytes) -> None:
    with live(TrivialModel(), settings=Settings(head_seconds=0.3)) as server, opened(server, 3, said) as held:
        assert all(closed(caller) for caller in held)
        assert server.client.get("/healthz").text == "ok"


def test_a_head_that_comes_drop_by_drop_is_not_waited_for() -> None:
    with live(TrivialModel(), settings=Settings(head_seconds=0.5)) as server, opened(server, 1) as (caller,):
        start = time.monotonic()
        caller.setblocking(False)
        while time.monotonic() - start < PATIENCE:
            try:
                caller.send(b"X")
                assert caller.recv(1) == b""
                return
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # whichever error a closed connection has
                return
        pytest.fail("it was waited for")


def test_a_second_head_has_the_same_limit() -> None:
    with live(TrivialModel(), settings=Settings(head_seconds=0.3)) as server, opened(server, 1) as (caller,):
        caller.sendall(f"GET /healthz HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
        got = b""
        while not got.endswith(b"ok"):
            got += caller.recv(4096)
        caller.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert closed(caller)


def test_an_answer_may_take_longer_than_a_head() -> None:
    model = WatchedModel()
    with live(model, settings=Settings(head_seconds=0.2)) as server:
        model.gated = True
        threading.Timer(1.0, model.open).start()
        assert server.client.post("/v1/images/generations", json={"prompt": "3"}).status_code == 200


def test_idle_connections_keep_nobody_out() -> None:
    settings = Settings(head_seconds=PATIENCE, connections=20)
    with live(TrivialModel(), settings=settings) as server, opened(server, 60) as held:
        for _ in range(3):
            assert httpx.get(f"{server.url}/healthz").text == "ok"
            assert httpx.post(f"{server.url}/v1/images/generations", json={"prompt": "3"}).status_code == 200
        assert all(closed(caller) for caller in held[:40])  # the oldest went first
        held[-1].sendall(f"GET /readyz HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
        assert held[-1].recv(12) == b"HTTP/1.1 200"


def test_health_is_answered_beyond_the_most_requests() -> None:
    model = WatchedModel()
    with live(model, settings=Settings(requests=2)) as server:
        model.gated = True
        asked = {"recipe": {"expression": {"prompt": "3"}}}
        answers: list[int] = []

        def ask() -> None:
            with httpx.Client(timeout=PATIENCE) as client:
                answers.append(client.post(f"{server.url}/v1/recipes", json=asked).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: server.worker.running + server.worker.queued == 2)
        refused = server.client.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/readyz").status_code == 200
        model.open()
        for thread in threads:
            thread.join(PATIENCE)
        assert answers == [200, 200]
        assert server.client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_accepted_connections_send_without_delay(host: str) -> None:
    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        try:
            listening = listen(Settings(host=host, port=0))
        except SfumatoError:
            pytest.skip("this machine has no such address")
        async with await asyncio.start_server(accept, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            writer.close()
            return await asyncio.wait_for(found, PATIENCE)

    assert asyncio.run(accepted()) != 0
