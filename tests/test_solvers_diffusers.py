"""Solvers against diffusers' schedulers: one network, equal timesteps, equal noise, whole trajectories.

Differences are relative to the largest value of the trajectory. diffusers keeps its tables and coefficients
in float32, sfumato in float64: that is what is left.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mixture import walk
from sfumato.core.path import make_path
from sfumato.core.prediction import Estimate, Prediction, to_x0
from sfumato.core.schedule import BetaTable, Level
from sfumato.core.solvers import DDIM, DDPM, DPMSolverPP, Euler, Heun, Solver, UniPC

diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 3, 8, 8)
TABLES = {
    "linear": ("linear", {"beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": ("scaled_linear", {"beta_start": 0.00085, "beta_end": 0.012}),
    "squared_cosine": ("squaredcos_cap_v2", {}),
}
PREDICTIONS: dict[Prediction, str] = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SPACINGS = {"trailing": "trailing", "leading": "leading", "uniform": "linspace"}


class Network:
    """A fixed nonlinear network of x and the integer timestep; with `learned`, twice the channels."""

    def __init__(self, *, learned: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.mix = torch.randn(3, 3, 3, 3, generator=generator) / 4
        self.spread = torch.randn(3, 3, 3, 3, generator=generator) / 3
        self.learned = learned

    def __call__(self, x: Tensor, timestep: float) -> Tensor:
        wave = math.sin(timestep / 150)
        out = torch.tanh(F.conv2d(x, self.mix, padding=1) + 0.3 * wave) + 0.2 * wave
        if not self.learned:
            return out
        return torch.cat([out, torch.tanh(F.conv2d(x, self.spread, padding=1))], 1)


@dataclass(frozen=True)
class Case:
    name: str
    solver: Solver
    scheduler: str
    options: tuple[tuple[str, Any], ...] = ()
    table: str = "linear"
    prediction: Prediction = "v"
    spacing: str = "trailing"
    steps: int = 20

    def __str__(self) -> str:
        return f"{self.name}, {self.table}, {self.prediction}, {self.spacing}, {self.steps}"

    @property
    def learned(self) -> bool:
        return self.solver == DDPM(variance="learned")

    def make_scheduler(self) -> Any:
        beta_schedule, betas = TABLES[self.table]
        scheduler = getattr(diffusers, self.scheduler)(
            beta_schedule=beta_schedule,
            prediction_type=PREDICTIONS[self.prediction],
            timestep_spacing=SPACINGS[self.spacing],
            **betas,
            **dict(self.options),
        )
        scheduler.set_timesteps(self.steps)
        return scheduler


def no_clip(**more: Any) -> tuple[tuple[str, Any], ...]:
    return (("clip_sample", False), *more.items())


CASES = [
    Case("ddpm small", DDPM(), "DDPMScheduler", no_clip(), steps=50),
    Case("ddpm small", DDPM(), "DDPMScheduler", no_clip(), "scaled_linear", "eps", "leading", 100),
    Case("ddpm small", DDPM(), "DDPMScheduler", no_clip(), "squared_cosine", "x0", "leading", 50),
    # diffusers adds noise in a last step from a timestep above 0: only "leading" has none there
    Case(
        "ddpm large",
        DDPM(variance="fixed_large"),
        "DDPMScheduler",
        no_clip(variance_type="fixed_large"),
        spacing="leading",
        steps=50,
    ),
    Case(
        "ddpm learned",
        DDPM(variance="learned"),
        "DDPMScheduler",
        no_clip(variance_type="learned_range"),
        "squared_cosine",
        spacing="leading",
        steps=50,
    ),
    Case("ddim", DDIM(), "DDIMScheduler", no_clip(), prediction="eps", steps=25),
    Case("ddim", DDIM(), "DDIMScheduler", no_clip(), "squared_cosine", "x0", "leading"),
    Case("ddim eta 0.5", DDIM(eta=0.5), "DDIMScheduler", no_clip(), "scaled_linear"),
    Case("ddim eta 0.5", DDIM(eta=0.5), "DDIMScheduler", no_clip(), spacing="leading", steps=50),
    Case("dpm++2m", DPMSolverPP(order=2), "DPMSolverMultistepScheduler", (("solver_order", 2),)),
    Case(
        "dpm++2m",
        DPMSolverPP(order=2),
        "DPMSolverMultistepScheduler",
        (("solver_order", 2),),
        "scaled_linear",
        "eps",
        steps=7,
    ),
    Case(
        "dpm++2m",
        DPMSolverPP(order=2),
        "DPMSolverMultistepScheduler",
        (("solver_order", 2),),
        "squared_cosine",
        "x0",
    ),
    Case("euler", Euler(), "EulerDiscreteScheduler"),
    Case("euler", Euler(), "EulerDiscreteScheduler", (), "scaled_linear", "eps", "uniform"),
    Case("euler", Euler(), "EulerDiscreteScheduler", (), "squared_cosine", "v", "leading"),
    Case("heun", Heun(), "HeunDiscreteScheduler"),
    Case("heun", Heun(), "HeunDiscreteScheduler", (), "scaled_linear", "eps"),
    Case("heun", Heun(), "HeunDiscreteScheduler", (), "linear", "x0", steps=10),
    Case("unipc2", UniPC(order=2), "UniPCMultistepScheduler", (("solver_order", 2),)),
    Case(
        "unipc2",
        UniPC(order=2),
        "UniPCMultistepScheduler",
        (("solver_order", 2),),
        "scaled_linear",
        "eps",
        steps=8,
    ),
    Case("unipc3", UniPC(order=3), "UniPCMultistepScheduler", (("solver_order", 3),)),
    Case(
        "unipc3",
        UniPC(order=3),
        "UniPCMultistepScheduler",
        (("solver_order", 3),),
        "squared_cosine",
        "x0",
        steps=10,
    ),
]


CLIPPED = (("clip_sample", True),)
CASES += [
    Case("ddpm clipped", DDPM(), "DDPMScheduler", CLIPPED, steps=50),
    Case("ddim clipped, raw", DDIM(direction="raw"), "DDIMScheduler", CLIPPED),
    Case("ddim clipped, raw", DDIM(eta=0.5, direction="raw"), "DDIMScheduler", CLIPPED, prediction="eps"),
    Case("ddim clipped", DDIM(), "DDIMScheduler", CLIPPED),
]


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------------------- diffusers' own loop


def theirs(case: Case) -> list[Tensor]:
    """The states of diffusers' loop, as alpha x0 + sigma eps."""
    scheduler, network = case.make_scheduler(), Network(learned=case.learned)
    if case.scheduler in {"EulerDiscreteScheduler", "HeunDiscreteScheduler"}:
        return list(_in_sigma_space(scheduler, network))
    generator, x = torch.Generator().manual_seed(2), start()
    states = [x]
    for i, timestep in enumerate(scheduler.timesteps):
        more: dict[str, Any] = {}
        if case.scheduler == "DDPMScheduler":
            more = {"generator": generator}
        if case.scheduler == "DDIMScheduler":
            assert isinstance(case.solver, DDIM)
            clipped = case.solver.direction == "clipped" and case.options == CLIPPED
            more = {
                "eta": case.solver.eta,
                "generator": generator,
                "use_clipped_model_output": clipped,
            }
        if case.scheduler == "UniPCMultistepScheduler":
            # only the step into sigma 0 is of lower order: see UniPC
            scheduler.register_to_config(lower_order_final=i == len(scheduler.timesteps) - 1)
        x = scheduler.step(network(x, float(timestep)), timestep, x, **more).prev_sample
        states.append(x)
    return states


def _in_sigma_space(scheduler: Any, network: Callable[[Tensor, float], Tensor]) -> Iterator[Tensor]:
    """Euler and Heun keep y = x / alpha, alpha = 1 / sqrt(1 + sigma^2); Heun visits each inner node twice."""
    alphas = (1 + scheduler.sigmas.double() ** 2).rsqrt().tolist()
    y = start() / alphas[0]
    yield start()
    for i, timestep in enumerate(scheduler.timesteps):
        out = network(scheduler.scale_model_input(y, timestep), float(timestep))
        y = scheduler.step(out, timestep, y).prev_sample
        if getattr(scheduler, "state_in_first_order", True) or i == len(scheduler.timesteps) - 1:
            yield y * alphas[i + 1]


# --------------------------------------------------------------------------------------------- sfumato's loop


def ours(case: Case) -> list[Tensor]:
    """The states of the same run by the solver."""
    schedule = BetaTable(case.table, **TABLES[case.table][1])  # type: ignore[arg-type]
    network, generator = Network(learned=case.learned), torch.Generator().manual_seed(2)

    def ask(x: Tensor, level: Level) -> Estimate:
        out = network(x, float(round(level.t * 1000 - 1, 3)))
        variance = None
        if case.learned:
            out, variance = out.chunk(2, dim=1)
        x0 = to_x0(out, case.prediction, x, level.alpha, level.sigma)
        if case.options == CLIPPED:
            return Estimate(x0=x0.clamp(-1, 1), unclipped=x0)
        return Estimate(x0=x0, variance=variance)

    levels = [schedule.level(t) for t in times(case)]
    return walk(case.solver, ask, start(), levels, draw=lambda: torch.randn(SHAPE, generator=generator))


def times(case: Case) -> tuple[float, ...]:
    """Our own path; Euler's and Heun's "linspace" does not round to entries, so there theirs is taken."""
    if case.spacing == "uniform":
        return (*((n + 1) / 1000 for n in case.make_scheduler().timesteps.double().tolist()), 0.0)
    return make_path(BetaTable(case.table), case.steps, case.spacing)  # type: ignore[arg-type]


@cache
def difference(case: Case) -> float:
    a, b = theirs(case), ours(case)
    assert len(a) == len(b) == case.steps + 1
    largest = max(x.abs().max().item() for x in a)
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True)) / max(1.0, largest)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_trajectory_is_diffusers(case: Case) -> None:
    assert difference(case) < 1e-4


def test_table_of_differences() -> None:
    """pytest -s shows it."""
    print(f"\n{'against diffusers ' + diffusers.__version__:<58}max difference")
    for case in CASES:
        print(f"{case!s:<58}{difference(case):.1e}")
    assert all(difference(case) < 1e-4 for case in CASES)


# ------------------------------------------------------------------------------------------- tables and paths


@pytest.mark.parametrize("kind", TABLES)
def test_table_is_diffusers(kind: str) -> None:
    beta_schedule, betas = TABLES[kind]
    alphas_cumprod = diffusers.DDPMScheduler(beta_schedule=beta_schedule, **betas).alphas_cumprod.double()
    schedule = BetaTable(kind, **betas)  # type: ignore[arg-type]
    entries = [*range(0, 1000, 37), 999]
    alphas_cumprod = alphas_cumprod[entries]
    levels = [schedule.level((n + 1) / 1000) for n in entries]
    # diffusers multiplies 1000 rounded float32 factors: 1e-6 of them, and 3e-8 in 1 - alpha^2
    alpha = torch.tensor([level.alpha for level in levels], dtype=torch.float64)
    sigma = torch.tensor([level.sigma for level in levels], dtype=torch.float64)
    torch.testing.assert_close(alpha, alphas_cumprod.sqrt(), atol=1e-6, rtol=0)
    torch.testing.assert_close(sigma**2, 1 - alphas_cumprod, atol=1e-6, rtol=0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_paths_are_diffusers_timesteps(spacing: str) -> None:
    scheduler = diffusers.DDIMScheduler(timestep_spacing=SPACINGS[spacing])
    for steps in [*range(1, 130), 250, 333, 499, 500, 750, 999, 1000]:
        if spacing == "uniform" and steps == 1:
            continue  # diffusers starts a single step at timestep 0: see test_path.py
        scheduler.set_timesteps(steps)
        wanted = scheduler.timesteps.tolist()
        if len(wanted) == steps + 1:  # numpy.arange counts one too many; the last one is timestep -1
            assert wanted.pop() == -1
        path = make_path(BetaTable(), steps, spacing)
        assert [round(t * 1000) - 1 for t in path[:-1]] == wanted
        assert path[-1] == 0


def test_karras_path_is_diffusers() -> None:
    scheduler = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True)
    scheduler.set_timesteps(20)
    path = make_path(BetaTable(), 20, "karras")
    ratios = torch.tensor([BetaTable().level(t).ratio for t in path])
    torch.testing.assert_close(ratios, scheduler.sigmas, rtol=2e-4, atol=0)
    timesteps = torch.tensor([t * 1000 - 1 for t in path[:-1]])
    torch.testing.assert_close(timesteps, scheduler.timesteps, rtol=0, atol=0.02)


def test_strength_keeps_diffusers_steps() -> None:
    """The rule of its image-to-image pipelines: init = min(int(n s), n), timesteps from n - init on."""
    for steps in (10, 30, 50):
        for strength in (0.05, 0.1, 0.29, 0.3, 0.58, 0.7, 0.99, 1.0):
            whole = make_path(BetaTable(), steps)
            skipped = max(steps - max(1, min(int(steps * strength), steps)), 0)
            assert make_path(BetaTable(), steps, strength=strength) == whole[skipped:]


def test_repaint_visits_diffusers_timesteps() -> None:
    from sfumato.core.path import zigzag

    scheduler = diffusers.RePaintScheduler()
    for steps, jump, repeats in ((250, 10, 10), (50, 10, 10), (20, 5, 3), (20, 3, 4), (25, 10, 2)):
        scheduler.set_timesteps(steps, jump_length=jump, jump_n_sample=repeats)
        stride = 1000 // steps
        path = zigzag(tuple(k / steps for k in range(steps, -1, -1)), jump=jump, repeats=repeats)
        places = [round(t * steps) - 1 for t in path]
        assert [place * stride for place in places[:-1]] == scheduler.timesteps.tolist()
        assert places[-1] == -1
        assert all(abs(a - b) == 1 for a, b in pairwise(places))
