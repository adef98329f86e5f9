"""Connections that say nothing: the head of a request has a time limit, and so many wait at most."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def bounded_connections(*, head_seconds: float, most: int) -> type[H11Protocol]:
    """The protocol of a server's connections.

    head_seconds: for the head of a request to arrive, from the connection or from its first byte on
    most: connections; where there are more, the one closes that has waited longest for a request
    """
    waiting: dict[BoundedConnection, None] = {}  # the longest first

    class BoundedConnection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            longest = next(iter(waiting), None)
            if longest is not None and len(self.connections) > most:
                longest._close()
            self._look()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._busy:
                waiting[self] = None  # for its next request; how long, uvicorn's keep-alive limits

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._rest()

        @property
        def _busy(self) -> bool:
            """Whether a request is answered, or another protocol has taken over."""
            upgraded = self not in self.connections
            return upgraded or (self.cycle is not None and not self.cycle.response_complete)

        def _look(self) -> None:
            """Begin to wait for a head, or end it."""
            if self._busy:
                self._rest()
            elif self._timer is None:
                waiting.setdefault(self)
                self._timer = self.loop.call_later(head_seconds, self._close)

        def _rest(self) -> None:
            """Wait no longer."""
            waiting.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close(self) -> None:
            self._rest()
            self.transport.close()

    return BoundedConnection
