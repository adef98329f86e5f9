"""The end of a server's time: requests that are still there are answered 503, in JSON."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfumato.apps.server.errors import refusal
from sfumato.serving import StoppingError

GRACE_SECONDS = 5.0  # after the drain: for answers to leave, and for a step that takes long


class Drain:
    """Runs requests, and ends those that outlive the time that `begin` sets."""

    def __init__(self) -> None:
        self._end: float | None = None  # in the time of the event loop
        self._deadlines: set[asyncio.Timeout] = set()

    def begin(self, seconds: float) -> None:
        """End the requests that are still there so many seconds from now. Called on the event loop."""
        self._end = asyncio.get_running_loop().time() + seconds
        for deadline in self._deadlines:
            deadline.reschedule(self._end)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the application; by 503 where the time ends before its answer begins."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        deadline = asyncio.timeout_at(self._end)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                await app(scope, receive, watched)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not begun:
                await refusal(StoppingError("the server is stopping")).response()(scope, receive, send)
        finally:
            self._deadlines.discard(deadline)
