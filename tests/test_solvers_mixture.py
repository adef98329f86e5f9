"""Solvers against what they approximate: the exact flow and the exact distribution of Gaussian mixtures.

Deterministic solvers are measured by the slope of log error against log steps, in float64. Ancestral ones by
the mean and covariance of what they draw, and, where everything is linear, by exact variances.
"""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixture import (
    Mixture,
    exact,
    exact_flow,
    gaussian_flow,
    levels_between,
    one_mode,
    two_modes,
    walk,
)
from sfumato.core.path import make_path
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Level, Schedule
from sfumato.core.solvers import (
    DDIM,
    DDPM,
    SOLVERS,
    DPMSolverPP,
    Euler,
    Heun,
    PreviousStep,
    Solver,
    UniPC,
    make_solver,
    renoise,
)
from sfumato.errors import UsageError

F64 = torch.float64
SCHEDULES: dict[str, Schedule] = {
    "linear": BetaTable("linear"),
    "scaled_linear": BetaTable("scaled_linear", beta_start=0.00085, beta_end=0.012),
    "squared_cosine": BetaTable("squared_cosine"),
    "flow": Flow(),
    "fixed_sigma": FixedSigma(20.0),
}
HIGH, LOW = 8.0, 0.1  # of sigma / alpha: where every schedule has levels and the flow bends

# Solver, its slope from a cold start; UniPC's corrector mends the first step and adds an order. DPM++3M
# begins with a step of order 1, whose error no later step mends: its own order shows from an exact history.
DETERMINISTIC = {
    "ddim": (DDIM(), 1),
    "heun": (Heun(), 2),
    "dpm++2m": (DPMSolverPP(order=2), 2),
    "unipc": (UniPC(order=2), 3),
    "unipc3": (UniPC(order=3), 4),
}
CONVERGENT = {**DETERMINISTIC, "dpm++3m": (DPMSolverPP(order=3), 2)}


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 1, 2, generator=torch.Generator().manual_seed(seed), dtype=F64)


def slope(steps: list[int], errors: list[float]) -> float:
    """Least squares of -log error on log steps."""
    u, v = (torch.tensor(z, dtype=F64).log() for z in (steps, errors))
    return -(((u - u.mean()) * (v - v.mean())).sum() / (u - u.mean()).square().sum()).item()


def rms(difference: Tensor) -> float:
    return difference.square().mean().sqrt().item()


# ------------------------------------------------------------------------------------ the exact ODE, by order


@cache
def start_and_end(kind: str, high: float = HIGH, low: float = LOW) -> tuple[Tensor, Tensor]:
    """A state at `high` and where the exact flow takes it at `low`."""
    start, end = levels_between(SCHEDULES[kind], high, low, 1)
    x = noise(6) * start.sigma
    return x, end.alpha * flow_of_noise(high, low)


@cache
def flow_of_noise(high: float, low: float) -> Tensor:
    """The same flow where alpha is 1: in x / alpha it is one for all schedules."""
    start, end = Level(1.0, 1.0, high), Level(0.0, 1.0, low)
    return exact_flow(two_modes(), noise(6) * high, start, end, steps=500)


def test_the_reference_is_exact_for_one_gaussian() -> None:
    start, end = levels_between(Flow(), HIGH, LOW, 1)
    x = noise(6)
    assert rms(exact_flow(one_mode(), x, start, end) - gaussian_flow(one_mode(), x, start, end)) < 1e-11


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_on_a_mixture(name: str, kind: str) -> None:
    solver, order = DETERMINISTIC[name]
    x, end = start_and_end(kind)
    steps = [40, 80]
    errors = [
        rms(walk(solver, exact(two_modes()), x, levels_between(SCHEDULES[kind], HIGH, LOW, n))[-1] - end)
        for n in steps
    ]
    assert errors[-1] < {1: 1e-2, 2: 1e-3, 3: 2e-5, 4: 2e-6}[order]
    assert slope(steps, errors) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_on_a_gaussian_in_closed_form(name: str) -> None:
    solver, order = DETERMINISTIC[name]
    steps, errors = [40, 80], []
    for n in steps:
        levels = levels_between(Flow(), HIGH, LOW, n)
        end = gaussian_flow(one_mode(), noise(6), levels[0], levels[-1])
        errors.append(rms(walk(solver, exact(one_mode()), noise(6), levels)[-1] - end))
    assert slope(steps, errors) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("order", [2, 3])
def test_dpmpp_has_its_own_order_with_an_exact_history(order: int, kind: str) -> None:
    steps = [60, 120]
    errors = [primed_error(order, SCHEDULES[kind], n) for n in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.3)


def primed_error(order: int, schedule: Schedule, steps: int) -> float:
    """The error at the end of a run whose first states and estimates were exact."""
    levels = levels_between(schedule, HIGH, LOW, steps)
    x = noise(6) * levels[0].sigma
    track = [gaussian_flow(one_mode(), x, levels[0], level) for level in levels]
    x0 = [exact(one_mode())(x, level) for x, level in zip(track, levels, strict=True)]
    history = [PreviousStep(*past) for past in list(zip(levels, track, x0, strict=True))[: order - 1]]
    solver = DPMSolverPP(order=order)  # type: ignore[arg-type]
    states = walk(solver, exact(one_mode()), track[order - 1], levels[order - 1 :], history=history)
    return rms(states[-1] - track[-1])


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squared_cosine"])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_on_the_entries_of_a_fine_table(name: str, kind: str) -> None:
    solver, order = DETERMINISTIC[name]
    T = 3200
    scale = 1000 / T
    betas = {
        "linear": {"beta_start": 1e-4 * scale, "beta_end": 0.02 * scale},
        "scaled_linear": {"beta_start": 0.00085 * scale, "beta_end": 0.012 * scale},
        "squared_cosine": {},
    }[kind]
    table = BetaTable(kind, timesteps=T, **betas)  # type: ignore[arg-type]
    high, low = table.level(0.7).ratio, table.level(0.1).ratio
    end = flow_of_noise(high, low)
    steps, errors = [64, 128], []
    for n in steps:
        entries = [round(T * (0.7 - 0.6 * i / n)) for i in range(n + 1)]
        levels = [table.level(entry / T) for entry in entries]
        out = walk(solver, exact(two_modes()), noise(6) * levels[0].sigma, levels)[-1]
        errors.append(rms(out - levels[-1].alpha * end))
    assert slope(steps, errors) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("name", CONVERGENT)
def test_flow_from_pure_noise_to_data_converges(name: str) -> None:
    solver, order = CONVERGENT[name]
    errors = []
    for n in (40, 160):
        levels = [Flow().level(t) for t in make_path(Flow(), n)]
        assert levels[0].alpha == 0
        assert levels[-1].sigma == 0
        end = gaussian_flow(one_mode(), noise(6), levels[0], levels[-1])
        errors.append(rms(walk(solver, exact(one_mode()), noise(6), levels)[-1] - end))
    assert errors[1] < errors[0] / (3 if order == 1 else 6)
    assert errors[1] < 0.02


@pytest.mark.parametrize("name", CONVERGENT)
def test_a_point_is_found_in_any_number_of_steps(name: str) -> None:
    point = Mixture(torch.tensor([0.3, -0.9]).view(1, 1, 1, 2), torch.zeros(1), torch.ones(1))
    for n in (1, 2, 7):
        levels = [Flow().level(t) for t in make_path(Flow(), n)]
        out = walk(CONVERGENT[name][0], exact(point), noise(4), levels)[-1]
        torch.testing.assert_close(out, point.means.to(F64).expand_as(out))


# ------------------------------------------------------------------------------------------ the distributions


def moments_of(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.flatten(1).mean(0), torch.cov(x.flatten(1).T)


def fresh(count: int, seed: int) -> tuple[Tensor, "torch._C.Generator"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 1, 2, generator=generator), generator


@pytest.mark.parametrize(
    ("solver", "kind", "steps"),
    [
        (DDPM(variance="fixed_small"), "linear", 100),
        (DDPM(variance="fixed_large"), "linear", 100),
        (DDPM(variance="fixed_small"), "squared_cosine", 100),
        (DDPM(variance="fixed_small"), "flow", 100),
        (DDIM(eta=1.0), "scaled_linear", 100),
        (DDIM(eta=1.0), "flow", 100),
        (DDIM(eta=0.5), "linear", 100),
        (DDIM(), "squared_cosine", 60),
        (UniPC(), "linear", 30),
        (DPMSolverPP(), "flow", 30),
        (Heun(), "scaled_linear", 30),
    ],
    ids=str,
)
def test_mean_and_covariance_of_a_mixture(solver: Solver, kind: str, steps: int) -> None:
    schedule, mixture, count = SCHEDULES[kind], two_modes(), 3000
    x, generator = fresh(count, seed=1)
    levels = [schedule.level(t) for t in make_path(schedule, steps)]

    def draw() -> Tensor:
        return torch.randn(count, 1, 1, 2, generator=generator)

    out = walk(solver, exact(mixture), x, levels, draw=draw if solver.stochastic else None)[-1]
    mean, covariance = moments_of(out.double())
    wanted_mean, wanted_covariance = mixture.moments()
    # 5 standard errors of 3000 draws (spread at most 0.85) and what so few steps miss
    torch.testing.assert_close(mean, wanted_mean, atol=0.07, rtol=0)
    torch.testing.assert_close(covariance, wanted_covariance, atol=0.07, rtol=0)


def propagated(solver: Solver, ask: Mixture | object, schedule: Schedule, steps: int) -> float:
    """The variance of what a solver draws, exactly: every step of a linear denoiser is c x + d noise."""
    denoise = exact(ask) if isinstance(ask, Mixture) else ask
    one, zero = torch.ones(1, 1, 1, 1, dtype=F64), torch.zeros(1, 1, 1, 1, dtype=F64)
    levels = [schedule.level(t) for t in make_path(schedule, steps)]
    variance = levels[0].sigma ** 2 + levels[0].alpha ** 2  # x of the first level, for data of variance 1
    for pair in pairwise(levels):
        c = walk(solver, denoise, one, pair, draw=lambda: zero)[-1].item()
        d = walk(solver, denoise, zero, pair, draw=lambda: one)[-1].item()
        variance = c**2 * variance + d**2
    return variance


def centred(s: float) -> Mixture:
    return Mixture(torch.zeros(1, 1, 1, 1), torch.tensor([s], dtype=F64), torch.ones(1))


@pytest.mark.parametrize("steps", [2, 10, 40])
def test_fixed_large_is_exact_for_unit_variance(steps: int) -> None:
    """Ho et al. 2020, sec. 3.2: beta is optimal for x0 ~ N(0, I). The last step draws nothing."""
    schedule = BetaTable()
    variance = propagated(DDPM(variance="fixed_large"), centred(1.0), schedule, steps)
    last = schedule.level(make_path(schedule, steps)[-2])
    # every step keeps variance 1 and the last is E[x0 | x] = alpha x
    assert variance == pytest.approx(last.alpha**2, rel=1e-9)


@pytest.mark.parametrize("kind", ["linear", "squared_cosine"])
@pytest.mark.parametrize("s", [0.3, 0.6, 0.9])
def test_learned_variance_is_exact_when_it_is_the_optimal_one(s: float, kind: str) -> None:
    """Bao et al. 2022, eq. 7: beta~ + (alpha_s beta / sigma_t^2)^2 Var[x0 | x], exact for one Gaussian."""
    schedule, steps = SCHEDULES[kind], 8
    levels = [schedule.level(t) for t in make_path(schedule, steps)]
    following = dict(pairwise(levels))

    def ask(x: Tensor, now: Level) -> Estimate:
        to = following[now]
        beta = now.sigma**2 - (now.alpha / to.alpha * to.sigma) ** 2
        small = beta * (to.sigma / now.sigma) ** 2
        spread = s**2 * now.sigma**2 / (now.alpha**2 * s**2 + now.sigma**2)
        optimal = small + (to.alpha * beta / now.sigma**2) ** 2 * spread
        f = 0.0
        if to.sigma > 0:
            f = (math.log(optimal) - math.log(small)) / (math.log(beta) - math.log(small))
            assert 0 <= f <= 1
        x0 = centred(s).x0(x, now.alpha, now.sigma)
        return Estimate(x0=x0, variance=torch.full_like(x0, 2 * f - 1))

    variance = propagated(DDPM(variance="learned"), ask, schedule, steps)
    last = levels[-2]
    # exact down to the last step, which draws nothing and so lacks Var[x0 | x]; at the first level the state
    # has the variance of data 1, not s^2, which differs by alpha^2 (1 - s^2) and fades
    missing = s**2 * last.sigma**2 / (last.alpha**2 * s**2 + last.sigma**2)
    assert variance == pytest.approx(s**2 - missing, abs=2e-4)


def test_learned_variance_spans_the_fixed_ones() -> None:
    now, to = (BetaTable().level(t) for t in (0.5, 0.4))
    x, z = noise(3), noise(3, seed=1)
    for raw, fixed in ((-1.0, "fixed_small"), (1.0, "fixed_large")):

        def ask(x: Tensor, _: Level, raw: float = raw) -> Estimate:
            return Estimate(x0=0.5 * x, variance=torch.full_like(x, raw))

        learned = walk(DDPM(variance="learned"), ask, x, (now, to), draw=lambda: z)[-1]
        torch.testing.assert_close(
            learned,
            walk(make_solver("ddpm", variance=fixed), ask, x, (now, to), draw=lambda: z)[-1],
        )


@pytest.mark.parametrize("kind", SCHEDULES)
def test_euler_is_eulers_method_in_sigma_over_alpha(kind: str) -> None:
    now, to = levels_between(SCHEDULES[kind], 3.0, 1.0, 1)
    y = noise(3)
    d = (y - two_modes().x0(y, 1.0, now.ratio)) / now.ratio  # dy/dr of Karras et al. 2022, eq. 3
    out = walk(Euler(), exact(two_modes()), now.alpha * y, (now, to))[-1]
    torch.testing.assert_close(out / to.alpha, y + (to.ratio - now.ratio) * d)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_ddim_with_eta_1_is_ddpm_with_the_small_variance(kind: str) -> None:
    now, to = levels_between(SCHEDULES[kind], 3.0, 1.0, 1)
    z = noise(3, seed=1)
    ends = [
        walk(solver, exact(two_modes()), noise(3), (now, to), draw=lambda: z)[-1]
        for solver in (DDIM(eta=1.0), DDPM())
    ]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_ddpm_draws_from_bayes_rule(kind: str) -> None:
    """q(x_s | x_t, x0) from the joint Gaussian of (x_s, x_t) given x0: Sigma_st / Sigma_tt."""
    now, to = levels_between(SCHEDULES[kind], 2.0, 0.7, 1)
    x0, x, one = 0.3, 1.1, torch.ones(1, 1, 1, 1, dtype=F64)
    cross = now.alpha / to.alpha * to.sigma**2  # Cov(x_s, x_t | x0)
    mean = to.alpha * x0 + cross / now.sigma**2 * (x - now.alpha * x0)
    deviation = math.sqrt(to.sigma**2 - cross**2 / now.sigma**2)
    for z in (0.0, 1.0):
        out = walk(DDPM(), lambda *_: x0 * one, x * one, (now, to), draw=lambda z=z: z * one)[-1]
        assert out.item() == pytest.approx(mean + z * deviation, rel=1e-9)


# ------------------------------------------------------------------------------------------------- invariants


EVERY: dict[str, Solver] = {
    **{name: make_solver(name) for name in SOLVERS},
    "ddpm large": DDPM(variance="fixed_large"),
    "ddim eta 1": DDIM(eta=1.0),
    "ddim eta 0.3": DDIM(eta=0.3),
    "unipc3": UniPC(order=3),
}


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", EVERY)
def test_finite_everywhere_and_one_draw_per_noisy_step(name: str, kind: str, dtype: torch.dtype) -> None:
    solver, schedule, steps = EVERY[name], SCHEDULES[kind], 9
    levels = [schedule.level(t) for t in make_path(schedule, steps)]
    drawn: list[Tensor] = []

    def draw() -> Tensor:
        drawn.append(noise(2, seed=len(drawn)).to(dtype))
        return drawn[-1]

    states = walk(solver, exact(two_modes()), noise(2).to(dtype) * levels[0].sigma, levels, draw=draw)
    assert all(bool(x.isfinite().all()) for x in states)
    assert all(x.dtype == dtype for x in states)
    assert len(drawn) == (steps - 1 if solver.stochastic else 0)  # none into sigma = 0


@pytest.mark.parametrize("name", EVERY)
def test_the_last_step_returns_alpha_x0(name: str) -> None:
    for schedule in SCHEDULES.values():
        now, to = schedule.level(0.2), schedule.level(0.0)
        x0 = noise(2, seed=5)
        out = walk(EVERY[name], lambda *_, x0=x0: x0, noise(2), (now, to))[-1]
        torch.testing.assert_close(out, to.alpha * x0)


@pytest.mark.parametrize("name", EVERY)
def test_one_step_from_pure_noise_is_the_estimate(name: str) -> None:
    out = walk(EVERY[name], exact(two_modes()), noise(3), (Flow().level(1.0), Flow().level(0.0)))[-1]
    torch.testing.assert_close(
        out, two_modes().moments()[0].view(1, 1, 1, 2).expand_as(out), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("name", "calls"), [("heun", 2 * 5 - 1), ("unipc", 5), ("dpm++3m", 5), ("ddim", 5)])
def test_number_of_estimates(name: str, calls: int) -> None:
    asked: list[Level] = []

    def ask(x: Tensor, level: Level) -> Tensor:
        asked.append(level)
        return 0.5 * x

    schedule = BetaTable()
    walk(make_solver(name), ask, noise(1), [schedule.level(t) for t in make_path(schedule, 5)])
    assert len(asked) == calls
    assert all(level.sigma > 0 for level in asked)


@pytest.mark.parametrize("name", ["dpm++2m", "dpm++3m", "unipc"])
def test_an_emptied_history_is_a_new_start(name: str) -> None:
    solver, history = make_solver(name), []
    levels = levels_between(Flow(), 5.0, 1.0, 6)
    walk(solver, exact(two_modes()), noise(3), levels, history=history)
    assert history
    history.clear()  # as the loop does after an upward step
    again = walk(solver, exact(two_modes()), noise(3), levels, history=history)[-1]
    torch.testing.assert_close(again, walk(solver, exact(two_modes()), noise(3), levels)[-1], rtol=0, atol=0)
    first = walk(solver, exact(two_modes()), noise(3), levels[:2])[-1]
    torch.testing.assert_close(first, walk(DDIM(), exact(two_modes()), noise(3), levels[:2])[-1])


@pytest.mark.parametrize(("name", "kept"), [("dpm++2m", 2), ("dpm++3m", 3), ("unipc", 2)])
def test_the_history_stays_short(name: str, kept: int) -> None:
    history: list[PreviousStep] = []
    walk(make_solver(name), exact(two_modes()), noise(1), levels_between(Flow(), 5, 1, 9), history=history)
    assert len(history) == kept


@settings(max_examples=50)
@given(
    kind=st.sampled_from(sorted(SCHEDULES)),
    low=st.floats(0.01, 0.9),
    further=st.floats(0.01, 1),
    s=st.floats(0, 3),
)
def test_renoising_keeps_the_marginal_variance(kind: str, low: float, further: float, s: float) -> None:
    schedule = SCHEDULES[kind]
    now, to = schedule.level(low), schedule.level(low + (1 - low) * further)
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    a, d = renoise(one, now, to, zero).item(), renoise(zero, now, to, one).item()
    before, after = ((level.alpha * s) ** 2 + level.sigma**2 for level in (now, to))
    assert a**2 * before + d**2 == pytest.approx(after, rel=1e-9)
    assert a * now.alpha == pytest.approx(to.alpha, rel=1e-9)


def test_renoising_is_upward() -> None:
    low, high = Flow().level(0.2), Flow().level(0.6)
    with pytest.raises(UsageError, match=r"0\.6 to 0\.2"):
        renoise(noise(1), high, low, noise(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_solver("plms"), r"no solver 'plms': choose one of ddpm, ddim, euler, heun, dpm\+\+2m"),
        (lambda: make_solver("euler", eta=0.5), "the solver euler has no option eta: it has none"),
        (lambda: make_solver("ddim", order=2), "the solver ddim has no option order: its options are eta"),
        (lambda: make_solver("dpm++2m", order=3), r"the solver dpm\+\+2m has no option order: it has none"),
        (lambda: make_solver("ddim", eta=1.5), "eta lies between 0 .* and 1 .*, not 1.5"),
        (lambda: make_solver("ddpm", variance="big"), "no variance 'big': choose one of fixed_small"),
        (lambda: make_solver("unipc", order=4), "the order of a multistep solver is 2 or 3, not 4"),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]


def test_learned_variance_needs_a_network_that_learned_it() -> None:
    levels = levels_between(BetaTable(), 2.0, 1.0, 1)
    with pytest.raises(UsageError, match="no learned variance: choose variance='fixed_small'"):
        walk(DDPM(variance="learned"), exact(two_modes()), noise(1), levels, draw=lambda: noise(1))
