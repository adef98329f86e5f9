"""The objective on Gaussian data, whose best network is known; times, rates and averages in closed form."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.core.prediction import Prediction, from_x0
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
from sfumato.errors import UsageError
from sfumato.training.ema import Ema, EmaProfile, HalfLife, PowerFunction
from sfumato.training.objective import (
    DROPPED,
    EdmWeight,
    ErrorOf,
    FixedTime,
    HalfEach,
    LogitNormalTimes,
    MinSnr,
    Objective,
    RandomInputs,
    TableTimes,
    Times,
    UniformTimes,
    Weighting,
)
from sfumato.training.presets import PRESETS, LearningRate, preset

MEAN, STD = 0.3, 0.4  # the data: every pixel N(MEAN, STD^2)
TABLE = BetaTable("linear", timesteps=300)
LEVELS: list[tuple[Schedule, float]] = [(TABLE, 0.5), (Flow(), 0.3), (Flow(), 0.8), (FixedSigma(1.0), 1.0)]
PREDICTIONS: list[Prediction] = ["eps", "v", "x0", "flow"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass
class Posterior:
    """Answers from E[x0 | x_t] of the Gaussian data, times `factor`."""

    schedule: Schedule
    prediction: Prediction
    factor: float = 1.0

    def __call__(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:  # noqa: ARG002
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule.alpha_sigma(t))
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        x0 = MEAN + gain * (x - alpha * MEAN)
        return from_x0(x0 * self.factor, self.prediction, x, alpha, sigma)


def mean_loss(objective: Objective, network: Posterior) -> float:
    draw = objective.draw((50, 1, 40, 40), generator(1))
    x0 = MEAN + STD * torch.randn((50, 1, 40, 40), generator=generator(2))
    return objective.loss(network, x0, torch.zeros(50, dtype=torch.int64), draw).mean().item()


@pytest.mark.parametrize(("schedule", "t"), LEVELS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "weighting", [ErrorOf(quantity=q) for q in PREDICTIONS] + [EdmWeight(), MinSnr(gamma=2.0)]
)
def test_the_posterior_mean_is_best_and_its_loss_is_known(
    schedule: Schedule, t: float, prediction: Prediction, weighting: Weighting
) -> None:
    objective = Objective(schedule=schedule, prediction=prediction, times=FixedTime(t=t), weighting=weighting)
    level = schedule.level(t)
    a, s = level.alpha, level.sigma
    variance = STD**2 * s**2 / (a**2 * STD**2 + s**2)  # of x0 given x_t
    snr = (a / s) ** 2
    expected = {  # an error e of x0 at fixed x_t is one of -(a/s) e in eps, and so on
        ErrorOf(quantity="x0"): variance,
        ErrorOf(quantity="eps"): variance * snr,
        ErrorOf(quantity="v"): variance * (a * a / s + s) ** 2,
        ErrorOf(quantity="flow"): variance * (a / s + 1) ** 2,
        EdmWeight(): variance * (1 / snr + 0.25) / (0.25 / snr),
        MinSnr(gamma=2.0): variance * min(snr, 2.0),
    }[weighting]
    best = mean_loss(objective, Posterior(schedule, prediction))
    assert best == pytest.approx(expected, rel=0.02)
    for factor in (0.8, 1.2):
        assert mean_loss(objective, Posterior(schedule, prediction, factor)) > best * 1.01


def test_edm_weight_makes_the_raw_network_error_even() -> None:
    # Karras et al. 2022, section 5: lambda c_out^2 = 1 with c_out = s d / sqrt(s^2 + d^2)
    s = torch.logspace(-2, 2, 9)
    c_out = s * 0.7 / (s**2 + 0.7**2).sqrt()
    weight = EdmWeight(sigma_data=0.7).of("x0", torch.ones_like(s), s)
    torch.testing.assert_close(weight * c_out**2, torch.ones_like(s))


def test_own_quantity_has_weight_one_also_at_pure_noise() -> None:
    ends = torch.tensor([0.0, 1.0])
    for prediction in PREDICTIONS:
        assert ErrorOf(quantity=prediction).of(prediction, ends, 1 - ends).tolist() == [1, 1]


def test_label_dropout_has_its_rate_and_reaches_the_network() -> None:
    objective = Objective(
        schedule=TABLE,
        prediction="eps",
        times=TableTimes(),
        weighting=ErrorOf(quantity="eps"),
        drop_label=0.1,
    )
    draw = objective.draw((20_000, 1, 1, 1), generator())
    assert draw.dropped.float().mean().item() == pytest.approx(0.1, abs=0.01)
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor, label: Tensor) -> Tensor:  # noqa: ARG001
        seen.append(label)
        return x

    label = torch.arange(20_000) % 10
    objective.loss(network, torch.zeros(20_000, 1, 1, 1), label, draw)
    assert torch.equal(seen[0], label.where(~draw.dropped, torch.tensor(DROPPED)))


def test_shares_of_a_draw_are_its_rows() -> None:
    objective = PRESETS["digits"].objective
    whole = objective.draw((7, 1, 4, 4), generator())
    parts = [whole.rows(0, 3), whole.rows(3, 7)]
    for name in ("noise", "t", "dropped"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("times", "schedule", "below"),
    [
        (UniformTimes(), Flow(), lambda t: t),
        (
            LogitNormalTimes(mean=-0.5, std=1.3),
            Flow(),
            lambda t: 0.5 * (1 + math.erf((math.log(t / (1 - t)) + 0.5) / 1.3 / math.sqrt(2))),
        ),
        (TableTimes(), TABLE, lambda t: math.floor(t * 300 + 1e-6) / 300),
        (
            HalfEach(one=UniformTimes(), other=FixedTime(t=0.55)),
            Flow(),
            lambda t: 0.5 * t + 0.5 * (t > 0.55),
        ),
    ],
)
def test_times_follow_their_distribution(
    times: Times, schedule: Schedule, below: "object", stratified: bool
) -> None:
    objective = Objective(
        schedule=schedule,
        prediction="x0",
        times=times,
        weighting=ErrorOf(quantity="x0"),
        stratified=stratified,
    )
    count = 20_000
    t = objective.draw((count, 1, 1, 1), generator()).t
    # Kolmogorov-Smirnov at nine places: 1.6 / sqrt(n) is its 1% bound; strata are within one row of exact
    bound = 1.5 / count if stratified else 1.6 / math.sqrt(count)
    for place in (k / 10 for k in range(1, 10)):
        assert (t <= place + 1e-6).float().mean().item() == pytest.approx(below(place), abs=bound)  # type: ignore[operator]


def test_table_times_are_the_entries() -> None:
    t = TableTimes().quantile(torch.tensor([1e-12, 0.5, 1 - 1e-12], dtype=torch.float64), TABLE)
    assert t.tolist() == [1 / 300, 151 / 300, 1.0]


def test_bad_objectives() -> None:
    settings = {"prediction": "eps", "weighting": ErrorOf(quantity="eps")}
    with pytest.raises(UsageError, match="TableTimes"):
        Objective(schedule=Flow(), times=TableTimes(), **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"drop_label is 1\.5"):
        Objective(schedule=Flow(), times=UniformTimes(), drop_label=1.5, **settings)  # type: ignore[arg-type]


# -- learning rates


def test_rates_in_closed_form() -> None:
    def at(rate: LearningRate, step: int) -> float:
        return rate.at(step, per_epoch=10, total=100)

    exercise = LearningRate(peak=1e-3, decay="epoch", factor=0.1 ** (1 / 20))
    assert [at(exercise, step) for step in (0, 9)] == [1e-3, 1e-3]
    assert at(exercise, 10 * 20) == pytest.approx(1e-4)
    cosine = LearningRate(peak=2.0, warmup=4, decay="cosine")
    assert [at(cosine, step) for step in (0, 3, 4)] == pytest.approx([0.4, 1.6, 2.0])
    assert at(cosine, 52) == pytest.approx(1.0)
    linear = LearningRate(peak=2.0, decay="linear")
    assert [at(linear, step) for step in (0, 50, 99)] == pytest.approx([2.0, 1.0, 0.02])


def test_a_shorter_training_has_the_same_fall_of_its_rate() -> None:
    for epochs in (1, 5, 20):
        rate = preset("digits-class").lasting(epochs).learning_rate
        assert rate.at(10 * epochs, per_epoch=10, total=10 * epochs) == pytest.approx(1e-4)


def test_bad_rates() -> None:
    with pytest.raises(UsageError, match="factor"):
        LearningRate(peak=1.0, factor=0.5)
    with pytest.raises(UsageError, match="factor"):
        LearningRate(peak=1.0, decay="epoch")
    with pytest.raises(UsageError, match="peak"):
        LearningRate(peak=0.0)


# -- averages


def weights_of(profile: EmaProfile, updates: int, batch: int = 1) -> Tensor:
    """How much each update counts in the end, found by averaging the columns of the unit matrix."""
    network = nn.Linear(updates, 1, bias=False)
    network.weight.data.zero_()
    ema = Ema(network, profile)
    for k in range(updates):
        network.weight.data = torch.eye(updates)[k : k + 1]
        ema.update(network, batch)
    return ema.average["weight"][0].double()


def test_half_life() -> None:
    weight = weights_of(HalfLife(pictures=80, warmup=1e6), 100, batch=8)
    ratio = weight[1:] / weight[:-1]
    assert (ratio[10:] ** -10).tolist() == pytest.approx([0.5] * 89, rel=1e-4)  # ten updates are 80 pictures
    warm = weights_of(HalfLife(pictures=1e9, warmup=0.05), 200)
    late = warm[-10:].sum()  # half of the weight lies within the last twentieth
    assert late.item() == pytest.approx(0.5, abs=0.02)


@given(st.sampled_from([0.05, 0.1, 0.2]))
def test_power_function_has_the_width_it_states(width: float) -> None:
    weight = weights_of(PowerFunction(width=width), 300)
    time = (torch.arange(300, dtype=torch.float64) + 1) / 300
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-4)
    mean = (weight * time).sum()
    assert ((weight * (time - mean) ** 2).sum().sqrt()).item() == pytest.approx(width, rel=0.02)


def test_averages_are_float32_and_counters_are_copied() -> None:
    network = nn.BatchNorm1d(3).to(torch.bfloat16)
    ema = Ema(network, HalfLife(pictures=10))
    network.num_batches_tracked.fill_(7)
    ema.update(network, 1)
    assert ema.average["weight"].dtype == torch.float32
    assert ema.average["num_batches_tracked"].item() == 7
    assert ema.updates == 1


def test_bad_averages() -> None:
    with pytest.raises(UsageError, match=r"0\.3"):
        PowerFunction(width=0.3)
    with pytest.raises(UsageError, match="half-life"):
        HalfLife(pictures=0)


def test_draw_is_float32_on_the_cpu() -> None:
    draw = PRESETS["digits"].objective.draw((4, 1, 2, 2), generator())
    assert isinstance(draw, RandomInputs)
    assert (draw.noise.dtype, draw.t.dtype, draw.dropped.dtype) == (torch.float32, torch.float32, torch.bool)


@pytest.mark.parametrize(("schedule", "t"), LEVELS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_estimate_beyond_the_end_of_the_range_is_no_error(
    schedule: Schedule, t: float, prediction: Prediction
) -> None:
    """Where estimates are clipped, the loss is that of the estimate which the clipping makes of them."""
    x0 = torch.tensor([-1.0, 1.0, 1.0, -1.0, 0.2, 1.0]).view(1, 1, 1, 6)
    believed = torch.tensor([-1.5, 1.5, 0.5, -0.2, 1.4, -3.0]).view(1, 1, 1, 6)

    def answer(x: Tensor, t: Tensor, label: Tensor) -> Tensor:  # noqa: ARG001
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule.alpha_sigma(t))
        return from_x0(believed, prediction, x, alpha, sigma)

    objective = Objective(
        schedule=schedule,
        prediction=prediction,
        times=FixedTime(t=t),
        weighting=ErrorOf(quantity="x0"),
        clipped=True,
    )
    random = objective.draw((1, 1, 1, 6), generator())
    loss = objective.loss(answer, x0, torch.tensor([0]), random)
    # the fifth pixel lies inside the range: there an estimate beyond the end stays an error, and an error
    # towards the inside is one everywhere
    expected = torch.tensor([0, 0, 0.5**2, 0.8**2, 1.2**2, 4.0**2]).mean()
    torch.testing.assert_close(loss, expected[None], rtol=1e-3, atol=1e-4)
