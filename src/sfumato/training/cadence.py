"""When a training saves and shows samples, and how fast it goes."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sfumato.models.model import Model

OnEpoch = Callable[[int, Model], None]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The hook that is called after some epochs (from 1), or after every one if `epochs` is None."""

    epochs: Collection[int] | None
    hook: OnEpoch | None

    def wanted(self, epoch: int) -> bool:
        """Whether the hook is called after this epoch."""
        return self.epochs is None or epoch in self.epochs


@dataclass(kw_only=True)
class SaveRule:
    """Whether a checkpoint is due: `seconds` after the last one, or after every `steps` steps."""

    seconds: float
    steps: int | None
    since: float = 0.0

    def restart(self) -> None:
        """Counts the seconds from now."""
        self.since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after this step (from 1)."""
        by_steps = self.steps is not None and step % self.steps == 0
        return by_steps or time.monotonic() - self.since >= self.seconds


class Clock:
    """The pictures per second of this session, and the seconds that are left at this rate."""

    def __init__(self, *, first: int, last: int, batch: int) -> None:
        self.first, self.last, self.batch, self.start = first, last, batch, time.monotonic()

    def at(self, step: int) -> tuple[float, float]:
        """Pictures per second and seconds left, after this step."""
        per_step = max(time.monotonic() - self.start, 1e-9) / (step - self.first)
        return self.batch / per_step, (self.last - step) * per_step
