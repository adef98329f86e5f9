"""A job: the recipes of one request, what became of each picture, and who is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from sfumato.core.writing import Inputs
from sfumato.errors import UsageError
from sfumato.recipe import Recipe


class State(StrEnum):
    """Where a job stands; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self in {State.DONE, State.FAILED, State.CANCELLED}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A recipe with the pictures, masks, views and filters that it names."""

    recipe: Recipe
    inputs: Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Stepped:
    """A picture has taken a step. x, x0: (C, H, W) on the CPU, where the job asked for a preview there."""

    picture: int  # which of the job's
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


Event = Stepped | Made | Ended
Listener = Callable[[Event], None]  # called in the worker's thread: it must not block


class Job:
    """One accepted request. Its methods may be called from any thread.

    previews: of how many steps of each picture, evenly spaced, `Stepped` carries x and x0.
    """

    def __init__(
        self, name: str, client: str, parts: Sequence[Part], *, previews: int = 0, listener: Listener | None
    ) -> None:
        """`listener` hears everything from the beginning."""
        self.id = name
        self.client = client
        self.previews = previews
        self.recipes: list[tuple[Recipe, Inputs]] = [
            (part.recipe.single(i), part.inputs) for part in parts for i in range(part.recipe.count)
        ]
        self.pictures: list[Tensor | None] = [None] * len(self.recipes)
        self.steps: list[tuple[int, int]] = [(0, expected_steps(recipe)) for recipe, _ in self.recipes]
        self.state = State.QUEUED
        self.error: Exception | None = None
        self.created = time.time()
        self._cancel = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._listener = listener

    def __len__(self) -> int:
        return len(self.recipes)

    @property
    def progress(self) -> float:
        """The share of all steps that is done, 0 to 1."""
        return sum(done for done, _ in self.steps) / sum(total for _, total in self.steps)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has called `cancel`."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Ask for its end: it comes before the next step; nothing happens to a job that has ended."""
        self._cancel.set()

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

    # -- the worker's side

    def tell(self, event: Event) -> None:
        """Note an event and pass it on; a listener that fails is dropped."""
        with self._lock:
            if self.state.ended:
                return
            self._note(event)
        try:
            if self._listener is not None:
                self._listener(event)
        except Exception:
            self._listener = None
        if isinstance(event, Ended):
            self._over.set()

    def _note(self, event: Event) -> None:
        match event:
            case Stepped(picture=i, step=step, total=total):
                self.state, self.steps[i] = State.RUNNING, (step, total)
            case Made(picture=i, x=x):
                self.state, self.pictures[i] = State.RUNNING, x
                self.steps[i] = (self.steps[i][1],) * 2
            case Ended(state=state, error=error):
                self.state, self.error = state, error


def expected_steps(recipe: Recipe) -> int:
    """About how many steps a picture takes; the first step tells exactly."""
    first = max(1, int(recipe.steps * recipe.strength)) * recipe.repeats
    return first + sum(stage.steps for stage in recipe.stages)
