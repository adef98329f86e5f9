"""The checks that every request passes first: its host, its origin, its key, its size, its speed, its number.

Pure ASGI, so that streams and disconnects go through untouched.
"""

import asyncio
import hmac
import time
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfumato.apps.server.drain import Drain
from sfumato.apps.server.errors import ApiError
from sfumato.apps.server.settings import Settings

OPEN = ("/healthz", "/readyz")  # without a key
FILES = "/v1/files/"  # likewise: their names cannot be guessed, and browsers send no key
WITH_PICTURES = ("/v1/images/edits", "/v1/images/variations", "/v1/recipes")  # these may be large
KEYED = ("/v1/", "/metrics", "/docs", "/openapi.json")
SECURE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
}


class Guard:
    """Checks Host, Origin and key; bounds the body's size and time; names the request and ends its time."""

    def __init__(self, app: ASGIApp, settings: Settings, *, drain: Drain, has_page: bool) -> None:
        """has_page: a page with a login of its own answers what is not under KEYED."""
        self.app, self.settings, self.drain, self.has_page = app, settings, drain, has_page
        self.busy = 0  # requests that are answered, those for health left out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        name = uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        headers = Headers(scope=scope)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                own["x-request-id"] = name
                for key, value in SECURE.items():
                    own.setdefault(key, value)
            await send(message)

        try:
            self._check(scope["path"], scope["method"] if scope["type"] == "http" else "GET", headers)
        except ApiError as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await error.response()(scope, receive, named)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, named)
            return
        receive = self._bounded(scope["path"], receive)
        counted = scope["path"] not in OPEN
        self.busy += counted
        try:
            await self.drain.run(self.app, scope, receive, named)
        finally:
            self.busy -= counted

    def _check(self, path: str, method: str, headers: Headers) -> None:
        if path not in OPEN and self.busy >= (most := self.settings.requests):
            message = f"{most} requests are being answered, and that is the most: try again in a second"
            raise ApiError(503, message, code="too_many_requests", headers={"retry-after": "1"})
        allowed = self.settings.allowed_hosts
        host, origin = headers.get("host", ""), headers.get("origin")
        if allowed is not None and host_name(host) not in allowed:
            raise ApiError(403, "this Host is not served here: --allow-host adds it", code="host")
        if origin is not None and origin not in self.settings.origins and not _same(origin, host):
            message = "pages of this Origin may not send requests here: --allow-origin adds it"
            raise ApiError(403, message, code="origin")
        key = self.settings.api_key
        preflight = method == "OPTIONS" and origin is not None
        if key is not None and not preflight and self._needs_key(path):
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
                raise ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise ApiError(400, "Content-Length is not a number") from None
        self._check_length(path, length)

    def _needs_key(self, path: str) -> bool:
        if path in OPEN or path.startswith(FILES):
            return False
        return path.startswith(KEYED) or not self.has_page

    def _check_length(self, path: str, length: int) -> None:
        small = path.startswith("/v1/") and path not in WITH_PICTURES
        most = self.settings.json_bytes if small else self.settings.upload_bytes
        if length > most:
            raise ApiError(413, f"the request has more than {most:,} bytes: send less", code="too_large")

    def _bounded(self, path: str, receive: Receive) -> Receive:
        """`receive` with bounds on the body's size and time. After the body it is unchanged."""
        seconds = self.settings.body_seconds
        end = time.monotonic() + seconds
        seen, whole = 0, False

        async def bounded() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                whole = True
                late = f"the request took more than {seconds:.0f} s to arrive"
                raise ApiError(408, late, code="slow") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                self._check_length(path, seen)
            return message

        return bounded


def _same(origin: str, host: str) -> bool:
    """Whether a page comes from this host."""
    return origin != "null" and urlsplit(origin).netloc.lower() == host.lower()


def host_name(host: str) -> str:
    """The Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
