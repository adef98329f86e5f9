"""What a run costs: the arithmetic against what the engine counts, and what is refused before it is built."""

import math
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.crops import Crops, crops
from sfumato.core.engine import Engine
from sfumato.core.expression import Expression, known, mean, prompt
from sfumato.core.frame import Frame
from sfumato.core.path import PathSettings
from sfumato.core.schedule import Flow, Level
from sfumato.cost import MAX_ROWS, check_cost, cost_of
from sfumato.errors import UsageError
from sfumato.sampling import make_run, sampler_of
from sfumato.techniques import panorama
from test_expression import whole
from toy_models import TrivialModel

NATIVE = (16, 16)
HUGE = crops("a", overlap=0.9999)
SECONDS = 5.0  # what is refused by arithmetic takes milliseconds; building it took minutes


@given(height=st.integers(16, 90), width=st.integers(16, 90), overlap=st.floats(0, 0.9))
@settings(max_examples=60)
def test_windows_are_counted_as_they_are_built(height: int, width: int, overlap: float) -> None:
    e = crops("a", overlap=overlap)
    assert isinstance(e, Crops)
    frame = Frame(x=torch.zeros(1, 1, height, width), now=Level(t=0.5, alpha=0.8, sigma=0.6), native=NATIVE)
    assert e.work((height, width), NATIVE).leaves == len(e.boxes(frame))


@given(e=whole, height=st.sampled_from([16, 40]))
@settings(max_examples=60)
def test_no_expression_asks_more_than_was_counted(e: Expression, height: int) -> None:
    frame = Frame(x=torch.zeros(1, 3, 16, height), now=Level(t=0.5, alpha=0.8, sigma=0.6), native=NATIVE)
    try:
        asked = len(list(e.queries(frame)))
    except UsageError:  # a quarter turn of what is not square
        return
    assert asked <= e.work((16, height), NATIVE).leaves


def test_both_branches_of_guidance_count_and_a_scale_of_one_has_one() -> None:
    assert prompt("a").guided(3).work(NATIVE, NATIVE).leaves == 2
    assert prompt("a").guided(1).work(NATIVE, NATIVE).leaves == 1
    assert prompt("a").guided(3).guided(2).work(NATIVE, NATIVE).leaves == 4


def test_a_known_picture_counts_as_its_windows_are_built_too() -> None:
    e = crops(known(torch.zeros(1, 1, 16, 16)), overlap=0.5)
    assert e.work((16, 32), NATIVE).leaves == 3


@given(
    steps=st.integers(1, 60),
    strength=st.floats(0.01, 1),
    zigzag=st.tuples(st.integers(1, 20), st.integers(1, 4)),
    spacing=st.sampled_from(["trailing", "karras"]),
    until=st.sampled_from([0.0, 0.0, 0.4, 0.99]),
)
@settings(max_examples=100)
def test_the_steps_of_a_path_are_counted_without_making_it(
    steps: int, strength: float, zigzag: tuple[int, int], spacing: str, until: float
) -> None:
    jump, repeats = zigzag
    path = PathSettings(
        steps=steps, strength=strength, jump=jump, repeats=repeats, spacing=spacing, until=until
    )
    try:
        times = path.path(Flow())
    except UsageError:  # the jump does not fit
        return
    made = sum(to < now for now, to in pairwise(times))
    assert path.most_steps == made if until == 0 else path.most_steps >= made


@pytest.mark.parametrize("solver", ["dpm++2m", "heun", "ddpm"])
def test_the_engine_counts_no_more_rows_than_the_arithmetic(solver: str) -> None:
    model = TrivialModel()
    what = panorama(mean("1", prompt("2").guided(3)), size=(16, 40))
    run = make_run(model, what, seed=1, count=2, steps=3, solver=solver)
    engine = Engine(model)
    engine.run(sampler_of(run))
    cost = cost_of(run)
    assert engine.count.rows <= cost.rows <= 3 * engine.count.rows
    assert cost.pictures == 2
    check_cost([cost], cost.rows, instead="")
    with pytest.raises(
        UsageError, match=rf"{2 * cost.rows:,} rows .* at most {2 * cost.rows - 1:,} .*: less$"
    ):
        check_cost([cost, cost], 2 * cost.rows - 1, instead="less")


@pytest.mark.parametrize(
    "e",
    [
        HUGE,
        HUGE.guided(3),
        mean(HUGE, HUGE),
        HUGE.seen("flip").low_pass(2) + HUGE.high_pass(2),
        crops(HUGE, overlap=0.9999),
        crops(known(torch.zeros(1, 1, 16, 16)), overlap=0.9999),
    ],
)
def test_a_million_windows_are_refused_before_they_are_built(e: Expression) -> None:
    start = time.monotonic()
    run = make_run(TrivialModel(), e, seed=1, size=(1024, 1024))
    with pytest.raises(UsageError, match=f"at most {MAX_ROWS:,} are allowed"):
        check_cost([cost_of(run)], instead="")
    assert time.monotonic() - start < SECONDS


def test_filters_and_views_of_a_large_canvas_are_counted() -> None:
    slow = crops("a").seen("jigsaw")
    for _ in range(10):
        slow = slow.seen("jigsaw")
    with pytest.raises(UsageError, match="views and filters"):
        check_cost(
            [cost_of(make_run(TrivialModel(), slow, seed=1, size=(1024, 1024), steps=1))],
            MAX_ROWS**2,
            instead="",
        )
    blurred = crops("a").low_pass(2) + crops("b").high_pass(2)
    check_cost([cost_of(make_run(TrivialModel(), blurred, seed=1, size=(256, 256), steps=4))], instead="")
    work = prompt("a").seen("flip").low_pass(2).work((64, 64), (64, 64))
    assert work.passes >= 2 * 64 * 64
    assert math.isfinite(work.passes)
