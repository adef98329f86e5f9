"""The worker: one thread that owns the device and runs the samplers of all requests, each at its own step.

Pictures join and leave between steps (continuous batching): as many are in flight as have `max_rows` rows
together, and a turn of all of them is one forward pass of each model. The clients take turns, a picture at a
time, so that a request for ten does not delay another client's single one. Each picture has its own sampler
and its own generator: it is the one that would have been made alone.

An error ends the job that it belongs to; where that is unknown, the jobs in flight on the model. What
several threads share is in queue.py; everything else here belongs to the worker's thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import torch
from torch import Tensor

from sfumato.core.engine import Engine, Outcome, Running
from sfumato.core.expression import unconditional
from sfumato.core.sampler import Step
from sfumato.cost import check_cost, cost_of
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.cascade import Stages
from sfumato.recipe import Recipe
from sfumato.runs import Run, read_run
from sfumato.sampling import make_run, sampler_of
from sfumato.serving.jobs import Ended, Job, Listener, Made, Part, State, Stepped
from sfumato.serving.queue import Limits, LoadingError, Picture, Queue, StoppingError

IDLE_SECONDS = 1.0  # how often an idle worker looks whether it is to stop
CHECKED_PER_TURN = 8  # new jobs whose recipes are checked between two steps

log = logging.getLogger("sfumato.serving")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn of one model did."""

    model: str
    rows: int
    forwards: int
    seconds: float


class Worker:
    """Runs jobs on its own thread, from `start` to `stop`. Its methods may be called from any thread."""

    def __init__(
        self,
        load: Mapping[str, Callable[[], Stages]],
        *,
        limits: Limits | None = None,
        on_turn: Callable[[Turn], None] | None = None,
        on_end: Callable[[Job, Ended], None] | None = None,
    ) -> None:
        """load: makes each model, by the name that recipes call it, on the worker's thread.

        on_turn: is called after every turn, on the worker's thread; what it raises is logged.
        on_end: likewise before the end of a job is published.
        """
        if not load:
            raise UsageError("a worker needs at least one model")
        self.limits = limits or Limits()
        self.names = tuple(load)  # what recipes may call the models; the first is the default
        self.models: Mapping[str, Stages] = {}  # those that are loaded; replaced, never changed
        self.error: Exception | None = None  # why the models could not be loaded, or what stopped the worker
        self._load = dict(load)
        self._on_turn, self._on_end = on_turn, on_end
        self._queue = Queue(self.limits)
        self._running: dict[str, Running] = {}  # the samplers of each model
        self._thread = threading.Thread(target=self._run, name="sfumato-worker", daemon=True)
        self._ready = threading.Event()
        self._last_sign = time.monotonic()  # of life

    # ------------------------------------------------------------------------------ from any thread

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
        """Whether jobs are accepted."""
        return self._queue.is_open

    def alive(self, within: float) -> bool:
        """Whether the worker has nothing to do, or began a turn in the last `within` seconds."""
        recently = time.monotonic() - self._last_sign < within
        return self._thread.is_alive() and (recently or not self._queue.jobs())

    @property
    def queued(self) -> int:
        """How many pictures wait."""
        return self._queue.queued

    @property
    def running(self) -> int:
        """How many pictures are in flight."""
        return len(self._queue.in_flight())

    def seconds_per_row(self, model: str) -> float:
        """The running mean of a row's time in a forward pass; 0 before the model is loaded."""
        return self._queue.seconds_per_row(model)

    def seconds_left(self, job: Job | None = None) -> float:
        """About how long until a job is done, or all of them."""
        return self._queue.seconds_left(job)

    def submit(
        self,
        parts: Sequence[Part],
        *,
        client: str = "",
        previews: int = 0,
        listener: Listener | None = None,
        name: str | None = None,
    ) -> Job:
        """Accept a job. Whether its recipes can be run is known with its first event, or its end.

        Raises:
            UsageError: no such model, or more than the limits allow.
            QueueFullError, LoadingError, StoppingError: not now.
        """
        for recipe in (part.recipe for part in parts):
            if recipe.model not in self._load:
                raise UsageError(f"no model {recipe.model!r} here; there are {', '.join(self._load)}")
            if (steps := recipe.steps * recipe.repeats) > self.limits.steps:
                raise UsageError(f"a picture takes at most {self.limits.steps} steps, not {steps}")
        count = sum(part.recipe.count for part in parts)
        if not 1 <= count <= self.limits.pictures:
            raise UsageError(f"a request makes 1 to {self.limits.pictures} pictures, not {count}")
        job = Job(name or uuid4().hex, client, parts, previews=previews, listener=listener)
        self._queue.submit(job)
        return job

    def cancel(self, job: Job) -> None:
        """End a job before the next step; nothing happens to a job that has ended."""
        self._queue.cancel(job)

    def drain(self, seconds: float) -> None:
        """Accept no more jobs; end those that are left so many seconds from now. Returns at once."""
        self._queue.stop(seconds)

    def stop(self, *, drain: float = 0.0) -> None:
        """As `drain`, and wait for the end. What `drain` said first about the seconds holds."""
        self._queue.stop(drain)
        if self._thread.is_alive():
            self._thread.join()

    # ------------------------------------------------------------------------------ the worker's thread

    def _run(self) -> None:
        reason = "the models could not be loaded"
        with torch.inference_mode():
            try:
                self._load_models()
                self._queue.open()
                self._ready.set()
                while not self._queue.finished:
                    self._last_sign = time.monotonic()
                    if self._queue.wait(IDLE_SECONDS):
                        self._take_turn()
            except Exception as error:
                if self._ready.is_set():  # a defect of this loop, not of a job
                    reason = "the worker stopped by an error"
                    log.exception("the worker stops")
                self.error = error
                self._queue.refuse(lambda: LoadingError(reason))
                self._ready.set()
            for job in self._queue.jobs():
                self._end(job, State.FAILED, StoppingError("the server has stopped"))

    def _load_models(self) -> None:
        for name, load in self._load.items():
            model = load()
            self._last_sign = time.monotonic()
            engine = self._measured(name, model)
            self._running[name] = Running(engine)
            self.models = {**self.models, name: model}

    def _measured(self, name: str, model: Stages) -> Engine:
        """The engine of a model: two pictures of two steps, the first pays what only the first costs."""
        run = make_run(model, unconditional(), seed=0, steps=2, guidance=1)
        engine = run.engine(self.limits.max_rows)
        engine.run(sampler_of(run))
        rows, start = engine.count.rows, time.perf_counter()
        engine.run(sampler_of(run))
        self._queue.note_time(name, engine.count.rows - rows, time.perf_counter() - start)
        return engine

    def _take_turn(self) -> None:
        """End cancelled jobs, check new ones, admit what fits; then make a step of all that is in flight."""
        for job in self._queue.take_cancelled():
            self._end(job, State.CANCELLED, SfumatoError("the request was cancelled"))
        for _ in range(CHECKED_PER_TURN):
            if not (pictures := self._queue.take_new()):
                break
            with self._error_ends(pictures[0].job):
                self._check_recipes(pictures)
        self._admit()
        for name in self._running:
            self._step(name)

    @contextmanager
    def _error_ends(self, *jobs: Job) -> Iterator[None]:
        """What is raised inside ends these jobs."""
        try:
            yield
        except Exception as error:
            for job in jobs:
                self._end(job, State.FAILED, error)

    def _check_recipes(self, pictures: Sequence[Picture]) -> None:
        """Begin a picture of each recipe of a job, so that what cannot be run is refused before it waits.

        What the job costs is counted before anything is begun. Pictures that differ in their seeds alone cost
        the same and have as many rows.
        """
        alike: list[tuple[Recipe, list[Picture]]] = []
        for picture in pictures:
            recipe = picture.job.recipes[picture.index][0].model_copy(update={"seed": 0})
            same = next((same for other, same in alike if other == recipe), None)
            if same is None:
                alike.append((recipe, [picture]))
            else:
                same.append(picture)
        self._check_cost([same for _, same in alike])
        for first, *others in (same for _, same in alike):
            self._begin(first)
            for picture in others:
                picture.rows = first.rows

    def _check_cost(self, groups: Sequence[Sequence[Picture]]) -> None:
        """Refuse a job whose pictures, in groups that cost the same, cost more than is allowed."""
        costs = [replace(cost_of(self._read(same[0])), pictures=len(same)) for same in groups]
        rows, most = max(w.leaves for cost in costs for _, w in cost.stages), self.limits.picture_rows
        if rows > most:
            raise UsageError(
                f"the picture needs up to {rows:,} rows in a step, and at most {most:,} are allowed: ask for "
                "a smaller size or a smaller overlap"
            )
        check_cost(costs, self.limits.job_rows, instead="ask for fewer pictures or steps, or a smaller size")

    def _read(self, picture: Picture) -> Run:
        """The run of a picture; raises what is wrong with its recipe."""
        recipe, inputs = picture.job.recipes[picture.index]
        return read_run(recipe, self.models[picture.model], inputs)

    def _begin(self, picture: Picture) -> None:
        """Begin the sampler of a picture, unless it has begun; raises what is wrong with its recipe."""
        if picture.begun:
            return
        model, running = self.models[picture.model], self._running[picture.model]
        running.join(picture, sampler_of(self._read(picture), on_step=_publisher(picture, model)))
        picture.begun = True
        picture.rows = running.rows_of(picture)

    def _admit(self) -> None:
        """Admit pictures while their rows fit; one that has more rows than fit runs alone."""
        most = self.limits.max_rows
        while (picture := self._queue.next()) is not None:
            with self._error_ends(picture.job):
                self._begin(picture)
            if picture.job.state.ended:
                continue
            rows = sum(other.rows for other in self._queue.in_flight())
            if rows and rows + min(picture.rows, most) > most:
                return
            self._queue.admit(picture)

    def _step(self, name: str) -> None:
        """Make one step of every picture in flight on a model, and end those that it completes."""
        pictures = self._queue.in_flight(name)
        if not pictures:
            return
        with self._error_ends(*dict.fromkeys(picture.job for picture in pictures)):
            outcomes, turn = self._timed(name, pictures)
            for picture, outcome in outcomes.items():
                assert isinstance(picture, Picture)
                with self._error_ends(picture.job):
                    self._complete(picture, outcome)
            for picture in pictures:
                picture.rows = self._running[name].rows_of(picture)
            if self._on_turn is not None:
                try:
                    self._on_turn(turn)
                except Exception:
                    log.exception("on_turn failed")

    def _timed(self, name: str, names: Sequence[object]) -> tuple[Mapping[object, Outcome], Turn]:
        """A turn of some of a model's samplers, its rows timed."""
        running = self._running[name]
        count = running.engine.count
        rows, forwards, start = count.rows, count.forwards, time.perf_counter()
        outcomes = running.turn(names)
        seconds = time.perf_counter() - start
        turn = Turn(model=name, rows=count.rows - rows, forwards=count.forwards - forwards, seconds=seconds)
        if turn.rows:
            self._queue.note_time(name, turn.rows, seconds)
        return outcomes, turn

    def _complete(self, picture: Picture, outcome: Outcome) -> None:
        """A picture is made, or has failed; with the last picture its job is done."""
        job = picture.job
        if job.state.ended:  # by another of its pictures, in the same turn
            return
        self._queue.remove(picture)
        job.publish(Made(picture=picture.index, x=_on_cpu(outcome.result())))
        if all(x is not None for x in job.pictures):
            self._end(job, State.DONE)

    def _end(self, job: Job, state: State, error: Exception | None = None) -> None:
        """Remove what is left of a job, and publish its end."""
        for picture in self._queue.remove_job(job):
            try:
                self._running[picture.model].leave(picture)
            except Exception:
                log.exception("a sampler did not close")
        ended = Ended(state=state, error=error)
        if self._on_end is not None and not job.state.ended:
            try:
                self._on_end(job, ended)
            except Exception:
                log.exception("on_end failed")
        job.publish(ended)


def _publisher(picture: Picture, model: Stages) -> Callable[[Step], None]:
    """Publishes the steps of a picture's sampler."""
    job, index = picture.job, picture.index
    by_size = {(stage.state_shape[1], stage.state_shape[2]): stage for stage in model.stages}

    def preview(state: Tensor) -> Tensor:
        """A state as a picture, postprocessed as a finished picture is (safety checker, watermark)."""
        stage = by_size.get((state.shape[2], state.shape[3]), model.stages[0])
        return _on_cpu(stage.postprocess(stage.decode(state).clamp(-1, 1)))

    def publish(step: Step) -> None:
        x = x0 = None
        if step.index in preview_steps(job.previews, step.total):
            x, x0 = preview(step.x), preview(step.x0)
        job.publish(Stepped(picture=index, step=step.index + 1, total=step.total, t=step.t, x=x, x0=x0))

    return publish


def preview_steps(count: int, total: int) -> set[int]:
    """Which of the steps 0 .. total - 1 have previews: evenly spaced, none of them the last."""
    return {(total * (i + 1)) // (count + 1) for i in range(count)} if count < total else set(range(total))


def _on_cpu(x: Tensor) -> Tensor:
    """The picture of a batch of one: (1, C, H, W) -> (C, H, W), float32 in [-1, 1] on the CPU."""
    return x[0].clamp(-1, 1).float().cpu()
