"""The settings of a server."""

import ipaddress
from dataclasses import dataclass, field

from sfumato.apps.server.logs import LogFormat
from sfumato.errors import UsageError
from sfumato.serving import Limits

MIN_KEY = 16  # characters of an API key


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The address, the access and the limits of a server.

    hosts            names that Host may have; on a loopback address those of this machine too
    origins          origins whose pages may send requests (CORS); none by default
    api_key          key of every request; needed on an address that other machines reach
    upload_bytes     of one request, pictures and all
    json_bytes       of one request without pictures
    upload_pixels    of one uploaded picture
    canvas_pixels    of one picture that is made
    files, fields    parts of a multipart request
    head_seconds     for the head of a request to arrive
    body_seconds     for a request to arrive
    connections      that may be open; where there are more, one closes that waits for a request
    requests         that are answered at the same time; health is answered beyond them
    drain_seconds    for accepted requests to end after a signal to stop
    beat_seconds     without a sign of the worker before it counts as stuck
    kept_bytes, kept_seconds    of results that wait to be fetched
    log_format       of the lines on stderr
    """

    host: str = "127.0.0.1"
    port: int = 7860
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    upload_bytes: int = 32 * 2**20
    json_bytes: int = 2**20
    upload_pixels: int = 25_000_000
    canvas_pixels: int = 1024 * 1024
    files: int = 17  # 16 pictures and a mask
    fields: int = 32
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    connections: int = 512
    requests: int = 512
    drain_seconds: float = 30.0
    beat_seconds: float = 60.0
    kept_bytes: int = 256 * 2**20
    kept_seconds: float = 3600.0
    log_format: LogFormat = "text"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.api_key is not None and (len(self.api_key) < MIN_KEY or not self.api_key.isascii()):
            raise UsageError(f"--api-key has at least {MIN_KEY} characters, all of them ASCII")
        if not self.loopback and self.api_key is None:
            raise UsageError(
                f"--host {self.host} is open to other machines: give --api-key-file, or --host 127.0.0.1"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The Host names that are answered; None: any, as the API key protects them."""
        own = {"localhost", "127.0.0.1", "[::1]", self.host} if self.loopback else set()
        return frozenset({name.lower() for name in {*own, *self.hosts}}) or None
