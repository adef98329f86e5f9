"""Paths: their laws, their limits and RePaint's own counts."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.path import MAX_STEPS, PATHS, PathSettings, left_at, make_path, zigzag
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
from sfumato.errors import UsageError

SCHEDULES: list[Schedule] = [
    BetaTable(),
    BetaTable("scaled_linear", beta_start=0.00085, beta_end=0.012),
    BetaTable("squared_cosine"),
    BetaTable("linear", timesteps=300),
    Flow(),
    FixedSigma(0.5),
    FixedSigma(40.0),
]


@settings(max_examples=50)
@given(
    schedule=st.sampled_from(SCHEDULES),
    spacing=st.sampled_from(PATHS),
    steps=st.integers(1, 60),
    strength=st.floats(0.01, 1),
)
def test_a_path_goes_down_to_data(schedule: Schedule, spacing: str, steps: int, strength: float) -> None:
    path = make_path(schedule, steps, spacing, strength)
    assert len(path) == max(1, int(steps * strength)) + 1
    assert path[-1] == 0.0
    assert 0 < path[0] <= 1
    assert all(a > b for a, b in pairwise(path))
    assert path == make_path(schedule, steps, spacing)[-len(path) :]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("spacing", [s for s in PATHS if s != "leading"])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_a_whole_path_starts_at_the_noisiest_level(schedule: Schedule, spacing: str, steps: int) -> None:
    assert make_path(schedule, steps, spacing)[0] == 1.0


def test_evenly_spaced_paths_on_a_table_of_1000() -> None:
    """The rows of Lin et al. 2024, table 2, for 10 steps, counted there from 1."""
    table = BetaTable()

    def counted(spacing: str) -> list[int]:
        return [round(t * 1000) for t in make_path(table, 10, spacing)[:-1]]

    assert counted("uniform") == [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]
    assert counted("leading") == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert counted("trailing") == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_trailing_on_a_flow(steps: int) -> None:
    assert make_path(Flow(), steps) == pytest.approx([1 - i / steps for i in range(steps + 1)])


@pytest.mark.parametrize("spacing", ["trailing", "leading", "uniform"])
def test_a_continuous_schedule_is_spaced_as_a_fine_table(spacing: str) -> None:
    fine = make_path(BetaTable(), 10, spacing)
    assert make_path(Flow(), 10, spacing) == pytest.approx(fine, abs=2e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_logsnr_is_even_in_logsnr(schedule: Schedule) -> None:
    levels = [schedule.level(t) for t in make_path(schedule, 12, "logsnr")[1:-1]]
    gaps = [b.logsnr - a.logsnr for a, b in pairwise(levels)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_karras_is_even_in_the_seventh_root(schedule: Schedule) -> None:
    roots = [schedule.level(t).ratio ** (1 / 7) for t in make_path(schedule, 12, "karras")[1:-1]]
    gaps = [a - b for a, b in pairwise(roots)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-6)


@pytest.mark.parametrize("spacing", ["karras", "logsnr"])
def test_ends_of_the_spacings_in_sigma(spacing: str) -> None:
    table, path = BetaTable(), make_path(BetaTable(), 9, spacing)
    assert path[0] == 1.0
    assert path[-2] == pytest.approx(1 / 1000)
    assert Flow().level(make_path(Flow(), 9, spacing)[-2]).ratio == pytest.approx(0.002)
    assert table.level(path[0]).ratio == pytest.approx(table.level(1.0).ratio)


def test_strength_is_where_image_to_image_starts() -> None:
    assert make_path(Flow(), 10, strength=0.3) == pytest.approx((0.3, 0.2, 0.1, 0.0))
    assert make_path(Flow(), 10, strength=0.01) == pytest.approx((0.1, 0.0))
    assert make_path(BetaTable(), 50, strength=0.5)[0] == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------------- zigzag


@pytest.mark.parametrize(("steps", "passes"), [(250, 2410), (100, 910), (50, 410), (30, 210)])
def test_repaints_reverse_passes(steps: int, passes: int) -> None:
    """Lugmayr et al. 2022: jump length 10, 10 resamplings."""
    path = zigzag(make_path(Flow(), steps), jump=10, repeats=10)
    assert sum(a > b for a, b in pairwise(path)) == passes
    assert sum(a < b for a, b in pairwise(path)) == passes - steps


def repaint_schedule(steps: int, jump: int, repeats: int) -> list[int]:
    """The loop of RePaint's authors, "get_schedule_jump", with t counted as they do: -1 is data."""
    jumps = dict.fromkeys(range(0, steps - jump, jump), repeats - 1)
    t, ts = steps, []
    while t >= 1:
        t -= 1
        ts.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump):
                t += 1
                ts.append(t)
    return [*ts, -1]


@settings(max_examples=50)
@given(steps=st.integers(2, 80), jump=st.integers(1, 20), repeats=st.integers(1, 5))
def test_zigzag_is_repaints_schedule(steps: int, jump: int, repeats: int) -> None:
    path = make_path(Flow(), steps)
    if repeats > 1 and jump >= steps:
        with pytest.raises(UsageError, match=f"a jump of {jump} does not fit a path of {steps} steps"):
            zigzag(path, jump=jump, repeats=repeats)
        return
    wanted = tuple(path[steps - 1 - t] for t in repaint_schedule(steps, jump, repeats))
    assert zigzag(path, jump=jump, repeats=repeats) == wanted


def test_zigzag_of_a_strength_path() -> None:
    path = make_path(Flow(), 20, strength=0.5)
    turned = zigzag(path, jump=3, repeats=2)
    assert turned[0] == path[0]
    assert turned[-1] == 0.0
    assert set(turned) == set(path)
    assert max(turned) == path[0]


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("steps", [0, -3, MAX_STEPS + 1, 2.5, True, "10"])
def test_bad_steps(steps: object) -> None:
    with pytest.raises(UsageError, match=f"steps must be a whole number from 1 to 10000, not {steps!r}"):
        make_path(Flow(), steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, math.nan])
def test_bad_strength(strength: float) -> None:
    with pytest.raises(UsageError, match=f"strength must be above 0 and at most 1, not {strength}"):
        make_path(Flow(), 10, strength=strength)


def test_bad_spacing() -> None:
    with pytest.raises(
        UsageError, match="no spacing 'linspace': choose one of trailing, leading, uniform, karras"
    ):
        make_path(Flow(), 10, "linspace")


@pytest.mark.parametrize("spacing", ["trailing", "leading", "uniform"])
def test_more_steps_than_a_table_has(spacing: str) -> None:
    with pytest.raises(UsageError, match="a table of 300 timesteps has no path of 301 steps: choose 300"):
        make_path(BetaTable(timesteps=300), 301, spacing)
    assert len(make_path(BetaTable(timesteps=300), 301, "logsnr")) == 302


@pytest.mark.parametrize(("jump", "repeats"), [(0, 2), (2, 0), (-1, 1)])
def test_bad_zigzag(jump: int, repeats: int) -> None:
    with pytest.raises(UsageError, match=f"jump and repeats must be 1 or more, not {jump} and {repeats}"):
        zigzag(make_path(Flow(), 10), jump=jump, repeats=repeats)


@settings(max_examples=50)
@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, 60),
    until=st.floats(0, 0.99),
)
def test_a_path_that_is_left_early_is_the_same_down_to_there(
    schedule: Schedule, steps: int, until: float
) -> None:
    whole = make_path(schedule, steps)
    left = PathSettings(steps=steps, until=until).path(schedule)
    assert left[0] == whole[0]
    assert left[-1] == 0.0
    assert left[:-1] == whole[: len(left) - 1]
    assert all(t > until - 1e-6 for t in left[1:-1])
    assert len(left) == len(whole) or whole[len(left) - 1] < until


def test_the_time_where_a_path_is_left_is_its_own_last_step() -> None:
    assert left_at(make_path(Flow(), 20), 0.4)[-3:] == pytest.approx((0.45, 0.4, 0.0))
    assert left_at((0.3, 0.2, 0.0), 0.4) == (0.3, 0.0)
    for until in (-0.1, 1.0, math.nan):
        with pytest.raises(UsageError):
            left_at((1.0, 0.0), until)
