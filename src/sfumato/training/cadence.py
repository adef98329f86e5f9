"""When to save, when to show samples, and how fast a training goes."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sfumato.models.model import Model

OnEpoch = Callable[[int, Model], None]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is called after which epochs (from 1); None is every one."""

    epochs: Collection[int] | None
    hook: OnEpoch | None

    def wanted(self, epoch: int) -> bool:
        """Whether this epoch is one of them."""
        return self.epochs is None or epoch in self.epochs


@dataclass(kw_only=True)
class SaveRule:
    """Whether a checkpoint is due: so many seconds after the last one, or at every so many steps."""

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
    """Pictures per second of this session, and the seconds that are left at that rate."""

    def __init__(self, *, first: int, last: int, batch: int) -> None:
        self.first, self.last, self.batch, self.start = first, last, batch, time.monotonic()

    def at(self, step: int) -> tuple[float, float]:
        """Both, after this step."""
        per_step = max(time.monotonic() - self.start, 1e-9) / (step - self.first)
        return self.batch / per_step, (self.last - step) * per_step
