"""What a worker accepts, and how it refuses the rest."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import SfumatoError, UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the worker accepts.

    max_rows         rows of one forward pass, and of all the pictures in flight together
    queue            pictures that wait, of all clients together
    queue_share      the part of the queue that one client may fill, in (0, 1]
    pictures         pictures of one job
    steps            steps of one picture, RePaint's repeats counted
    picture_rows     rows that one picture needs in a step (a panorama needs many)
    """

    max_rows: int = 32
    queue: int = 256
    queue_share: float = 0.5
    pictures: int = 64
    steps: int = 10_000
    picture_rows: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_rows", "queue", "pictures", "steps", "picture_rows"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not 0 < self.queue_share <= 1:
            raise UsageError(f"queue_share must be above 0 and at most 1, not {self.queue_share}")

    @property
    def queue_per_client(self) -> int:
        """Pictures of one client that may wait."""
        return max(1, int(self.queue * self.queue_share))


class QueueFullError(SfumatoError):
    """There is no room for more pictures; `seconds` from now there may be."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the queue is full: try again in {seconds:.0f} s")
        self.seconds = seconds


class LoadingError(SfumatoError):
    """The models are being loaded, or could not be loaded."""


class StoppingError(SfumatoError):
    """The worker stops: it accepts no job, and ends those that take too long."""
