"""The worker: a shared forward pass changes no picture, clients take turns, an error ends one job alone."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from sfumato.core.expression import Expression, prompt
from sfumato.core.filters import Mask
from sfumato.core.prediction import Estimate
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.model import Model
from sfumato.recipe import Recipe
from sfumato.sampling import make_recipe, sample
from sfumato.serving import (
    Ended,
    Event,
    Job,
    Limits,
    LoadingError,
    Made,
    Part,
    QueueFullError,
    State,
    Stepped,
    StoppingError,
    Turn,
    Worker,
)
from sfumato.serving.worker import preview_steps
from sfumato.techniques import Edit, anagram, hybrid, inpaint, panorama, translate
from toy_models import TrivialModel, WatchedModel, loader

WAIT = 60.0  # far more than anything here takes: a busy machine is no failure


@contextmanager
def working(
    *models: Model, limits: Limits | None = None, on_turn: Callable[[Turn], None] | None = None
) -> Iterator[Worker]:
    worker = Worker({model.name: loader(model) for model in models}, limits=limits, on_turn=on_turn).start()
    try:
        assert worker.wait_ready(WAIT)
        for model in models:
            if isinstance(model, WatchedModel):
                model.forwards.clear()
        yield worker
    finally:
        for model in models:
            if isinstance(model, WatchedModel):
                model.open()
        worker.stop()


@contextmanager
def gated(limits: Limits | None = None) -> Iterator[tuple[WatchedModel, Worker]]:
    """A worker whose every forward waits for `model.gate.release()`, once it has loaded."""
    model = WatchedModel()
    with working(model, limits=limits) as worker:
        model.gated = True
        yield model, worker


def part(model: Model, what: Expression | Edit | str, **more: object) -> Part:
    recipe, inputs = make_recipe(model, what, **more)  # type: ignore[arg-type]
    return Part(recipe=recipe, inputs=inputs)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def finished(job: Job) -> Job:
    assert job.wait(WAIT)
    return job


def picture(seed: int) -> Tensor:
    return torch.rand((1, 16, 16), generator=torch.Generator().manual_seed(seed)) * 2 - 1


MASK = Mask(torch.cat([torch.ones(16, 8), torch.zeros(16, 8)], 1))
REQUESTS: list[tuple[Expression | Edit | str, dict[str, object]]] = [
    ("3", {"seed": 1, "count": 3}),
    (anagram("6", "7", view="rotate_180"), {"seed": 2, "steps": 7, "solver": "ddim"}),
    (hybrid(far="1", near="2"), {"seed": 3, "steps": 3, "solver": "heun"}),
    (inpaint(picture(0), MASK, "4", repeats=2, jump=2), {"seed": 4, "steps": 5}),
    (translate(picture(1), "5", strength=0.6), {"seed": 5, "steps": 6, "solver": "ddpm"}),
    (panorama("0", size=(16, 40)), {"seed": 6}),
    (prompt("7").guided(3, negative="1"), {"seed": 7, "solver": "unipc"}),
]


@pytest.mark.parametrize("max_rows", [3, 8, 64])
def test_pictures_are_those_made_alone(max_rows: int) -> None:
    model, turns = WatchedModel(), []
    with working(model, limits=Limits(max_rows=max_rows), on_turn=turns.append) as worker:
        model.gated = True  # so that all of them are there when the first step is made
        jobs = [
            worker.submit([part(model, what, **more)], client=str(i % 3))
            for i, (what, more) in enumerate(REQUESTS)
        ]
        model.open()
        made = [torch.stack(finished(job).result()) for job in jobs]
    assert max(len(asked) for asked in model.forwards) <= max_rows
    if max_rows == 64:
        assert max(len(set(asked)) for asked in model.forwards) > 4  # requests did share forwards
    assert sum(turn.rows for turn in turns) > 0
    for (what, more), x in zip(REQUESTS, made, strict=True):
        alone = sample(WatchedModel(), what, **more)  # type: ignore[arg-type]
        torch.testing.assert_close(x, alone.x, atol=1e-4, rtol=0)


def test_two_models_work_side_by_side() -> None:
    one, other = WatchedModel("one"), WatchedModel("other", shape=(1, 8, 8))
    with working(one, other) as worker:
        job = worker.submit([part(one, "3", seed=1), part(other, "3", seed=1)])
        shapes = [tuple(x.shape) for x in finished(job).result()]
    assert shapes == [(1, 16, 16), (1, 8, 8)]


def test_clients_take_turns_picture_by_picture() -> None:
    with gated(Limits(max_rows=1)) as (model, worker):
        first = worker.submit([part(model, "0", seed=0, count=1, steps=1, guidance=1)], client="zero")
        until(lambda: worker.running == 1)
        greedy = worker.submit([part(model, "1", seed=0, count=5, steps=1, guidance=1)], client="greedy")
        modest = worker.submit([part(model, "2", seed=0, count=1, steps=1, guidance=1)], client="modest")
        other = worker.submit([part(model, "3", seed=0, count=2, steps=1, guidance=1)], client="other")
        model.open()
        for job in (first, greedy, modest, other):
            finished(job)
    assert [asked for (asked,) in model.forwards] == list("012313111")


def test_a_picture_with_more_rows_than_a_forward_runs_alone_and_starves_nobody() -> None:
    with gated(Limits(max_rows=2)) as (model, worker):
        before = worker.submit([part(model, "1", seed=0, count=2)], client="a")
        wide = worker.submit([part(model, panorama("2", size=(16, 64)), seed=0)], client="b")
        after = worker.submit([part(model, "3", seed=0)], client="c")
        model.open()
        for job in (before, wide, after):
            assert finished(job).state is State.DONE


def test_requests_join_and_leave_between_steps() -> None:
    with gated() as (model, worker):
        long = worker.submit([part(model, "1", seed=0, steps=6, guidance=1)])
        model.gate.release(2)
        until(lambda: long.steps[0][0] == 2)
        short = worker.submit([part(model, "2", seed=0, steps=2, guidance=1)])
        model.gate.release(4)
        finished(short)
        finished(long)
    assert model.forwards == [["1"]] * 3 + [["1", "2"]] * 2 + [["1"]] or model.forwards == [
        *[["1"]] * 2,
        *[["1", "2"]] * 2,
        *[["1"]] * 2,
    ]


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [("8", SfumatoError, "not finite"), ("9", RuntimeError, "secret internals")],
)
def test_what_fails_fails_alone(bad: str, kind: type[Exception], message: str) -> None:
    with gated() as (model, worker):
        good = worker.submit([part(model, "3", seed=1, count=2)])
        broken = worker.submit([part(model, bad, seed=2, count=2)])
        until(lambda: worker.running >= 1)
        model.open()
        finished(good)
        finished(broken)
        assert (good.state, broken.state) == (State.DONE, State.FAILED)
        with pytest.raises(kind, match=message):
            broken.result()
        alone = sample(WatchedModel(), "3", seed=1, count=2)
        torch.testing.assert_close(torch.stack(good.result()), alone.x, atol=1e-4, rtol=0)
        assert worker.running == worker.queued == 0


def test_a_recipe_that_cannot_be_run_is_refused_before_it_waits() -> None:
    with gated(Limits(max_rows=1)) as (model, worker):
        busy = worker.submit([part(model, "1", seed=0, count=3)])
        whole = part(model, "1", seed=0)
        half = whole.recipe.model_copy(
            update={"expression": {"filter": "low_pass:sigma=2", "of": {"prompt": "1"}}}
        )
        refused = worker.submit([Part(recipe=half, inputs={})])
        model.gate.release(2)  # two steps later it has been looked at
        assert "do not sum to the identity" in str(finished(refused).error)
        assert not busy.state.ended


def test_what_the_model_cannot_draw_fails_in_its_first_step() -> None:
    model = WatchedModel()
    with working(model) as worker:
        good = worker.submit([part(model, "1", seed=0)])
        unknown = worker.submit([part(model, "a rocket", seed=0)])
        with pytest.raises(UsageError, match="cannot draw 'a rocket'"):
            finished(unknown).result()
        assert finished(good).state is State.DONE


def test_cancel_takes_one_step_and_leaves_the_neighbours() -> None:
    with gated() as (model, worker):
        stays = worker.submit([part(model, "1", seed=0, steps=5, guidance=1)])
        goes = worker.submit([part(model, "2", seed=0, steps=500, count=3, guidance=1)])
        model.gate.release(2)
        until(lambda: len(model.forwards) == 2)
        worker.cancel(goes)
        seen = len(model.forwards)
        model.gate.release(1)
        finished(goes)
        asked = sum("2" in forward for forward in model.forwards[seen:])
        assert asked <= 1  # the step that was under way
        assert goes.state is State.CANCELLED
        model.open()
        alone = sample(WatchedModel(), "1", seed=0, steps=5, guidance=1)
        torch.testing.assert_close(torch.stack(finished(stays).result()), alone.x, atol=1e-4, rtol=0)


def test_cancelled_while_it_waits() -> None:
    with gated(Limits(max_rows=1)) as (model, worker):
        first = worker.submit([part(model, "1", seed=0, guidance=1)])
        waits = worker.submit([part(model, "2", seed=0, count=4, guidance=1)])
        worker.cancel(waits)
        model.open()
        assert finished(first).state is State.DONE
        assert finished(waits).state is State.CANCELLED
        assert not any("2" in forward for forward in model.forwards)
        assert worker.queued == 0


def test_the_queue_is_bounded_for_all_and_for_each() -> None:
    with gated(Limits(max_rows=1, queue=8, queue_share=0.5)) as (model, worker):
        running = worker.submit([part(model, "1", seed=0)], client="x")
        until(lambda: worker.running == 1)
        a = worker.submit([part(model, "1", seed=0, count=4)], client="a")
        with pytest.raises(QueueFullError, match=r"the queue is full: try again in \d+ s"):
            worker.submit([part(model, "1", seed=0)], client="a")
        worker.submit([part(model, "1", seed=0, count=4)], client="b")
        with pytest.raises(QueueFullError) as full:
            worker.submit([part(model, "1", seed=0)], client="c")
        assert full.value.seconds >= 1
        assert worker.queued == 8
        worker.cancel(a)
        model.gate.release(2)
        until(lambda: a.state.ended)
        worker.submit([part(model, "1", seed=0)], client="c")  # there is room again
        model.open()
        assert finished(running).state is State.DONE


def test_progress_and_previews_are_told_in_order() -> None:
    model, events, over = WatchedModel(), [], threading.Event()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Ended):
            over.set()

    with working(model) as worker:
        job = worker.submit([part(model, "3", seed=1, steps=6)], previews=2, listener=listen)
        assert over.wait(WAIT)
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [step.step for step in steps] == list(range(1, 7))
    assert [step.step for step in steps if step.x0 is not None] == [3, 5]
    seen: list[Tensor] = []
    sample(WatchedModel(), "3", seed=1, steps=6, on_step=lambda step: seen.append(step.x0[0].clamp(-1, 1)))
    for step in steps:
        if step.x0 is not None:
            torch.testing.assert_close(step.x0, seen[step.step - 1], atol=1e-4, rtol=0)
    assert [type(event) for event in events[-2:]] == [Made, Ended]
    assert job.progress == 1


def test_what_a_licence_asks_is_done_to_previews_too() -> None:
    model, events = WatchedModel(), []
    model.postprocess = lambda x: x * 0 + 0.5
    with working(model) as worker:
        job = finished(worker.submit([part(model, "3", seed=1)], previews=9, listener=events.append))
    seen = [e for e in events if isinstance(e, Stepped)]
    assert len(seen) == 4
    for x in [*job.result(), *(e.x for e in seen), *(e.x0 for e in seen)]:
        assert x is not None
        assert (x == 0.5).all()


def test_a_listener_that_fails_hurts_nobody() -> None:
    def listen(event: Event) -> None:
        raise ValueError(f"deaf to {event}")

    model = WatchedModel()
    with working(model) as worker:
        assert finished(worker.submit([part(model, "3", seed=1)], listener=listen)).state is State.DONE


@pytest.mark.parametrize(
    ("count", "total", "steps"),
    [(0, 10, []), (1, 10, [5]), (3, 4, [1, 2, 3]), (3, 2, [0, 1]), (9, 4, [0, 1, 2, 3])],
)
def test_previews_are_spread_evenly(count: int, total: int, steps: list[int]) -> None:
    assert sorted(preview_steps(count, total)) == steps


def test_stop_lets_what_was_accepted_end() -> None:
    model = WatchedModel()
    worker = Worker({"toy": loader(model)}).start()
    worker.wait_ready(WAIT)
    job = worker.submit([part(model, "3", seed=1, count=5, steps=20)])
    worker.stop(drain=WAIT)
    assert job.state is State.DONE
    assert not worker.alive(WAIT)
    with pytest.raises(StoppingError, match="stopping"):
        worker.submit([part(model, "3", seed=1)])


def test_stop_gives_up_what_takes_too_long() -> None:
    model = WatchedModel()
    worker = Worker({"toy": loader(model)}).start()
    worker.wait_ready(WAIT)
    job = worker.submit([part(model, "3", seed=1, count=5, steps=1000)])
    worker.stop(drain=0.05)
    assert job.state is State.FAILED
    with pytest.raises(StoppingError, match="stopped"):
        job.result()


def test_before_and_without_models_nothing_is_taken_on() -> None:
    going = threading.Event()

    def slow() -> Model:
        going.wait(WAIT)
        return WatchedModel()

    worker = Worker({"toy": slow})
    worker.start()
    assert not worker.ready
    with pytest.raises(LoadingError, match="being loaded"):
        worker.submit([part(WatchedModel(), "3", seed=1)])
    going.set()
    assert worker.wait_ready(WAIT)
    assert worker.ready
    assert worker.seconds_per_row("toy") > 0
    worker.stop()

    def missing() -> Model:
        raise SfumatoError("no weights")

    worker = Worker({"toy": missing}).start()
    with pytest.raises(SfumatoError, match="no weights"):
        worker.wait_ready(WAIT)
    with pytest.raises(LoadingError, match="could not be loaded"):
        worker.submit([part(WatchedModel(), "3", seed=1)])
    worker.stop()


def test_a_network_that_breaks_for_a_while_breaks_no_later_job() -> None:
    class Flaky(WatchedModel):
        broken = False

        def denoise(self, *args: object) -> Estimate:
            if self.broken:
                raise MemoryError("no room")
            return super().denoise(*args)  # type: ignore[arg-type]

    model = Flaky()
    with working(model) as worker:
        model.broken = True
        jobs = [worker.submit([part(model, "3", seed=1)]) for _ in range(2)]
        assert [finished(job).state for job in jobs] == [State.FAILED] * 2
        model.broken = False
        assert finished(worker.submit([part(model, "3", seed=1)])).state is State.DONE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nothing"}, "no model 'nothing' here; there are toy"),
        ({"count": 65}, "1 to 64 pictures, not 65"),
        ({"steps": 10_000, "repeats": 2}, "at most 10000 steps, not 20000"),
    ],
)
def test_more_than_the_limits_is_refused_at_once(change: dict[str, object], message: str) -> None:
    model = WatchedModel()
    with working(model) as worker:
        recipe = part(model, "3", seed=1).recipe.model_copy(update=change)
        with pytest.raises(UsageError, match=message):
            worker.submit([Part(recipe=recipe, inputs={})])
        assert worker.queued == 0


def test_a_picture_of_too_many_rows_is_refused() -> None:
    model = WatchedModel()
    with working(model, limits=Limits(picture_rows=4)) as worker:
        job = worker.submit([part(model, panorama("1", size=(16, 64)), seed=0)])
        assert "at most 4 are allowed" in str(finished(job).error)


def test_many_threads_submit_while_it_works() -> None:
    """Without a lock around every loop over the jobs, most of them fail here."""
    model, threads, each = TrivialModel(), 8, 300
    one = part(model, "3", seed=1, steps=1, guidance=1)
    jobs: list[Job] = []
    errors: list[Exception] = []
    over = threading.Event()

    def submit(client: str) -> None:
        for i in range(each):
            jobs.append(job := worker.submit([one], client=client))
            if i % 10 == 0:
                worker.cancel(job)

    def look() -> None:
        try:
            while not over.wait(0.001):
                assert min(worker.running, worker.queued, worker.seconds_left()) >= 0
        except Exception as error:
            errors.append(error)

    submitting = [threading.Thread(target=submit, args=(f"client {i}",)) for i in range(threads)]
    looking = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    with working(model, limits=Limits(queue=100_000)) as worker:
        sys.setswitchinterval(1e-6)  # so that threads take turns within a loop over a few jobs
        try:
            for thread in (looking, *submitting):
                thread.start()
            for thread in submitting:
                thread.join(WAIT)
            states = Counter(finished(job).state for job in jobs)
        finally:
            over.set()
            sys.setswitchinterval(interval)
            looking.join(WAIT)
        assert not errors
        assert set(states) <= {State.DONE, State.CANCELLED}
        assert states.total() == threads * each
        assert states[State.CANCELLED] <= threads * each / 10
        assert worker.running == worker.queued == 0


def test_the_loaded_models_can_be_looked_through_while_others_are_loaded() -> None:
    models = [TrivialModel(f"m{i}") for i in range(3)]
    seen: list[str] = []

    def load(model: Model) -> Model:
        if not seen and worker.models:
            iterator = iter(worker.models)
            seen.append(next(iterator))
            rest.append(iterator)
        elif rest:
            seen.extend(rest.pop())
        return model

    rest: list[Iterator[str]] = []
    worker = Worker({model.name: lambda model=model: load(model) for model in models})  # type: ignore[misc]
    worker.start()
    assert worker.wait_ready(WAIT)
    worker.stop()
    assert seen == ["m0"]
    assert list(worker.models) == ["m0", "m1", "m2"]


class BadRecipe(Recipe):
    """Fails when the worker compares it with another."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


def test_a_defect_in_the_handling_of_one_job_ends_that_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_when_made(event: object) -> None:
        if isinstance(event, Made):
            raise RuntimeError("not to be published")
        Job.publish(at_its_end, event)  # type: ignore[arg-type]

    with gated() as (model, worker):
        good = [worker.submit([part(model, str(i), seed=i, count=2)], client=str(i)) for i in range(3)]
        whole = part(model, "3", seed=1, count=2)
        bad = BadRecipe(**dict(whole.recipe))
        at_its_check = worker.submit([Part(recipe=bad, inputs={})])
        at_its_end = worker.submit([part(model, "4", seed=4)])
        monkeypatch.setattr(at_its_end, "publish", fail_when_made)
        good.append(worker.submit([part(model, "5", seed=5)]))
        model.open()
        for job, message in ((at_its_check, "compared"), (at_its_end, "published")):
            with pytest.raises(RuntimeError, match=message):
                finished(job).result()
        assert [finished(job).state for job in good] == [State.DONE] * 4
        assert worker.running == worker.queued == 0
        assert finished(worker.submit([part(model, "3", seed=1)])).state is State.DONE


def test_a_turn_that_breaks_ends_what_is_in_flight_on_its_model_alone() -> None:
    class Nowhere(WatchedModel):
        broken = False

        def denoise(self, *args: object) -> Estimate:
            estimate = super().denoise(*args)  # type: ignore[arg-type]
            return Estimate(x0=estimate.x0.to("meta")) if self.broken else estimate

    one, other = WatchedModel("one"), Nowhere("other")
    with working(one, other) as worker:
        one.gated = other.broken = True
        good = worker.submit([part(one, "3", seed=1)])
        bad = worker.submit([part(other, "3", seed=1)])
        one.gate.release(1)
        assert finished(bad).state is State.FAILED
        assert not good.state.ended
        one.open()
        assert finished(good).state is State.DONE
        other.broken = False
        assert finished(worker.submit([part(other, "3", seed=1)])).state is State.DONE


def test_what_counts_turns_hurts_no_job() -> None:
    def count(turn: Turn) -> None:
        if turn.model == "toy" and job is not None:
            raise ValueError("cannot count")

    model, job = WatchedModel(), None
    with working(model, on_turn=count) as worker:
        job = worker.submit([part(model, "3", seed=1)])
        assert finished(job).state is State.DONE


@pytest.mark.parametrize("wrong", [{"max_rows": 0}, {"queue": 0}, {"queue_share": 0.0}, {"queue_share": 1.5}])
def test_limits_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Limits(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one model"):
        Worker({})
