"""Schedules and predictions against their definitions, their limits and their own inverses."""

import json
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.prediction import (
    PREDICTIONS,
    Prediction,
    add_noise,
    eps_of,
    from_x0,
    target,
    to_x0,
)
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Level, Schedule, schedule_from_dict
from sfumato.errors import UsageError

TABLES = [
    BetaTable(),
    BetaTable("scaled_linear", beta_start=0.00085, beta_end=0.012),
    BetaTable("squared_cosine"),
    BetaTable("linear", timesteps=300),
    BetaTable("squared_cosine", timesteps=2),
]
SCHEDULES: list[Schedule] = [*TABLES, Flow(), FixedSigma(0.5), FixedSigma(20.0)]
some_schedule = st.sampled_from(SCHEDULES)


# --------------------------------------------------------------------------------------------------- a level


def test_a_level() -> None:
    level = Level(t=0.5, alpha=0.6, sigma=0.8)
    assert level.ratio == pytest.approx(4 / 3)
    assert level.logsnr == pytest.approx(2 * math.log(0.75))
    assert Level(1.0, 0.0, 1.0).logsnr == -math.inf
    assert Level(1.0, 0.0, 1.0).ratio == math.inf
    assert Level(0.0, 1.0, 0.0).logsnr == math.inf
    assert Level(0.0, 1.0, 0.0).ratio == 0


# ------------------------------------------------------------------------------------------ alpha and sigma


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_data_is_exact(schedule: Schedule) -> None:
    assert schedule.level(0.0) == Level(0.0, 1.0, 0.0)


def test_flow_and_fixed_sigma_by_definition() -> None:
    for t in (0.0, 0.25, 0.9, 1.0):
        assert Flow().level(t) == Level(t, 1 - t, t)
        assert FixedSigma(0.5).level(t) == Level(t, 1.0, 0.5 * t)
    assert FixedSigma(0.5).level(3.0).sigma == 1.5  # more noise than it was trained for


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
def test_table_by_exact_arithmetic(kind: str) -> None:
    """alpha^2 = prod (1 - beta), in rational numbers."""
    T, start, end = 20, Fraction(1, 1000), Fraction(1, 25)
    table = BetaTable(kind, timesteps=T, beta_start=float(start), beta_end=float(end))  # type: ignore[arg-type]
    product = Fraction(1)
    for n in range(T):
        share = Fraction(n, T - 1)
        if kind == "linear":
            beta = start + (end - start) * share
        else:
            root = (
                Fraction(math.sqrt(start)) + (Fraction(math.sqrt(end)) - Fraction(math.sqrt(start))) * share
            )
            beta = root**2
        product *= 1 - beta
        level = table.level((n + 1) / T)
        assert level.alpha == pytest.approx(math.sqrt(product), rel=1e-12)
        assert level.sigma == pytest.approx(math.sqrt(1 - product), rel=1e-12)


def test_squared_cosine_by_its_formula() -> None:
    """Nichol and Dhariwal 2021, eq. 17: alpha_bar = f(t) / f(0), but for the last beta, which is capped."""

    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    table = BetaTable("squared_cosine")
    for n in (0, 1, 10, 500, 998):
        t = (n + 1) / 1000
        assert table.level(t).alpha ** 2 == pytest.approx(f(t) / f(0), rel=1e-9)
    assert table.level(1.0).alpha ** 2 == pytest.approx(f(0.999) / f(0) * 0.001, rel=1e-9)


def test_a_table_between_its_entries() -> None:
    table = BetaTable()
    a, b = table.level(0.5).ratio, table.level(0.501).ratio
    assert table.level(0.5005).ratio == pytest.approx(math.sqrt(a * b))  # log-linear
    first = table.level(0.001).ratio
    assert table.level(0.00025).ratio == pytest.approx(first / 4)  # linear down to data


@given(table=st.sampled_from(TABLES), t=st.floats(0, 1))
def test_a_table_preserves_variance(table: BetaTable, t: float) -> None:
    level = table.level(t)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-12)


@given(schedule=some_schedule, times=st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True))
def test_noise_grows_with_time(schedule: Schedule, times: list[float]) -> None:
    low, high = (schedule.level(t).ratio for t in sorted(times))
    assert low <= high
    if max(times) - min(times) > 1e-9:
        assert low < high


@given(schedule=some_schedule, t=st.floats(0, 1))
def test_time_at_ratio_inverts(schedule: Schedule, t: float) -> None:
    assert schedule.time_at_ratio(schedule.level(t).ratio) == pytest.approx(t, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_time_at_ratio_of_the_ends(schedule: Schedule) -> None:
    assert schedule.time_at_ratio(0.0) == 0.0
    assert schedule.time_at_ratio(schedule.level(1.0).ratio) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_times(schedule: Schedule, dtype: torch.dtype) -> None:
    count = schedule.timesteps or 7
    t = (torch.arange(count + 1) / count).to(dtype)[None, :, None]
    alpha, sigma = schedule.alpha_sigma(t)
    assert alpha.dtype == sigma.dtype == torch.float32
    assert alpha.shape == sigma.shape == t.shape
    for i in {0, 1, count // 3, count}:
        level = schedule.level(i / count)
        assert alpha[0, i, 0].item() == pytest.approx(level.alpha, rel=1e-6)
        assert sigma[0, i, 0].item() == pytest.approx(level.sigma, rel=1e-6)


def test_float32_times_fall_on_the_entries_of_a_table() -> None:
    """A float32 (n + 1) / 1000 is not the float64 one, but it means entry n."""
    table = BetaTable("squared_cosine")
    t = torch.arange(1, 1001, dtype=torch.float32) / 1000
    ratio = table.ratios
    alpha, sigma = table.alpha_sigma(t)
    torch.testing.assert_close(alpha, torch.rsqrt(1 + ratio**2).float(), rtol=1e-7, atol=0)
    torch.testing.assert_close(sigma, (ratio * torch.rsqrt(1 + ratio**2)).float(), rtol=1e-7, atol=0)


def test_whole_number_times() -> None:
    alpha, sigma = Flow().alpha_sigma(torch.tensor([0, 1]))
    assert alpha.tolist() == [1, 0]
    assert sigma.tolist() == [0, 1]


# ----------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_round_trip_through_json(schedule: Schedule) -> None:
    again = schedule_from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.level(0.37) == schedule.level(0.37)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            {"kind": "sigmoid"},
            "no schedule of kind 'sigmoid': choose one of linear, scaled_linear, squared_cosine",
        ),
        ({}, "no schedule of kind None"),
        ({"kind": "flow", "shift": 3}, "a flow schedule has no shift"),
        ({"kind": "squared_cosine", "beta_end": 0.1}, "a squared_cosine schedule has no beta_end"),
        ({"kind": "fixed_sigma"}, "a fixed_sigma schedule needs its sigma"),
        ({"kind": "linear", "timesteps": "many"}, "a table has 2 timesteps or more, not 'many'"),
        (
            {"kind": "linear", "beta_end": 2.0},
            "betas need 0 < beta_start <= beta_end < 1, not 0.0001 and 2.0",
        ),
        ({"kind": "linear", "beta_end": "big"}, "betas are numbers, not 0.0001 and 'big'"),
        (
            {"kind": "fixed_sigma", "sigma": "big"},
            "the sigma of a fixed_sigma schedule is a number, not 'big'",
        ),
        ({"kind": ["linear"]}, r"no schedule of kind \['linear'\]"),
    ],
)
def test_bad_descriptions(description: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        schedule_from_dict(description)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BetaTable("cosine"),
            "no table 'cosine': choose one of linear, scaled_linear, squared_cosine",
        ),
        (lambda: BetaTable(timesteps=1), "a table has 2 timesteps or more, not 1"),
        (lambda: BetaTable(beta_start=0.0), "betas need 0 < beta_start"),
        (
            lambda: BetaTable("squared_cosine", beta_end=0.5),
            "a squared_cosine table has no beta_start and beta_end",
        ),
        (lambda: FixedSigma(0.0), "the sigma of a fixed_sigma schedule is above 0 and finite, not 0.0"),
        (lambda: FixedSigma(math.inf), "above 0 and finite, not inf"),
        (lambda: Flow().level(1.5), "time 1.5 is out of range: give 0 .data. to 1"),
        (lambda: Flow().level(math.nan), "time nan is out of range"),
        (lambda: FixedSigma(1.0).level(-1.0), "time -1 is out of range"),
        (lambda: BetaTable().alpha_sigma(torch.tensor([0.5, 2.0])), "time 2 is out of range"),
        (lambda: Flow().time_at_ratio(-1.0), "sigma / alpha is 0 or more, not -1.0"),
        (lambda: Flow().time_at_ratio(math.nan), "sigma / alpha is 0 or more, not nan"),
        (
            lambda: BetaTable().time_at_ratio(1e4),
            r"sigma / alpha of this table ends at 157\.\d*: 10000 is beyond",
        ),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


# ------------------------------------------------------------------------------------------------ predictions


def a_pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    return x0, eps


@settings(max_examples=50)
@given(
    schedule=some_schedule,
    t=st.floats(1e-3, 0.99),
    kind=st.sampled_from(PREDICTIONS),
    seed=st.integers(0, 99),
)
def test_what_a_perfect_network_predicts_means_x0(
    schedule: Schedule, t: float, kind: Prediction, seed: int
) -> None:
    x0, eps = a_pair(seed)
    level = schedule.level(t)
    x = add_noise(x0, eps, level.alpha, level.sigma)
    perfect = target(kind, x0, eps, level.alpha, level.sigma)
    torch.testing.assert_close(to_x0(perfect, kind, x, level.alpha, level.sigma), x0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(from_x0(x0, kind, x, level.alpha, level.sigma), perfect, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(eps_of(x, x0, level.alpha, level.sigma), eps, rtol=1e-6, atol=1e-6)


@settings(max_examples=50)
@given(schedule=some_schedule, t=st.floats(1e-3, 0.99), kind=st.sampled_from(PREDICTIONS))
def test_conversions_round_trip(schedule: Schedule, t: float, kind: Prediction) -> None:
    answer, x = a_pair(3)
    level = schedule.level(t)
    x0 = to_x0(answer, kind, x, level.alpha, level.sigma)
    again = from_x0(x0, kind, x, level.alpha, level.sigma)
    torch.testing.assert_close(again, answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_levels_of_rows(kind: Prediction) -> None:
    """A level per row is the same as the rows one by one."""
    answer, x = a_pair(4)
    alpha, sigma = BetaTable().alpha_sigma(torch.tensor([0.2, 0.7], dtype=torch.float64))
    rows = to_x0(answer, kind, x, alpha.view(2, 1, 1, 1), sigma.view(2, 1, 1, 1))
    for i, (a, s) in enumerate(zip(alpha.tolist(), sigma.tolist(), strict=True)):
        torch.testing.assert_close(rows[i], to_x0(answer[i], kind, x[i], a, s))


def test_at_pure_noise_and_at_data() -> None:
    answer, x = a_pair(5)
    torch.testing.assert_close(to_x0(answer, "flow", x, 0.0, 1.0), x - answer)
    torch.testing.assert_close(to_x0(answer, "v", x, 0.0, 1.0), -answer)
    for kind in ("eps", "v", "flow"):
        torch.testing.assert_close(to_x0(answer, kind, x, 1.0, 0.0), x)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="an eps prediction says nothing about x0 where alpha is 0"):
        to_x0(answer, "eps", x, 0.0, 1.0)
    with pytest.raises(UsageError, match="an eps prediction says nothing about x0 where alpha is 0"):
        to_x0(answer, "eps", x, torch.tensor([0.5, 0.0]).view(2, 1, 1, 1), 1.0)
    with pytest.raises(UsageError, match="where sigma is 0"):
        eps_of(x, x, 1.0, 0.0)


def test_unknown_prediction() -> None:
    answer, x = a_pair(6)
    for ask in (to_x0, from_x0):
        with pytest.raises(UsageError, match="no prediction 'score': choose one of eps, v, x0, flow"):
            ask(answer, "score", x, 0.6, 0.8)  # type: ignore[arg-type]
