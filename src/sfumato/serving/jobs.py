"""A job: the recipes of one request, the pictures made of them, and the events on the way."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import Tensor

from sfumato.core.writing import Inputs
from sfumato.errors import UsageError
from sfumato.recipe import Recipe

log = logging.getLogger("sfumato.serving")

Outcome = Literal["done", "cancelled", "refused", "failed"]


class State(StrEnum):
    """The state of a job; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {State.DONE, State.FAILED, State.CANCELLED}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A recipe with the pictures, masks, views and filters that it names."""

    recipe: Recipe
    inputs: Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Stepped:
    """A step of a picture is made. x, x0: (C, H, W) on the CPU, at the steps that have a preview."""

    picture: int  # its index in the job
    step: int  #    1 .. total
    total: int
    t: float
    x: Tensor | None = None  #      the state that the step began from, as a picture in [-1, 1]
    x0: Tensor | None = None  #     the estimate made there


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A picture is done: (C, H, W) in [-1, 1] on the CPU."""

    picture: int
    x: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Ended:
    """The job is over."""

    state: State
    error: Exception | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended; what was refused was the client's mistake, what failed was not."""
        match self.error:
            case None:
                return "done"
            case _ if self.state is State.CANCELLED:
                return "cancelled"
            case UsageError():
                return "refused"
        return "failed"


Event = Stepped | Made | Ended
Listener = Callable[[Event], None]  # called in the worker's thread: it must not block


class Job:
    """One accepted request. Any thread may read it; the worker's thread alone changes it."""

    def __init__(
        self, name: str, client: str, parts: Sequence[Part], *, previews: int = 0, listener: Listener | None
    ) -> None:
        """previews: how many steps of a picture, evenly spaced, carry x and x0. listener: gets all events."""
        self.id = name
        self.client = client
        self.previews = previews
        self.recipes: list[tuple[Recipe, Inputs]] = [
            (part.recipe.single(i), part.inputs) for part in parts for i in range(part.recipe.count)
        ]
        # Lists of fixed length, whose items are replaced as a whole: safe to read at any time.
        self.pictures: list[Tensor | None] = [None] * len(self.recipes)
        self.steps: list[tuple[int, int]] = [(0, expected_steps(recipe)) for recipe, _ in self.recipes]
        self.state = State.QUEUED
        self.error: Exception | None = None
        self.created = time.time()
        self.wait_seconds: float | None = None  # until its first step was made
        self._over = threading.Event()
        self._listener = listener

    def __len__(self) -> int:
        return len(self.recipes)

    @property
    def progress(self) -> float:
        """The share of all steps that is done, 0 to 1."""
        return sum(done for done, _ in self.steps) / sum(total for _, total in self.steps)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job is over; False where it is not after `timeout` seconds."""
        return self._over.wait(timeout)

    def result(self) -> list[Tensor]:
        """The pictures, (C, H, W) each; raises the error of a job that failed or was cancelled."""
        if self.error is not None:
            raise self.error
        if self.state is not State.DONE:
            raise UsageError(f"the job is {self.state}")
        return [x for x in self.pictures if x is not None]

    # -- on the worker's thread

    def publish(self, event: Event) -> None:
        """Record an event and pass it to the listener; one that raises is logged, and called no more."""
        if self.state.ended:
            return
        if self.wait_seconds is None and not isinstance(event, Ended):
            self.wait_seconds = time.time() - self.created
        match event:
            case Stepped(picture=i, step=step, total=total):
                self.state, self.steps[i] = State.RUNNING, (step, total)
            case Made(picture=i, x=x):
                self.state, self.pictures[i] = State.RUNNING, x
                self.steps[i] = (self.steps[i][1],) * 2
            case Ended(state=state, error=error):
                self.error = error  # first: whoever sees the end sees its error
                self.state = state
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception:
                log.exception("the listener of job %s failed", self.id)
                self._listener = None
        if isinstance(event, Ended):
            self._over.set()


def expected_steps(recipe: Recipe) -> int:
    """About how many steps a picture takes; its first step tells exactly."""
    first = max(1, int(recipe.steps * recipe.strength)) * recipe.repeats
    return first + sum(stage.steps for stage in recipe.stages)
