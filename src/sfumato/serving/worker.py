"""The worker: one thread that owns the device and runs the samplers of all requests, each at its own step.

Pictures join and leave between steps (continuous batching): as many are in flight as have `max_rows` rows
together, and a turn of all of them is one forward pass of each model. Free places go to the clients in turn,
a picture at a time, so that a request for ten does not keep another's single one waiting. Each picture has
its own sampler and its own generator: it is the one that would have been made alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import torch
from torch import Tensor

from sfumato.core.engine import Engine, Outcome, Running
from sfumato.core.expression import unconditional
from sfumato.core.sampler import Step
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.recipe import Recipe
from sfumato.run import read_run
from sfumato.sampling import make_run, sampler_of
from sfumato.serving.jobs import Ended, Job, Listener, Made, Part, State, Stepped

IDLE_SECONDS = 1.0  # how often an idle worker shows that it lives
CHECKED_AT_ONCE = 8  # jobs whose recipes are checked between two steps
REMEMBERED = 0.9  # how much of the measured time of a row is of earlier turns


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the worker takes on.

    max_rows         rows of one forward pass, and of all the pictures in flight together
    queue            pictures that wait, of everybody
    queue_share      the part of the queue that one client may fill, in (0, 1]
    pictures         pictures of one job
    steps            steps of one picture, RePaint's repeats counted
    picture_rows     rows that one picture asks in a step (panoramas ask many)
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
    def queue_of_one(self) -> int:
        """Pictures of one client that may wait."""
        return max(1, int(self.queue * self.queue_share))


class QueueFullError(SfumatoError):
    """There is no room for more pictures; `seconds` from now there may be."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the queue is full: try again in {seconds:.0f} s")
        self.seconds = seconds


class LoadingError(SfumatoError):
    """The models are being loaded."""


class StoppingError(SfumatoError):
    """The worker takes nothing more on, or has given a job up, because it stops."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn of one model did."""

    model: str
    rows: int
    forwards: int
    seconds: float


@dataclass(eq=False)
class _Picture:
    """One picture of a job on its way."""

    job: Job
    index: int
    model: str
    rows: int = 1  # of a step, as far as known


@dataclass(eq=False)
class _Desk:
    """A model with what runs on it."""

    model: Model
    running: Running
    admitted: list[_Picture] = field(default_factory=list)
    seconds_per_row: float = 0.0  # what a row of a forward pass has taken of late


class Worker:
    """Runs jobs on its own thread, from `start` to `stop`; to be called from any thread."""

    def __init__(
        self,
        load: Mapping[str, Callable[[], Model]],
        *,
        limits: Limits | None = None,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> None:
        """load: makes each model, by the name that recipes call it, on the worker's thread.

        on_turn: hears of every turn, in the worker's thread.
        """
        if not load:
            raise UsageError("a worker needs at least one model")
        self.limits = limits or Limits()
        self.models: dict[str, Model] = {}
        self.error: Exception | None = None  # why the models could not be loaded
        self._load = dict(load)
        self._on_turn = on_turn
        self._desks: dict[str, _Desk] = {}
        self._thread = threading.Thread(target=self._run, name="sfumato-worker", daemon=True)
        self._wake = threading.Condition()
        self._ready = threading.Event()
        self._beat = time.monotonic()
        # What follows is guarded by _wake.
        self._arrivals: deque[Job] = deque()
        self._stop_at: float | None = None  # when jobs that still run are given up
        self._waiting: dict[str, deque[_Picture]] = {}  # by client; the next to be served comes first
        self._jobs: dict[str, Job] = {}  # not yet over
        # What follows is the worker's own.
        self._held: _Picture | None = None  # the next one to be admitted, begun already

    # ------------------------------------------------------------------------------ from any thread

    @property
    def names(self) -> tuple[str, ...]:
        """What recipes may call the models; the first is the default."""
        return tuple(self._load)

    def start(self) -> Worker:
        """Begin to load and to work; returns at once."""
        self._thread.start()
        return self

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the models are loaded; raises what went wrong with them."""
        ready = self._ready.wait(timeout)
        if self.error is not None:
            raise self.error
        return ready

    @property
    def ready(self) -> bool:
        """Whether jobs are taken on."""
        return self._ready.is_set() and self.error is None and self._stop_at is None

    def alive(self, within: float) -> bool:
        """Whether the worker has shown itself in the last `within` seconds: between two steps, or idle."""
        return self._thread.is_alive() and time.monotonic() - self._beat < within

    @property
    def queued(self) -> int:
        """Pictures that wait."""
        with self._wake:
            return self._queued()

    @property
    def running(self) -> int:
        """Pictures that are in flight."""
        return sum(len(desk.admitted) for desk in self._desks.values())

    def seconds_per_row(self, model: str) -> float:
        """What a row of a forward pass has taken of late; 0 before the model is loaded."""
        return self._desks[model].seconds_per_row if model in self._desks else 0.0

    def seconds_left(self, job: Job | None = None) -> float:
        """About how long until a job is done, or all of them: the rows left, at what a row has taken."""
        with self._wake:
            ahead = [p for queue in self._waiting.values() for p in queue]
            ahead += [self._held] if self._held is not None else []
            flight = [p for desk in self._desks.values() for p in list(desk.admitted)]
        own = [p for p in flight if p.job is job]
        if own and not any(p.job is job for p in ahead):
            share = sum(p.rows for p in flight) / sum(p.rows for p in own)  # the others share its steps
            return sum(map(self._seconds_of, own)) * share
        return sum(map(self._seconds_of, [*ahead, *flight]))

    def _seconds_of(self, picture: _Picture) -> float:
        done, total = picture.job.steps[picture.index]
        return max(1, total - done) * picture.rows * self.seconds_per_row(picture.model)

    def submit(
        self,
        parts: Sequence[Part],
        *,
        client: str = "",
        previews: int = 0,
        listener: Listener | None = None,
        name: str | None = None,
    ) -> Job:
        """Take a job on. Whether its recipes can be run is said soon, by its first event or its end.

        Raises:
            UsageError: no such model, or more than the limits allow.
            QueueFullError, LoadingError, StoppingError: not now.
        """
        for part in parts:
            self._check(part)
        count = sum(part.recipe.count for part in parts)
        if not 1 <= count <= self.limits.pictures:
            raise UsageError(f"a request makes 1 to {self.limits.pictures} pictures, not {count}")
        job = Job(name or uuid4().hex, client, parts, previews=previews, listener=listener)
        with self._wake:
            if self._stop_at is not None:
                raise StoppingError("the server is stopping")
            if self.error is not None:
                raise LoadingError("the models could not be loaded")
            if not self._ready.is_set():
                raise LoadingError("the models are being loaded")
            mine = self._queued(client)
            if self._queued() + count > self.limits.queue or mine + count > self.limits.queue_of_one:
                raise QueueFullError(max(1.0, self._backlog()))
            self._jobs[job.id] = job
            self._arrivals.append(job)
            self._wake.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Have a job end before the next step."""
        job.cancel()
        with self._wake:
            self._wake.notify_all()

    def stop(self, *, drain: float = 0.0) -> None:
        """Take nothing more on, let what was accepted end for `drain` seconds, give up the rest; waits."""
        with self._wake:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + drain
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _check(self, part: Part) -> None:
        recipe = part.recipe
        if recipe.model not in self._load:
            raise UsageError(f"no model {recipe.model!r} here; there are {', '.join(self._load)}")
        steps = recipe.steps * recipe.repeats
        if steps > self.limits.steps:
            raise UsageError(f"a picture takes at most {self.limits.steps} steps, not {steps}")

    def _queued(self, client: str | None = None) -> int:
        arrived = sum(len(job) for job in self._arrivals if client is None or job.client == client)
        held = self._held is not None and (client is None or self._held.job.client == client)
        queues: Iterable[deque[_Picture]] = (
            self._waiting.values() if client is None else [self._waiting.get(client, deque())]
        )
        return arrived + held + sum(map(len, queues))

    def _backlog(self) -> float:
        """Seconds until half of the queue is gone."""
        return sum(self._seconds_of(p) for queue in self._waiting.values() for p in queue) / 2

    # ------------------------------------------------------------------------------ the worker's thread

    def _run(self) -> None:
        with torch.inference_mode():
            try:
                self._load_models()
            except Exception as error:
                self.error = error
                self._ready.set()
                return
            while self._wait():
                self._beat = time.monotonic()
                try:
                    self._work()
                except Exception as error:  # a defect: nothing of it may outlive the turn
                    self._give_up(error)
            self._give_up(StoppingError("the server has stopped"))

    def _load_models(self) -> None:
        for name, load in self._load.items():
            model = load()
            self._beat = time.monotonic()
            running = Running(Engine(model, max_rows=self.limits.max_rows))
            self._desks[name] = _Desk(model=model, running=running)
            self.models[name] = model
            self._measure(name)
        self._ready.set()

    def _measure(self, name: str) -> None:
        """Make a picture of two steps: what is slow the first time is over, and a row has a time."""
        desk = self._desks[name]
        run = make_run(desk.model, unconditional(), seed=0, steps=2, guidance=1)
        desk.running.join(name, sampler_of(run))
        while not desk.running.turn([name]):
            pass
        desk.running.join(name, sampler_of(run))
        ended: Mapping[object, Outcome] = {}
        while not ended:
            ended = self._timed(name, [name])
        ended[name].result()

    def _wait(self) -> bool:
        """Wait for something to do; False when it is time to end."""
        with self._wake:
            while True:
                self._beat = time.monotonic()
                if self._stop_at is not None and (not self._jobs or self._beat >= self._stop_at):
                    return False
                if self._jobs:
                    return True
                self._wake.wait(IDLE_SECONDS)

    def _work(self) -> None:
        """Who has given up leaves, who has come is looked at, who fits joins; then one step of all."""
        for job in [job for job in self._jobs.values() if job.cancelled]:
            self._end(job, State.CANCELLED, SfumatoError("the request was cancelled"))
        self._look_at_arrivals()
        self._admit()
        for name, desk in self._desks.items():
            if desk.admitted:
                for picture, outcome in self._timed(name, desk.admitted).items():
                    assert isinstance(picture, _Picture)
                    self._ended(picture, outcome)
                for picture in desk.admitted:
                    picture.rows = desk.running.rows_of(picture)

    def _timed(self, name: str, pictures: Sequence[object]) -> Mapping[object, Outcome]:
        """A turn of some of a model's samplers, its rows timed."""
        desk = self._desks[name]
        count = desk.running.engine.count
        rows, forwards, start = count.rows, count.forwards, time.perf_counter()
        ended = desk.running.turn(pictures)
        took = Turn(
            model=name,
            rows=count.rows - rows,
            forwards=count.forwards - forwards,
            seconds=time.perf_counter() - start,
        )
        if took.rows:
            now, before = took.seconds / took.rows, desk.seconds_per_row
            desk.seconds_per_row = REMEMBERED * before + (1 - REMEMBERED) * now if before else now
        if self._on_turn is not None:
            self._on_turn(took)
        return ended

    def _look_at_arrivals(self) -> None:
        """Begin a picture of each recipe of new jobs: what cannot be run is refused before it waits."""
        for _ in range(CHECKED_AT_ONCE):
            with self._wake:
                if not self._arrivals:
                    return
                job = self._arrivals.popleft()
                pictures = [_Picture(job, i, recipe.model) for i, (recipe, _) in enumerate(job.recipes)]
                self._waiting.setdefault(job.client, deque()).extend(pictures)
            self._begin_each_kind(pictures)

    def _begin_each_kind(self, pictures: Sequence[_Picture]) -> None:
        """Begin one picture of each recipe of a job; the others of it have as many rows."""
        rows: list[tuple[Recipe, int]] = []
        for picture in pictures:
            recipe, _ = picture.job.recipes[picture.index]
            kind = recipe.model_copy(update={"seed": 0})
            known = next((known for other, known in rows if other == kind), None)
            if known is None:
                if not self._begin(picture):
                    return
                rows.append((kind, picture.rows))
            else:
                picture.rows = known

    def _begin(self, picture: _Picture) -> bool:
        """Begin a picture, unless it is begun; False where its job ends by that."""
        desk = self._desks[picture.model]
        if desk.running.rows_of(picture):
            return True
        recipe, inputs = picture.job.recipes[picture.index]
        try:
            run = read_run(recipe, desk.model, inputs)
            sampler = sampler_of(run, on_step=self._watch(picture, desk.model))
            desk.running.join(picture, sampler)
        except Exception as error:
            self._end(picture.job, State.FAILED, error)
            return False
        picture.rows = desk.running.rows_of(picture)
        if picture.rows > (most := self.limits.picture_rows):
            message = f"the picture asks {picture.rows} rows in a step; at most {most} are allowed"
            self._end(picture.job, State.FAILED, UsageError(message))
            return False
        return True

    def _watch(self, picture: _Picture, model: Model) -> Callable[[Step], None]:
        """What a picture's sampler tells its steps to."""
        job, index = picture.job, picture.index

        def see(step: Step) -> None:
            x = x0 = None
            if step.index in preview_steps(job.previews, step.total):
                x, x0 = (_shown(_leaving(model, state)) for state in (step.x, step.x0))
            job.tell(Stepped(picture=index, step=step.index + 1, total=step.total, t=step.t, x=x, x0=x0))

        return see

    def _admit(self) -> None:
        """Let pictures join while their rows fit; one that has more rows than fit runs alone."""
        most = self.limits.max_rows
        while (picture := self._held or self._next()) is not None:
            if not self._begin(picture):
                self._held = None
                continue
            flight = sum(p.rows for desk in self._desks.values() for p in desk.admitted)
            if flight and flight + min(picture.rows, most) > most:
                self._held = picture
                return
            self._held = None
            self._desks[picture.model].admitted.append(picture)

    def _next(self) -> _Picture | None:
        """The next picture that waits: the clients take turns."""
        with self._wake:
            if not self._waiting:
                return None
            client, queue = next(iter(self._waiting.items()))
            picture = queue.popleft()
            del self._waiting[client]
            if queue:
                self._waiting[client] = queue  # at the end of the line
            return picture

    def _ended(self, picture: _Picture, outcome: Outcome) -> None:
        if picture.job.state.ended:  # by another of its pictures, in the same turn
            return
        self._desks[picture.model].admitted.remove(picture)
        job = picture.job
        if outcome.error is not None:
            self._end(job, State.FAILED, outcome.error)
            return
        job.tell(Made(picture=picture.index, x=_shown(outcome.result())))
        if all(x is not None for x in job.pictures):
            self._end(job, State.DONE)

    def _end(self, job: Job, state: State, error: Exception | None = None) -> None:
        """Drop what a job has in flight and in the queue, and tell its end."""
        with self._wake:
            self._jobs.pop(job.id, None)
            if job in self._arrivals:
                self._arrivals.remove(job)
            gone = self._take_out(job)
        if self._held is not None and self._held.job is job:
            gone.append(self._held)
            self._held = None
        for desk in self._desks.values():
            gone += [picture for picture in desk.admitted if picture.job is job]
            desk.admitted = [picture for picture in desk.admitted if picture.job is not job]
        for picture in gone:
            self._desks[picture.model].running.leave(picture)
        job.tell(Ended(state=state, error=error))

    def _take_out(self, job: Job) -> list[_Picture]:
        """Take a job's pictures out of the queue."""
        queue = self._waiting.pop(job.client, deque())
        left = deque(picture for picture in queue if picture.job is not job)
        if left:
            self._waiting[job.client] = left
        return [picture for picture in queue if picture.job is job]

    def _give_up(self, error: Exception) -> None:
        """End every job with an error."""
        for job in list(self._jobs.values()):
            self._end(job, State.FAILED, error)


def preview_steps(count: int, total: int) -> set[int]:
    """At which of the steps 0 .. total - 1 there are previews: evenly spaced, none of them the last."""
    return {(total * (i + 1)) // (count + 1) for i in range(count)} if count < total else set(range(total))


def _leaving(model: Model, state: Tensor) -> Tensor:
    """A state as a picture that may be shown: a preview leaves as much as the picture itself."""
    x = model.decode(state).clamp(-1, 1)
    return model.postprocess(x)


def _shown(x: Tensor) -> Tensor:
    """A picture (1, C, H, W) as it is given away: (C, H, W) in [-1, 1] on the CPU."""
    return x[0].clamp(-1, 1).float().cpu()
