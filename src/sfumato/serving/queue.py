"""What a worker accepts, and the pictures of all accepted jobs until their end: all that threads share.

A job is new until its recipes are checked. Its pictures wait until they are admitted; then they are in
flight. One lock guards all of this. Every method takes the lock, returns copies, and calls no code of a user
while it holds the lock. So all methods may be called from any thread.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sfumato.cost import MAX_ROWS
from sfumato.errors import SfumatoError, UsageError
from sfumato.serving.jobs import Job

OLD_SHARE = 0.9  # of the running mean of a row's time, the share of earlier turns


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the worker accepts.

    max_rows         rows of one forward pass, and of all the pictures in flight together
    queue            pictures that wait, of all clients together
    queue_share      the part of the queue that one client may fill, in (0, 1]
    pictures         pictures of one job
    steps            steps of one picture, RePaint's repeats counted
    picture_rows     rows that one picture needs in a step (a panorama needs many)
    job_rows         rows of a whole job, in all pictures and steps
    """

    max_rows: int = 32
    queue: int = 256
    queue_share: float = 0.5
    pictures: int = 64
    steps: int = 10_000
    picture_rows: int = 1024
    job_rows: int = MAX_ROWS

    def __post_init__(self) -> None:
        for name in ("max_rows", "queue", "pictures", "steps", "picture_rows", "job_rows"):
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


@dataclass(eq=False)
class Picture:
    """One picture of a job. rows: of the networks in its next step, as far as known."""

    job: Job
    index: int  # in the job
    model: str
    rows: int = 1
    begun: bool = False  # its sampler exists


class Queue:
    """Accepts jobs within the limits and serves the clients in turn, one picture at a time."""

    def __init__(self, limits: Limits) -> None:
        """Nothing is accepted before `open`."""
        self._limits = limits
        self._changed = threading.Condition()  # its lock guards what follows
        self._refusal: Callable[[], SfumatoError] | None = lambda: LoadingError("the models are being loaded")
        self._stop_at: float | None = None
        # Dictionaries without values are sets in order.
        self._jobs: dict[Job, list[Picture]] = {}  # all that have not ended
        self._new: dict[Job, None] = {}
        self._cancelled: list[Job] = []
        self._waiting: dict[str, dict[Picture, None]] = {}  # by client; the first client is the next one
        self._in_flight: dict[Picture, None] = {}
        self._row_seconds: dict[str, float] = {}  # by model

    # ------------------------------------------------------------------------------ open and closed

    def open(self) -> None:
        """Accept jobs, unless `stop` came first."""
        with self._changed:
            if self._stop_at is None:
                self._refusal = None

    def refuse(self, refusal: Callable[[], SfumatoError]) -> None:
        """Accept no job: `submit` raises what `refusal` makes."""
        with self._changed:
            self._refusal = refusal

    def stop(self, drain: float) -> None:
        """Accept no job, and be finished as soon as no job is left, at most `drain` seconds from now."""
        with self._changed:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + drain
            self._refusal = lambda: StoppingError("the server is stopping")
            self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        """Whether jobs are accepted, room permitting."""
        with self._changed:
            return self._refusal is None

    @property
    def finished(self) -> bool:
        """Whether `stop` was called and there is nothing left to do, or no time left to do it."""
        with self._changed:
            return self._stop_at is not None and (not self._jobs or time.monotonic() >= self._stop_at)

    # ------------------------------------------------------------------------------ jobs

    def submit(self, job: Job) -> None:
        """Accept a job; raises QueueFullError where its pictures do not fit, or why no job is accepted."""
        pictures = [Picture(job, i, recipe.model) for i, (recipe, _) in enumerate(job.recipes)]
        with self._changed:
            if self._refusal is not None:
                raise self._refusal()
            own = len(self._waiting.get(job.client, ()))
            room = min(self._limits.queue - self.queued, self._limits.queue_per_client - own)
            if len(job) > room:
                raise QueueFullError(max(1.0, self._seconds_of(self._all_waiting()) / 2))
            self._jobs[job] = pictures
            self._new[job] = None
            self._waiting.setdefault(job.client, {}).update(dict.fromkeys(pictures))
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Have the worker end a job; nothing happens to a job that has ended."""
        with self._changed:
            if job in self._jobs:
                self._cancelled.append(job)
                self._changed.notify_all()

    def jobs(self) -> list[Job]:
        """The jobs that have not ended."""
        with self._changed:
            return list(self._jobs)

    def wait(self, seconds: float) -> bool:
        """Wait for a job, at most so long; whether there is one."""
        with self._changed:
            return bool(self._jobs) or (self._changed.wait(seconds) and bool(self._jobs))

    def take_cancelled(self) -> list[Job]:
        """The jobs that were cancelled since the last call."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
            return cancelled

    def take_new(self) -> list[Picture]:
        """The pictures of the oldest new job, which may be admitted from now on; none without a new job."""
        with self._changed:
            if not self._new:
                return []
            job = next(iter(self._new))
            del self._new[job]
            return list(self._jobs[job])

    # ------------------------------------------------------------------------------ pictures

    def next(self) -> Picture | None:
        """The first picture of the first client whose recipes are checked; None without one."""
        with self._changed:
            first = (next(iter(pictures)) for pictures in self._waiting.values())
            return next((picture for picture in first if picture.job not in self._new), None)

    def admit(self, picture: Picture) -> None:
        """Put a waiting picture in flight; the other clients come before its client's next one."""
        with self._changed:
            self._remove(picture)
            self._in_flight[picture] = None
            if (client := picture.job.client) in self._waiting:
                self._waiting[client] = self._waiting.pop(client)  # behind the others

    def in_flight(self, model: str | None = None) -> list[Picture]:
        """The admitted pictures of a model, or of all models."""
        with self._changed:
            return [picture for picture in self._in_flight if model is None or picture.model == model]

    def remove(self, picture: Picture) -> None:
        """Remove one picture of a job that has not ended."""
        with self._changed:
            self._jobs[picture.job].remove(picture)
            self._remove(picture)

    def remove_job(self, job: Job) -> list[Picture]:
        """Remove a job with those of its pictures that are left, and return these."""
        with self._changed:
            self._new.pop(job, None)
            left = self._jobs.pop(job, [])
            for picture in left:
                self._remove(picture)
            return left

    def _remove(self, picture: Picture) -> None:
        if picture in self._in_flight:
            del self._in_flight[picture]
            return
        waiting = self._waiting[picture.job.client]
        del waiting[picture]
        if not waiting:
            del self._waiting[picture.job.client]

    # ------------------------------------------------------------------------------ figures

    @property
    def queued(self) -> int:
        with self._changed:
            return sum(len(pictures) for pictures in self._waiting.values())

    def note_time(self, model: str, rows: int, seconds: float) -> None:
        """Take a turn's forward passes into the running mean of a row's time."""
        with self._changed:
            before, now = self._row_seconds.get(model), seconds / rows
            self._row_seconds[model] = now if before is None else OLD_SHARE * before + (1 - OLD_SHARE) * now

    def seconds_per_row(self, model: str) -> float:
        with self._changed:
            return self._row_seconds.get(model, 0.0)

    def seconds_left(self, job: Job | None = None) -> float:
        """About how long until a job is done, or all of them: the rows left, times the time of a row."""
        with self._changed:
            waiting, flight = self._all_waiting(), list(self._in_flight)
            own = [picture for picture in flight if picture.job is job]
            rows = sum(picture.rows for picture in own)
            if rows and not any(picture.job is job for picture in waiting):
                share = sum(picture.rows for picture in flight) / rows  # the others share its steps
                return self._seconds_of(own) * share
            return self._seconds_of([*waiting, *flight])

    def _all_waiting(self) -> list[Picture]:
        return [picture for pictures in self._waiting.values() for picture in pictures]

    def _seconds_of(self, pictures: Iterable[Picture]) -> float:
        """The seconds of all steps left of these pictures."""
        seconds = 0.0
        for picture in pictures:
            done, total = picture.job.steps[picture.index]
            seconds += max(1, total - done) * picture.rows * self._row_seconds.get(picture.model, 0.0)
        return seconds
